"""What tactics work with: sockets, probes, questions to observers, our card. One per attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from netpunch.address import Address
from netpunch.core.end.partner import Partner
from netpunch.core.endpoints import Reflectors
from netpunch.core.events import PathKind, Via
from netpunch.core.machine import Random
from netpunch.core.pacing import TokenBucket
from netpunch.core.traversal.bracket import Bracket
from netpunch.core.traversal.nat import NatReport
from netpunch.core.traversal.turns import Turns

Opened = Callable[[Mapping[Via, Address], float], None]
"""`then(sockets, now)`: those that could be had, maybe none."""


class Field:
    """The callables are the end's: `observers()` gives two ports of a control that is alive, or
    none; `open_sockets(count, then)`, `close_socket(via)`, `observe(via, observer, echo)`,
    `probe(partner, via, address, kind, ttl, now)` sends one ping; `keep_pinging` begins with one
    that only opens our NAT, and goes on with full ones;
    `share(now)` sends our changed card, `close_all(partner)` closes what was opened for it, and
    `fresh_port()` begins a new attempt. `leads`: of two ends that both need a turn, this one takes
    its own first."""

    def __init__(
        self,
        *,
        observers: Callable[[], Reflectors | None],
        own_hosts: Sequence[str],
        bucket: TokenBucket,
        random: Random,
        open_sockets: Callable[[int, Opened], None],
        close_socket: Callable[[Via], None],
        observe: Callable[[Via, Address, bytes], None],
        probe: Callable[[Partner, Via, Address, PathKind, int, float], None],
        keep_pinging: Callable[[Partner, Via, Address, PathKind, float], None],
        primary: Callable[[], Via | None],
        share: Callable[[float], None],
        close_all: Callable[[Partner], None],
        fresh_port: Callable[[], None],
        turns: Turns,
        leads: bool,
        report: NatReport,
    ) -> None:
        self.observers = observers
        self.own_hosts = own_hosts
        self.bucket = bucket
        self.random = random
        self.open_sockets = open_sockets
        self.close_socket = close_socket
        self.observe = observe
        self.probe = probe
        self.keep_pinging = keep_pinging
        self.primary = primary
        self.share = share
        self.close_all = close_all
        self.fresh_port = fresh_port
        self.turns = turns
        self.leads = leads
        self.report = report
        self.bracket = Bracket()
        """These two are in our card."""
        self.seen_at: tuple[str, ...] = ()
        """Our public addresses in the latest survey."""
