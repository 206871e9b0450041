"""An attempt's dialogue with its controls: it announces itself, takes answers and leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netpunch.address import Address, is_loopback, is_private
from netpunch.core import timing
from netpunch.core.end.channels import Channels
from netpunch.core.end.identity import Announced
from netpunch.core.end.registration import Registration
from netpunch.core.endpoints import NEVER_HEARD
from netpunch.core.events import SeenInside, Via
from netpunch.core.machine import NEVER
from netpunch.core.pacing import Repeat, TokenBucket
from netpunch.wire import v2
from netpunch.wire.card import NONCE_LENGTH, Card
from netpunch.wire.drop import Drop


class Introduction(NamedTuple):
    """A partner attempt, where it is, and its card, under the key of `channels`. `proof`: the card
    names our attempt, so the partner is alive. `knock`: control has not seen it receive where it
    seems to be."""

    attempt: bytes
    observed: Address
    card: Card
    proof: bool
    channels: Channels
    knock: bool = False


class Announcer:
    """`on_standby`: it only wants to hear that the partner punches anew."""

    def __init__(self, attempt: Announced, now: float, *, on_standby: bool = False) -> None:
        self.heard = False
        """Whether any control ever answered."""
        self.address_changed = False
        """Whether a control sees us elsewhere than before."""
        self._attempt = attempt
        self._resources = attempt.resources
        self._registrations = self._resources.registrations(now)
        self.on_standby = on_standby
        self._named_attempt = v2.NO_ATTEMPT
        self._counter = 0
        self._sealed: dict[Channels, tuple[Card, bytes]] = {}
        self._knocks = TokenBucket(timing.KNOCKS, timing.KNOCKS_AT_ONCE)
        self._leaves = Repeat(0, timing.LEAVE_INTERVAL, 0.0)
        self._leaving = False

    def next_timer(self) -> float:
        if self._leaving:
            return self._leaves.next_at
        due = min((each.next_at for each in self._registrations), default=NEVER)
        return min(due, self._resources.lookups.next_timer(self._by_control))

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
        self._resources.lookups.handle_timer(self._by_control, now, punching=punching)

    def socket_replaced(self, old: Via, new: Via) -> None:
        """Announces from another socket from now on."""
        for registration in self._registrations:
            if registration.via == old:
                registration.via = new

    def begin_to_punch(self, now: float) -> None:
        """Ends the standby: announces at once, and as often as a new attempt, that it wants to be
        introduced."""
        self.on_standby = False
        for registration in self._registrations:
            registration.begin_anew(now)

    def announce_now(self, now: float) -> None:
        """The card has changed: controls need it at once."""
        for registration in self._registrations:
            registration.next_at = min(registration.next_at, now)

    def network_changed(self, now: float) -> None:
        """Controls need to see where we are now, at once."""
        for registration in self._registrations:
            registration.repeat_anew(now)

    def controls_found(self, now: float) -> None:
        """The resources know where the controls are now, or have other keys. Registrations at
        controls that have not moved, under keys that stay, go on; the others end. But one that is
        introducing a partner goes on: the partner may not know the new place yet."""
        known = {_place(each): each for each in self._registrations}
        here = [known.pop(_place(each), each) for each in self._resources.registrations(now)]
        for registration in here:
            registration.has_moved = False
        for registration in known.values():
            registration.has_moved = True
        self._registrations = [*here, *known.values()]
        self._forget_moved(now)

    def leave(self, now: float) -> None:
        """Stops announcing; says LEAVE a few times."""
        self._leaving = True
        self._leaves = Repeat(timing.LEAVE_COUNT, timing.LEAVE_INTERVAL, now)

    def leave_at_once(self) -> None:
        """Says all of `leave` at once, for an attempt whose sockets are about to close."""
        if self.has_left:
            return
        self._leaving = True
        for _ in range(self._leaves.left or timing.LEAVE_COUNT):
            self._leave()
        self._leaves = Repeat(0, timing.LEAVE_INTERVAL, 0.0)

    @property
    def places(self) -> list[tuple[Address, Via]]:
        """The controls, and the sockets that announce to them."""
        here = (each for each in self._registrations if not each.has_moved)
        return list(dict.fromkeys((each.control, each.via) for each in here))

    @property
    def observed(self) -> tuple[Address, ...]:
        """Where the controls see us."""
        seen = (each.observed for each in self._on_udp)
        return tuple(dict.fromkeys(address for address in seen if address is not None))

    def heard_at(self) -> dict[Address, float]:
        """When each control was heard last."""
        return {each.control: each.heard_at for each in self._by_control}

    def silent_since(self, began: float) -> float:
        """Since when all controls owe an answer; NEVER if one does not; `began` if there is no
        control at all."""
        return max((each.silent_since for each in self._registrations), default=began)

    @property
    def udp_silent_since(self) -> float:
        """The same of UDP alone; NEVER if there is no control."""
        return max((each.silent_since for each in self._on_udp), default=NEVER)

    @property
    def udp_heard_at(self) -> float:
        """When a control was heard on UDP last."""
        return max((each.heard_at for each in self._on_udp), default=NEVER_HEARD)

    @property
    def streams_heard_at(self) -> dict[tuple[Address, Via], float]:
        """The streams over which a control has answered, as `places`, and when it did last. Empty
        on standby."""
        if self.on_standby:
            return {}
        streams = (each for each in self._registrations if each.over_stream)
        heard = (each for each in streams if each.heard_at != NEVER_HEARD)
        return {(each.control, each.via): each.heard_at for each in heard}

    def observed_hosts(self) -> tuple[str, ...]:
        """Our addresses, as controls see them."""
        return tuple(each.observed.host for each in self._on_udp if each.observed)

    def seen_inside(self) -> Iterator[SeenInside]:
        """The public controls that see us at a private address: a translation in front of them
        hides us, or we are in their network."""
        for each in self._on_udp:
            seen = each.observed
            if seen is not None and is_private(seen.host) and not is_private(each.control.host):
                yield SeenInside(each.control, seen)

    @property
    def has_left(self) -> bool:
        return self._leaving and not self._leaves.left

    def receive(
        self, data: bytes, source: Address, now: float, via: Via | None = None
    ) -> Drop | v2.Waiting | Introduction | None:
        """Takes a datagram of a control's length; returns what concerns the end in it, or why it
        does not count. `via` is the stream that it came over, if it did."""
        opened = self._open(data, source, via)
        if isinstance(opened, Drop):
            return opened
        message, registration = opened
        if self._leaving or not isinstance(message, v2.Waiting | v2.Introduce | v2.Challenge):
            return Drop.UNEXPECTED
        if message.attempt != self._attempt.identity.id:
            return Drop.WRONG_ATTEMPT
        pushed = message.counter == 0 and not isinstance(message, v2.Challenge)
        if not pushed and not registration.is_fresh(message.counter):
            return Drop.STALE
        self.heard = True
        self._resources.answered(registration.control, registration.channels)
        if not isinstance(message, v2.Challenge) and not registration.over_stream:
            self._note_observed(registration.control, message.observed)
        if message.conflict:
            self._resources.report_conflict(now)
        if isinstance(message, v2.Introduce):
            return self._introduced(message, registration, now)
        if isinstance(message, v2.Challenge):
            registration.challenged(message.counter, message.cookie, now)
            return None
        if pushed:
            if self.on_standby or not registration.nudged(message.standby_attempt, now):
                return Drop.UNEXPECTED
            self._named_attempt = message.standby_attempt
            return None
        if message.standby_attempt != v2.NO_ATTEMPT:
            self._named_attempt = message.standby_attempt
        registration.waiting(
            message.counter,
            message.observed,
            message.standby_attempt,
            message.cookie,
            now,
            on_standby=self.on_standby,
        )
        return message

    def _open(
        self, data: bytes, source: Address, via: Via | None
    ) -> Drop | tuple[v2.Message, Registration]:
        """A control's message, and the registration under whose key it came."""
        drop = Drop.UNEXPECTED_SOURCE
        for registration in self._registrations:
            if registration.is_at(source, via):
                message = registration.channels.control.from_control.open(data)
                if not isinstance(message, Drop):
                    return message, registration
                drop = message
        return drop

    def _note_observed(self, control: Address, observed: Address) -> None:
        before = self._resources.observed_by.get(control)
        self._resources.observed_by[control] = observed
        self.address_changed |= before not in (None, observed)

    def _introduced(
        self, message: v2.Introduce, registration: Registration, now: float
    ) -> Drop | Introduction:
        channels = registration.channels
        card = channels.peer.partner_card.open(message.card, message.partner_attempt)
        if isinstance(card, Drop):
            return card
        partner, is_knock = message.partner_attempt, isinstance(message, v2.Knock)
        proof = card.partner_attempt == self._attempt.identity.id
        if is_knock:
            registration.knocked(message.counter, message.observed, message.cookie, now)
            self._answer_knock(partner, now)
        elif not self.on_standby:
            self._named_attempt = partner
            registration.introduced(message.counter, message.observed, partner, message.cookie, now)
        if proof:
            self._named_attempt = partner
        observed = _as_reached(message.partner_observed, registration.control)
        return Introduction(partner, observed, card, proof, channels, is_knock)

    def _answer_knock(self, partner: bytes, now: float) -> None:
        """Shows a partner that knocks that we are alive. Not while a control introduces one, and
        seldom: a knock may be a recording, and there may be many."""
        if self.on_standby or any(self._introduces(each, now) for each in self._registrations):
            return
        if self._knocks.take(now):
            self._named_attempt = partner
            self.announce_now(now)

    def _introduces(self, registration: Registration, now: float) -> bool:
        """Whether we punch because of this control."""
        return not self.on_standby and registration.introduces(now)

    @property
    def _by_control(self) -> Iterable[Registration]:
        """One for each control: of two keys the one that it has answered last."""
        if len(self._resources.channels) == 1:
            return self._registrations
        by_age = sorted(self._registrations, key=lambda each: (each.silent_since, each.heard_at))
        return {_place(each)[:2]: each for each in by_age}.values()

    @property
    def _on_udp(self) -> Iterator[Registration]:
        return (each for each in self._registrations if not each.over_stream)

    def _forget_moved(self, now: float) -> None:
        """Without a LEAVE: replayed at another control, which shares the key, it would displace
        us there."""
        self._registrations = [
            each
            for each in self._registrations
            if not each.has_moved or (self._introduces(each, now) and not each.over_stream)
        ]

    def _announce(self, registration: Registration, now: float) -> None:
        others = [each for each in self._registrations if each is not registration]
        if registration.owes(now) and registration.answers(now):
            for other in others:
                other.no_longer_spared(now)
        alone = not any(each.answers(now) for each in others)
        registration.announcing(self._next_counter(), now, alone=alone)
        announce = v2.Announce(
            self._attempt.identity.id,
            registration.counter,
            registration.cookie,
            v2.Purpose.STANDBY if self.on_standby else v2.Purpose.PUNCH,
            self._sealed_card(registration.channels),
        )
        self._seal_and_send(announce, registration)

    def _leave(self) -> None:
        for registration in self._registrations:
            if not registration.counter:
                continue  # this control has never heard of us
            leave = v2.Leave(self._attempt.identity.id, self._next_counter())
            self._seal_and_send(leave, registration)

    def _next_counter(self) -> int:
        """Rises with each datagram to any control. They share a key, so a datagram to one can be
        replayed to another, which must not take it for newer than our next."""
        self._counter += 1
        return self._counter

    def _seal_and_send(self, message: v2.Message, registration: Registration) -> None:
        resources = self._resources
        seal = registration.channels.control.to_control.seal
        data = seal(message, resources.random(NONCE_LENGTH))
        resources.send(data, registration.control, registration.via, 0)

    def _sealed_card(self, channels: Channels) -> bytes:
        """Sealed anew only when its content has changed."""
        card = self._attempt.card(self._named_attempt, self.observed)
        sealed = self._sealed.get(channels)
        if sealed is None or sealed[0] != card:
            nonce = self._resources.random(NONCE_LENGTH)
            seal = channels.peer.own_card.seal
            sealed = (card, seal(card, self._attempt.identity.id, nonce))
            self._sealed[channels] = sealed
        return sealed[1]


def _place(registration: Registration) -> tuple[Address, Via | None, Channels]:
    """What stays the same while it lasts: its socket may be replaced, but a stream not."""
    via = registration.via if registration.over_stream else None
    return registration.control, via, registration.channels


def _as_reached(observed: Address, control: Address) -> Address:
    """Where we reach a partner that control sees on loopback: at control's own host."""
    if is_loopback(observed.host) and not is_loopback(control.host):
        return observed._replace(host=control.host)
    return observed
