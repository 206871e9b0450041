"""`punch`: one link, as addresses."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netpunch import arguments
from netpunch.address import Address
from netpunch.api.end_arguments import end_settings
from netpunch.core.settings import EndSettings, Protocol
from netpunch.net.driver import Observer
from netpunch.net.punch import Punch


@dataclass(frozen=True, slots=True)
class Link:
    """A punched hole: datagrams sent from `local` to `remote` reach the partner.

    `local` may be a wildcard address (`0.0.0.0` or `::`). `path` is a `PathKind`. `rtt`, None if
    unknown, and `duration`, from the call to the link, are in seconds. `session_key`, 32 bytes, is
    equal on both ends and new for every link; classic links have none."""

    local: Address
    remote: Address
    path: str
    rtt: float | None
    duration: float
    session_key: bytes | None = field(default=None, repr=False)


@arguments.checked
def punch(
    *,
    pair: str = "",
    end: str,
    secret: bytes | str | Path,
    control: str | Sequence[str],
    local: str = ":0",
    protocol: Protocol = "v2",
    candidates: Sequence[str] = ("observed", "host", "any-port", "relay"),
    deadline: float | None = 60.0,
    observer: Observer | None = None,
) -> Coroutine[Any, Any, Link]:
    """Link one end of a pair with its partner, then free the local port for its user.

    `pair`: its name, the same at control and both ends; none for classic.
    `end`: `a` or `b`; for classic the slot, a letter.
    `secret`: the pair's key, as 32 bytes, as text (`npk1:...`) or as the Path of its file, which
    only its owner may read. For classic any bytes, or a Path.
    `control`: one `host:port`, or several. If all stay silent on UDP they are asked over TLS, at
    TCP port 443, whether they are there: then the reason is `udp_blocked`.
    `local`: the address to punch from, `IP:port` or `:port`; port 0 is a free one.
    `candidates`: which addresses to try: `observed` by control, `host` (this host's own), `mapped`
    by the router; `any-port` lets the link use another local port; `relay` lets a control's relay
    carry it if nothing else can.
    `deadline`: seconds, None for no limit.
    `observer`: is called with every `Datagram` and every event.

    Bind the returned `local` soon: NATs forget a path that is silent for half a minute.
    Cancelling the call closes its sockets.

    Raises UsageError for an argument, before anything is opened; MissingFileError,
    PermissionsError and ConfigurationError for a key's file; PortInUseError,
    NetworkNotReadyError, PermissionsError or ConfigurationError for `local`;
    ControlUnreachableError or NotLinkedError, with the reason, if there is no link; and
    ResourcesError."""
    settings = end_settings(
        pair=pair,
        end=end,
        secret=secret,
        control=control,
        local=local,
        protocol=protocol,
        candidates=candidates,
        deadline=deadline,
    )
    arguments.callback("observer", observer)
    return _punch(settings, observer)


async def _punch(settings: EndSettings, observer: Observer | None) -> Link:
    attempt = Punch(settings, observer)
    released = False
    try:
        await attempt.open()
        linked = await attempt.linked()
        await attempt.released()
        released = True
    finally:
        await attempt.close(keep_mapping=released)
    return Link(
        linked.local,
        linked.remote,
        linked.path,
        linked.rtt,
        linked.duration,
        linked.session_key,
    )
