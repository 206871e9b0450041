"""What may be sent to addresses that have not proved themselves.

Anybody can send a recorded datagram from a forged source. All that netpunch sends because of one is
taken from an allowance: of the address that it goes to, of the end that announces itself, or of all
strangers together.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from typing import NamedTuple

from netpunch.core.machine import NEVER, Random


class Allowance(NamedTuple):
    """One each `interval` seconds in the long run, `burst` at once."""

    interval: float
    burst: int


TO_STRANGER = Allowance(interval=4.0, burst=16)
"""Datagrams to an unproved host: from a control for each pair, from an end for all partners
together. An honest end needs two or three, a survey through a NAT with several public addresses
six. A victim gets one every four seconds from each; a restarted control may repeat its burst."""
STRANGERS = Allowance(interval=0.05, burst=64)
"""From an end to all unproved hosts together: enough for a first introduction with all candidates
of both families, then little."""
END_CELLS = 64
"""Half a KiB an end. With more hosts than this, STRANGERS leaves each less than TO_STRANGER."""


class Allowances:
    """The same allowance for many keys, in a table of fixed size.

    Two keys may share a cell and its allowance; nobody can know which do, as a keyed hash chooses
    the cells. `cells` is a power of two; each takes 8 bytes."""

    __slots__ = ("_allowance", "_key", "_mask", "_spent_until")

    def __init__(self, allowance: Allowance, cells: int, random: Random) -> None:
        self._allowance = allowance
        self._key = random(16)
        self._mask = cells - 1
        self._spent_until = array("d", [-NEVER]) * cells
        """The time at which a cell is full again: the generic cell rate algorithm (ITU-T I.371),
        which needs one number a cell."""

    def take(self, key: bytes, now: float) -> bool:
        """Whether one more is allowed; if so, it counts as sent."""
        interval, burst = self._allowance
        digest = blake2b(key, digest_size=4, key=self._key).digest()
        cell = int.from_bytes(digest, "big") & self._mask
        spent_until = max(self._spent_until[cell], now) + interval
        if spent_until - now > burst * interval:
            return False
        self._spent_until[cell] = spent_until
        return True


class Replays:
    """Recognises repeated things, as far as a table of fixed size can: an attacker with few
    recordings gains nothing by repeating them, and uses up no allowance.

    `cells` is a power of two; each takes 8 bytes and remembers the last thing that fell there."""

    __slots__ = ("_key", "_last", "_mask")

    def __init__(self, cells: int, random: Random) -> None:
        self._key = random(16)
        self._mask = cells - 1
        self._last = array("Q", [0]) * cells

    def is_new(self, thing: bytes) -> bool:
        """Whether it is the first time; from now on it is not."""
        digest = blake2b(thing, digest_size=12, key=self._key).digest()
        cell = int.from_bytes(digest[8:], "big") & self._mask
        mark = int.from_bytes(digest[:8], "big")
        if self._last[cell] == mark:
            return False
        self._last[cell] = mark
        return True


class Strangers:
    """An end's allowances for hosts that have not proved themselves."""

    __slots__ = ("_all", "_hosts")

    def __init__(self, random: Random) -> None:
        self._hosts = Allowances(TO_STRANGER, END_CELLS, random)
        self._all = Allowances(STRANGERS, 1, random)

    def may_hear(self, host: str, now: float) -> bool:
        """Whether one more datagram may go there; if so it counts as sent."""
        return self._hosts.take(host.encode(), now) and self._all.take(b"", now)
