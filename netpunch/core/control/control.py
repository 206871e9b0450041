"""The v2 half of a control node: registers ends, introduces them, is silent to strangers.

Theory of operation. A datagram passes the cheap checks first: its length, version and kind, then
the pair that its tag names, and only then that pair's cipher. Now it is authentic, but perhaps a
recording: the record of its end decides (`core.control.registrations`). A datagram that is dropped
on the way is counted and not answered; any other is answered at once, from the registrations
alone, so a control that restarts in the midst of everything only needs to be announced to again.

An address that has not returned a cookie may be forged. It gets direct answers only, and its
allowance bounds these (`core.control.address_proof`); its partner, if there, hears of it once, by
a KNOCK, so that both can ping at the same instant. All else waits for the cookie, one round trip
later.

Answers are packed straight from the registrations instead of through `wire.v2`'s messages: a
control answers thousands of announcements a second, most of them with the same few words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from struct import Struct
from typing import Any, NamedTuple

from netpunch.address import Address, is_private
from netpunch.core import timing
from netpunch.core.control.absences import Absences, absences
from netpunch.core.control.address_proof import AddressProof, binding_at
from netpunch.core.control.cards import Cards
from netpunch.core.control.ciphers import CIPHERS_KEPT, Ciphers, nonces
from netpunch.core.control.expiries import Expiries
from netpunch.core.control.presences import RegisteredEnd
from netpunch.core.control.registrations import (
    LIMITED,
    NEW,
    NO_KEYS,
    PROVED,
    STALE,
    TRANSITIONS,
    Cause,
    EndRecord,
    Pair,
    Pairs,
    Registration,
    Verdict,
)
from netpunch.core.control.rejections import Rejections
from netpunch.core.control.relay import BOUND, Relay
from netpunch.core.describe import describe
from netpunch.core.events import Expired, RoleConflict, Via, registered
from netpunch.core.machine import NEVER, Machine, Random, Transmit
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import (
    CONTROL_BODY,
    CONTROL_DATAGRAM,
    END_B,
    HEADER,
    NONCE,
    PREFIXES,
    SEALED,
    TAG_SLICE,
    VERSION,
    ControlChannel,
    EndName,
    Forged,
)
from netpunch.wire.v2 import NO_COOKIE, pack_address, unpack_address

CONFLICT_INTERVAL = 60.0
"""A role conflict is reported once a minute: it lasts until an administrator acts."""

MOST_REMOVALS = 1000
"""Removed pairs that may still be timed: a third of a MiB. With more than that, and than there are
pairs, all are timed anew, so a removal costs the same however many pairs there are."""

ENDS: tuple[EndName, ...] = ("a", "b")

Fields = tuple[Any, ...]
"""The fields of a message, in the order of its class in `wire.v2`, addresses as 19 bytes."""

# Members of enums by name, as reading them off their class is slow: 0.1 µs each in Python 3.11;
# numbers as plain ones, which Python reckons with in less time than with members of an IntEnum.
_PUNCH, _STANDBY = map(int, v2.Purpose)
_MALFORMED, _UNKNOWN_PAIR, _BAD_MAC = Drop.MALFORMED, Drop.UNKNOWN_PAIR, Drop.BAD_MAC
_WAITING, _INTRODUCE, _KNOCK = map(int, (v2.Kind.WAITING, v2.Kind.INTRODUCE, v2.Kind.KNOCK))
_CHALLENGE, _OBSERVED, _BOUND = map(int, (v2.Kind.CHALLENGE, v2.Kind.OBSERVED, v2.Kind.BOUND))


def _packer(message: type[v2.FromControl]) -> Callable[..., bytes]:
    """Packs a message's fields and pads them in one step."""
    layout = v2.LAYOUTS[message].struct
    return Struct(f"{layout.format}{CONTROL_BODY - layout.size}x").pack


_transmit = partial(tuple.__new__, Transmit)
_packed = lru_cache(maxsize=CIPHERS_KEPT)(pack_address)
_address = lru_cache(maxsize=CIPHERS_KEPT)(unpack_address)
_is_private = lru_cache(maxsize=CIPHERS_KEPT)(is_private)
_pack_waiting = _packer(v2.Waiting)
_pack_introduce = _packer(v2.Introduce)
_pack_challenge = _packer(v2.Challenge)
_pack_observed = _packer(v2.Observed)
_pack_bound = _packer(v2.Bound)


class _Party(NamedTuple):
    """A registered end, and where it is."""

    record: EndRecord
    own: Registration
    address: Address


_party = partial(tuple.__new__, _Party)


class ControlV2(Machine):
    """The sans-I/O v2 control node; see `core.machine` for the contract.

    `pairs` maps names to control keys, `other_keys` those of pairs that have a second one;
    `own_hosts` are the addresses by family (4, 6) at which
    the world sees this control and its network: partners elsewhere are given them instead of a
    loopback or private one; `expire` in seconds; `relay` by default one that serves no socket."""

    def __init__(
        self,
        pairs: Mapping[str, bytes],
        *,
        other_keys: Mapping[str, bytes] = NO_KEYS,
        own_hosts: Mapping[int, str] | None = None,
        expire: float = timing.EXPIRE,
        relay: Relay | None = None,
        random: Random,
    ) -> None:
        super().__init__()
        self.own_hosts = dict(own_hosts or {})
        self.registered = 0
        """How many ends are registered and proved."""
        self.relay = Relay() if relay is None else relay
        self._expire = expire
        self._next_nonce = nonces(random).__next__
        self._proof = AddressProof(random)
        self._rejections = Rejections(self._emit)
        self._pairs = Pairs(pairs, other_keys)
        self._ciphers = Ciphers(self._pairs.by_tag)
        self._cards = Cards()
        self._conflicts: dict[EndRecord, float] = {}
        """When a role conflict of an end was last reported."""
        self._expiries: Expiries[EndRecord] = Expiries()
        self._removals = 0
        """Pairs removed since all registrations were timed anew: until they would have expired,
        these are timed still."""

    def absences(self, most: int = 0) -> Absences:
        """The ends that are not registered: all that are awaited, and of the others so many that
        there are `most`."""
        return absences(self._pairs.by_tag.values(), most)

    def behind(self) -> list[tuple[str, str]]:
        """The ends that use only the second key of their pair, as (pair, end)."""
        return [
            (pair.name, record.end)
            for pair in self._pairs.by_tag.values()
            if pair.twin is not None
            for record in pair.records
            if not record.is_registered and record.is_present
        ]

    def present(self) -> Iterator[tuple[str, str, RegisteredEnd]]:
        """The ends that are registered and proved, with pair and end."""
        for pair in self._pairs.by_tag.values():
            for record in pair.records:
                if (own := record.proved) is not None:
                    yield pair.name, record.end, RegisteredEnd(own.address, own.since)

    def find(self, name: str, end: str) -> RegisteredEnd | None:
        """One of these."""
        pair = self._pairs.named(name)
        record = None if pair is None else pair.b if end == "b" else pair.a
        own = None if record is None else record.proved
        return None if own is None else RegisteredEnd(own.address, own.since)

    def serves(self, name: str) -> bool:
        """Whether it has a key of this pair."""
        return self._pairs.named(name) is not None

    @property
    def pairs_served(self) -> int:
        """How many."""
        return len(self._pairs.by_tag)

    def names(self) -> Iterator[str]:
        """Those of the pairs that it serves."""
        return (pair.name for pair in self._pairs.by_tag.values())

    def add_pair(self, name: str, key: bytes, other_key: bytes | None = None) -> None:
        """Serves one more pair from now on, or a pair with other keys; what is registered under a
        key that stays is kept."""
        self._retire(self._pairs.serve(name, key, other_key))

    def remove_pair(self, name: str) -> None:
        """Serves a pair no longer, if it did: its ends are forgotten, and get silence."""
        self._retire(self._pairs.remove(name))
        self._removals += 1
        if self._removals > max(MOST_REMOVALS, self.pairs_served):
            self._await_expiries()

    def replace_pairs(
        self, pairs: Mapping[str, bytes], other_keys: Mapping[str, bytes] = NO_KEYS
    ) -> list[str]:
        """Serves these pairs from now on; what is registered under a key that stays is kept.
        Returns the names of the pairs that are served no longer."""
        gone = self._pairs.replace(pairs, other_keys)
        self._retire(gone)
        self._await_expiries()
        return [name for name in dict.fromkeys(pair.name for pair in gone) if name not in pairs]

    def _retire(self, gone: list[Pair]) -> None:
        """Nothing stays of pairs that are served no longer, or no longer with that key."""
        for pair in gone:
            for record in pair.records:
                self._clear(record, Cause.REMOVAL)
                self._conflicts.pop(record, None)
            pair.forget_keys()
            if pair.twin is None or pair.twin not in self._pairs:
                self.relay.remove(pair.name)
            if not self.serves(pair.name):
                self._rejections.forget(pair.name)

    def expire_after(self, seconds: float) -> None:
        """From now on, for present registrations too."""
        self._expire = seconds
        self._await_expiries()

    # The contract.

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        heard = _HEARD[data[1]] if len(data) == CONTROL_DATAGRAM and data[0] == VERSION else None
        if heard is None:
            return self._reject(_MALFORMED, None, data, source, now, via)
        pair = self._pairs.by_tag.get(data[TAG_SLICE])
        if pair is None:
            return self._reject(_UNKNOWN_PAIR, None, data, source, now, via)
        record = (pair.b if data[1] & END_B else pair.a) or pair.record(data[1] & END_B)
        decrypt = record.decrypt or self._ciphers.make_decrypt(record)
        try:
            body = decrypt(data[NONCE], data[SEALED], data[HEADER])
        except Forged:
            if pair.twin is not None:
                return self._receive_under_twin(data, record, source, now, via)
            return self._reject(_BAD_MAC, pair.name, data, source, now, via)
        read, take = heard
        return take(self, read(body), record, source, now, via)

    def _receive_under_twin(
        self, data: bytes, record: EndRecord, source: Address, now: float, via: Via
    ) -> None:
        """What is not of the pair's first key."""
        heard, twin = _HEARD[data[1]], record.twin
        assert heard is not None
        assert twin is not None
        decrypt = twin.decrypt or self._ciphers.make_decrypt(twin)
        try:
            body = decrypt(data[NONCE], data[SEALED], data[HEADER])
        except Forged:
            return self._reject(_BAD_MAC, twin.pair.name, data, source, now, via)
        read, take = heard
        return take(self, read(body), twin, source, now, via)

    def next_timer(self) -> float:
        return min(
            self._expiries.next_timer(), self._rejections.next_timer(), self.relay.next_timer()
        )

    def handle_timer(self, now: float) -> None:
        for record in self._expiries.take(now):
            record.awaits_expiry = False
            own = record.registration
            if own is None:
                continue
            if own.heard + self._expire > now:
                self._await_expiry(record, own.heard)
            else:
                self._clear(record, Cause.EXPIRY)
        self._rejections.handle_timer(now)
        self.relay.handle_timer(now)

    def describe(self, data: bytes) -> str:
        pair = self._pairs.by_tag.get(data[TAG_SLICE])
        pairs = [each for each in (pair, pair and pair.twin) if each is not None]
        return describe(data, [ControlChannel(p.key, p.name, end) for p in pairs for end in ENDS])

    # What ends say.

    def _announced(
        self, fields: Fields, record: EndRecord, source: Address, now: float, via: Via
    ) -> None:
        attempt, counter, cookie, purpose, card = fields
        packed, was = _packed(source), record.purpose
        heard = record.hear(attempt, counter, packed, via, purpose, now)
        if isinstance(heard, Registration):
            self._cards.take(record, purpose, card)
            if heard.standing == PROVED:
                self._introduce(record, heard, source, now)
                if purpose != was:
                    self._push_standby(record, heard, now)
            elif self._proof.is_good(cookie, record, attempt, source, now):
                self._register(heard, card, record, source, now)
            else:
                self._greet(record, source, now)
        elif heard is STALE:
            self._drop(Drop.STALE)
        elif heard is LIMITED:
            self._drop(Drop.OVER_LIMIT)
        else:
            unknown = Registration(attempt, packed, purpose, counter, via, now)
            self._unknown(unknown, card, heard, cookie, record, source, now)

    def _unknown(
        self,
        heard: Registration,
        card: bytes,
        verdict: Verdict,
        cookie: bytes,
        record: EndRecord,
        source: Address,
        now: float,
    ) -> None:
        """An attempt that is not registered, or from another address than it was."""
        if self._proof.is_good(cookie, record, heard.attempt, source, now):
            self._register(heard, card, record, source, now)
        elif not self._proof.is_new(record, heard.attempt, heard.counter, heard.source):
            self._drop(Drop.STALE)
        elif verdict is NEW and self._proof.may_register(record, now):
            record.register(heard, Cause.ANNOUNCEMENT)
            self._cards.take(record, heard.purpose, card)
            self._await_expiry(record, now)
            self._greet(record, source, now, is_new=True)
        elif self._proof.may_answer(record, heard.source, now):
            cookie = self._proof.make_cookie(record, heard.attempt, source, now)
            conflict = self._in_conflict(record, now)
            body = _pack_challenge(heard.attempt, heard.counter, cookie, conflict)
            self._answer(_CHALLENGE, body, record, source, heard.via)
        else:
            self._drop(Drop.OVER_LIMIT)

    def _left(self, fields: Fields, record: EndRecord, *_whence: object) -> None:
        attempt, counter = fields
        if record.leave(attempt, counter):
            self._clear(record, Cause.LEAVE)
        else:
            self._drop(Drop.STALE)

    def _observing(
        self, fields: Fields, record: EndRecord, source: Address, now: float, via: Via
    ) -> None:
        (echo,) = fields
        packed = _packed(source)
        if self._proof.may_answer(record, packed, now):
            body = _pack_observed(echo, packed, self.relay.port, self.relay.more_ports)
            self._answer(_OBSERVED, body, record, source, via)
        else:
            self._drop(Drop.OVER_LIMIT)

    # Relaying.

    def pass_on(self, data: bytes, source: Address, now: float, via: Via) -> None:
        """Relays what came to a socket of the relay and is nothing for control."""
        sender = self.relay.sources[via].get(_packed(source))
        if sender is None:
            self.relay.strangers += 1
        elif self.relay.admit(sender, (len(data),), now):
            partner = sender.partner
            self._transmits.append(_transmit((data, partner.address, partner.via, 0)))

    def _binding(
        self, fields: Fields, record: EndRecord, source: Address, now: float, via: Via
    ) -> None:
        attempt, counter, cookie = fields
        relay, packed, use = self.relay, _packed(source), binding_at(via)
        refusal = relay.refusal(record, attempt, counter, via, now)
        if refusal is not None:
            return self._drop(refusal)
        own = relay.refresh(record, attempt, counter, packed, via, now)
        if own is None and self._proof.is_good(cookie, record, attempt, source, now, use):
            own = relay.bind(record, attempt, counter, packed, source, via, now)
            if own is None:  # another end is bound there
                return self._drop(Drop.UNEXPECTED_SOURCE)
        if own is not None:
            partner_bound = own.partner.state is BOUND
            body = _pack_bound(
                attempt, counter, packed, partner_bound, int(timing.BINDING_LIFETIME)
            )
            return self._answer(_BOUND, body, record, source, via)
        if not self._proof.is_new(record, attempt, counter, packed, use):
            return self._drop(Drop.STALE)
        if not self._proof.may_answer(record, packed, now):
            return self._drop(Drop.OVER_LIMIT)
        cookie = self._proof.make_cookie(record, attempt, source, now, use)
        body = _pack_challenge(attempt, counter, cookie, 0)
        return self._answer(_CHALLENGE, body, record, source, via)

    # Registrations.

    def _register(
        self, heard: Registration, card: bytes, record: EndRecord, source: Address, now: float
    ) -> None:
        """Takes an announcement whose cookie is good: its address is proved from now on."""
        was_here = record.remembers(heard.attempt)
        before = record.proved
        if before is None:
            self.registered += 1
        stayed = before is not None and before.source == heard.source
        since = before.since if before is not None and stayed else now
        displaced = record.register(heard._replace(since=since), Cause.COOKIE)
        own = record.registration
        assert own is not None
        self._cards.take(record, heard.purpose, card)
        self._await_expiry(record, now)
        if not stayed:
            former = None if before is None else before.address
            self._emit(registered(record.pair.name, record.end, source, former))
        if displaced and not self._in_conflict(record, now):
            if was_here:  # it was displaced itself before: neither machine gives way
                self._conflicts[record] = now
                addresses = (displaced.address, source)
                self._emit(RoleConflict(record.pair.name, record.end, addresses))
            if displaced.source != heard.source:
                self._rouse(displaced, record, heard.attempt)
        self._introduce(record, own, source, now, self._in_conflict(record, now))
        self._push_standby(record, own, now)

    def _await_expiries(self) -> None:
        """Counts and times all registrations anew."""
        self._expiries = Expiries()
        self._removals = 0
        self.registered = 0
        for record in self._pairs.records():
            record.awaits_expiry = False
            own = record.registration
            if own is not None:
                counts = self._pairs.is_first(record) or record.proved_by_twin is None
                self.registered += own.is_proved and counts
                self._await_expiry(record, own.heard)

    def _await_expiry(self, record: EndRecord, heard: float) -> None:
        if not record.awaits_expiry:
            record.awaits_expiry = True
            self._expiries.add(record, heard + self._expire)

    def _clear(self, record: EndRecord, cause: Cause) -> None:
        was_proved = record.standing == PROVED
        record.clear(cause)
        self._cards.forget(record)
        if was_proved and record.proved_by_twin is None:
            self.registered -= 1
            left, removed = cause is Cause.LEAVE, cause is Cause.REMOVAL
            self._emit(Expired(record.pair.name, record.end, left, removed))

    def _in_conflict(self, record: EndRecord, now: float) -> bool:
        """Whether two machines announced this end in turn lately."""
        return now - self._conflicts.get(record, -NEVER) < CONFLICT_INTERVAL

    # Answers to the registered attempt of an end.

    def _introduce(
        self, record: EndRecord, own: Registration, source: Address, now: float, conflict: int = 0
    ) -> None:
        """Answers the announcement of a proved end; introduces it to a proved partner."""
        end, other = _party((record, own, source)), record.partner.registration
        counter = own.counter
        if other is None or other.standing != PROVED or own.purpose != _PUNCH:
            return self._send_waiting(end, other, now, counter, NO_COOKIE, conflict)
        partner = _party((record.partner, other, _address(other.source)))
        if other.purpose != _PUNCH:
            self._send_waiting(end, other, now, counter, NO_COOKIE, conflict)
            return self._send_introduction(_INTRODUCE, partner, end)
        if self._cards.of(partner.record) is None:
            self._send_waiting(end, other, now, counter, NO_COOKIE, conflict)
            return self._send_waiting(partner, own, now)
        self._send_introduction(_INTRODUCE, end, partner, counter, NO_COOKIE, conflict)
        self._send_introduction(_INTRODUCE, partner, end)
        return self._cards.introduced(record.pair)

    def _greet(
        self, record: EndRecord, source: Address, now: float, *, is_new: bool = False
    ) -> None:
        """Answers the announcement of an end that is not proved, with a cookie. `is_new`: its
        partner has not heard of it."""
        own, other = record.registration, record.partner.registration
        assert own is not None
        if not self._proof.may_answer(record, own.source, now):
            return self._drop(Drop.OVER_LIMIT)
        end = _party((record, own, source))
        cookie = self._proof.make_cookie(record, own.attempt, source, now)
        if other is None or not self._cards.of(record) or not self._cards.of(record.partner):
            return self._send_waiting(end, other, now, own.counter, cookie)
        partner = _party((record.partner, other, _address(other.source)))
        if other.standing == PROVED:
            self._send_introduction(_INTRODUCE, end, partner, own.counter, cookie)
            if is_new:
                self._send_introduction(_KNOCK, partner, end)
        elif (
            is_new
            and (other.standing, Cause.KNOCK) in TRANSITIONS
            and self._proof.may_answer(partner.record, other.source, now)
        ):
            # Both have just begun: without a knock to each, the link would take a round trip more.
            partner.record.knock()
            self._send_introduction(_KNOCK, end, partner, own.counter, cookie)
            self._send_introduction(_KNOCK, partner, end)
        else:
            self._send_waiting(end, other, now, own.counter, cookie)
        return None

    def _push_standby(self, record: EndRecord, own: Registration, now: float) -> None:
        """Makes a partner that waits already announce itself at once, with its proof, to an end
        that has come on standby."""
        other = record.partner.registration
        if own.purpose != _STANDBY or other is None or other.purpose != _PUNCH:
            return
        if other.standing == PROVED:
            self._send_waiting(_party((record.partner, other, _address(other.source))), own, now)

    def _rouse(self, displaced: Registration, record: EndRecord, rival: bytes) -> None:
        """Has the displaced attempt of an end announce itself at once, if it is still there: then
        two machines are this end, which would show only at its next announcement otherwise. It
        takes its rival for a partner on standby, to which it owes its proof."""
        if displaced.purpose == _PUNCH:
            seen, never = displaced.source, v2.NEVER_HEARD
            body = _pack_waiting(displaced.attempt, 0, seen, never, rival, NO_COOKIE, 0)
            self._answer(_WAITING, body, record, displaced.address, displaced.via)

    def _send_introduction(
        self,
        kind: int,
        to: _Party,
        partner: _Party,
        counter: int = 0,
        cookie: bytes = NO_COOKIE,
        conflict: int = 0,
    ) -> None:
        """`counter` is 0 if the end has not asked. The partner's card is kept."""
        record, own, source = to
        of, other, at = partner
        seen, card = _packed(self._as_seen_by(source, at)), self._cards.of(of)
        body = _pack_introduce(
            own.attempt, counter, own.source, other.attempt, seen, card, cookie, conflict
        )
        self._answer(kind, body, record, source, own.via)

    def _send_waiting(
        self,
        to: _Party,
        other: Registration | None,
        now: float,
        counter: int = 0,
        cookie: bytes = NO_COOKIE,
        conflict: int = 0,
    ) -> None:
        """`other` is the partner's registration; an end that punches is told which it is, as it
        cannot be introduced."""
        record, own, source = to
        standby = v2.NO_ATTEMPT
        if other is not None and other.standing == PROVED:
            heard: float | None = other.heard
            if own.purpose == _PUNCH or other.purpose == _STANDBY:
                standby = other.attempt
        else:
            heard = record.partner.last_heard
        age = v2.NEVER_HEARD if heard is None else min(int((now - heard) * 1000), v2.NEVER_HEARD)
        body = _pack_waiting(own.attempt, counter, own.source, age, standby, cookie, conflict)
        self._answer(_WAITING, body, record, source, own.via)

    def _as_seen_by(self, viewer: Address, address: Address) -> Address:
        """An end on this very host, or in our network, is seen at loopback or a private address.
        A partner elsewhere needs the address at which the world sees us instead; the port is a
        guess (NATs mostly keep it). A partner that is inside, too, gets what we see: it can send
        there, and takes loopback for the address at which it reaches us."""
        if not _is_private(address.host) or _is_private(viewer.host):
            return address
        return Address(self.own_hosts.get(address.family, address.host), address.port)

    def _answer(
        self, kind: int, body: bytes, record: EndRecord, destination: Address, via: Via
    ) -> None:
        encrypt = record.encrypt or self._ciphers.make_encrypt(record)
        nonce, header = self._next_nonce(), PREFIXES[kind | record.flag] + record.pair.tag
        data = header + nonce + encrypt(nonce, body, header)
        self._transmits.append(_transmit((data, destination, via, 0)))

    def _reject(
        self, reason: Drop, pair: str | None, data: bytes, source: Address, now: float, via: Via
    ) -> None:
        """Takes a datagram that is not authentic: at a socket of the relay it may be one to pass
        on."""
        if via in self.relay.sources:
            return self.pass_on(data, source, now, via)
        self._drops[reason] += 1
        return self._rejections.add(reason, pair, source, now)


_Read = Callable[[bytes], Fields]
_Take = Callable[[ControlV2, Fields, EndRecord, Address, float, Via], None]
_TAKEN_BY: dict[type[v2.ToControl], _Take] = {
    v2.Announce: ControlV2._announced,
    v2.Leave: ControlV2._left,
    v2.Observe: ControlV2._observing,
    v2.Bind: ControlV2._binding,
}
_HEARD: list[tuple[_Read, _Take] | None] = [None] * 256
"""How to read a datagram of an end and which method takes it, by the kind byte. A list: each
datagram is looked up here, and a dict takes twice as long."""
for _message, _take in _TAKEN_BY.items():
    for _flag in (0, END_B):
        _layout = v2.LAYOUTS[_message]
        _HEARD[_layout.kind | _flag] = _layout.struct.unpack_from, _take
