"""Many pairs at one place: all their ends there are of one process, or each of its own.

    python -m tests.sim.fleets [--pairs N] [--renewing N]

tells how long it takes until all of N pairs of one process are linked, and how many sockets it has
open meanwhile; the partners of some of them begin a new attempt every 3 s. It takes minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from netpunch.core.control.control import ControlV2
from netpunch.core.control.relay import Relay
from netpunch.core.end.end import End
from netpunch.core.events import Failed, Linked
from netpunch.core.settings import EndSettings
from netpunch.net.turn_queue import TurnQueue
from netpunch.wire.keys import control_key
from tests.sim.hosts import SimHost
from tests.sim.machines import SECRET, EndName, endpoints
from tests.sim.nat import HARD_RANDOM, PORT_RESTRICTED_CONE, Nat
from tests.sim.network import Link, Network, Segment
from tests.sim.scenarios import CONTROL, CONTROL_PORT, LOCAL_PORT, OBSERVE_PORT, RELAY_PORT
from tests.sim.setups import Place

DELAY = 0.025
"""Seconds from a host to the internet."""
LONGEST = 3600.0
SLICE = 0.5
"""Seconds between looks whether all are linked."""


@dataclass(eq=False)
class Process:
    """Its ends share their probing; `most_sockets` is the most it ever had open."""

    probing: TurnQueue = field(default_factory=TurnQueue)
    ends: list[FleetEnd] = field(default_factory=list)
    most_sockets: int = 0

    @property
    def open_sockets(self) -> int:
        return sum(len(end.sockets) for end in self.ends if not end.finished)


class FleetEnd(SimHost):
    """An end with a host of its own behind its NAT, but of a process that has others, too."""

    def __init__(self, fleet: Fleet, process: Process, segment: Segment, end: EndName, n: int):
        super().__init__(fleet.network, f"{end}{n}", probing=process.probing)
        self.attach(segment, f"10.{1 + (end == 'b')}.0.{n + 2}", up=Link(0.0002))
        self._fleet = fleet
        self._process = process
        self._end = end
        self._number = n
        self._starts = 0
        process.ends.append(self)

    def bind(self, port: int = 0, family: int = 4) -> int:
        via = super().bind(port, family)
        self._process.most_sockets = max(self._process.most_sockets, self._process.open_sockets)
        return via

    def begin(self) -> None:
        """A new process, at least for its partner."""
        fleet = self._fleet
        self._starts += 1
        self.bind(LOCAL_PORT)
        settings = EndSettings(
            fleet.names[self._number],
            self._end,
            SECRET,
            holds=True,
            deadline=fleet.deadline,
            deadline_from_start=False,
        )
        self.start(
            End(
                settings,
                endpoints=endpoints([CONTROL[4]], named=False),
                sockets=self.sockets,
                host_addresses=self.host_addresses,
                probe_bucket=self.probing.bucket,
                random=fleet.randbytes(f"{self.name}/{self._starts}"),
                now=self.clock(),
            )
        )

    def renew(self, every: float) -> None:
        """Begins a new attempt again and again."""
        self.stop()
        self.begin()
        self.network.call_at(self.network.now + every, self.renew, every)

    @property
    def linked_at(self) -> float | None:
        first = self.first(Linked)
        return first[0] if first else None

    @property
    def failures(self) -> list[Failed]:
        return [event for _, event in self.told_of(Failed)]


class Fleet:
    """`count` pairs. Their ends `here` are behind one NAT and of one process; their partners each
    behind its own, of processes of their own or (`together`) of one, too. `some_there`: where the
    partners of some pairs are instead. `names`: of the pairs. `relay`: control relays."""

    def __init__(
        self,
        seed: int,
        count: int,
        here: Place,
        there: Place,
        *,
        some_there: Mapping[int, Place] | None = None,
        together: bool = False,
        names: Sequence[str] | None = None,
        relay: bool = False,
        name: Callable[[int], EndName] = lambda _: "a",
        deadline: float | None = 60.0,
    ) -> None:
        self.seed = seed
        self.deadline = deadline
        self.network = Network(seed)
        control = SimHost(self.network, "control")
        control.attach(self.network.internet, CONTROL[4].host, up=Link(DELAY))
        for port in (CONTROL_PORT, OBSERVE_PORT):
            control.bind(port)
        self.names = names or [f"p{n}" for n in range(count)]
        keys = {pair: control_key(SECRET, pair) for pair in self.names}
        relaying = Relay()
        if relay:
            relaying.port = RELAY_PORT
            relaying.serve(control.bind(RELAY_PORT))
        control.start(ControlV2(keys, relay=relaying, random=self.randbytes("control")))
        self.process = Process()
        other = Process() if together else None
        nat = self._nat(here, "203.0.113.1")
        self.pairs: list[tuple[FleetEnd, FleetEnd]] = []
        for n in range(count):
            far = self._nat((some_there or {}).get(n, there), f"198.51.100.{n + 1}")
            end: EndName = name(n)
            partner: EndName = "b" if end == "a" else "a"
            self.pairs.append(
                (
                    FleetEnd(self, self.process, nat, end, n),
                    FleetEnd(self, other or Process(), far, partner, n),
                )
            )

    def _nat(self, place: Place, public: str) -> Segment:
        (behavior,) = place
        return Nat(behavior, self.network.internet, public, up=Link(DELAY)).inside

    def randbytes(self, name: str) -> Callable[[int], bytes]:
        return Random(f"{self.seed}/{name}").randbytes

    def start(self, *, renewing: int = 0, every: float = 3.0) -> Fleet:
        """The partners of the first `renewing` pairs begin anew `every` so many seconds."""
        for n, (one, other) in enumerate(self.pairs):
            one.begin()
            if n < renewing:
                other.renew(every)
            else:
                other.begin()
        return self

    def run_until_linked(self, count: int, seconds: float) -> bool:
        """Whether so many of the last pairs are linked within so many seconds."""
        pairs = self.pairs[len(self.pairs) - count :]

        def linked() -> bool:
            return all(one.linked_at and other.linked_at for one, other in pairs)

        return self._run_until(linked, seconds)

    def up_at(self, one: FleetEnd, other: FleetEnd) -> float | None:
        """When both ends were linked."""
        times = (one.linked_at, other.linked_at)
        return None if None in times else max(filter(None, times))

    def run_until_up(self, count: int, seconds: float) -> bool:
        """Whether so many pairs, whichever, are linked within so many seconds."""

        def linked() -> bool:
            return sum(self.up_at(*pair) is not None for pair in self.pairs) >= count

        return self._run_until(linked, seconds)

    def run_until_ended(self, seconds: float) -> bool:
        """Whether all ends here have given up or linked and finished within so many seconds."""
        return self._run_until(lambda: all(end.finished for end in self.process.ends), seconds)

    def _run_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Asks now and then only, and forgets what was sent, for that is very much."""
        network = self.network
        while network.now < seconds and not condition():
            network.run_until(network.now + SLICE)
            network.sent.clear()
            network.received.clear()
            network.strays.clear()
            for end in self.ends():
                end.answers.clear()
        return condition()

    def ends(self) -> Iterator[FleetEnd]:
        return (end for pair in self.pairs for end in pair)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--renewing", type=int, default=10)
    options = parser.parse_args()
    print("the process's NAT, the partners' | linked | after s | sockets at most | renewing linked")
    for here, there in ((HARD_RANDOM, PORT_RESTRICTED_CONE), (PORT_RESTRICTED_CONE, HARD_RANDOM)):
        fleet = Fleet(1, options.pairs, (here,), (there,)).start(renewing=options.renewing)
        steady = options.pairs - options.renewing
        fleet.run_until_linked(steady, LONGEST)
        times = [one.linked_at for one, _ in fleet.pairs]
        renewing, others = times[: options.renewing], list(filter(None, times[options.renewing :]))
        names = "hard, easy" if here is HARD_RANDOM else "easy, hard"
        print(
            f"{names} | {len(others)} of {steady} | {max(others, default=0.0):.0f} | "
            f"{fleet.process.most_sockets} | {len(list(filter(None, renewing)))}"
        )


if __name__ == "__main__":
    main()
