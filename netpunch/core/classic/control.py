"""The classic control node: 26 slots, each the observed address of one end.

Theory of operation. An authentic announcement fills its slot, or moves it, or keeps it filled,
and is answered with the partner's address if the partner's slot is filled. A slot that is filled
or moved is news to the partner: 400 ms later control pushes the partner its answer once more,
unless it has asked in the meantime. A slot without an announcement for `expire` seconds is emptied.

    EMPTY ──announced──> FILLED ──announced from elsewhere──> FILLED (moved)
      └<──not announced for `expire` seconds──┘

A datagram costs the same however many slots and strangers there are: the 26 announcements are
signed once and compared, answers are signed when an address changes, and the timer is set to the
earliest time at which anything could be due, not moved with each datagram.

An announcement carries no nonce: replayed from a forged source it moves the slot and is answered
there, one datagram for one. A rate for each slot, for ends and replays together, limits this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hmac import compare_digest

from netpunch.address import Address, canonical_host, is_loopback, is_pingable
from netpunch.core.control.absences import Absences, Absent
from netpunch.core.control.presences import RegisteredEnd
from netpunch.core.control.rejections import Rejections
from netpunch.core.events import Expired, Via, registered
from netpunch.core.machine import NEVER, Machine, Transmit
from netpunch.wire.classic import (
    FIXED_SIZE,
    LETTERS,
    PAYLOAD_OFFSET,
    SIGNATURE_SIZE,
    Codec,
    UnsignableError,
    describe,
    end_of,
    introduction_payload,
    pair_of,
    partner_letter,
)
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import is_of_other_version

EXPIRE = 95.0
"""Seconds. A Go end announces every 30.5 s: three of its announcements may be lost."""
ANNOUNCE_RATE, ANNOUNCE_BURST = 5, 20
"""Announcements to a slot, a second and at once, that are taken. An end sends five to eight when
it starts. A replayed one is answered where it seems to come from."""
PUSH_DELAY = 0.4
"""Seconds. A push that arrives while a Go end is closing throws it back to pinging, so a pair
that is being linked by the answers alone gets the time to finish."""


class _Slot:
    """One letter: the address of its end, if that has announced itself, and the answer to it."""

    def __init__(self, letter: str, secret: bytes) -> None:
        self.letter = letter
        self.codec = Codec(secret, letter)
        self.signature = self.codec.fixed(letter)[:SIGNATURE_SIZE]
        self.pair = ""
        self.address: Address | None = None
        self.via: Via = 0
        self.heard = 0.0
        self.since = 0.0
        """When the end came to its address."""
        self.last_heard: float | None = None
        """Of an end that is no longer registered."""
        self.burst = 0
        """Announcements so far, less ANNOUNCE_RATE for each second."""
        self.push_at = NEVER
        """When to send the answer unasked."""
        self.answer: Transmit | None = None
        """Kept until an address changes; None while there is no partner to introduce."""
        self._introduced: Address | None = None
        self._introduction: bytes | None = None

    def introduce(self, address: Address | None) -> None:
        """Prepares the answer that names `address` as the partner's; None: there is no answer."""
        if address is None or self.address is None:
            self.answer = None
            return
        if address != self._introduced:
            self._introduced = address
            self._introduction = self._sign_introduction(address)
        if self._introduction is None:
            self.answer = None
        else:
            self.answer = Transmit(self._introduction, self.address, self.via)

    def _sign_introduction(self, address: Address) -> bytes | None:
        payload = introduction_payload(partner_letter(self.letter), address)
        try:
            return self.codec.sign(payload)
        except UnsignableError:  # no end could read it; with another port of the partner it works
            return None


class ClassicControl(Machine):
    """The sans-I/O classic control node; see `core.machine` for the contract.

    `secrets` are the secrets by slot letter, `names` the pairs' names by slot letter (default:
    `a-b`), `expire` in seconds. `own_host` is the IP literal by which others reach this node:
    partners elsewhere are given it for an end that is seen on loopback, on this very host.

    Raises ConfigurationError for a secret that cannot sign, ValueError for an invalid letter or
    IP."""

    def __init__(
        self,
        secrets: Mapping[str, bytes],
        *,
        names: Mapping[str, str] | None = None,
        expire: float = EXPIRE,
        own_host: str | None = None,
    ) -> None:
        super().__init__()
        self._expire = expire
        self._own_host = canonical_host(own_host) if own_host is not None else None
        self._slots: dict[int, _Slot] = {}
        self._wake = NEVER
        """Not later than anything that is due."""
        self._rejections = Rejections(self._emit)
        self.replace_secrets(secrets, names=names)

    def present(self) -> Iterator[tuple[str, str, RegisteredEnd]]:
        """The ends that are registered, with pair and end."""
        for slot in self._slots.values():
            if slot.address is not None:
                yield slot.pair, end_of(slot.letter), RegisteredEnd(slot.address, slot.since)

    @property
    def registered(self) -> int:
        """How many ends are registered."""
        return sum(slot.address is not None for slot in self._slots.values())

    def absences(self) -> Absences:
        """The ends that are not registered."""
        absent = []
        for slot in self._slots.values():
            if slot.address is None:
                partner = self._partner(slot)
                awaited = partner is not None and partner.address is not None
                absent.append(Absent(slot.pair, end_of(slot.letter), slot.last_heard, awaited))
        return Absences(len(absent), tuple(absent))

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        if now >= self._wake:
            self.handle_timer(now)
        slot = self._slots.get(data[PAYLOAD_OFFSET]) if len(data) == FIXED_SIZE else None
        if slot is None or not compare_digest(slot.signature, data[:SIGNATURE_SIZE]):
            self._reject(data, slot, source, now)
            return
        burst = slot.burst - int((now - slot.heard) * ANNOUNCE_RATE)
        if burst >= ANNOUNCE_BURST:
            self._drop(Drop.OVER_LIMIT)
            return
        slot.burst = burst + 1 if burst > 0 else 1
        if source != slot.address or via != slot.via:
            if not is_pingable(source, loopback=True):
                self._drop(Drop.HOSTILE_ADDRESS)
                return
            self._settle(slot, source, now, via)
        slot.heard = now
        slot.push_at = NEVER  # the answer says what a push would
        if slot.answer is not None:
            self._transmits.append(slot.answer)

    def next_timer(self) -> float:
        return self._wake

    def handle_timer(self, now: float) -> None:
        for slot in self._slots.values():
            if slot.address is not None and slot.heard + self._expire <= now:
                self._empty(slot)
        for slot in self._slots.values():
            if slot.push_at <= now:
                slot.push_at = NEVER
                if slot.answer is not None:
                    self._transmits.append(slot.answer)
        self._rejections.handle_timer(now)
        self._wake = self._earliest_timer()

    def describe(self, data: bytes) -> str:
        for slot in self._slots.values():
            payload = slot.codec.verify(data)
            if not isinstance(payload, Drop):
                return describe(payload)
        return "not authentic"

    def replace_secrets(
        self, secrets: Mapping[str, bytes], *, names: Mapping[str, str] | None = None
    ) -> None:
        """Serves these slots from now on. Ends registered in slots whose secret stays the same
        stay registered. Raises as the constructor does; then nothing has changed."""
        served = [self._slot_for(letter, secret) for letter, secret in secrets.items()]
        slots = {ord(slot.letter): slot for slot in served}
        for slot in self._slots.values():
            if slot not in served and slot.address is not None:
                self._emit(Expired(slot.pair, end_of(slot.letter), removed=True))
        self._slots = slots
        for slot in slots.values():
            slot.pair = (names or {}).get(slot.letter) or pair_of(slot.letter)
            slot.introduce(self._partner_address(slot))

    def _slot_for(self, letter: str, secret: bytes) -> _Slot:
        partner_letter(letter)  # raises ValueError unless it is a slot letter
        slot = self._slots.get(ord(letter))
        return slot if slot and slot.codec.same_secret(secret) else _Slot(letter, secret)

    def _partner(self, slot: _Slot) -> _Slot | None:
        return self._slots.get(ord(partner_letter(slot.letter)))

    def _settle(self, slot: _Slot, source: Address, now: float, via: Via) -> None:
        """Puts the slot's end at `source`; if it has moved, its partner gets a push."""
        before, slot.address = slot.address, source
        slot.via = via
        slot.introduce(self._partner_address(slot))
        if source == before:
            return
        slot.since = now
        self._emit(registered(slot.pair, end_of(slot.letter), source, before))
        partner = self._partner(slot)
        if partner is not None:
            partner.introduce(self._partner_address(partner))
            partner.push_at = now + PUSH_DELAY
        self._wake = min(self._wake, now + PUSH_DELAY)  # and that sets the expiry timer

    def _empty(self, slot: _Slot) -> None:
        slot.address = None
        slot.last_heard = slot.heard
        slot.answer = None
        slot.push_at = NEVER
        partner = self._partner(slot)
        if partner is not None:
            partner.introduce(self._partner_address(partner))
        self._emit(Expired(slot.pair, end_of(slot.letter)))

    def _partner_address(self, slot: _Slot) -> Address | None:
        """The partner's address as the slot's end can use it, or None.

        A Go process dies of an address of another family, or that can't be sent to."""
        partner = self._partner(slot)
        if partner is None or partner.address is None or slot.address is None:
            return None
        address, on_loopback = partner.address, is_loopback(slot.address.host)
        if self._own_host is not None and is_loopback(address.host) and not on_loopback:
            address = Address(self._own_host, address.port)
        usable = is_pingable(address, loopback=on_loopback)
        return address if usable and address.family == slot.address.family else None

    def _reject(self, data: bytes, slot: _Slot | None, source: Address, now: float) -> None:
        if slot is not None:
            reason, pair = Drop.BAD_MAC, slot.pair
        elif len(data) == FIXED_SIZE and chr(data[PAYLOAD_OFFSET]) in LETTERS:
            reason, pair = Drop.UNKNOWN_PAIR, None
        elif is_of_other_version(data):
            reason, pair = Drop.OTHER_VERSION, None
        else:
            reason, pair = Drop.MALFORMED, None
        self._drop(reason)
        self._rejections.add(reason, pair, source, now)
        self._wake = min(self._wake, self._rejections.next_timer())

    def _earliest_timer(self) -> float:
        expiries = [
            slot.heard + self._expire for slot in self._slots.values() if slot.address is not None
        ]
        pushes = [slot.push_at for slot in self._slots.values()]
        return min([*expiries, *pushes, self._rejections.next_timer()])
