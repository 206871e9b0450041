"""An end's registration with one control, under one key, in one attempt: when to announce, which
answers count.

    state        announces
    UNANSWERED   at 0, 60, 160, 260 ms to 1.86 s, then each second
    REGISTERED   every 15 s, unanswered ones after 1 s
    INTRODUCED   100 ms after the last one or its answer for 2 s, 200 ms until 5 s, then each second

In any state, when an answer brings a cookie: at once, twice more after 1.2 round trips, then as in
UNANSWERED, until one comes without; when the control owes an answer for 10 s while another control
answers: every 15 s. Over a stream nothing is repeated sooner than after a second, but INTRODUCED
every 200 ms: the partner may lose its introductions.
"""

from __future__ import annotations

from enum import Enum

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.channels import Channels
from netpunch.core.endpoints import NEVER_HEARD
from netpunch.core.events import Via
from netpunch.core.machine import NEVER, next_state
from netpunch.wire.v2 import NO_ATTEMPT, NO_COOKIE


class RegistrationState(Enum):
    """What the control has told us so far."""

    UNANSWERED = "unanswered"
    REGISTERED = "registered"
    """It knows this end, and no partner."""
    INTRODUCED = "introduced"
    """It introduces a partner."""


TRANSITIONS: dict[tuple[RegistrationState, str], RegistrationState] = {
    (RegistrationState.UNANSWERED, "WAITING"): RegistrationState.REGISTERED,
    (RegistrationState.UNANSWERED, "INTRODUCE"): RegistrationState.INTRODUCED,
    (RegistrationState.REGISTERED, "WAITING"): RegistrationState.REGISTERED,
    (RegistrationState.REGISTERED, "INTRODUCE"): RegistrationState.INTRODUCED,
    (RegistrationState.INTRODUCED, "WAITING"): RegistrationState.REGISTERED,
    (RegistrationState.INTRODUCED, "INTRODUCE"): RegistrationState.INTRODUCED,
    (RegistrationState.UNANSWERED, "standby ends"): RegistrationState.UNANSWERED,
    (RegistrationState.REGISTERED, "standby ends"): RegistrationState.UNANSWERED,
}
"""By the control's messages, and when an end on standby begins to punch."""


class Registration:
    """`next_at` is when to announce next."""

    def __init__(
        self,
        control: Address,
        via: Via,
        channels: Channels,
        now: float,
        *,
        over_stream: bool = False,
    ) -> None:
        self.control = control
        self.via = via
        self.channels = channels
        self.over_stream = over_stream
        self.state = RegistrationState.UNANSWERED
        self.counter = 0
        self.heard_at = NEVER_HEARD
        self.cookie = NO_COOKIE
        self.observed: Address | None = None
        self.standby_attempt = NO_ATTEMPT
        self.has_moved = False
        """Whether the control is elsewhere by now."""
        self.next_at = now
        self.silent_since = NEVER
        """When the first unanswered announcement went out."""
        self._is_proving = False
        """Whether control wants its cookie back: until then it makes no introductions for us."""
        self._announced = 0
        self._announced_at = now
        self._patience = timing.PROOF_LATEST
        """How long to wait for the answer to a proof."""
        self._answered = 0
        self._partner = NO_ATTEMPT
        self._introduced_at = now

    def is_at(self, control: Address, stream: Via | None) -> bool:
        """Whether it is with that control, over that stream, or on UDP (None)."""
        return self.control == control and (self.via if self.over_stream else None) == stream

    def announcing(self, counter: int, now: float, *, alone: bool = True) -> None:
        """An announcement with this counter goes out: schedules the next. `alone`: no other
        control answers."""
        self.counter = counter
        self._announced += 1
        self._announced_at = now
        self.silent_since = min(self.silent_since, now)
        deserted = not alone and self.owes(now, timing.DESERTED_AFTER)
        self.next_at = now + (timing.WAITING_INTERVAL if deserted else self._retry_gap(now))

    def owes(self, now: float, since: float = 0.0) -> bool:
        """Whether an announcement of more than so many seconds ago is unanswered."""
        return now - self.silent_since > since

    def answers(self, now: float) -> bool:
        """Whether this control is alive: heard at all, and owing no answer for long."""
        return self.heard_at != NEVER_HEARD and not self.owes(now, timing.DESERTED_AFTER)

    def introduces(self, now: float) -> bool:
        """Whether this control is alive and introduces a partner."""
        return self.state is RegistrationState.INTRODUCED and self.answers(now)

    def no_longer_spared(self, now: float) -> None:
        """The control that answered instead now owes an answer itself."""
        if self.owes(now, timing.DESERTED_AFTER):
            self.next_at = min(self.next_at, now + timing.ANNOUNCE_RETRY)

    def is_fresh(self, counter: int) -> bool:
        """Whether an answer to this counter counts: it was sent, and is newer than the last
        answered."""
        return self._answered < counter <= self.counter

    def challenged(self, counter: int, cookie: bytes, now: float) -> None:
        """Control wants its cookie back: announces again at once."""
        self._answer(counter, now)
        self._take_cookie(cookie, now)

    def waiting(
        self,
        counter: int,
        observed: Address,
        standby_attempt: bytes,
        cookie: bytes,
        now: float,
        *,
        on_standby: bool = False,
    ) -> None:
        """Registered, without a partner to be introduced to. `on_standby`: without a wish for one,
        too."""
        self._answer(counter, now)
        self.state = next_state(TRANSITIONS, self.state, "WAITING")
        self.observed = observed
        newly_on_standby = standby_attempt not in (NO_ATTEMPT, self.standby_attempt)
        self.standby_attempt = standby_attempt
        if on_standby or standby_attempt == NO_ATTEMPT:
            self.next_at = now + timing.WAITING_INTERVAL
        elif newly_on_standby:
            self.next_at = now  # our card must name it as our proof
        else:
            self.next_at = now + timing.STANDBY_INTERVAL
        self._take_cookie(cookie, now)

    def repeat_anew(self, now: float) -> None:
        """Announces now, and repeats that as often as at first: in another network, which the
        last announcements may have gone out before."""
        self._announced = 0
        self.next_at = now

    def begin_anew(self, now: float) -> None:
        """The end is no longer on standby: announces like a new one until this is answered."""
        self.state = next_state(TRANSITIONS, self.state, "standby ends")
        self.repeat_anew(now)

    def nudged(self, standby_attempt: bytes, now: float) -> bool:
        """Control says unasked that the partner is on standby: our card must name it, as our
        proof. False if that is known: recordings must not make us announce each time."""
        news = standby_attempt != NO_ATTEMPT and self.standby_attempt == NO_ATTEMPT
        if self.state is not RegistrationState.REGISTERED or not news:
            return False
        self.standby_attempt = standby_attempt
        self.next_at = now
        return True

    def introduced(
        self,
        counter: int,
        observed: Address,
        partner: bytes,
        cookie: bytes,
        now: float,
    ) -> None:
        """A partner attempt is there (`counter` 0: pushed). A new one is answered at once."""
        self.heard_at = now
        if counter:
            self._answer(counter, now)
            self._take_cookie(cookie, now)
        self.observed = observed
        if partner != self._partner or self.state is not RegistrationState.INTRODUCED:
            self.state = next_state(TRANSITIONS, self.state, "INTRODUCE")
            self._partner = partner
            self._introduced_at = now
            self.next_at = now
        elif counter and not self._is_proving:
            self.next_at = now + self._retry_gap(now)

    def knocked(self, counter: int, observed: Address, cookie: bytes, now: float) -> None:
        """A partner may be there; if so, an introduction follows."""
        self.heard_at = now
        if counter:
            self._answer(counter, now)
            self._take_cookie(cookie, now)
        self.observed = observed

    def _take_cookie(self, cookie: bytes, now: float) -> None:
        self._is_proving = cookie != NO_COOKIE
        if self._is_proving:
            self.cookie = cookie
            self._announced = 0
            self.next_at = now

    def _answer(self, counter: int, now: float) -> None:
        if counter == self.counter:
            patience = timing.PROOF_PATIENCE * (now - self._announced_at)
            self._patience = min(max(patience, timing.PROOF_SOONEST), timing.PROOF_LATEST)
        self._answered = max(self._answered, counter)
        self.heard_at = now
        self.silent_since = NEVER

    def _retry_gap(self, now: float) -> float:
        if self.over_stream and self.state is not RegistrationState.INTRODUCED:
            return timing.STREAM_RETRIES[min(self._announced, len(timing.STREAM_RETRIES)) - 1]
        if self._is_proving and self._announced <= timing.PROOF_RETRIES:
            return self._patience
        is_new = self.state is RegistrationState.UNANSWERED or self._is_proving
        if is_new and self._announced <= len(timing.ANNOUNCE_RETRIES):
            return timing.ANNOUNCE_RETRIES[self._announced - 1]
        if self.state is not RegistrationState.INTRODUCED:
            return timing.ANNOUNCE_RETRY
        introduced_for = now - self._introduced_at
        if introduced_for < timing.INTRODUCED_FAST_FOR and not self.over_stream:
            return timing.INTRODUCED_FAST_INTERVAL
        if introduced_for < timing.INTRODUCED_FOR:
            return timing.INTRODUCED_INTERVAL
        return timing.ANNOUNCE_RETRY
