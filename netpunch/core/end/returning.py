"""How a link that is relayed by way of a stream returns to UDP, once that passes again.

Its attempt, which is bound at the relay, binds there again from a UDP socket. To the partner the
relay stays where it is, so it need not know, and nothing has to be agreed.
"""

from __future__ import annotations

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.announcing import Announcer
from netpunch.core.end.binding import FIRST_COUNTER, Binding, BindingState
from netpunch.core.end.holding import HeldLink
from netpunch.core.end.relays import RelayAt
from netpunch.core.end.resources import Resources
from netpunch.core.events import Linked, Via
from netpunch.core.machine import NEVER
from netpunch.wire import v2
from netpunch.wire.drop import Drop

RETRIES = (*timing.RELAY_RETRIES[:-1], timing.RETURN_RETRY)


def returning(
    link: HeldLink, announcer: Announcer, resources: Resources, now: float
) -> Returning | None:
    """By way of the control that relays the link, if that is announced to on UDP."""
    for control, via in announcer.places:
        if control.host == link.place[1].host and via not in resources.streams.controls:
            return Returning(link, control, via, resources, now)
    return None


class Returning:
    """Of one link, to the relay of `control` from socket `via`."""

    def __init__(
        self, link: HeldLink, control: Address, via: Via, resources: Resources, now: float
    ) -> None:
        self._link = link
        self._control, self._via = control, via
        self._resources = resources
        self._counter = 2 * FIRST_COUNTER
        """Of the latest BIND: above all those by way of the stream, and so is what answers it."""
        self.begin(now)

    def begin(self, now: float) -> None:
        """UDP has come back. A direct path may be found first."""
        echo, soon = self._resources.random(v2.ECHO_LENGTH), now + timing.RELAY_AFTER_HOLDING
        self._binding = Binding(self._control, self._via, echo, RETRIES, soon)
        self._began, self._first = now, self._counter + 1

    def next_timer(self) -> float:
        return self._binding.next_at if self._link.works else NEVER

    def handle_timer(self, now: float) -> None:
        """A link with a dead path has nothing to return with: its successor tries the relay."""
        if self._link.works:
            self._act(now)

    def receive(self, data: bytes, source: Address, now: float, via: Via) -> Drop | None:
        """Takes a datagram of a control or its relay: UNEXPECTED_SOURCE or UNEXPECTED if it answers
        nothing that was asked here."""
        binding = self._binding
        if via != binding.via or source not in (binding.control, binding.relay):
            return Drop.UNEXPECTED_SOURCE
        message = self._resources.open_of_control(data)
        if isinstance(message, Drop):
            return message
        if isinstance(message, v2.Observed) and message.echo == binding.echo:
            self._learn(message, now)
        elif not isinstance(message, v2.Challenge | v2.Bound) or source != binding.relay:
            return Drop.UNEXPECTED
        elif message.attempt != self._link.attempt.identity.id:
            return Drop.UNEXPECTED  # of the successor's, if anybody's
        elif message.counter < self._first or not binding.expects(message.counter):
            return Drop.STALE
        else:
            binding.answered(message, now)
        self._act(now)
        return None

    def _learn(self, message: v2.Observed, now: float) -> None:
        """Where the control relays."""
        binding, relays = self._binding, self._resources.relays
        port, ports = message.relay_port, 1 + message.relay_more
        relay = RelayAt(binding.control.host, port, ports) if port else None
        relays.told(binding.control, relay)
        binding.questions.stop()
        binding.named(relays.of(binding.control, binding.via), now)

    def returned(self, now: float) -> Linked | None:
        """The path over UDP, for users, once the relay has bound it. From then on it is the one
        that both ends have agreed on."""
        binding = self._binding
        if binding.state is not BindingState.BOUND or binding.relay is None:
            return None
        agreed = self._link.attempt.partners.nominations.relocate(binding.via, binding.relay)
        return Linked(
            binding.via,
            self._resources.open_sockets[binding.via],
            binding.relay,
            agreed.kind,
            agreed.path.rtt,
            now - self._began,
            agreed.partner.session_key,
            0,
        )

    def _act(self, now: float) -> None:
        binding = self._binding
        binding.ask(self._resources, now)
        if binding.binds.due(now) and binding.state is not BindingState.BOUND:
            self._counter += 1
            binding.bind(self._resources, self._link.attempt.identity.id, self._counter, now)
