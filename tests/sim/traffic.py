"""Programs at both ends of a held link that send all the time, as a call does; and how long nothing
of it arrives."""

from __future__ import annotations

from tests.sim.scenarios import Scenario, Side

INTERVAL = 0.02
"""Seconds between two datagrams, each way."""
DATAGRAM = b"a datagram of a program"


class Traffic:
    """Runs from when it is made until `stop`. Ends without a link lose what is sent."""

    def __init__(self, run: Scenario) -> None:
        self._run = run
        self._running = True
        self._arrivals: dict[str, list[float]] = {}
        for side in run.sides:
            self._listen(side)
        self._send()

    def stop(self) -> None:
        self._running = False
        for side in self._run.sides:
            side.host.on_payload = None

    def longest_gap(self, since: float) -> float:
        """The longest stretch from `since` until now in which an end received nothing."""
        now = self._run.network.now
        longest = 0.0
        for arrivals in self._arrivals.values():
            last = since
            for time in (*arrivals, now):
                if time > since:
                    longest = max(longest, time - last)
                    last = time
        return longest

    def flows_since(self, time: float) -> bool:
        """Whether both ends have received something after `time`."""
        return all(arrivals and arrivals[-1] > time for arrivals in self._arrivals.values())

    def _listen(self, side: Side) -> None:
        arrivals = self._arrivals[side.name] = []
        network = self._run.network
        side.host.on_payload = lambda _: arrivals.append(network.now)

    def _send(self) -> None:
        if not self._running:
            return
        for side in self._run.sides:
            if side.host.machine is not None and not side.host.asleep:
                side.host.ask(lambda end, now: end.send_payload(DATAGRAM, now))
        network = self._run.network
        network.call_at(network.now + INTERVAL, self._send)
