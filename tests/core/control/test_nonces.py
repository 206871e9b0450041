"""Nonces are of the right length, and none is given twice."""

from __future__ import annotations

from itertools import islice

from netpunch.core.control.nonces import nonces
from netpunch.wire.envelope import NONCE_LENGTH
from tests.core.v2_pair import seeded


def test_each_is_given_once_also_when_the_counter_is_used_up() -> None:
    given = list(islice(nonces(seeded("nonces"), counts=100), 1000))
    assert {len(each) for each in given} == {NONCE_LENGTH}
    assert len(set(given)) == 1000
    assert len({each[:8] for each in given}) == 10


def test_no_two_boots_have_a_random_part_in_common() -> None:
    boots = [next(nonces(seeded(boot)))[:8] for boot in range(1000)]
    assert len(set(boots)) == 1000


def test_nothing_is_drawn_before_it_is_needed() -> None:
    def refuse(count: int) -> bytes:
        raise AssertionError(count)

    nonces(refuse)
