"""An attempt's dialogue with all its controls: announcing, listening to answers, leaving."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from netpunch.address import Address, is_loopback, is_private
from netpunch.core import timing
from netpunch.core.end.attempt import Attempt
from netpunch.core.end.context import Context
from netpunch.core.end.lookups import Lookups
from netpunch.core.end.registration import Registration
from netpunch.core.events import SeenInside, Via
from netpunch.core.machine import NEVER, Random
from netpunch.core.pacing import Repeat, TokenBucket
from netpunch.wire import v2
from netpunch.wire.card import NONCE_LENGTH, Card
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import ControlChannel, PeerChannel

Send = Callable[[bytes, Address, Via], None]
MakeCard = Callable[[bytes, tuple[Address, ...]], Card]
"""`make_card(named_attempt, observed)` gives the card as it should be now."""


class Introduction(NamedTuple):
    """A partner attempt, where it is, and its card. `proof`: the card names our attempt, so it
    is alive. `knock`: control has not seen it receive where it seems to be."""

    attempt: bytes
    observed: Address
    card: Card
    proof: bool
    knock: bool = False


class Announcer:
    """`registrations` are the dialogues; `lookups` watches over them; `send` queues a datagram;
    `tell_conflict(now)` hears that another machine announces this end, too."""

    def __init__(
        self,
        attempt: Attempt,
        registrations: Sequence[Registration],
        *,
        lookups: Lookups,
        control: ControlChannel,
        peer: PeerChannel,
        make_card: MakeCard,
        send: Send,
        tell_conflict: Callable[[float], None],
        random: Random,
    ) -> None:
        self.heard = False
        """Whether any control ever answered."""
        self._attempt = attempt
        self._registrations = registrations
        self._lookups = lookups
        self._control = control
        self._peer = peer
        self._make_card = make_card
        self._send = send
        self._tell_conflict = tell_conflict
        self._random = random
        self._purpose = v2.Purpose.PUNCH
        self._named_attempt = v2.NO_ATTEMPT
        self._counter = 0
        self._sealed: tuple[Card, bytes] | None = None
        self._knocks = TokenBucket(timing.KNOCKS, timing.KNOCKS_AT_ONCE)
        self._leaves = Repeat(0, timing.LEAVE_INTERVAL, 0.0)
        self._leaving = False

    @classmethod
    def of(cls, context: Context, attempt: Attempt, make_card: MakeCard, now: float) -> Announcer:
        """Announces this attempt of an end."""

        def send(data: bytes, destination: Address, via: Via) -> None:
            context.send(data, destination, via, 0)

        return cls(
            attempt,
            context.registrations(now),
            lookups=context.lookups,
            control=context.control,
            peer=context.peer,
            make_card=make_card,
            send=send,
            tell_conflict=context.tell_conflict,
            random=context.random,
        )

    def next_timer(self) -> float:
        if self._leaving:
            return self._leaves.next_at
        due = min((each.next_at for each in self._registrations), default=NEVER)
        return min(due, self._lookups.next_timer(self._registrations))

    def handle_timer(self, now: float) -> None:
        if self._leaving:
            if self._leaves.due(now):
                self._leave()
            return
        self._forget_moved(now)
        for registration in self._registrations:
            if registration.next_at <= now:
                self._announce(registration, now)
        punching = any(self._introduces(each, now) for each in self._registrations)
        self._lookups.handle_timer(self._registrations, now, punching=punching)

    def stand_by(self, now: float) -> None:
        """From now on only to hear that the partner punches anew."""
        self._purpose = v2.Purpose.STANDBY
        for registration in self._registrations:
            registration.next_at = now

    def socket_replaced(self, old: Via, new: Via) -> None:
        """What was said from one socket is said from another one from now on."""
        for registration in self._registrations:
            if registration.via == old:
                registration.via = new

    def announce_now(self, now: float) -> None:
        """The card has changed: control is to know it at once."""
        for registration in self._registrations:
            registration.next_at = min(registration.next_at, now)

    def controls_found(self, registrations: Sequence[Registration], now: float) -> None:
        """Where the controls are now. The dialogue with one that has not moved goes on as it was;
        what one says that is there no more does not count. But one that is just introducing a
        partner goes on with that: the partner may not know the new place yet."""
        known = {each.control: each for each in self._registrations}
        here = [known.pop(each.control, each) for each in registrations]
        for registration in here:
            registration.has_moved = False
        for registration in known.values():
            registration.has_moved = True
        self._registrations = [*here, *known.values()]
        self._forget_moved(now)

    def leave(self, now: float) -> None:
        """Announces no more; says so LEAVE_COUNT times."""
        self._leaving = True
        self._leaves = Repeat(timing.LEAVE_COUNT, timing.LEAVE_INTERVAL, now)

    def leave_at_once(self) -> None:
        """All of `leave` in one go, for an attempt whose sockets are about to close."""
        if self.has_left:
            return
        self._leaving = True
        for _ in range(self._leaves.left or timing.LEAVE_COUNT):
            self._leave()
        self._leaves = Repeat(0, timing.LEAVE_INTERVAL, 0.0)

    @property
    def observed(self) -> tuple[Address, ...]:
        """Where the controls see us."""
        seen = (each.observed for each in self._registrations)
        return tuple(dict.fromkeys(address for address in seen if address is not None))

    def heard_at(self) -> dict[Address, float]:
        """When each control was heard last."""
        return {each.control: each.heard_at for each in self._registrations}

    def silent_since(self, began: float) -> float:
        """Since when all controls owe an answer; NEVER if one does not. Where there is no control
        at all, since `began`."""
        return max((each.silent_since for each in self._registrations), default=began)

    def observed_hosts(self) -> tuple[str, ...]:
        """Our addresses, as controls see them."""
        return tuple(each.observed.host for each in self._registrations if each.observed)

    def seen_inside(self) -> Iterator[SeenInside]:
        """The public controls that see us at a private address: something in front of them hides
        us, or we are in their network."""
        for each in self._registrations:
            seen = each.observed
            if seen is not None and is_private(seen.host) and not is_private(each.control.host):
                yield SeenInside(each.control, seen)

    @property
    def has_left(self) -> bool:
        return self._leaving and not self._leaves.left

    def receive(
        self, data: bytes, source: Address, now: float
    ) -> Drop | v2.Waiting | Introduction | None:
        """What a datagram of control's length says; None when there is nothing to do."""
        registration = next((r for r in self._registrations if r.control == source), None)
        if registration is None:
            return Drop.UNEXPECTED_SOURCE
        message = self._control.from_control.open(data)
        if isinstance(message, Drop):
            return message
        if self._leaving or not isinstance(message, v2.Waiting | v2.Introduce | v2.Challenge):
            return Drop.UNEXPECTED
        if message.attempt != self._attempt.id:
            return Drop.WRONG_ATTEMPT
        pushed = message.counter == 0 and not isinstance(message, v2.Challenge)
        if not pushed and not registration.is_fresh(message.counter):
            return Drop.STALE
        self.heard = True
        if message.conflict:
            self._tell_conflict(now)
        if isinstance(message, v2.Introduce):
            return self._introduced(message, registration, now)
        if isinstance(message, v2.Challenge):
            registration.challenged(message.counter, message.cookie, now)
            return None
        # Two ends on standby want nothing of each other.
        punching = self._purpose is v2.Purpose.PUNCH
        if pushed:
            if not punching or not registration.nudged(message.standby_attempt, now):
                return Drop.UNEXPECTED
            self._named_attempt = message.standby_attempt
            return None
        standby_attempt = message.standby_attempt if punching else v2.NO_ATTEMPT
        if standby_attempt != v2.NO_ATTEMPT:
            self._named_attempt = standby_attempt
        registration.waiting(
            message.counter, message.observed, standby_attempt, message.cookie, now
        )
        return message

    def _introduced(
        self, message: v2.Introduce, registration: Registration, now: float
    ) -> Drop | Introduction:
        card = self._peer.partner_card.open(message.card, message.partner_attempt)
        if isinstance(card, Drop):
            return card
        partner, is_knock = message.partner_attempt, isinstance(message, v2.Knock)
        if is_knock:
            registration.knocked(message.counter, message.observed, message.cookie, now)
            self._answer_knock(partner, now)
        elif self._purpose is v2.Purpose.PUNCH:
            self._named_attempt = partner
            registration.introduced(message.counter, message.observed, partner, message.cookie, now)
        proof = card.partner_attempt == self._attempt.id
        observed = _as_reached(message.partner_observed, registration.control)
        return Introduction(partner, observed, card, proof, is_knock)

    def _answer_knock(self, partner: bytes, now: float) -> None:
        """Tells whoever knocks that we are alive. But not where a control has introduced a
        partner, and seldom: it may be a recording, and there may be many."""
        if self._purpose is not v2.Purpose.PUNCH:
            return
        if any(self._introduces(each, now) for each in self._registrations):
            return
        if self._knocks.take(now):
            self._named_attempt = partner
            self.announce_now(now)

    def _introduces(self, registration: Registration, now: float) -> bool:
        """Whether we punch because of this control."""
        return self._purpose is v2.Purpose.PUNCH and registration.introduces(now)

    def _forget_moved(self, now: float) -> None:
        """Without a LEAVE: replayed at another control, which shares the key, it would displace
        us there."""
        self._registrations = [
            each
            for each in self._registrations
            if not each.has_moved or self._introduces(each, now)
        ]

    def _announce(self, registration: Registration, now: float) -> None:
        others = [each for each in self._registrations if each is not registration]
        if registration.owes(now) and registration.answers(now):
            for other in others:
                other.no_longer_spared(now)
        alone = not any(each.answers(now) for each in others)
        registration.announcing(self._next_counter(), now, alone=alone)
        announce = v2.Announce(
            self._attempt.id,
            registration.counter,
            registration.cookie,
            self._purpose,
            self._sealed_card(),
        )
        self._seal_and_send(announce, registration)

    def _leave(self) -> None:
        for registration in self._registrations:
            if not registration.counter:
                continue  # this control never heard of us
            leave = v2.Leave(self._attempt.id, self._next_counter())
            self._seal_and_send(leave, registration)

    def _next_counter(self) -> int:
        """Rises with each datagram, to whichever control: they share a key, so what one of them
        was told could be replayed to another, which must not take it for newer than our next."""
        self._counter += 1
        return self._counter

    def _seal_and_send(self, message: v2.Message, registration: Registration) -> None:
        data = self._control.to_control.seal(message, self._random(NONCE_LENGTH))
        self._send(data, registration.control, registration.via)

    def _sealed_card(self) -> bytes:
        """Sealed anew only when its content changed."""
        card = self._make_card(self._named_attempt, self.observed)
        if self._sealed is None or self._sealed[0] != card:
            nonce = self._random(NONCE_LENGTH)
            self._sealed = (card, self._peer.own_card.seal(card, self._attempt.id, nonce))
        return self._sealed[1]


def _as_reached(observed: Address, control: Address) -> Address:
    """A partner that control sees on loopback is on control's own host: where we reach that."""
    if is_loopback(observed.host) and not is_loopback(control.host):
        return observed._replace(host=control.host)
    return observed
