"""The machines under test, made for hosts of the virtual network: one class per protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from netpunch.address import Address
from netpunch.core.classic.control import ClassicControl
from netpunch.core.classic.end import ClassicEnd
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.core.control.relay import Relay
from netpunch.core.end.end import End
from netpunch.core.endpoints import NO_NAMES, ControlEndpoints, Names
from netpunch.core.machine import Machine
from netpunch.core.settings import EndSettings
from netpunch.wire.keys import control_key
from tests.sim.hosts import SimHost

EndName = Literal["a", "b"]
Random = Callable[[int], bytes]

PAIR = "home-office"
SECRET = bytes(range(32))
CLASSIC_SECRET = b"classic secret"
SLOTS: dict[EndName, str] = {"a": "a", "b": "b"}


def endpoints(controls: list[Address], *, named: bool) -> ControlEndpoints:
    """Where controls are, each with its second port. `named`: by name, so that they may move."""
    reflectors = tuple((each, Address(each.host, each.port + 1)) for each in controls)
    return ControlEndpoints(
        tuple(controls), reflectors, Names(frozenset(controls)) if named else NO_NAMES
    )


@dataclass(frozen=True, slots=True)
class V2:
    """Makes v2 machines. `secret` of an end may differ from what control has."""

    secret: bytes = field(default=SECRET, repr=False)

    def control(self, random: Random, *, relay: Relay | None = None) -> Machine:
        keys = {PAIR: control_key(SECRET, PAIR)}
        return ControlNode(ControlV2(keys, random=random, relay=relay), ClassicControl({}))

    def end(
        self,
        end: EndName,
        host: SimHost,
        controls: list[Address],
        *,
        named: bool = False,
        random: Random,
        **settings: Any,
    ) -> Machine:
        """`settings` are those of EndSettings."""
        return End(
            EndSettings(**{"pair": PAIR, "end": end, "secret": self.secret, **settings}),
            endpoints=endpoints(controls, named=named),
            sockets=host.sockets,
            host_addresses=host.host_addresses,
            random=random,
            now=host.clock(),
        )


@dataclass(frozen=True, slots=True)
class Classic:
    """Makes classic machines."""

    secret: bytes = field(default=CLASSIC_SECRET, repr=False)

    def control(self, random: Random, *, relay: Relay | None = None) -> Machine:
        del relay  # v2's alone
        return ClassicControl(dict.fromkeys(SLOTS.values(), CLASSIC_SECRET))

    def end(
        self,
        end: EndName,
        host: SimHost,
        controls: list[Address],
        *,
        named: bool = False,
        random: Random,
        deadline: float | None = 60.0,
        deadline_from_start: bool = True,
    ) -> Machine:
        return ClassicEnd(
            letter=SLOTS[end],
            secret=self.secret,
            endpoints=endpoints(controls, named=named),
            sockets=host.sockets,
            deadline=deadline,
            deadline_from_start=deadline_from_start,
            random=random,
            now=host.clock(),
        )


Protocol = V2 | Classic
