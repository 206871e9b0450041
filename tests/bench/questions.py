"""Datagrams from ends and strangers to a control, sealed before a benchmark sends them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from netpunch.wire import classic, v2
from netpunch.wire.envelope import NONCE_LENGTH, ControlChannel, EndName
from netpunch.wire.keys import control_key

PAIR = "bench"
SECRET = bytes(range(32))
CLASSIC_SECRET = b"bench"
ENDS = 1000
"""A control takes 20 announcements a second of one end: a thousand of them keep it busy."""
PAIRS = {f"{PAIR}{number}": control_key(SECRET, f"{PAIR}{number}") for number in range(ENDS)}
CLASSIC = {"ab": CLASSIC_SECRET}


class Announcer:
    """One attempt of an end, whose counter rises with each announcement. `key` is control's."""

    def __init__(
        self,
        pair: str,
        end: EndName = "a",
        *,
        key: bytes | None = None,
        purpose: v2.Purpose = v2.Purpose.PUNCH,
    ) -> None:
        self.channel = ControlChannel(key or PAIRS[pair], pair, end)
        self.attempt = os.urandom(v2.ATTEMPT_LENGTH)
        self.cookie = v2.NO_COOKIE
        self._card = os.urandom(v2.SEALED_CARD_LENGTH)
        self._purpose = purpose
        self._counter = 0

    def announcement(self) -> bytes:
        self._counter += 1
        announce = v2.Announce(self.attempt, self._counter, self.cookie, self._purpose, self._card)
        return self.channel.to_control.seal(announce, os.urandom(NONCE_LENGTH))

    def take(self, answer: bytes) -> v2.Message | None:
        """Control's answer, or None for anything else; keeps a cookie from it."""
        message = self.channel.from_control.open(answer)
        if isinstance(message, v2.Waiting | v2.Introduce | v2.Challenge):
            self.cookie = message.cookie if message.cookie != v2.NO_COOKIE else self.cookie
        return message if isinstance(message, v2.Message) else None


def announcements(voices: Iterable[Announcer]) -> Iterator[bytes]:
    """Of waiting ends, one after the other."""
    voices = list(voices)
    while True:
        for voice in voices:
            yield voice.announcement()


def classic_announcements() -> Iterator[bytes]:
    """Of one end; its partner has to be there, or there is no answer."""
    while True:
        yield classic.sign(CLASSIC_SECRET, b"a")


def forged(datagram: bytes) -> bytes:
    """The datagram with a wrong signature: it fails where an attacker's fails."""
    return datagram[:-1] + bytes([datagram[-1] ^ 1])
