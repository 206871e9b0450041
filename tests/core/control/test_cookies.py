"""Cookies are good for exactly what they were given for, and not for long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.address import Address
from netpunch.core.control.cookies import Cookies
from netpunch.core.timing import COOKIE_BUCKET
from netpunch.wire.v2 import COOKIE_LENGTH, NO_COOKIE
from tests.core.v2_pair import A, seeded

CONTEXT = b"pair end attempt"
NOW = 1000.0


@pytest.fixture
def cookies() -> Cookies:
    return Cookies(seeded("boot"))


@given(st.integers(-(10**6), 10**6))
def test_a_cookie_is_good_where_and_when_it_was_made(now: float) -> None:
    cookies = Cookies(seeded("boot"))
    cookie = cookies.make(A, CONTEXT, now)
    assert len(cookie) == COOKIE_LENGTH
    assert cookies.is_good(cookie, A, CONTEXT, now)
    assert cookies.is_good(cookie, A, CONTEXT, now + COOKIE_BUCKET)
    assert not cookies.is_good(cookie, A, CONTEXT, now + 2 * COOKIE_BUCKET)
    assert not cookies.is_good(cookie, A, CONTEXT, now - COOKIE_BUCKET)


@pytest.mark.parametrize(
    ("source", "context"),
    [
        (Address(A.host, A.port + 1), CONTEXT),
        (Address("198.51.100.2", A.port), CONTEXT),
        (Address("2001:db8::1", A.port), CONTEXT),
        (A, b"pair end another"),
    ],
)
def test_it_is_good_for_nothing_else(cookies: Cookies, source: Address, context: bytes) -> None:
    cookie = cookies.make(A, CONTEXT, NOW)
    assert not cookies.is_good(cookie, source, context, NOW)


def test_a_restarted_control_knows_no_older_cookie(cookies: Cookies) -> None:
    assert not Cookies(seeded("next boot")).is_good(cookies.make(A, CONTEXT, NOW), A, CONTEXT, NOW)


@given(st.binary(max_size=2 * COOKIE_LENGTH))
def test_nobody_guesses_one(guess: bytes) -> None:
    assert not Cookies(seeded("boot")).is_good(guess, A, CONTEXT, NOW)


def test_the_lack_of_one_is_not_good(cookies: Cookies) -> None:
    assert not cookies.is_good(NO_COOKIE, A, CONTEXT, NOW)
