"""The v2 half of a control node: registers ends, introduces them, says nothing to strangers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netpunch.address import Address, is_loopback
from netpunch.core import timing
from netpunch.core.cookies import Cookies
from netpunch.core.describe import describe
from netpunch.core.events import Expired, Registered, RoleConflict, Via
from netpunch.core.machine import NEVER, Outbox, Random
from netpunch.core.rejections import Rejections
from netpunch.core.slots import Live, Slot, Verdict
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import (
    CONTROL_DATAGRAM,
    END_B,
    NONCE_LENGTH,
    OTHER,
    TAG_SLICE,
    ControlChannel,
    EndName,
)
from netpunch.wire.keys import pair_tag

CONFLICT_INTERVAL = 60.0
"""A role conflict is told once a minute: it goes on until somebody acts."""


@dataclass(slots=True)
class _Desk:
    """One end's place at this control: its channel and its slot."""

    pair: str
    end: EndName
    tag: bytes
    channel: ControlChannel
    slot: Slot = field(default_factory=Slot)


class _Pair:
    """Both desks of a pair."""

    __slots__ = ("a", "b", "key", "name")

    def __init__(self, name: str, key: bytes) -> None:
        self.name = name
        self.key = key
        tag = pair_tag(name)
        self.a = _Desk(name, "a", tag, ControlChannel(key, name, "a"))
        self.b = _Desk(name, "b", tag, ControlChannel(key, name, "b"))

    def desk(self, end: EndName) -> _Desk:
        return self.a if end == "a" else self.b


class ControlV2(Outbox):
    """`pairs` maps names to control keys; `own_hosts` are this control's addresses by family
    (4, 6), given to partners instead of a loopback one; `expire` in seconds."""

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
        self._expire = expire
        self._random = random
        self._cookies = Cookies(random)
        self._rejections = Rejections(self._emit)
        self._pairs = {pair_tag(name): _Pair(name, key) for name, key in pairs.items()}
        self._by_heard: dict[tuple[bytes, EndName], _Desk] = {}
        """The live registrations, the longest unheard first."""

    def replace_pairs(self, pairs: Mapping[str, bytes]) -> None:
        """Serves these pairs from now on; those that stay the same keep their registrations."""
        kept = {
            pair.name: pair for pair in self._pairs.values() if pairs.get(pair.name) == pair.key
        }
        self._pairs = {
            pair_tag(name): kept.get(name) or _Pair(name, key) for name, key in pairs.items()
        }
        self._by_heard = {
            place: desk
            for place, desk in self._by_heard.items()
            if self._pairs.get(place[0]) and self._pairs[place[0]].desk(desk.end) is desk
        }

    @property
    def registered(self) -> int:
        """How many ends are there."""
        return len(self._by_heard)

    # The contract.

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        if len(data) != CONTROL_DATAGRAM:
            return self._reject(Drop.MALFORMED, None, source, now)
        pair = self._pairs.get(data[TAG_SLICE])
        if pair is None:
            return self._reject(Drop.UNKNOWN_PAIR, None, source, now)
        desk = pair.b if data[1] & END_B else pair.a
        message = desk.channel.to_control.open(data)
        match message:
            case Drop():
                self._reject(message, pair.name, source, now)
            case v2.Announce():
                self._announced(message, pair, desk, source, now, via)
            case v2.Leave():
                self._left(message, desk)
            case v2.Observe():
                self._answer(v2.Observed(message.echo, source), desk, source, via)
            case _:
                self._drop(Drop.UNEXPECTED)
        return None

    def next_timer(self) -> float:
        oldest = next(iter(self._by_heard.values()), None)
        expiry = NEVER
        if oldest is not None and oldest.slot.live is not None:
            expiry = oldest.slot.live.heard + self._expire
        return min(expiry, self._rejections.next_timer())

    def handle_timer(self, now: float) -> None:
        while (desk := next(iter(self._by_heard.values()), None)) is not None:
            assert desk.slot.live is not None
            if desk.slot.live.heard + self._expire > now:
                break
            self._clear(desk)
            self._emit(Expired(desk.pair, desk.end))
        self._rejections.handle_timer(now)

    def describe(self, data: bytes) -> str:
        pair = self._pairs.get(data[TAG_SLICE])
        return describe(data, [pair.a.channel, pair.b.channel] if pair else [])

    # Announcements.

    def _announced(
        self,
        announce: v2.Announce,
        pair: _Pair,
        desk: _Desk,
        source: Address,
        now: float,
        via: Via,
    ) -> None:
        attempt, counter = announce.attempt, announce.counter
        context = desk.tag + desk.end.encode() + attempt
        cookie = announce.cookie != v2.NO_COOKIE and self._cookies.is_good(
            announce.cookie, source, context, now
        )
        match desk.slot.judge(attempt, counter, source, cookie=cookie):
            case Verdict.STALE:
                self._drop(Drop.STALE)
            case Verdict.CHALLENGE:
                cookie_now = self._cookies.make(source, context, now)
                self._answer(v2.Challenge(attempt, counter, cookie_now), desk, source, via)
            case _:  # ACCEPT
                live = Live(attempt, source, via, announce.purpose, announce.card, now)
                self._register(live, counter, desk, now)
                self._introduce(desk, counter, pair.desk(OTHER[desk.end]), now)

    def _register(self, live: Live, counter: int, desk: _Desk, now: float) -> None:
        before, known = desk.slot.live, live.attempt in desk.slot.counters
        displaced = desk.slot.accept(live, counter)
        place = (desk.tag, desk.end)
        self._by_heard.pop(place, None)
        self._by_heard[place] = desk
        if before is None or displaced or before.source != live.source:
            self._emit(Registered(desk.pair, desk.end, live.source))
        if displaced and known:  # it was displaced itself: neither gives way
            self._tell_conflict(desk, displaced.source, live.source, now)

    def _tell_conflict(self, desk: _Desk, one: Address, other: Address, now: float) -> None:
        told = desk.slot.conflict_told
        if told is None or now - told >= CONFLICT_INTERVAL:
            desk.slot.conflict_told = now
            self._emit(RoleConflict(desk.pair, desk.end, (one, other)))

    def _introduce(self, desk: _Desk, counter: int, partner: _Desk, now: float) -> None:
        """Answers an accepted announcement, and tells the partner if it is there."""
        live, other = desk.slot.live, partner.slot.live
        assert live is not None
        if live.purpose == v2.Purpose.PUNCH and other is not None:
            if other.purpose == v2.Purpose.PUNCH:
                self._send_introduction(desk, live, other, counter)
            else:
                self._send_waiting(desk, live, counter, partner, now)
            self._send_introduction(partner, other, live, 0)
        else:
            self._send_waiting(desk, live, counter, partner, now)

    def _send_introduction(self, desk: _Desk, live: Live, other: Live, counter: int) -> None:
        introduce = v2.Introduce(
            live.attempt,
            counter,
            live.source,
            other.attempt,
            self._as_seen_by(live.source, other.source),
            other.card,
        )
        self._answer(introduce, desk, live.source, live.via)

    def _send_waiting(
        self, desk: _Desk, live: Live, counter: int, partner: _Desk, now: float
    ) -> None:
        heard = partner.slot.last_heard
        age = v2.NEVER_HEARD if heard is None else min(int((now - heard) * 1000), v2.NEVER_HEARD)
        other = partner.slot.live
        standby = other.attempt if other and other.purpose == v2.Purpose.STANDBY else v2.NO_ATTEMPT
        waiting = v2.Waiting(live.attempt, counter, live.source, age, standby)
        self._answer(waiting, desk, live.source, live.via)

    def _as_seen_by(self, viewer: Address, address: Address) -> Address:
        """An end on this very host is seen at loopback: its partner elsewhere needs our own
        address instead."""
        if is_loopback(address.host) and not is_loopback(viewer.host):
            return Address(self.own_hosts.get(address.family, address.host), address.port)
        return address

    # Leaving.

    def _left(self, leave: v2.Leave, desk: _Desk) -> None:
        if desk.slot.leave(leave.attempt, leave.counter):
            del self._by_heard[desk.tag, desk.end]
            self._emit(Expired(desk.pair, desk.end, left=True))
        else:
            self._drop(Drop.STALE)

    def _clear(self, desk: _Desk) -> None:
        desk.slot.expire()
        del self._by_heard[desk.tag, desk.end]

    # Out.

    def _answer(self, message: v2.FromControl, desk: _Desk, destination: Address, via: Via) -> None:
        data = desk.channel.from_control.seal(message, self._random(NONCE_LENGTH))
        self._send(data, destination, via)

    def _reject(self, reason: Drop, pair: str | None, source: Address, now: float) -> None:
        self._drop(reason)
        self._rejections.add(reason, pair, source, now)
