"""Held links over simulated days, while controls restart and NATs forget: no link may get stuck.

    python -m tests.bench soak [--days 30] [--pairs 5]

Each pair lives in a virtual network of its own, on a virtual clock, with its control and NATs. An
end does what `mode: keep` does: it holds the link, and punches anew when that is lost, refused or
no longer wanted. Both programs at its ends send all the time; an outage is the time in which one
of them hears nothing.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from netpunch.core.end.end import End
from netpunch.core.events import Event, Failed, Finished, PartnerReturned, Payload
from tests.bench.processes import machine
from tests.sim.nat import FULL_CONE, LINUX, PORT_RESTRICTED_CONE, RANDOM_CONE, RESTRICTED_CONE
from tests.sim.scenarios import NUMBERS, Scenario, Setup, Side

DAY = 86_400.0
HOUR = 3_600.0
SHORTEST_NAT_TIMEOUT = 30.0
NATS = [
    replace(nat, timeout=SHORTEST_NAT_TIMEOUT)
    for nat in (FULL_CONE, RESTRICTED_CONE, PORT_RESTRICTED_CONE, RANDOM_CONE, LINUX)
]
RETRY_AFTER = 30.0
"""Seconds from a failed attempt to the next: the default."""
JITTER = 0.2
"""Of RETRY_AFTER."""
PROGRAM_INTERVAL = 10.0
"""Seconds between a program's datagrams: shorter than any NAT's timeout, as with VPNs."""
DISTURBED_EVERY = 1_800.0
"""Seconds, on average."""
CONTROL_DOWN = 60.0
"""Seconds that a control stays away, at most."""
END_DOWN = 10.0
LONGEST_OUTAGE = 180.0
"""Seconds. An outage that lasts longer is a stuck link: silence is noticed after some 50 s, an
attempt may take 60 s, a pause 36 s, and a disturbance may fall into another one's repair."""


@dataclass
class Report:
    """What became of one pair. `outages`: seconds of each that was longer than usual silence."""

    seed: int
    outages: list[float] = field(default_factory=list)
    disturbances: Counter[str] = field(default_factory=Counter)
    links: int = 0
    heard: int = 0
    """Datagrams of the programs that came through."""

    @property
    def stuck(self) -> list[float]:
        return [outage for outage in self.outages if outage > LONGEST_OUTAGE]


class Soak:
    """The life of one pair. `run` takes whole hours, in seconds."""

    def __init__(self, seed: int) -> None:
        random = Random(seed)
        self.report = Report(seed)
        keep = {"holds": True, "deadline": 60.0, "deadline_from_start": False}
        setup = Setup(
            nat_a=(random.choice(NATS),),
            nat_b=(random.choice(NATS),),
            jitter=0.02,
            loss=random.choice([0.0, 0.01]),
            settings=keep,
        )
        self._random = random
        self._run = Scenario(seed, setup)
        self._heard_at = {side.name: 0.0 for side in self._run.sides}
        self._failed = {side.name: False for side in self._run.sides}

    def run(self, seconds: float) -> Report:
        run = self._run
        run.start()
        for side in run.sides:
            side.host.on_event = partial(self._take, side)
            self._speak(side)
        self._disturb_later()
        for _ in range(round(seconds / HOUR)):
            run.run(HOUR)
            self._forget()
        for side in run.sides:
            self._note_outage(side)
            self.report.links += len(side.links)
        return self.report

    # What a node does in `keep`.

    def _take(self, side: Side, event: Event) -> None:
        network, host = self._run.network, side.host
        match event:
            case Payload():
                self._note_outage(side)
                self._heard_at[side.name] = network.now
                self.report.heard += 1
            case PartnerReturned():
                network.call_at(network.now, self._close, side, host.machine)
            case Failed():
                self._failed[side.name] = True
            case Finished():
                pause = 0.0
                if self._failed[side.name]:
                    pause = RETRY_AFTER * self._random.uniform(1 - JITTER, 1 + JITTER)
                network.call_at(network.now + pause, self._try_anew, side, host.machine)

    def _close(self, side: Side, incarnation: object) -> None:
        if side.host.machine is incarnation:
            side.host.ask(lambda end, now: end.close(now))

    def _try_anew(self, side: Side, incarnation: object) -> None:
        """Unless it has been restarted in the meantime."""
        if side.host.machine is incarnation:
            self._start(side)

    def _start(self, side: Side) -> None:
        self._failed[side.name] = False
        self.report.links += len(side.links)
        side.host.told.clear()
        self._run.restart_end(side)

    def _speak(self, side: Side) -> None:
        """The program at this end, which does not know whether there is a link."""
        network = self._run.network
        if isinstance(side.host.machine, End):
            side.host.ask(lambda end, now: end.send_payload(b"still there", now))
        network.call_at(network.now + PROGRAM_INTERVAL, self._speak, side)

    # What happens to them.

    def _disturb_later(self) -> None:
        network = self._run.network
        pause = self._random.expovariate(1 / DISTURBED_EVERY)
        network.call_at(network.now + pause, self._disturb)

    def _disturb(self) -> None:
        what, happen = self._random.choice(list(DISTURBANCES.items()))
        happen(self, self._random.choice(self._run.sides))
        self.report.disturbances[what] += 1
        self._disturb_later()

    def _restart_control(self, _: Side) -> None:
        run = self._run
        if run.control.machine is not None:
            run.control.stop()
            back = run.network.now + self._random.uniform(0, CONTROL_DOWN)
            run.network.call_at(back, run.start_control)

    def _forget_mappings(self, side: Side) -> None:
        side.nats[0].rebind()

    def _move_nat(self, side: Side) -> None:
        side.nats[0].rebind(f"198.18.{NUMBERS[side.name]}.{self._random.randrange(1, 250)}")

    def _restart_end(self, side: Side) -> None:
        side.host.stop()
        back = self._run.network.now + self._random.uniform(0, END_DOWN)
        self._run.network.call_at(back, self._try_anew, side, None)

    # Watching.

    def _note_outage(self, side: Side) -> None:
        silence = self._run.network.now - self._heard_at[side.name]
        if silence > 3 * PROGRAM_INTERVAL:
            self.report.outages.append(silence)

    def _forget(self) -> None:
        """The records of a month would fill the memory."""
        network = self._run.network
        for records in (network.sent, network.received, network.strays):
            records.clear()
        for host in (self._run.control, *(side.host for side in self._run.sides)):
            host.answers.clear()
            host.told[:] = [told for told in host.told if not isinstance(told.event, Payload)]


DISTURBANCES: dict[str, Callable[[Soak, Side], None]] = {
    "the control restarts": Soak._restart_control,
    "a NAT forgets its mappings": Soak._forget_mappings,
    "a NAT gets another address": Soak._move_nat,
    "an end is killed and restarted": Soak._restart_end,
}


def soak(seed: int, seconds: float) -> Report:
    """The life of one pair."""
    return Soak(seed).run(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    begun = time.monotonic()
    print(f"{arguments.pairs} held links, {arguments.days:g} simulated days; {machine()}")
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        reports = list(
            workers.map(partial(soak, seconds=arguments.days * DAY), range(arguments.pairs))
        )
    for report in reports:
        longest = max(report.outages, default=0.0)
        print(
            f"  pair {report.seed}: {report.disturbances.total()} disturbances, "
            f"{report.links} links, {len(report.outages)} outages, longest {longest:.0f} s, "
            f"{len(report.stuck)} stuck"
        )
    print(f"  {sum(len(report.stuck) for report in reports)} stuck links, ", end="")
    print(f"{time.monotonic() - begun:.0f} s of computing")
    raise SystemExit(any(report.stuck for report in reports))


if __name__ == "__main__":
    main()
