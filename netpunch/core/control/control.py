"""The v2 half of a control node: registers ends, introduces them, says nothing to strangers.

Theory of operation. A datagram meets what is cheap first: its length, version and kind, then the
pair that its tag names, and only then that pair's cipher. What is left is authentic, but perhaps
a recording: the end's slot decides (`core.slots`). Whatever is dropped on the way is counted and
answered by nothing; whatever is answered is answered at once, from the registrations alone, so a
control restarted in the midst of everything has only to be announced to again.

An address that has not echoed a cookie may be forged. It gets direct answers only, and its
allowance bounds these; its partner, if it is there, hears of it once, by a KNOCK, so that both
can ping at the same instant. All else waits for the cookie, one round trip later.

Answers are packed straight from what the slots hold instead of through `wire.v2`'s messages: a
control answers thousands of announcements a second, most of them with the same few words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from struct import Struct
from typing import Any

from netpunch.address import Address, is_private
from netpunch.core import timing
from netpunch.core.allowances import TO_STRANGER, Allowance, Allowances, Replays
from netpunch.core.control.cookies import Cookies
from netpunch.core.control.end_records import CIPHERS_KEPT, EndRecord, EndRecords
from netpunch.core.control.expiries import Expiries
from netpunch.core.control.nonces import nonces
from netpunch.core.control.rejections import Rejections
from netpunch.core.control.slots import FILL, LIMITED, REFRESH, STALE, Live, Standing, Verdict
from netpunch.core.describe import describe
from netpunch.core.events import Expired, Registered, RoleConflict, Via
from netpunch.core.machine import Machine, Random, Transmit
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
from netpunch.wire.v2 import ADDRESS_LENGTH, pack_address

CONFLICT_INTERVAL = 60.0
"""A role conflict is told once a minute: it goes on until somebody acts."""
SURVEYS = Allowance(interval=0.02, burst=72)
"""Answers to the proved host of an end, for an attempt or a socket that is not: all tries of a
survey at once, and fifty a second."""
FILLS = Allowance(interval=1.0, burst=8)
"""Of a slot, without a cookie: an end is seldom started so often; others are challenged first."""
STRANGER_CELLS = 1 << 16
"""512 KiB. Of 100,000 ends that come at once, after a restart, few need their whole allowance."""
END_CELLS = 1 << 14
"""128 KiB each: few ends begin, or survey, in the same seconds."""
REPLAY_CELLS = 1 << 15
"""256 KiB: a pair's announcements of five days, if nothing else is replayed."""

HOST_PART = slice(ADDRESS_LENGTH - 2)
"""Of an address as bytes: all but the port."""

Fields = tuple[Any, ...]
"""The fields of a message, in the order of its class in `wire.v2`, addresses as 19 bytes."""

# Members of enums by name, as reading them off their class is slow: 0.1 µs each in Python 3.11;
# numbers as mere ones, which Python reckons with in less time than with members of an IntEnum.
_PUNCH, _STANDBY = map(int, v2.Purpose)
_UNPROVED, _KNOCKED, _PROVED = map(int, Standing)
_MALFORMED, _UNKNOWN_PAIR, _BAD_MAC = Drop.MALFORMED, Drop.UNKNOWN_PAIR, Drop.BAD_MAC
_WAITING, _INTRODUCE, _KNOCK = map(int, (v2.Kind.WAITING, v2.Kind.INTRODUCE, v2.Kind.KNOCK))
_CHALLENGE, _OBSERVED = int(v2.Kind.CHALLENGE), int(v2.Kind.OBSERVED)


def _packer(message: type[v2.FromControl]) -> Callable[..., bytes]:
    """Packs a message's fields and pads them in one step."""
    layout = v2.LAYOUTS[message].struct
    return Struct(f"{layout.format}{CONTROL_BODY - layout.size}x").pack


_transmit = partial(tuple.__new__, Transmit)
_packed = lru_cache(maxsize=CIPHERS_KEPT)(pack_address)
_is_private = lru_cache(maxsize=CIPHERS_KEPT)(is_private)
_pack_waiting = _packer(v2.Waiting)
_pack_introduce = _packer(v2.Introduce)
_pack_challenge = _packer(v2.Challenge)
_pack_observed = _packer(v2.Observed)


class ControlV2(Machine):
    """`pairs` maps names to control keys; `own_hosts` are the addresses by family (4, 6) at
    which the world sees this control and its network: partners elsewhere are given them instead
    of a loopback or private one; `expire` in seconds."""

    def __init__(
        self,
        pairs: Mapping[str, bytes],
        *,
        own_hosts: Mapping[int, str] | None = None,
        expire: float = timing.EXPIRE,
        random: Random,
    ) -> None:
        super().__init__()
        self.own_hosts = dict(own_hosts or {})
        self.registered = 0
        """How many ends are there and proved."""
        self.take_other: Callable[[bytes, Address, float, Via], None] = self._reject_other
        """Takes what cannot be v2."""
        self._expire = expire
        self._next_nonce = nonces(random).__next__
        self._cookies = Cookies(random)
        self._strangers = Allowances(TO_STRANGER, STRANGER_CELLS, random)
        self._fills = Allowances(FILLS, END_CELLS, random)
        self._surveys = Allowances(SURVEYS, END_CELLS, random)
        self._replays = Replays(REPLAY_CELLS, random)
        self._rejections = Rejections(self._emit)
        self._records = EndRecords(pairs)
        self._expiries: Expiries[EndRecord] = Expiries()

    def awaited(self) -> list[tuple[str, str]]:
        """The ends that are not there though their partners are, as (pair, end)."""
        return [
            (record.pair.name, record.end)
            for record in self._records.all()
            if record.live is None and record.partner.live is not None
        ]

    def replace_pairs(self, pairs: Mapping[str, bytes]) -> None:
        """Serves these pairs from now on; those that stay the same keep their registrations."""
        for gone in self._records.replace(pairs):
            for record in (gone.a, gone.b):
                if record.live is not None:
                    self._emit(Expired(gone.name, record.end, removed=True))
        self._await_expiries()

    def expire_after(self, seconds: float) -> None:
        """From now on, registrations that are there included."""
        self._expire = seconds
        self._await_expiries()

    # The contract.

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        if len(data) != CONTROL_DATAGRAM or data[0] != VERSION:
            return self.take_other(data, source, now, via)
        heard = _HEARD[data[1]]
        if heard is None:
            return self._reject(_MALFORMED, None, source, now)
        pair = self._records.by_tag.get(data[TAG_SLICE])
        if pair is None:
            return self._reject(_UNKNOWN_PAIR, None, source, now)
        record = pair.b if data[1] & END_B else pair.a
        decrypt = record.decrypt or self._records.make_decrypt(record)
        try:
            body = decrypt(data[NONCE], data[SEALED], data[HEADER])
        except Forged:
            return self._reject(_BAD_MAC, pair.name, source, now)
        read, take = heard
        return take(self, read(body), record, source, now, via)

    def next_timer(self) -> float:
        return min(self._expiries.next_timer(), self._rejections.next_timer())

    def handle_timer(self, now: float) -> None:
        for record in self._expiries.take(now):
            record.awaits_expiry = False
            live = record.live
            if live is None:
                continue
            if live.heard + self._expire > now:
                self._await_expiry(record, live)
            else:
                self._clear(record, left=False)
        self._rejections.handle_timer(now)

    def describe(self, data: bytes) -> str:
        pair = self._records.by_tag.get(data[TAG_SLICE])
        ends: tuple[EndName, ...] = ("a", "b") if pair else ()
        return describe(data, [ControlChannel(pair.key, pair.name, end) for end in ends if pair])

    # What ends say.

    def _announced(
        self, fields: Fields, record: EndRecord, source: Address, now: float, via: Via
    ) -> None:
        attempt, counter, cookie, purpose, card = fields
        packed, live = _packed(source), record.live
        was = None if live is None else live.purpose
        verdict = record.hear(attempt, counter, packed, via, purpose, card, now)
        if verdict is REFRESH:
            assert live is not None
            if live.standing == _PROVED:
                self._introduce(record, live, source, counter, now)
                if purpose != was:
                    self._tell_standby(record, live, now)
            elif self._is_good(cookie, record, attempt, source, now):
                self._register(live, record, source, now)
            else:
                self._greet(record, live, source, counter, now)
        elif verdict is STALE:
            self._drop(Drop.STALE)
        elif verdict is LIMITED:
            self._drop(Drop.OVER_LIMIT)
        else:
            heard = Live(attempt, counter, packed, via, purpose, card, now)
            self._unknown(heard, verdict, cookie, record, source, now)

    def _unknown(
        self,
        heard: Live,
        verdict: Verdict,
        cookie: bytes,
        record: EndRecord,
        source: Address,
        now: float,
    ) -> None:
        """An attempt that is not live, or from elsewhere than it was."""
        attempt, counter = heard.attempt, heard.counter
        if self._is_good(cookie, record, attempt, source, now):
            self._register(heard, record, source, now)
        elif not self._replays.is_new(_place(record) + _once(attempt, counter) + heard.source):
            self._drop(Drop.STALE)
        elif verdict is FILL and self._fills.take(_place(record), now):
            self._fill(heard, record)
            self._greet(record, heard, source, counter, now, is_new=True)
        elif self._may_tell(record, heard.source, now):
            cookie = self._cookies.make(source, _context(record, attempt), now)
            body = _pack_challenge(attempt, counter, cookie, self._in_conflict(record, now))
            self._answer(_CHALLENGE, body, record, source, heard.via)
        else:
            self._drop(Drop.OVER_LIMIT)

    def _left(self, fields: Fields, record: EndRecord, *_whence: object) -> None:
        attempt, counter = fields
        if record.live is not None and record.live.leaves(attempt, counter):
            self._clear(record, left=True)
        else:
            self._drop(Drop.STALE)

    def _observing(
        self, fields: Fields, record: EndRecord, source: Address, now: float, via: Via
    ) -> None:
        (echo,) = fields
        packed = _packed(source)
        if not self._may_tell(record, packed, now):
            self._drop(Drop.OVER_LIMIT)
            return
        self._answer(_OBSERVED, _pack_observed(echo, packed), record, source, via)

    # Registrations.

    def _is_good(
        self, cookie: bytes, record: EndRecord, attempt: bytes, source: Address, now: float
    ) -> bool:
        return cookie != v2.NO_COOKIE and self._cookies.is_good(
            cookie, source, _context(record, attempt), now
        )

    def _register(self, live: Live, record: EndRecord, source: Address, now: float) -> None:
        """Takes an announcement whose cookie is good: its address is proved from now on."""
        was_here = record.remembers(live.attempt)
        if record.live is None or not record.live.proved:
            self.registered += 1
        live.standing = _PROVED
        displaced = self._fill(live, record)
        if displaced is None or displaced.source != live.source:
            self._emit(Registered(record.pair.name, record.end, source))
        if displaced and was_here:  # it was displaced itself: neither gives way
            self._tell_conflict(record, displaced.address, source, now)
        conflict = self._in_conflict(record, now)
        self._introduce(record, live, source, live.counter, now, conflict)
        self._tell_standby(record, live, now)

    def _fill(self, live: Live, record: EndRecord) -> Live | None:
        """Puts it into its slot; see `Slot.fill`."""
        displaced = record.fill(live)
        self._await_expiry(record, live)
        return displaced

    def _await_expiries(self) -> None:
        """Reckons anew who is there and until when."""
        self._expiries = Expiries()
        self.registered = 0
        for record in self._records.all():
            record.awaits_expiry = False
            if record.live is not None:
                self.registered += record.live.proved
                self._await_expiry(record, record.live)

    def _await_expiry(self, record: EndRecord, live: Live) -> None:
        if not record.awaits_expiry:
            record.awaits_expiry = True
            self._expiries.add(record, live.heard + self._expire)

    def _clear(self, record: EndRecord, *, left: bool) -> None:
        was_proved = record.live is not None and record.live.proved
        record.clear()
        if was_proved:
            self.registered -= 1
            self._emit(Expired(record.pair.name, record.end, left=left))

    def _tell_conflict(self, record: EndRecord, one: Address, other: Address, now: float) -> None:
        if not self._in_conflict(record, now):
            record.conflict_told = now
            self._emit(RoleConflict(record.pair.name, record.end, (one, other)))

    def _in_conflict(self, record: EndRecord, now: float) -> bool:
        """Whether two machines announced this end in turn lately."""
        return record.conflict_told is not None and now - record.conflict_told < CONFLICT_INTERVAL

    # Answers.

    def _introduce(
        self,
        record: EndRecord,
        live: Live,
        source: Address,
        counter: int,
        now: float,
        conflict: int = 0,
    ) -> None:
        """Answers the announcement of a proved end, and tells the partner if that is proved."""
        other = record.partner.live
        if other is None or other.standing != _PROVED or live.purpose != _PUNCH:
            return self._send_waiting(record, live, source, counter, now, conflict=conflict)
        if other.purpose == _PUNCH:
            self._send_introduction(
                _INTRODUCE, record, live, source, other, other.address, counter, conflict=conflict
            )
        else:
            self._send_waiting(record, live, source, counter, now, conflict=conflict)
        return self._send_introduction(
            _INTRODUCE, record.partner, other, other.address, live, source, 0
        )

    def _greet(
        self,
        record: EndRecord,
        live: Live,
        source: Address,
        counter: int,
        now: float,
        *,
        is_new: bool = False,
    ) -> None:
        """Answers the announcement of an end that is not proved, with a cookie. `is_new`: its
        partner has not heard of it."""
        if not self._may_tell(record, live.source, now):
            self._drop(Drop.OVER_LIMIT)
            return
        cookie = self._cookies.make(source, _context(record, live.attempt), now)
        other = record.partner.live
        if other is None or live.purpose != _PUNCH or other.purpose != _PUNCH:
            self._send_waiting(record, live, source, counter, now, cookie)
        elif other.standing == _PROVED:
            self._send_introduction(
                _INTRODUCE, record, live, source, other, other.address, counter, cookie
            )
            if is_new:
                self._knock(record.partner, other, live, source)
        elif (
            is_new
            and other.standing == _UNPROVED
            and self._may_tell(record.partner, other.source, now)
        ):
            # Both have just begun: each is told of the other, or the link would be later by a
            # round trip.
            other.standing = _KNOCKED
            self._send_introduction(
                _KNOCK, record, live, source, other, other.address, counter, cookie
            )
            self._knock(record.partner, other, live, source)
        else:
            self._send_waiting(record, live, source, counter, now, cookie)

    def _knock(self, record: EndRecord, live: Live, other: Live, at: Address) -> None:
        """Tells `live` that `other`, at `at`, may be its partner."""
        self._send_introduction(_KNOCK, record, live, live.address, other, at, 0)

    def _may_tell(self, record: EndRecord, packed: bytes, now: float) -> bool:
        """Whether this host may be sent one more datagram because of this end, of which nothing
        is proved but maybe the host. By its host alone: a forger chooses ports as he likes, and
        which of a pair's ends he replays."""
        live = record.live
        if live is not None and live.proved and live.source[HOST_PART] == packed[HOST_PART]:
            return self._surveys.take(_place(record), now)
        return self._strangers.take(record.pair.tag + packed[HOST_PART], now)

    def _tell_standby(self, record: EndRecord, live: Live, now: float) -> None:
        """An end has come on standby while its partner waits already: that one is to announce
        itself at once, with the proof that it is there, instead of when its time comes."""
        other = record.partner.live
        if live.purpose != _STANDBY or other is None or other.purpose != _PUNCH:
            return
        if other.standing == _PROVED:
            self._send_waiting(record.partner, other, other.address, 0, now)

    def _send_introduction(
        self,
        kind: int,
        record: EndRecord,
        live: Live,
        source: Address,
        other: Live,
        at: Address,
        counter: int,
        cookie: bytes = v2.NO_COOKIE,
        conflict: int = 0,
    ) -> None:
        """Tells `live`, at `source`, of `other`, at `at`."""
        partner = _packed(self._as_seen_by(source, at))
        body = _pack_introduce(
            live.attempt, counter, live.source, other.attempt, partner, other.card, cookie, conflict
        )
        self._answer(kind, body, record, source, live.via)

    def _send_waiting(
        self,
        record: EndRecord,
        live: Live,
        source: Address,
        counter: int,
        now: float,
        cookie: bytes = v2.NO_COOKIE,
        conflict: int = 0,
    ) -> None:
        other, standby = record.partner.live, v2.NO_ATTEMPT
        if other is not None and other.standing != _PROVED:
            other = None
        heard = record.partner.last_heard if other is None else other.heard
        if other is not None and other.purpose == _STANDBY:
            standby = other.attempt
        age = v2.NEVER_HEARD if heard is None else min(int((now - heard) * 1000), v2.NEVER_HEARD)
        body = _pack_waiting(live.attempt, counter, live.source, age, standby, cookie, conflict)
        self._answer(_WAITING, body, record, source, live.via)

    def _as_seen_by(self, viewer: Address, address: Address) -> Address:
        """An end on this very host, or in our network, is seen at loopback or a private address.
        A partner elsewhere needs the one at which the world sees us instead; the port is a guess
        (NATs mostly keep it). A partner that is inside, too, gets what we see: it can send there,
        and takes loopback for the address at which it reaches us."""
        if not _is_private(address.host) or _is_private(viewer.host):
            return address
        return Address(self.own_hosts.get(address.family, address.host), address.port)

    def _answer(
        self, kind: int, body: bytes, record: EndRecord, destination: Address, via: Via
    ) -> None:
        encrypt = record.encrypt or self._records.make_encrypt(record)
        nonce, header = self._next_nonce(), PREFIXES[kind | record.flag] + record.pair.tag
        data = header + nonce + encrypt(nonce, body, header)
        self._transmits.append(_transmit((data, destination, via, 0)))

    def _reject_other(self, _data: bytes, source: Address, now: float, _via: Via) -> None:
        self._reject(_MALFORMED, None, source, now)

    def _reject(self, reason: Drop, pair: str | None, source: Address, now: float) -> None:
        self._drops[reason] += 1
        self._rejections.add(reason, pair, source, now)


def _place(record: EndRecord) -> bytes:
    """Which end of which pair this is."""
    return record.pair.tag + record.end.encode()


_once = Struct("!8sQ").pack
"""What no two announcements of an end have in common: attempt and counter."""


def _context(record: EndRecord, attempt: bytes) -> bytes:
    """What a cookie is good for, beside an address."""
    return _place(record) + attempt


_Read = Callable[[bytes], Fields]
_Take = Callable[[ControlV2, Fields, EndRecord, Address, float, Via], None]
_OF_EITHER_END: dict[type[v2.ToControl], _Take] = {
    v2.Announce: ControlV2._announced,
    v2.Leave: ControlV2._left,
    v2.Observe: ControlV2._observing,
}
_BY_KIND: dict[int, tuple[_Read, _Take]] = {
    v2.LAYOUTS[message].kind | flag: (v2.LAYOUTS[message].struct.unpack_from, take)
    for message, take in _OF_EITHER_END.items()
    for flag in (0, END_B)
}
_HEARD = [_BY_KIND.get(kind) for kind in range(256)]
"""What ends say to a control, by the kind byte: how it is read, and who takes it. A list:
each datagram is looked up here, and a dict takes twice as long."""
