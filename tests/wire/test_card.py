"""The card and its seal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.address import Address
from netpunch.wire.card import (
    CARD_LENGTH,
    MAX_HOSTS,
    MAX_OBSERVED,
    NONCE_LENGTH,
    Card,
    CardSeal,
    NatClass,
)
from netpunch.wire.drop import Drop
from netpunch.wire.v2 import NO_ATTEMPT, SEALED_CARD_LENGTH, Malformed
from tests.wire.v2_strategies import attempts, cards, sealed_cards

KEY = bytes(range(32))
NONCE = bytes(NONCE_LENGTH)
ATTEMPT = b"attempt1"
SEAL = CardSeal(KEY, "a")
CARD = Card(bytes(32), NO_ATTEMPT, False, hosts=(Address("10.0.0.1", 5000),))


@given(cards)
def test_unpacking_a_packed_card_gives_the_card(card: Card) -> None:
    body = card.pack()
    assert len(body) == CARD_LENGTH
    assert Card.unpack(body) == card


def test_surplus_addresses_of_a_card_are_left_out() -> None:
    many = tuple(Address("192.0.2.1", port) for port in range(1, 20))
    card = Card.unpack(CARD._replace(hosts=many, observed=many, mapped=many[:1]).pack())
    assert card.hosts == many[:MAX_HOSTS]
    assert card.mapped == many[:1]
    assert card.observed == many[: MAX_OBSERVED - 1]
    card = Card.unpack(CARD._replace(observed=many, mapped=many).pack())
    assert (card.mapped, card.observed) == (many[:MAX_OBSERVED], ())


@given(st.binary(min_size=CARD_LENGTH, max_size=CARD_LENGTH))
def test_any_body_is_a_card_or_malformed(body: bytes) -> None:
    try:
        card = Card.unpack(body)
    except Malformed:
        return
    assert len(card.hosts) <= MAX_HOSTS
    assert len(card.observed + card.mapped) <= MAX_OBSERVED


@pytest.mark.parametrize(
    "counts", [(MAX_HOSTS + 1, 0), (0, MAX_OBSERVED + 1), (0, 0x14), (255, 255)]
)
def test_more_addresses_than_a_card_holds_are_malformed(counts: tuple[int, int]) -> None:
    body = bytearray(CARD.pack())
    body[48:50] = bytes(counts)
    with pytest.raises(Malformed):
        Card.unpack(bytes(body))


def test_unknown_nat_class_of_a_card_stays_a_number() -> None:
    assert Card.unpack(CARD._replace(nat_class=50).pack()).nat_class == 50
    assert CARD.nat_class is NatClass.UNKNOWN


@pytest.mark.parametrize("sealed", [True, False])
def test_an_end_that_knows_nothing_of_sealing_sees_another_mode(sealed: bool) -> None:
    """It holds its link, and reads the byte of `holds` alone."""
    packed = CARD._replace(holds=True, sealed=sealed).pack()
    assert bool(packed[40]) is not sealed
    assert Card.unpack(packed).mode == (True, sealed)


@given(cards, attempts, st.binary(min_size=NONCE_LENGTH, max_size=NONCE_LENGTH))
def test_sealed_card_opens_for_its_attempt(card: Card, attempt: bytes, nonce: bytes) -> None:
    sealed = SEAL.seal(card, attempt, nonce)
    assert len(sealed) == SEALED_CARD_LENGTH
    assert sealed[:NONCE_LENGTH] == nonce
    assert SEAL.open(sealed, attempt) == card


def test_control_cannot_attach_a_card_to_another_attempt_or_end() -> None:
    sealed = SEAL.seal(CARD, ATTEMPT, NONCE)
    assert SEAL.open(sealed, b"attempt2") is Drop.BAD_MAC
    assert CardSeal(KEY, "b").open(sealed, ATTEMPT) is Drop.BAD_MAC
    assert CardSeal(bytes(32), "a").open(sealed, ATTEMPT) is Drop.BAD_MAC


@given(st.integers(0, 8 * SEALED_CARD_LENGTH - 1))
def test_sealed_card_with_a_flipped_bit_does_not_open(bit: int) -> None:
    sealed = bytearray(SEAL.seal(CARD, ATTEMPT, NONCE))
    sealed[bit // 8] ^= 1 << bit % 8
    assert SEAL.open(bytes(sealed), ATTEMPT) is Drop.BAD_MAC


@given(sealed_cards)
def test_arbitrary_bytes_do_not_open_as_a_card(sealed: bytes) -> None:
    assert SEAL.open(sealed, ATTEMPT) is Drop.BAD_MAC


def test_authentic_card_of_no_format_is_malformed() -> None:
    class TooMany(Card):
        def pack(self) -> bytes:
            return b"\xff" * CARD_LENGTH

    sealed = SEAL.seal(TooMany(*CARD), ATTEMPT, NONCE)
    assert SEAL.open(sealed, ATTEMPT) is Drop.MALFORMED


@pytest.mark.parametrize("queued", [False, True])
def test_card_carries_the_queued_bit_beside_the_nat_class(queued: bool) -> None:
    card = CARD._replace(nat_class=NatClass.HARD_RANDOM, queued=queued)
    assert Card.unpack(card.pack()) == card


def test_queued_nat_class_is_unknown_to_an_end_without_queues() -> None:
    """Its byte is none that such an end knows, and the rest is as it was."""
    queued, not_queued = (
        CARD._replace(nat_class=NatClass.HARD_RANDOM, queued=queued).pack()
        for queued in (True, False)
    )
    differing = [n for n in range(len(queued)) if queued[n] != not_queued[n]]
    assert len(differing) == 1
    assert queued[differing[0]] not in set(NatClass)
