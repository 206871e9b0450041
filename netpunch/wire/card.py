"""The card: what an end sends its partner through control, which can't read it."""

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from netpunch.address import Address
from netpunch.wire.drop import Drop
from netpunch.wire.v2 import ADDRESS_LENGTH, Malformed, pack_address, unpack_address

CARD_LENGTH = 240
"""Every card has this length, so that its size reveals nothing."""
MAX_HOSTS = 6
MAX_OBSERVED = 4
NONCE_LENGTH = 12
LAYOUT = Struct("!32s8sBBHhBBBB190s")
QUEUED = 0x80
"""In the byte of the NAT class. An end that does not know this bit takes the class for unknown."""
SEALED = 0x40
"""Likewise. Such a card's own byte denies that it holds: an end that does not know this bit, but
holds its link, sees another mode than its own."""


class NatClass(IntEnum):
    """How an end's NAT maps, as far as it knows: it orders strategies and forbids none."""

    UNKNOWN = 0
    OPEN = 1
    EASY = 2
    HARD_STEP = 3
    HARD_RANDOM = 4
    BLOCKED = 5
    """No UDP reaches its controls: the end announces itself over streams."""


class Card(NamedTuple):
    """The content of a card.

    `holds`: netpunch keeps the socket after the link; `sealed`: and seals what its program sends
    over it. `bracket_port`/`bracket_step`: where a
    NAT of class HARD_STEP will map next (0 when unknown). `partner_attempt`: the partner's
    latest attempt, or NO_ATTEMPT; it proves that this card is no recording. `queued`: the end
    waits for its turn in a queue of its process, so the deadline of its partner stands still."""

    public_key: bytes
    partner_attempt: bytes
    holds: bool
    nat_class: int = NatClass.UNKNOWN
    bracket_port: int = 0
    bracket_step: int = 0
    bracket_count: int = 0
    bracket_round: int = 0
    hosts: tuple[Address, ...] = ()
    observed: tuple[Address, ...] = ()
    mapped: tuple[Address, ...] = ()
    queued: bool = False
    sealed: bool = False

    @property
    def mode(self) -> tuple[bool, bool]:
        """What both ends have to agree on."""
        return self.holds, self.sealed

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All addresses in it."""
        return self.hosts + self.mapped + self.observed

    def pack(self) -> bytes:
        """240 bytes; keeps the first MAX_HOSTS host addresses and of the others, mapped ones
        first, MAX_OBSERVED."""
        hosts, mapped = self.hosts[:MAX_HOSTS], self.mapped[:MAX_OBSERVED]
        observed = self.observed[: MAX_OBSERVED - len(mapped)]
        body = LAYOUT.pack(
            self.public_key,
            self.partner_attempt,
            self.holds and not self.sealed,
            self.nat_class | (QUEUED if self.queued else 0) | (SEALED if self.sealed else 0),
            self.bracket_port,
            self.bracket_step,
            self.bracket_count,
            self.bracket_round,
            len(hosts),
            len(mapped) << 4 | len(observed),
            b"".join(map(pack_address, hosts + mapped + observed)),
        )
        return body.ljust(CARD_LENGTH, b"\0")

    @classmethod
    def unpack(cls, body: bytes) -> "Card":
        """Raises Malformed."""
        *fields, n_hosts, n_reflexive, packed = LAYOUT.unpack_from(body)
        n_mapped, n_observed = n_reflexive >> 4, n_reflexive & 0x0F
        if n_hosts > MAX_HOSTS or n_mapped + n_observed > MAX_OBSERVED:
            raise Malformed
        n_direct = n_hosts + n_mapped
        addresses = tuple(
            unpack_address(packed[i * ADDRESS_LENGTH : (i + 1) * ADDRESS_LENGTH])
            for i in range(n_direct + n_observed)
        )
        mapped, observed = addresses[n_hosts:n_direct], addresses[n_direct:]
        card = cls._make([*fields, addresses[:n_hosts], observed, mapped, False, False])
        return card._replace(
            holds=bool(card.holds or card.nat_class & SEALED),
            nat_class=card.nat_class & ~(QUEUED | SEALED),
            queued=bool(card.nat_class & QUEUED),
            sealed=bool(card.nat_class & SEALED),
        )


class CardSeal:
    """Seals and opens the cards of one end (`a` or `b`) with the key `card a`/`card b`.

    The end and its attempt are authenticated with it: control can't attach a card to another.
    A cipher is made for each card: cards are few, and keeping the ciphers would take 5 KB for each
    end that holds its link."""

    def __init__(self, key: bytes, end: str) -> None:
        self._key = key
        self._end = end.encode()

    def seal(self, card: Card, attempt: bytes, nonce: bytes) -> bytes:
        """268 bytes; `nonce` is 12 random bytes."""
        return nonce + AESGCM(self._key).encrypt(nonce, card.pack(), self._end + attempt)

    def open(self, sealed: bytes, attempt: bytes) -> Card | Drop:
        """The card, or why it is dropped."""
        nonce, ciphertext = sealed[:NONCE_LENGTH], sealed[NONCE_LENGTH:]
        try:
            return Card.unpack(AESGCM(self._key).decrypt(nonce, ciphertext, self._end + attempt))
        except InvalidTag:
            return Drop.BAD_MAC
        except Malformed:
            return Drop.MALFORMED
