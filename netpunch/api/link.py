"""`link` and `create_link_endpoint`: a link that is held, for programs that await and for asyncio
protocols."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from netpunch import arguments
from netpunch.api.end_arguments import held_end_settings
from netpunch.api.held_link import HeldLink, Receiver
from netpunch.api.starting import Starting
from netpunch.core import timing
from netpunch.core.events import Event
from netpunch.core.settings import EndSettings
from netpunch.errors import UsageError
from netpunch.net.link_transport import LinkTransport
from netpunch.net.queues import Inbox

P = TypeVar("P", bound=asyncio.DatagramProtocol)


@arguments.checked
def link(
    *,
    pair: str,
    end: str,
    secret: bytes | str | Path,
    control: str | Sequence[str],
    local: str = ":0",
    sealed: bool = True,
    candidates: Sequence[str] = ("observed", "host", "any-port", "relay"),
    deadline: float | None = 60.0,
    keepalive: float = 15.0,
    hold_for: float = timing.HOLD_FOR,
    observer: Callable[[Event], object] | None = None,
) -> StartingLink:
    """Link one end of a pair with its partner, and hold the link as long as the `async with` block
    runs; or `await` it for a `HeldLink`, to be closed by `close`. The link moves to another path
    when its own dies, and is relayed if nothing else helps.

    `pair`: its name, the same at control and both ends.
    `end`: `a` or `b`.
    `secret`: the pair's key, as 32 bytes, as text (`npk1:...`) or as the Path of its file, which
    only its owner may read.
    `control`: one `host:port`, or several.
    `local`: the address to punch from, `IP:port` or `:port`; port 0 is a free one.
    `sealed`: datagrams are encrypted and authenticated, each arrives once; both ends must agree.
    Not `sealed`, they are as protected as on the open Internet.
    `candidates`: which addresses to try: `observed` by control, `host` (this host's own), `mapped`
    by the router; `any-port` lets the link use another local port; `relay` lets a control's relay
    carry it if nothing else can.
    `deadline`: seconds until there must be a link, None for no limit.
    `keepalive`: seconds between two checks of the path.
    `hold_for`: seconds that the link may be silent before it is given up.
    `observer`: is called with every event.

    The call itself raises UsageError for an argument, and MissingFileError, PermissionsError and
    ConfigurationError for a key's file. Linking raises PortInUseError,
    NetworkNotReadyError, PermissionsError or ConfigurationError for `local`;
    ControlUnreachableError or NotLinkedError, with the reason, if there is no link; and
    ResourcesError. Cancelled, it leaves nothing open."""
    settings = held_end_settings(
        pair=pair,
        end=end,
        secret=secret,
        control=control,
        local=local,
        sealed=sealed,
        candidates=candidates,
        deadline=deadline,
        keepalive=keepalive,
        hold_for=hold_for,
    )
    arguments.callback("observer", observer)
    return StartingLink(partial(_held, settings, observer))


class StartingLink(Starting[HeldLink]):
    """A link that comes about when it is awaited, or entered by `async with`; once."""

    call = "link"


async def _held(settings: EndSettings, observer: Callable[[Event], object] | None) -> HeldLink:
    def see(event: Event) -> None:
        if held is not None:
            held._see(event)
        if observer is not None:
            observer(event)

    held: HeldLink | None = None
    transport = LinkTransport(settings, see)
    inbox = Inbox()
    receiver = await transport.open(lambda: Receiver(transport, inbox))
    held = HeldLink(transport, receiver, inbox, sealed=settings.sealed)
    return held


@arguments.checked
def create_link_endpoint(
    protocol_factory: Callable[[], P],
    *,
    pair: str,
    end: str,
    secret: bytes | str | Path,
    control: str | Sequence[str],
    local: str = ":0",
    sealed: bool = True,
    candidates: Sequence[str] = ("observed", "host", "any-port", "relay"),
    deadline: float | None = 60.0,
    keepalive: float = 15.0,
    hold_for: float = timing.HOLD_FOR,
    observer: Callable[[Event], object] | None = None,
) -> Coroutine[Any, Any, tuple[asyncio.DatagramTransport, P]]:
    """Link one end of a pair with its partner, and return a transport and a protocol, as asyncio's
    `loop.create_datagram_endpoint` does for a socket with a `remote_addr`.

    For the protocol the partner has one address, `get_extra_info("peername")`, also when the link
    moves; `get_extra_info` of "sockname", "socket", "path", "rtt" and "loss" tells of the present
    path. `connection_lost` gets a LinkClosedError if the link is lost, and None if either end has
    closed it. Close the transport: until then the link is held.

    The other arguments, and what is raised, are as for `link`."""
    settings = held_end_settings(
        pair=pair,
        end=end,
        secret=secret,
        control=control,
        local=local,
        sealed=sealed,
        candidates=candidates,
        deadline=deadline,
        keepalive=keepalive,
        hold_for=hold_for,
    )
    arguments.callback("observer", observer)
    arguments.function(
        "protocol_factory",
        protocol_factory,
        "a function that returns an asyncio.DatagramProtocol, such as its class",
    )
    return _opened(settings, observer, protocol_factory)


async def _opened(
    settings: EndSettings, observer: Callable[[Event], object] | None, factory: Callable[[], P]
) -> tuple[asyncio.DatagramTransport, P]:
    def make() -> P:
        protocol = factory()
        if not callable(getattr(protocol, "datagram_received", None)):
            raise UsageError(
                "protocol_factory: expected a function that returns an asyncio.DatagramProtocol, "
                f"it returned {type(protocol).__name__}, which has no datagram_received()"
            )
        return protocol

    transport = LinkTransport(settings, observer)
    return transport, await transport.open(make)
