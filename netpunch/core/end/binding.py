"""The binding of one socket at a control's relay.

A relay passes datagrams between the two sources that the ends of a pair have bound at it.

    state      sends
    UNKNOWN    nothing to the relay
    UNBOUND    BIND, repeated until it is answered; at once when a CHALLENGE brings a cookie
    BOUND      BIND, every 30 s

In every state OBSERVE asks the control for its relay's port until it answers: a port that an
earlier attempt was told may be out of date.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.resources import Resources
from netpunch.core.end.verdict import RelayOutcome
from netpunch.core.events import Via
from netpunch.core.machine import NEVER, next_state
from netpunch.core.pacing import Retries
from netpunch.wire import v2

FIRST_COUNTER = 1 << 32
"""BIND's are above those of announcements: on a stream, where relay and control have one address,
the counter that a CHALLENGE answers says whose it is."""


class BindingState(Enum):
    """How far a socket is at a control's relay."""

    UNKNOWN = "unknown"
    """The control has not said yet whether it relays."""
    NO_RELAY = "no relay"
    UNBOUND = "unbound"
    BOUND = "bound"


TRANSITIONS: dict[tuple[BindingState, str], BindingState] = {
    (BindingState.UNKNOWN, "no relay"): BindingState.NO_RELAY,
    (BindingState.UNKNOWN, "relay named"): BindingState.UNBOUND,
    (BindingState.NO_RELAY, "no relay"): BindingState.NO_RELAY,
    (BindingState.NO_RELAY, "relay named"): BindingState.UNBOUND,
    (BindingState.UNBOUND, "no relay"): BindingState.NO_RELAY,
    (BindingState.UNBOUND, "relay named"): BindingState.UNBOUND,
    (BindingState.UNBOUND, "BOUND"): BindingState.BOUND,
    (BindingState.BOUND, "no relay"): BindingState.NO_RELAY,
    (BindingState.BOUND, "relay named"): BindingState.UNBOUND,
    (BindingState.BOUND, "BOUND"): BindingState.BOUND,
}
"""By what the control and its relay say. A relay that is known already is not named again."""

OUTCOMES = {
    BindingState.UNKNOWN: RelayOutcome.UNKNOWN,
    BindingState.NO_RELAY: RelayOutcome.NOT_OFFERED,
    BindingState.UNBOUND: RelayOutcome.SILENT,
}


class Binding:
    """Of socket `via` at the relay of `control`. `echo` is that of the question to the control,
    `retries` the gaps after what is not answered."""

    def __init__(
        self, control: Address, via: Via, echo: bytes, retries: Sequence[float], now: float
    ) -> None:
        self._retries = retries
        self.control = control
        self.via = via
        self.echo = echo
        self.state = BindingState.UNKNOWN
        self.relay: Address | None = None
        self.cookie = v2.NO_COOKIE
        self.partner_bound = False
        """Whether the partner was bound, too, when the relay answered last."""
        self.questions = Retries(retries, now)
        self.binds = Retries(retries, NEVER)
        self._challenged_at = -NEVER
        self._latest = self._answered = 0
        """The counters of the latest BIND, and of the latest that was answered."""
        self._proved_at = NEVER
        """When the first one with a cookie went to this port."""

    @property
    def next_at(self) -> float:
        """When to send something."""
        return min(self.questions.next_at, self.binds.next_at)

    @property
    def outcome(self) -> RelayOutcome:
        """What a verdict says of it."""
        if self.state is BindingState.BOUND:
            return RelayOutcome.FAILED if self.partner_bound else RelayOutcome.ALONE
        return OUTCOMES[self.state]

    def named(self, relay: Address | None, now: float) -> None:
        """The control relays there, or (None) not at all."""
        if relay is None:
            self._move("no relay")
            self._bind_at(NEVER)
        elif relay != self.relay:
            self._move("relay named")
            self._bind_at(now)
        self._be_at(relay)

    def skipped(self, relay: Address | None) -> None:
        """Another port of the same relay is tried from now on, as often as the one before."""
        self._be_at(relay)

    def refused(self, now: float) -> bool:
        """Whether this port seems to be another pair's, which comes from the same source: the relay
        is silent though we have shown that we receive there."""
        silent_for = now - self._proved_at
        return self.state is BindingState.UNBOUND and silent_for >= timing.RELAY_PORT_PATIENCE

    def ask(self, resources: Resources, now: float) -> None:
        """Asks the control for its relay, if that is due."""
        if self.questions.due(now):
            resources.observe(self.via, self.control, self.echo)

    def bind(self, resources: Resources, attempt: bytes, counter: int, now: float) -> None:
        """Sends a BIND for this attempt."""
        assert self.relay is not None
        self._latest = counter
        if self.cookie != v2.NO_COOKIE:
            self._proved_at = min(self._proved_at, now)
        resources.say_to_control(v2.Bind(attempt, counter, self.cookie), self.relay, self.via)

    def expects(self, counter: int) -> bool:
        """Whether an answer to this counter counts: each does once."""
        return self._answered < counter <= self._latest

    def answered(self, message: v2.Challenge | v2.Bound, now: float) -> None:
        """The relay answers a BIND."""
        self._answered = message.counter
        self._proved_at = NEVER
        if isinstance(message, v2.Bound):
            self._move("BOUND")
            self.partner_bound = bool(message.partner_bound)
            pause = min(timing.RELAY_RENEWAL, message.lifetime / 2)
            self._bind_at(now + max(pause, timing.ANNOUNCE_RETRY))
            return
        self.cookie = message.cookie
        if now - self._challenged_at >= timing.ANNOUNCE_RETRY:  # else it could go on without end
            self._challenged_at = now
            self._bind_at(now)

    def _be_at(self, relay: Address | None) -> None:
        if relay != self.relay:
            self._challenged_at = -NEVER
        self.relay = relay
        self._proved_at = NEVER

    def _bind_at(self, time: float) -> None:
        self.binds = Retries(self._retries, time)

    def _move(self, event: str) -> None:
        self.state = next_state(TRANSITIONS, self.state, event)
