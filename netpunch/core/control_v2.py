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
from netpunch.core.cookies import Cookies
from netpunch.core.describe import describe
from netpunch.core.desks import CIPHERS_KEPT, Desk, Desks
from netpunch.core.events import Expired, Registered, RoleConflict, Via
from netpunch.core.expiries import Expiries
from netpunch.core.machine import Outbox, Random, Transmit
from netpunch.core.nonces import nonces
from netpunch.core.rejections import Rejections
from netpunch.core.slots import FILL, LIMITED, REFRESH, STALE, Live, Standing, Verdict
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
from netpunch.wire.packed import ADDRESS_LENGTH, pack_address

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


class ControlV2(Outbox):
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
        self._desks = Desks(pairs)
        self._expiries: Expiries[Desk] = Expiries()

    def awaited(self) -> list[tuple[str, str]]:
        """The ends that are not there though their partners are, as (pair, end)."""
        return [
            (desk.pair.name, desk.end)
            for desk in self._desks.all()
            if desk.live is None and desk.partner.live is not None
        ]

    def replace_pairs(self, pairs: Mapping[str, bytes]) -> None:
        """Serves these pairs from now on; those that stay the same keep their registrations."""
        for gone in self._desks.replace(pairs):
            for desk in (gone.a, gone.b):
                if desk.live is not None:
                    self._emit(Expired(gone.name, desk.end, removed=True))
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
        pair = self._desks.by_tag.get(data[TAG_SLICE])
        if pair is None:
            return self._reject(_UNKNOWN_PAIR, None, source, now)
        desk = pair.b if data[1] & END_B else pair.a
        decrypt = desk.decrypt or self._desks.make_decrypt(desk)
        try:
            body = decrypt(data[NONCE], data[SEALED], data[HEADER])
        except Forged:
            return self._reject(_BAD_MAC, pair.name, source, now)
        read, take = heard
        return take(self, read(body), desk, source, now, via)

    def next_timer(self) -> float:
        return min(self._expiries.next_timer(), self._rejections.next_timer())

    def handle_timer(self, now: float) -> None:
        for desk in self._expiries.take(now):
            desk.awaits_expiry = False
            live = desk.live
            if live is None:
                continue
            if live.heard + self._expire > now:
                self._await_expiry(desk, live)
            else:
                self._clear(desk, left=False)
        self._rejections.handle_timer(now)

    def describe(self, data: bytes) -> str:
        pair = self._desks.by_tag.get(data[TAG_SLICE])
        ends: tuple[EndName, ...] = ("a", "b") if pair else ()
        return describe(data, [ControlChannel(pair.key, pair.name, end) for end in ends if pair])

    # What ends say.

    def _announced(self, fields: Fields, desk: Desk, source: Address, now: float, via: Via) -> None:
        attempt, counter, cookie, purpose, card = fields
        packed, live = _packed(source), desk.live
        was = None if live is None else live.purpose
        verdict = desk.hear(attempt, counter, packed, via, purpose, card, now)
        if verdict is REFRESH:
            assert live is not None
            if live.standing == _PROVED:
                self._introduce(desk, live, source, counter, now)
                if purpose != was:
                    self._tell_standby(desk, live, now)
            elif self._is_good(cookie, desk, attempt, source, now):
                self._register(live, desk, source, now)
            else:
                self._greet(desk, live, source, counter, now)
        elif verdict is STALE:
            self._drop(Drop.STALE)
        elif verdict is LIMITED:
            self._drop(Drop.OVER_LIMIT)
        else:
            heard = Live(attempt, counter, packed, via, purpose, card, now)
            self._unknown(heard, verdict, cookie, desk, source, now)

    def _unknown(
        self, heard: Live, verdict: Verdict, cookie: bytes, desk: Desk, source: Address, now: float
    ) -> None:
        """An attempt that is not live, or from elsewhere than it was."""
        attempt, counter = heard.attempt, heard.counter
        if self._is_good(cookie, desk, attempt, source, now):
            self._register(heard, desk, source, now)
        elif not self._replays.is_new(_place(desk) + _once(attempt, counter) + heard.source):
            self._drop(Drop.STALE)
        elif verdict is FILL and self._fills.take(_place(desk), now):
            self._fill(heard, desk)
            self._greet(desk, heard, source, counter, now, is_new=True)
        elif self._may_tell(desk, heard.source, now):
            cookie = self._cookies.make(source, _context(desk, attempt), now)
            body = _pack_challenge(attempt, counter, cookie, self._in_conflict(desk, now))
            self._answer(_CHALLENGE, body, desk, source, heard.via)
        else:
            self._drop(Drop.OVER_LIMIT)

    def _left(self, fields: Fields, desk: Desk, *_whence: object) -> None:
        attempt, counter = fields
        if desk.live is not None and desk.live.leaves(attempt, counter):
            self._clear(desk, left=True)
        else:
            self._drop(Drop.STALE)

    def _observing(self, fields: Fields, desk: Desk, source: Address, now: float, via: Via) -> None:
        (echo,) = fields
        packed = _packed(source)
        if not self._may_tell(desk, packed, now):
            self._drop(Drop.OVER_LIMIT)
            return
        self._answer(_OBSERVED, _pack_observed(echo, packed), desk, source, via)

    # Registrations.

    def _is_good(
        self, cookie: bytes, desk: Desk, attempt: bytes, source: Address, now: float
    ) -> bool:
        return cookie != v2.NO_COOKIE and self._cookies.is_good(
            cookie, source, _context(desk, attempt), now
        )

    def _register(self, live: Live, desk: Desk, source: Address, now: float) -> None:
        """Takes an announcement whose cookie is good: its address is proved from now on."""
        was_here = desk.remembers(live.attempt)
        if desk.live is None or not desk.live.proved:
            self.registered += 1
        live.standing = _PROVED
        displaced = self._fill(live, desk)
        if displaced is None or displaced.source != live.source:
            self._emit(Registered(desk.pair.name, desk.end, source))
        if displaced and was_here:  # it was displaced itself: neither gives way
            self._tell_conflict(desk, displaced.address, source, now)
        conflict = self._in_conflict(desk, now)
        self._introduce(desk, live, source, live.counter, now, conflict)
        self._tell_standby(desk, live, now)

    def _fill(self, live: Live, desk: Desk) -> Live | None:
        """Puts it into its slot; see `Slot.fill`."""
        displaced = desk.fill(live)
        self._await_expiry(desk, live)
        return displaced

    def _await_expiries(self) -> None:
        """Reckons anew who is there and until when."""
        self._expiries = Expiries()
        self.registered = 0
        for desk in self._desks.all():
            desk.awaits_expiry = False
            if desk.live is not None:
                self.registered += desk.live.proved
                self._await_expiry(desk, desk.live)

    def _await_expiry(self, desk: Desk, live: Live) -> None:
        if not desk.awaits_expiry:
            desk.awaits_expiry = True
            self._expiries.add(desk, live.heard + self._expire)

    def _clear(self, desk: Desk, *, left: bool) -> None:
        was_proved = desk.live is not None and desk.live.proved
        desk.clear()
        if was_proved:
            self.registered -= 1
            self._emit(Expired(desk.pair.name, desk.end, left=left))

    def _tell_conflict(self, desk: Desk, one: Address, other: Address, now: float) -> None:
        if not self._in_conflict(desk, now):
            desk.conflict_told = now
            self._emit(RoleConflict(desk.pair.name, desk.end, (one, other)))

    def _in_conflict(self, desk: Desk, now: float) -> bool:
        """Whether two machines announced this end in turn lately."""
        return desk.conflict_told is not None and now - desk.conflict_told < CONFLICT_INTERVAL

    # Answers.

    def _introduce(
        self, desk: Desk, live: Live, source: Address, counter: int, now: float, conflict: int = 0
    ) -> None:
        """Answers the announcement of a proved end, and tells the partner if that is proved."""
        other = desk.partner.live
        if other is None or other.standing != _PROVED or live.purpose != _PUNCH:
            return self._send_waiting(desk, live, source, counter, now, conflict=conflict)
        if other.purpose == _PUNCH:
            self._send_introduction(
                _INTRODUCE, desk, live, source, other, other.address, counter, conflict=conflict
            )
        else:
            self._send_waiting(desk, live, source, counter, now, conflict=conflict)
        return self._send_introduction(
            _INTRODUCE, desk.partner, other, other.address, live, source, 0
        )

    def _greet(
        self,
        desk: Desk,
        live: Live,
        source: Address,
        counter: int,
        now: float,
        *,
        is_new: bool = False,
    ) -> None:
        """Answers the announcement of an end that is not proved, with a cookie. `is_new`: its
        partner has not heard of it."""
        if not self._may_tell(desk, live.source, now):
            self._drop(Drop.OVER_LIMIT)
            return
        cookie = self._cookies.make(source, _context(desk, live.attempt), now)
        other = desk.partner.live
        if other is None or live.purpose != _PUNCH or other.purpose != _PUNCH:
            self._send_waiting(desk, live, source, counter, now, cookie)
        elif other.standing == _PROVED:
            self._send_introduction(
                _INTRODUCE, desk, live, source, other, other.address, counter, cookie
            )
            if is_new:
                self._knock(desk.partner, other, live, source)
        elif (
            is_new
            and other.standing == _UNPROVED
            and self._may_tell(desk.partner, other.source, now)
        ):
            # Both have just begun: each is told of the other, or the link would be later by a
            # round trip.
            other.standing = _KNOCKED
            self._send_introduction(
                _KNOCK, desk, live, source, other, other.address, counter, cookie
            )
            self._knock(desk.partner, other, live, source)
        else:
            self._send_waiting(desk, live, source, counter, now, cookie)

    def _knock(self, desk: Desk, live: Live, other: Live, at: Address) -> None:
        """Tells `live` that `other`, at `at`, may be its partner."""
        self._send_introduction(_KNOCK, desk, live, live.address, other, at, 0)

    def _may_tell(self, desk: Desk, packed: bytes, now: float) -> bool:
        """Whether this host may be sent one more datagram because of this end, of which nothing
        is proved but maybe the host. By its host alone: a forger chooses ports as he likes, and
        which of a pair's ends he replays."""
        live = desk.live
        if live is not None and live.proved and live.source[HOST_PART] == packed[HOST_PART]:
            return self._surveys.take(_place(desk), now)
        return self._strangers.take(desk.pair.tag + packed[HOST_PART], now)

    def _tell_standby(self, desk: Desk, live: Live, now: float) -> None:
        """An end has come on standby while its partner waits already: that one is to announce
        itself at once, with the proof that it is there, instead of when its time comes."""
        other = desk.partner.live
        if live.purpose != _STANDBY or other is None or other.purpose != _PUNCH:
            return
        if other.standing == _PROVED:
            self._send_waiting(desk.partner, other, other.address, 0, now)

    def _send_introduction(
        self,
        kind: int,
        desk: Desk,
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
        self._answer(kind, body, desk, source, live.via)

    def _send_waiting(
        self,
        desk: Desk,
        live: Live,
        source: Address,
        counter: int,
        now: float,
        cookie: bytes = v2.NO_COOKIE,
        conflict: int = 0,
    ) -> None:
        other, standby = desk.partner.live, v2.NO_ATTEMPT
        if other is not None and other.standing != _PROVED:
            other = None
        heard = desk.partner.last_heard if other is None else other.heard
        if other is not None and other.purpose == _STANDBY:
            standby = other.attempt
        age = v2.NEVER_HEARD if heard is None else min(int((now - heard) * 1000), v2.NEVER_HEARD)
        body = _pack_waiting(live.attempt, counter, live.source, age, standby, cookie, conflict)
        self._answer(_WAITING, body, desk, source, live.via)

    def _as_seen_by(self, viewer: Address, address: Address) -> Address:
        """An end on this very host, or in our network, is seen at loopback or a private address.
        A partner elsewhere needs the one at which the world sees us instead; the port is a guess
        (NATs mostly keep it). A partner that is inside, too, gets what we see: it can send there,
        and takes loopback for the address at which it reaches us."""
        if not _is_private(address.host) or _is_private(viewer.host):
            return address
        return Address(self.own_hosts.get(address.family, address.host), address.port)

    def _answer(self, kind: int, body: bytes, desk: Desk, destination: Address, via: Via) -> None:
        encrypt = desk.encrypt or self._desks.make_encrypt(desk)
        nonce, header = self._next_nonce(), PREFIXES[kind | desk.flag] + desk.pair.tag
        data = header + nonce + encrypt(nonce, body, header)
        self._transmits.append(_transmit((data, destination, via, 0)))

    def _reject_other(self, _data: bytes, source: Address, now: float, _via: Via) -> None:
        self._reject(_MALFORMED, None, source, now)

    def _reject(self, reason: Drop, pair: str | None, source: Address, now: float) -> None:
        self._drops[reason] += 1
        self._rejections.add(reason, pair, source, now)


def _place(desk: Desk) -> bytes:
    """Which end of which pair this is."""
    return desk.pair.tag + desk.end.encode()


_once = Struct("!8sQ").pack
"""What no two announcements of an end have in common: attempt and counter."""


def _context(desk: Desk, attempt: bytes) -> bytes:
    """What a cookie is good for, beside an address."""
    return _place(desk) + attempt


_Read = Callable[[bytes], Fields]
_Take = Callable[[ControlV2, Fields, Desk, Address, float, Via], None]
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
