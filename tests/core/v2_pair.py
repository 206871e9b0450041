"""One v2 pair as its tests see it: they hold the secret, so they can say and read everything."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from netpunch.address import Address
from netpunch.core.control.control import ControlV2
from netpunch.core.end.channels import Channels
from netpunch.core.events import Event, Via
from netpunch.core.machine import Machine, Random, Transmit
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import (
    NONCE_LENGTH,
    ControlChannel,
    Direction,
    EndName,
    PeerChannel,
)
from netpunch.wire.keys import control_key, peer_key

PAIR = "home-office"
SECRET = bytes(range(32))
CONTROL_KEY = control_key(SECRET, PAIR)
PEER_KEY = peer_key(SECRET, PAIR)
ENDS: tuple[EndName, EndName] = ("a", "b")
CONTROL_CHANNELS = {end: ControlChannel(CONTROL_KEY, PAIR, end) for end in ENDS}
CHANNELS = Channels(SECRET, PAIR, "a")
"""Of an end a."""
PEER_CHANNELS = {end: PeerChannel(PEER_KEY, PAIR, end) for end in ENDS}

CONTROL = Address("192.0.2.1", 10001)
A = Address("198.51.100.1", 5000)
B = Address("203.0.113.1", 6000)
ELSEWHERE = Address("198.51.100.66", 666)
VIA: Via = 0

M = TypeVar("M", bound=v2.Message)
E = TypeVar("E", bound=Event)

GIVES_COOKIES = (v2.Waiting, v2.Introduce, v2.Knock, v2.Challenge)

nonces = random.Random(1)


def seeded(seed: object) -> Random:
    """Randomness for a machine, the same in every run."""
    return random.Random(str(seed)).randbytes


def seal(direction: Direction, message: v2.Message) -> bytes:
    return direction.seal(message, nonces.randbytes(NONCE_LENGTH))


class Sent(NamedTuple):
    """A datagram that a machine sent, and what it says."""

    message: v2.Message
    destination: Address
    via: Via
    data: bytes
    ttl: int = 0


def read(data: bytes) -> v2.Message:
    """Any authentic datagram of the pair."""
    directions = [
        *(channel.to_control for channel in CONTROL_CHANNELS.values()),
        *(channel.from_control for channel in CONTROL_CHANNELS.values()),
        *(channel.outgoing for channel in PEER_CHANNELS.values()),
    ]
    opened = [direction.open(data) for direction in directions]
    (message,) = [each for each in opened if not isinstance(each, Drop)]
    return message


def sent_by(machine: Machine) -> list[Sent]:
    """What a machine has sent since it was last asked."""
    return decode(machine.datagrams_to_send())


def decode(transmits: Iterable[Transmit]) -> list[Sent]:
    return [
        Sent(read(data), destination, via, data, ttl)
        for data, destination, via, ttl, *_ in transmits
    ]


def told_by(machine: Machine) -> list[Event]:
    """What a machine has told since it was last asked."""
    return list(iter(machine.next_event, None))


def only(kind: type[M], sent: Iterable[Sent]) -> list[M]:
    """The messages of one kind."""
    return [each.message for each in sent if isinstance(each.message, kind)]


def make_control(seed: object = "control", **options: Any) -> ControlV2:
    return ControlV2({PAIR: CONTROL_KEY}, random=seeded(seed), **options)


@dataclass
class Voice:
    """What one attempt of an end says to control, word by word. `card` is opaque to control."""

    end: EndName
    source: Address
    attempt: bytes
    counter: int = 0
    cookie: bytes = v2.NO_COOKIE
    purpose: int = v2.Purpose.PUNCH

    @property
    def card(self) -> bytes:
        return self.attempt.ljust(v2.SEALED_CARD_LENGTH, b"c")

    def announcement(self, counter: int | None = None) -> bytes:
        """The next one, or one with this counter."""
        self.counter = self.counter + 1 if counter is None else counter
        announce = v2.Announce(self.attempt, self.counter, self.cookie, self.purpose, self.card)
        return seal(CONTROL_CHANNELS[self.end].to_control, announce)

    def leave(self) -> bytes:
        self.counter += 1
        return seal(CONTROL_CHANNELS[self.end].to_control, v2.Leave(self.attempt, self.counter))

    def announce(self, control: Machine, now: float, counter: int | None = None) -> list[Sent]:
        """Announces and, if it is given a cookie, keeps that for the next time. Returns what
        control sends because of it."""
        answers = say(control, self.announcement(counter), self.source, now)
        self.take_cookie(answers)
        return answers

    def take_cookie(self, answers: Iterable[Sent]) -> None:
        """Keeps the cookie that it is given, if it is given one."""
        self.cookie = self._given(answers) or self.cookie

    def register(self, control: Machine, now: float) -> list[Sent]:
        """Announces until its address is proved: at once, or with the cookie."""
        answers = self.announce(control, now)
        return self.announce(control, now) if self._given(answers) else answers

    def _given(self, answers: Iterable[Sent]) -> bytes | None:
        """The cookie that control wants to see."""
        messages = (each.message for each in answers if each.destination == self.source)
        cookies = [m.cookie for m in messages if isinstance(m, GIVES_COOKIES)]
        return next((cookie for cookie in cookies if cookie != v2.NO_COOKIE), None)


def say(machine: Machine, data: bytes, source: Address, now: float, via: Via = VIA) -> list[Sent]:
    """Gives a machine a datagram; what it sends because of it."""
    machine.receive_datagram(data, source, now, via)
    return sent_by(machine)
