"""What the command line of `netpunch run` decides."""

from typing import Literal, NamedTuple

OutputFormat = Literal["json", "text"]
Share = Literal["control", "once", "keep"]


class RunOptions(NamedTuple):
    """An option that is unset (False, empty, None) leaves the decision to the site file."""

    once: bool = False
    """Link each end once and exit, whatever `mode` says; never together with `keep`."""
    keep: bool = False
    """Keep each end linked, whatever `mode` says."""
    only: tuple[Share, ...] = ()
    """Only this node's control, only its ends of this `mode`; empty for all of it. So several
    processes can share a node."""
    pairs: tuple[str, ...] = ()
    """Only these pairs; empty for all of this node."""
    node: str | None = None
    """The node to be, instead of NETPUNCH_NODE, `node:` and the host name."""
    format: OutputFormat | None = None
    """What goes to standard output; None: json unless that is a terminal."""
    trace: bool = False
    """Report each datagram as a `datagram` event."""
    quiet: bool = False
    """Print only errors to standard error."""
    debug: bool = False
    """Print tracebacks to standard error."""
