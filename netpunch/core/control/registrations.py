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
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from functools import partial
from struct import Struct
from types import MappingProxyType
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.events import Via
from netpunch.core.machine import NEVER
from netpunch.wire.envelope import END_B, Cipher, EndName
from netpunch.wire.keys import KEY_LENGTH, pair_tag
from netpunch.wire.v2 import ADDRESS_LENGTH, ATTEMPT_LENGTH, NO_ATTEMPT, unpack_address

ANNOUNCE_RATE = 20
"""Announcements a second of a registered attempt, and as many at once: twice what an end
sends at its busiest. Each may push an introduction to the partner, so this keeps one end from
making a control flood the other. Only this end's authentic announcements count: neither forgeries
nor recordings use them up."""


NO_KEYS: Mapping[str, bytes] = MappingProxyType({})


class Standing(IntEnum):
    """How far an end is registered. Numbers, as registrations are kept packed."""

    ABSENT = 0
    UNPROVED = 1
    """Its address may be forged."""
    KNOCKED = 2
    """Likewise, and it got a KNOCK, which happens once."""
    PROVED = 3
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


TRANSITIONS: dict[tuple[int, Cause], int] = {
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


class Registration(NamedTuple):
    """The registered attempt of an end, as it is now."""

    attempt: bytes
    source: bytes
    """Its address as 19 bytes."""
    purpose: int
    counter: int
    """The highest that was taken."""
    via: Via
    heard: float
    since: float = -NEVER
    """When a proved end came to this address. Of another one: when the end was heard last while it
    was proved."""
    standing: int = UNPROVED
    burst: int = 0
    """Announcements so far, less ANNOUNCE_RATE for each second."""

    @property
    def address(self) -> Address:
        return unpack_address(self.source)

    @property
    def is_proved(self) -> bool:
        return self.standing == PROVED


_STATE = Struct(f"={ATTEMPT_LENGTH}s{ADDRESS_LENGTH}sBQQddBB")
"""A registration."""
_PURPOSE = ATTEMPT_LENGTH + ADDRESS_LENGTH
_STANDING = _STATE.size - 2
_END = _STATE.size
"""Where these are in it."""
_pack, _unpack = _STATE.pack, _STATE.unpack_from
_registration = partial(tuple.__new__, Registration)
_EARLIER = Struct(f"={ATTEMPT_LENGTH}sQ")
"""An attempt and its highest counter."""
_NOBODY = Registration(NO_ATTEMPT, bytes(ADDRESS_LENGTH), 0, 0, 0, -NEVER, standing=ABSENT)


@dataclass(slots=True, eq=False, repr=False)
class EndRecord:
    """One end of one pair. A control may have a hundred thousand, so what one says of its end is
    kept as bytes, in a quarter of the memory. `flag` is the end's bit in the kind byte."""

    pair: Pair
    flag: int
    awaits_expiry: bool = False
    decrypt: Cipher | None = None
    encrypt: Cipher | None = None
    _state: bytes = b""
    """The registration, and behind it earlier attempts that were proved, each with its highest
    counter, the last used last. Empty as long as the end was never registered."""

    @property
    def end(self) -> EndName:
        return "b" if self.flag else "a"

    @property
    def partner(self) -> EndRecord:
        partner = self.pair.a if self.flag else self.pair.b
        assert partner is not None
        return partner

    @property
    def registration(self) -> Registration | None:
        state = self._state
        return _registration(_unpack(state)) if state and state[_STANDING] else None

    @property
    def is_registered(self) -> bool:
        return self.standing != ABSENT

    @property
    def standing(self) -> int:
        return self._state[_STANDING] if self._state else ABSENT

    @property
    def purpose(self) -> int | None:
        """Of the registered attempt."""
        return self._state[_PURPOSE] if self._state else None

    @property
    def last_heard(self) -> float | None:
        """When it was heard last while it was proved, or None."""
        last = self._last_heard
        return None if last == -NEVER else last

    @property
    def twin(self) -> EndRecord | None:
        """The same end under the pair's other key, if it has two."""
        twin = self.pair.twin
        return None if twin is None else twin.b if self.flag else twin.a

    @property
    def is_present(self) -> bool:
        """Whether it is registered, under whichever key."""
        twin = self.twin
        return self.is_registered or (twin is not None and twin.is_registered)

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
        self, attempt: bytes, counter: int, source: bytes, via: Via, purpose: int, now: float
    ) -> Registration | Verdict:
        """What this authentic announcement is here. Nearly all are a REFRESH: that is taken at
        once, and the registration returned as it is now. Any other changes nothing."""
        state = self._state
        if not state:
            return self.judge(attempt, counter, source)
        known, place, _, highest, _, heard, since, standing, burst = _unpack(state)
        if known != attempt or place != source:
            return self.judge(attempt, counter, source)
        if counter <= highest:
            return STALE
        burst -= int((now - heard) * ANNOUNCE_RATE)
        if burst >= ANNOUNCE_RATE:
            return LIMITED
        burst = burst + 1 if burst > 0 else 1
        fresh = (attempt, source, purpose, counter, via, now, since, standing, burst)
        self._state = _pack(*fresh) + state[_END:]
        return _registration(fresh)

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
        must not crowd out the memory of what was proved. Of one that is proved by this, `since`
        is told by `registration`."""
        before, earlier = self.registration, self._earlier
        displaced = None
        if before is not None and before.is_proved and before.attempt != registration.attempt:
            displaced = before
            earlier[before.attempt] = before.counter
        earlier.pop(registration.attempt, None)
        standing = TRANSITIONS[self.standing, cause]
        since = registration.since if standing == PROVED else self._last_heard
        self._keep(
            registration._replace(standing=standing, since=since),
            earlier,
            timing.REMEMBERED_ATTEMPTS - 1,
        )
        return displaced

    def knock(self) -> None:
        """It gets a KNOCK: no other one until it has announced itself anew."""
        own = self.registration
        assert own is not None
        self._change(own._replace(standing=TRANSITIONS[own.standing, Cause.KNOCK]))

    def leave(self, attempt: bytes, counter: int) -> bool:
        """Whether an authentic LEAVE is of the registered attempt; if so its counter is used."""
        own = self.registration
        if own is None or own.attempt != attempt or counter <= own.counter:
            return False
        self._change(own._replace(counter=counter))
        return True

    def clear(self, cause: Cause) -> None:
        """Ends the registration: the end is absent from now on."""
        own = self.registration
        if own is None:
            return
        earlier = self._earlier
        if own.is_proved:
            earlier[own.attempt] = own.counter
        standing = TRANSITIONS[own.standing, cause]
        absent = _NOBODY._replace(standing=standing, since=self._last_heard)
        self._keep(absent, earlier, timing.REMEMBERED_ATTEMPTS)

    @property
    def has_ciphers(self) -> bool:
        return self.decrypt is not None or self.encrypt is not None

    def forget_ciphers(self) -> None:
        self.decrypt = self.encrypt = None

    def remembers(self, attempt: bytes) -> bool:
        """Whether this attempt was proved earlier, as far as is remembered."""
        return attempt in self._earlier

    @property
    def _last_heard(self) -> float:
        if not self._state:
            return -NEVER
        own = _registration(_unpack(self._state))
        return own.heard if own.is_proved else own.since

    @property
    def _earlier(self) -> dict[bytes, int]:
        return dict(_EARLIER.iter_unpack(self._state[_END:]))

    def _change(self, registration: Registration) -> None:
        """Earlier attempts stay."""
        self._state = _pack(*registration) + self._state[_END:]

    def _keep(self, registration: Registration, earlier: dict[bytes, int], most: int) -> None:
        """`most`: so many earlier attempts at most."""
        last = list(earlier.items())[-most:]
        self._state = _pack(*registration) + b"".join(_EARLIER.pack(*each) for each in last)


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
