"""Nonces are of the right length, and none is given twice."""

from __future__ import annotations

from itertools import islice

from netpunch.core.nonces import DRAWN_AT_ONCE, nonces
from netpunch.wire.envelope import NONCE_LENGTH
from tests.core.v2_pair import seeded


def test_they_are_what_is_drawn_each_part_once() -> None:
    count = 3 * DRAWN_AT_ONCE
    given = list(islice(nonces(seeded("nonces")), count))
    random = seeded("nonces")
    drawn = [random(DRAWN_AT_ONCE * NONCE_LENGTH) for _ in range(3)]
    assert b"".join(given) == b"".join(drawn)
    assert {len(each) for each in given} == {NONCE_LENGTH}
    assert len(set(given)) == count


def test_nothing_is_drawn_before_it_is_needed() -> None:
    def refuse(count: int) -> bytes:
        raise AssertionError(count)

    nonces(refuse)
