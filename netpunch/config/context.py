"""What the parts of one file have in common while they are built."""

from pathlib import Path
from typing import NamedTuple

from netpunch.config.problems import Problems
from netpunch.config.schema import Settings
from netpunch.core.settings import ControlAt


class Context(NamedTuple):
    """Where the file is, what it says for all pairs, and where to tell what is wrong."""

    directory: Path
    """Relative paths begin here."""
    defaults: Settings
    controls: dict[str, ControlAt] | None
    """By name. None while the controls are wrong themselves: then references are not judged."""
    control_nodes: frozenset[str]
    """Those that run a control, as far as the controls are right."""
    problems: Problems
