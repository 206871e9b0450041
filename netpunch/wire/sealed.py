"""What programs send over a link whose `forward` is sealed.

0   1 byte    0xF3
1   1 byte    epoch: names the link's key
2   8 bytes   counter: from 1, one more with each datagram of a direction; its upper half is the
              generation, which has a key of its own
10  n bytes   ciphertext: AES-256-GCM, nonce = bytes 0 to 9 and two zero bytes
..  16 bytes  authentication tag

The nonce authenticates the header: with any other one, nothing opens.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from struct import Struct

from netpunch.wire.drop import Drop
from netpunch.wire.envelope import OTHER, Buffer, EndName, Forged, opener, sealer
from netpunch.wire.keys import forward_epoch, forward_key, generation_key

VERSION = 0xF3
HEADER = Struct("!BBQ")
HEADER_LENGTH = HEADER.size
_pack, _unpack = HEADER.pack, HEADER.unpack_from
OVERHEAD = HEADER_LENGTH + 16
"""Bytes that a sealed datagram has more than the program's."""
PADDING = bytes(2)
"""Of the header, to a nonce."""
NONCE = Struct(f"{HEADER.format}{len(PADDING)}x")
_nonce = NONCE.pack
GENERATION_BITS = 32
"""A key seals at most 2^32 datagrams. After so many of 1,472 bytes, sealed bytes can be told from
random ones with a probability of 2^-52 (the square of the number of blocks, by 2^129)."""
WINDOW = 1024
"""By how many counters a datagram may come late: those of 1.3 MB, more than queues reorder."""


_FORGED = Drop.BAD_MAC
"""Looked up once: in the class of an enumeration that takes a tenth of what opening takes."""


class ReplayWindow:
    """The counters that have come: each counts once, and none that is WINDOW below the highest."""

    __slots__ = ("highest", "seen")

    def __init__(self) -> None:
        self.highest = 0
        self.seen = array("Q", bytes(8 * WINDOW))
        """By their remainders, the last counter. In the window no two have the same."""

    def take(self, counter: int) -> bool:
        """Whether this counter, of an authentic datagram, is new. From now on it is not."""
        seen, highest = self.seen, self.highest
        if counter > highest:
            self.highest = counter
        elif counter <= highest - WINDOW or seen[counter % WINDOW] == counter:
            return False
        seen[counter % WINDOW] = counter
        return True


class Sealer:
    """Seals the datagrams of one direction of a link. `counter` is the last one that was used."""

    __slots__ = ("_counter", "_encrypt", "_epoch", "_key", "_last")

    def __init__(self, key: bytes, epoch: int, *, counter: int = 0) -> None:
        self._key = key
        self._epoch = epoch
        self._counter = counter
        self._enter(counter >> GENERATION_BITS)

    def seal(self, datagrams: Sequence[Buffer]) -> list[bytes]:
        """What to send, each OVERHEAD bytes longer. Raises struct.error after the last counter,
        2^64 - 1, which a billion datagrams a second reach in 584 years."""
        last = self._counter + len(datagrams)
        if last > self._last:
            before = self._last - self._counter
            if before:
                return self.seal(datagrams[:before]) + self.seal(datagrams[before:])
            self._enter(last >> GENERATION_BITS)
        first, self._counter = self._counter + 1, last  # now: whatever happens, each is used once
        encrypt, epoch, pack = self._encrypt, self._epoch, HEADER.pack
        return [
            (header := pack(VERSION, epoch, counter)) + encrypt(header + PADDING, data, None)
            for counter, data in enumerate(datagrams, first)
        ]

    def seal_one(self, datagram: Buffer) -> bytes:
        """The same for one: half of the work is that of a call."""
        counter = self._counter + 1
        if counter > self._last:
            return self.seal((datagram,))[0]
        self._counter = counter
        header = _pack(VERSION, self._epoch, counter)
        return header + self._encrypt(header + PADDING, datagram, None)

    def _enter(self, generation: int) -> None:
        self._encrypt = sealer(generation_key(self._key, generation))
        self._last = (generation + 1 << GENERATION_BITS) - 1
        """The last counter of the generation."""


class Opener:
    """Opens the datagrams of one direction of a link, each once."""

    __slots__ = ("_ciphers", "_epoch", "_generation", "_key", "_window")

    def __init__(self, key: bytes, epoch: int) -> None:
        self._epoch = epoch
        self._key = key
        self._window = ReplayWindow()
        self._generation = 0
        self._ciphers = {each: opener(generation_key(key, each)) for each in (0, 1)}
        """Of the generations that may come. Whatever comes, no key is derived in vain."""

    def open(self, datagram: Buffer) -> bytes | Drop:
        """What a program has sent, of any datagram, or why that is dropped. (In one go: each call
        takes a lone datagram as long as a tenth of the cipher.)"""
        if len(datagram) < OVERHEAD:
            return Drop.MALFORMED
        version, epoch, counter = _unpack(datagram)
        if version != VERSION:
            return Drop.MALFORMED
        generation = counter >> GENERATION_BITS
        decrypt = self._ciphers.get(generation)
        if decrypt is None or epoch != self._epoch:
            return _FORGED
        try:
            data = decrypt(_nonce(VERSION, epoch, counter), datagram[HEADER_LENGTH:], None)
        except Forged:
            return _FORGED
        window = self._window
        if counter > window.highest:  # as nearly all: spares a call
            window.highest = window.seen[counter % WINDOW] = counter
            if generation > self._generation:
                self._enter(generation)
        elif not window.take(counter):
            return Drop.STALE
        return data

    def _enter(self, generation: int) -> None:
        self._generation = generation
        self._ciphers = {
            generation - 1: self._ciphers[generation - 1],
            generation: self._ciphers[generation],
            generation + 1: opener(generation_key(self._key, generation + 1)),
        }


class Sealing:
    """What one end seals and opens on its link, also when the link moves: each path has keys of its
    own, and datagrams of the one before may still be under way. `drop` is told why one that came
    is dropped."""

    __slots__ = ("_drop", "_end", "_openers", "seal", "seal_one")

    def __init__(self, end: EndName, drop: Callable[[Drop], None]) -> None:
        self._end: EndName = end
        self._drop = drop
        self._openers: tuple[Opener, ...] = ()
        """The current one, then the one before."""
        self.seal: Callable[[Sequence[Buffer]], list[bytes]]
        """See Sealer. They are there once the link is."""
        self.seal_one: Callable[[Buffer], bytes]

    def rekey(self, session_key: bytes) -> None:
        """The link is there, or has moved."""
        own, other = self._end, OTHER[self._end]
        epoch = forward_epoch(session_key)
        outgoing = Sealer(forward_key(session_key, own, other), epoch)
        self.seal, self.seal_one = outgoing.seal, outgoing.seal_one
        incoming = Opener(forward_key(session_key, other, own), epoch)
        self._openers = (incoming, *self._openers[:1])

    def forget_previous(self) -> None:
        """Nothing of the path before is under way any more."""
        self._openers = self._openers[:1]

    def open(self, datagrams: Sequence[Buffer]) -> list[bytes]:
        """What the partner's program has sent, of any datagrams that have come. The others are
        dropped."""
        return [data for each in datagrams if (data := self.open_one(each)) is not None]

    def open_one(self, datagram: Buffer) -> bytes | None:
        """The same of one; None if it is dropped."""
        why = _FORGED
        for each in self._openers:  # in one of 256 moves both have the same epoch
            opened = each.open(datagram)
            if isinstance(opened, bytes):
                return opened
            why = opened
            if why is not _FORGED:
                break
        self._drop(why)
        return None
