"""What a control knows of the ends of its pairs, and which announcements change that.

No recording may displace a proved registration. So an announcement is taken

- never, if its counter is not above the highest of its attempt: it was used before, by a proved
  address or by the same one;
- at once, if it is the registered attempt's, from the same address;
- at once, if no proved attempt is registered and this one never was: nothing is displaced;
- else only with a cookie, which shows that the sender receives at the address it sends from.

A registration that was taken without a cookie is not proved until a later announcement brings
one: until then it may be a recording from a forged address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from struct import Struct
from types import MappingProxyType

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.events import Via
from netpunch.wire.envelope import END_B, Cipher, EndName
from netpunch.wire.keys import KEY_LENGTH, pair_tag
from netpunch.wire.v2 import unpack_address

_EARLIER = Struct("=8sQ")
"""An attempt and its highest counter."""

ANNOUNCE_RATE = 20
"""Announcements a second of a registered attempt, and as many at once: twice what an end
sends at its busiest. Each may push an introduction to the partner, so this keeps one end from
making a control flood the other. Only this end's authentic announcements count: neither forgeries
nor recordings use them up."""


NO_KEYS: Mapping[str, bytes] = MappingProxyType({})


class Standing(Enum):
    """How far an end is registered."""

    ABSENT = "absent"
    UNPROVED = "unproved"
    """Its address may be forged."""
    KNOCKED = "knocked"
    """Likewise, and it got a KNOCK, which happens once."""
    PROVED = "proved"
    """It has returned a cookie: it receives at its address."""


ABSENT, UNPROVED, KNOCKED, PROVED = Standing
# By name, as reading them off their class is slow: 0.1 µs each in Python 3.11.


class Cause(StrEnum):
    """What changes a standing."""

    ANNOUNCEMENT = "announcement"
    """Of a new attempt, or from a new address, without a good cookie."""
    COOKIE = "cookie"
    """Any announcement with a good cookie."""
    KNOCK = "knock"
    LEAVE = "leave"
    EXPIRY = "expiry"
    REMOVAL = "removal"
    """Of its pair, or of the key under which it is registered."""


TRANSITIONS: dict[tuple[Standing, Cause], Standing] = {
    (ABSENT, Cause.ANNOUNCEMENT): UNPROVED,
    (ABSENT, Cause.COOKIE): PROVED,
    (UNPROVED, Cause.ANNOUNCEMENT): UNPROVED,
    (UNPROVED, Cause.KNOCK): KNOCKED,
    (UNPROVED, Cause.COOKIE): PROVED,
    (UNPROVED, Cause.LEAVE): ABSENT,
    (UNPROVED, Cause.EXPIRY): ABSENT,
    (UNPROVED, Cause.REMOVAL): ABSENT,
    (KNOCKED, Cause.ANNOUNCEMENT): UNPROVED,
    (KNOCKED, Cause.COOKIE): PROVED,
    (KNOCKED, Cause.LEAVE): ABSENT,
    (KNOCKED, Cause.EXPIRY): ABSENT,
    (KNOCKED, Cause.REMOVAL): ABSENT,
    (PROVED, Cause.COOKIE): PROVED,
    (PROVED, Cause.LEAVE): ABSENT,
    (PROVED, Cause.EXPIRY): ABSENT,
    (PROVED, Cause.REMOVAL): ABSENT,
}
"""What isn't here changes nothing: without a cookie no other attempt displaces a proved one."""


class Verdict(Enum):
    """What an authentic announcement is to the record of its end."""

    STALE = "stale"
    """Its counter was used."""
    REFRESH = "refresh"
    """Of the registered attempt, from its address."""
    NEW = "new"
    """Of a new attempt or address, and no proved one is registered."""
    DISPUTED = "disputed"
    """Would displace a proved registration, or bring back an earlier one: with a cookie only."""
    LIMITED = "limited"
    """Of the registered attempt, but above ANNOUNCE_RATE."""


STALE, REFRESH, NEW, DISPUTED, LIMITED = Verdict


@dataclass(slots=True)
class Registration:
    """The registered attempt of an end. `counter` is the highest that was taken; `source` is its
    address as 19 bytes, which take a third of the memory."""

    attempt: bytes
    counter: int
    source: bytes
    via: Via
    purpose: int
    card: bytes
    heard: float
    burst: int = 0
    """Announcements so far, less ANNOUNCE_RATE for each second."""
    standing: Standing = UNPROVED
    since: float = 0.0
    """When the end came to this address; of a proved one."""

    @property
    def address(self) -> Address:
        return unpack_address(self.source)

    @property
    def is_proved(self) -> bool:
        return self.standing is PROVED

    def is_left_by(self, attempt: bytes, counter: int) -> bool:
        """Whether an authentic LEAVE is this attempt's; if so its counter is used."""
        if self.attempt != attempt or counter <= self.counter:
            return False
        self.counter = counter
        return True


@dataclass(slots=True, eq=False, repr=False)
class EndRecord:
    """One end of one pair. A control has many, and most of them say little: nothing is kept
    before it is needed. `flag` is the end's bit in the kind byte."""

    pair: Pair
    flag: int
    partner: EndRecord = field(init=False)
    registration: Registration | None = None
    last_heard: float | None = None
    """Of an end that is no longer registered."""
    conflict_at: float | None = None
    """When a role conflict was last reported."""
    awaits_expiry: bool = False
    decrypt: Cipher | None = None
    encrypt: Cipher | None = None
    _packed_earlier: bytes = b""
    """Earlier attempts that were proved, each with its highest counter, the last used last. Each
    end that holds a link has one: packed they take a fifth of the memory."""

    @property
    def end(self) -> EndName:
        return "b" if self.flag else "a"

    @property
    def standing(self) -> Standing:
        return ABSENT if self.registration is None else self.registration.standing

    @property
    def twin(self) -> EndRecord | None:
        """The same end under the pair's other key, if it has two."""
        twin = self.pair.twin
        return None if twin is None else twin.b if self.flag else twin.a

    @property
    def is_present(self) -> bool:
        """Whether it is registered, under whichever key."""
        twin = self.twin
        return any(each is not None and each.registration is not None for each in (self, twin))

    @property
    def proved_by_twin(self) -> Registration | None:
        """Its proved registration under the other key: users have heard of it already."""
        twin = self.twin
        own = None if twin is None else twin.registration
        return own if own is not None and own.is_proved else None

    @property
    def proved(self) -> Registration | None:
        """Its proved registration, under whichever key."""
        own = self.registration
        return own if own is not None and own.is_proved else self.proved_by_twin

    @property
    def place(self) -> bytes:
        """Its pair and end, as bytes."""
        return self.pair.tag + self.end.encode()

    def hear(
        self,
        attempt: bytes,
        counter: int,
        source: bytes,
        via: Via,
        purpose: int,
        card: bytes,
        now: float,
    ) -> Verdict:
        """What this authentic announcement is here. A REFRESH is taken at once: nearly all
        announcements are one; any other changes nothing."""
        own = self.registration
        if own is None or own.attempt != attempt or own.source != source:
            return self.judge(attempt, counter, source)
        if counter <= own.counter:
            return STALE
        burst = own.burst - int((now - own.heard) * ANNOUNCE_RATE)
        if burst >= ANNOUNCE_RATE:
            return LIMITED
        own.burst = burst + 1 if burst > 0 else 1
        own.counter = counter
        own.via = via
        own.purpose = purpose
        own.card = card
        own.heard = now
        return REFRESH

    def judge(self, attempt: bytes, counter: int, source: bytes) -> Verdict:
        """What this announcement is here. Changes nothing."""
        own = self.registration
        is_free = (self.standing, Cause.ANNOUNCEMENT) in TRANSITIONS
        if own is not None and own.attempt == attempt:
            # A copy that came first, from a forged address, has not used up the counter.
            if counter < own.counter or (
                counter == own.counter and (own.is_proved or own.source == source)
            ):
                return STALE
            if own.source == source:
                return REFRESH
            return NEW if is_free else DISPUTED
        highest = self._earlier.get(attempt)
        if highest is not None:
            return STALE if counter <= highest else DISPUTED
        return NEW if is_free else DISPUTED

    def register(self, registration: Registration, cause: Cause) -> Registration | None:
        """Registers an attempt, or its new address; returns the proved registration of another
        attempt that it displaces, if any. One that was not proved is not remembered: recordings
        must not crowd out the memory of what was proved."""
        before = self.registration
        displaced = None
        if before is not None and before.is_proved and before.attempt != registration.attempt:
            displaced = before
            self._remember(displaced)
        earlier = self._earlier
        earlier.pop(registration.attempt, None)
        self._pack_earlier(earlier, timing.REMEMBERED_ATTEMPTS - 1)
        registration.standing = TRANSITIONS[self.standing, cause]
        self.registration = registration
        return displaced

    def clear(self, cause: Cause) -> None:
        """Ends the registration: the end is absent from now on."""
        own = self.registration
        if own is not None:
            if own.is_proved:
                self._remember(own)
                self.last_heard = own.heard
            own.standing = TRANSITIONS[own.standing, cause]
        self.registration = None

    @property
    def has_ciphers(self) -> bool:
        return self.decrypt is not None or self.encrypt is not None

    def forget_ciphers(self) -> None:
        self.decrypt = self.encrypt = None

    def remembers(self, attempt: bytes) -> bool:
        """Whether this attempt was proved earlier, as far as is remembered."""
        return attempt in self._earlier

    @property
    def _earlier(self) -> dict[bytes, int]:
        return dict(_EARLIER.iter_unpack(self._packed_earlier))

    def _remember(self, registration: Registration) -> None:
        earlier = self._earlier
        earlier[registration.attempt] = registration.counter
        self._pack_earlier(earlier, timing.REMEMBERED_ATTEMPTS)

    def _pack_earlier(self, earlier: dict[bytes, int], most: int) -> None:
        last = list(earlier.items())[-most:]
        self._packed_earlier = b"".join(_EARLIER.pack(*each) for each in last)


class Pair:
    """A pair that a control serves, under one key. Its key never shows in a repr.

    While its key is rotated a pair has two: each is a pair for itself, as an end that is here under
    one of them may not have the other. `twin` is the pair under the other key. `epoch` tells the
    pair from one of the same name and key that was removed before.

    Most pairs of a large control may never be heard of: until a datagram names a pair, or it has
    two keys, it has no records of its ends."""

    __slots__ = ("a", "b", "epoch", "keys", "name", "tag", "twin")

    def __init__(self, name: str, key: bytes, tag: bytes, epoch: int) -> None:
        self.name = name
        self.keys = key
        """Its key, and behind it those derived of it; see `core.control.ciphers`. None of them
        once it is served no longer."""
        self.tag = tag
        self.epoch = epoch
        self.twin: Pair | None = None
        self.a: EndRecord | None = None
        self.b: EndRecord | None = None

    @property
    def key(self) -> bytes:
        return self.keys[:KEY_LENGTH]

    @property
    def records(self) -> tuple[EndRecord, ...]:
        """Of its ends, if it has any."""
        return () if self.a is None or self.b is None else (self.a, self.b)

    def record(self, flag: int) -> EndRecord:
        """Of the end with this flag; both are made if need be."""
        if self.a is None or self.b is None:
            self.a, self.b = EndRecord(self, 0), EndRecord(self, END_B)
            self.a.partner, self.b.partner = self.b, self.a
        return self.b if flag else self.a

    def forget_keys(self) -> None:
        """It is served no longer: nothing more can be read, or said."""
        self.keys = b""
        for record in self.records:
            record.forget_ciphers()


class Pairs:
    """All pairs of a control. `by_tag` finds a pair by the tag of a datagram, under its first
    key."""

    def __init__(self, keys: Mapping[str, bytes], others: Mapping[str, bytes] = NO_KEYS) -> None:
        self.by_tag: dict[bytes, Pair] = {}
        self._epoch = 0
        """How often something was removed. (One number for all pairs made in between: each would
        take 28 bytes of its own.)"""
        self.replace(keys, others)

    def __contains__(self, pair: Pair) -> bool:
        first = self.by_tag.get(pair.tag)
        return first is not None and (first is pair or first.twin is pair)

    def named(self, name: str) -> Pair | None:
        """The pair of this name, under its first key."""
        return self.by_tag.get(pair_tag(name))

    def serve(self, name: str, key: bytes, other: bytes | None = None) -> list[Pair]:
        """Serves a pair with this key, and maybe another one, from now on. What has the same key
        as before keeps its records. Returns what is gone, still with its former twin."""
        tag = pair_tag(name)
        before = {pair.key: pair for pair in _under_each_key(self.by_tag.get(tag))}
        pair = before.pop(key, None) or Pair(name, key, tag, self._epoch)
        pair.twin = None
        if other is not None:
            pair.twin = before.pop(other, None) or Pair(name, other, tag, self._epoch)
            pair.twin.twin = pair
            for each in _under_each_key(pair):
                each.record(0)
        self.by_tag[tag] = pair
        return self._gone(before.values())

    def remove(self, name: str) -> list[Pair]:
        """Serves a pair no longer; returns it, under each key, with its twin."""
        return self._gone(_under_each_key(self.by_tag.pop(pair_tag(name), None)))

    def replace(
        self, keys: Mapping[str, bytes], others: Mapping[str, bytes] = NO_KEYS
    ) -> list[Pair]:
        """Serves the pairs with these keys, by name, from now on, and some with `others`, too.
        Returns what is gone, as `serve` does."""
        before = {pair.name: pair for pair in self.by_tag.values()}
        gone = [each for name in before if name not in keys for each in self.remove(name)]
        for name, key in keys.items():
            pair, other = before.get(name), others.get(name)
            if pair is None or (key, other) != (pair.key, pair.twin and pair.twin.key):
                gone += self.serve(name, key, other)
        return gone

    def is_first(self, record: EndRecord) -> bool:
        """Whether it is under the first key of its pair."""
        return self.by_tag[record.pair.tag] is record.pair

    def records(self) -> Iterator[EndRecord]:
        """All that there are, under each key."""
        for first in self.by_tag.values():
            for pair in _under_each_key(first):
                yield from pair.records

    def _gone(self, pairs: Iterable[Pair]) -> list[Pair]:
        gone = list(pairs)
        self._epoch += bool(gone)
        return gone


def _under_each_key(first: Pair | None) -> Iterator[Pair]:
    if first is not None:
        yield first
        if first.twin is not None:
            yield first.twin
