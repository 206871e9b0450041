"""Cookies are good for exactly what they were made for, and not for long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.address import Address
from netpunch.core.control.address_proof import AddressProof
from netpunch.core.control.registrations import Pairs
from netpunch.core.timing import COOKIE_BUCKET
from netpunch.wire.v2 import COOKIE_LENGTH, NO_COOKIE
from tests.core.v2_pair import A, seeded

PAIRS = Pairs({"home": bytes(32), "office": bytes(32)})
HOME_A, OFFICE_A = (pair.record(0) for pair in PAIRS.by_tag.values())
ATTEMPT = b"attempt1"
NOW = 1000.0


def make_proof(boot: str = "boot") -> AddressProof:
    return AddressProof(seeded(boot))


@given(st.integers(-(10**6), 10**6))
def test_cookie_is_good_where_and_when_it_was_made(now: float) -> None:
    proof = make_proof()
    cookie = proof.make_cookie(HOME_A, ATTEMPT, A, now)
    assert len(cookie) == COOKIE_LENGTH
    assert proof.is_good(cookie, HOME_A, ATTEMPT, A, now)
    assert proof.is_good(cookie, HOME_A, ATTEMPT, A, now + COOKIE_BUCKET)
    assert not proof.is_good(cookie, HOME_A, ATTEMPT, A, now + 2 * COOKIE_BUCKET)
    assert not proof.is_good(cookie, HOME_A, ATTEMPT, A, now - COOKIE_BUCKET)


@pytest.mark.parametrize(
    "source",
    [
        Address(A.host, A.port + 1),
        Address("198.51.100.2", A.port),
        Address("2001:db8::1", A.port),
    ],
)
def test_cookie_is_not_good_for_another_address(source: Address) -> None:
    proof = make_proof()
    cookie = proof.make_cookie(HOME_A, ATTEMPT, A, NOW)
    assert not proof.is_good(cookie, HOME_A, ATTEMPT, source, NOW)


def test_cookie_is_not_good_for_another_pair_end_or_attempt() -> None:
    proof = make_proof()
    cookie = proof.make_cookie(HOME_A, ATTEMPT, A, NOW)
    for record, attempt in ((OFFICE_A, ATTEMPT), (HOME_A.partner, ATTEMPT), (HOME_A, b"attempt2")):
        assert not proof.is_good(cookie, record, attempt, A, NOW)


def test_cookie_is_not_good_after_a_restart_of_control() -> None:
    cookie = make_proof().make_cookie(HOME_A, ATTEMPT, A, NOW)
    assert not make_proof("next boot").is_good(cookie, HOME_A, ATTEMPT, A, NOW)


@given(st.binary(max_size=2 * COOKIE_LENGTH))
def test_guessed_cookie_is_not_good(guess: bytes) -> None:
    assert not make_proof().is_good(guess, HOME_A, ATTEMPT, A, NOW)


def test_no_cookie_is_not_good() -> None:
    assert not make_proof().is_good(NO_COOKIE, HOME_A, ATTEMPT, A, NOW)
