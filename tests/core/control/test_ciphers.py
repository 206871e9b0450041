"""The ciphers of a bounded number of ends are kept, and no nonce is given twice."""

from __future__ import annotations

from itertools import islice

from netpunch.core.control.ciphers import CIPHERS_KEPT, FEW_CIPHERS_KEPT, Ciphers, nonces
from netpunch.core.control.registrations import EndRecord, Pairs
from netpunch.wire.envelope import END_B, NONCE_LENGTH
from tests.core.v2_pair import seeded


def test_each_nonce_is_given_once_also_when_the_counter_is_used_up() -> None:
    given = list(islice(nonces(seeded("nonces"), counts=100), 1000))
    assert {len(each) for each in given} == {NONCE_LENGTH}
    assert len(set(given)) == 1000
    assert len({each[:8] for each in given}) == 10


def test_nonces_of_no_two_boots_have_a_random_part_in_common() -> None:
    boots = [next(nonces(seeded(boot)))[:8] for boot in range(1000)]
    assert len(set(boots)) == 1000


def test_nothing_random_is_drawn_before_a_nonce_is_needed() -> None:
    def refuse(count: int) -> bytes:
        raise AssertionError(count)

    nonces(refuse)


def records_of(pairs: Pairs) -> list[EndRecord]:
    return [pair.record(flag) for pair in pairs.by_tag.values() for flag in (0, END_B)]


def test_ciphers_of_so_many_ends_are_kept_and_the_oldest_go() -> None:
    pairs = Pairs({f"pair{number}": bytes(32) for number in range(CIPHERS_KEPT // 2 + 1)})
    ciphers, records = Ciphers(pairs.by_tag), records_of(pairs)
    for record in records[:CIPHERS_KEPT]:
        ciphers.make_decrypt(record)
        ciphers.make_encrypt(record)
    assert all(record.decrypt and record.encrypt for record in records[:CIPHERS_KEPT])
    made = ciphers.make_decrypt(records[-1])
    assert records[-1].decrypt is made
    assert (records[0].decrypt, records[0].encrypt) == (None, None)
    assert all(record.decrypt for record in records[1:CIPHERS_KEPT])


def test_end_that_is_only_spoken_to_counts_too() -> None:
    """A partner that is introduced is sent something after its ciphers have gone."""
    pairs = Pairs({f"pair{number}": bytes(32) for number in range(CIPHERS_KEPT)})
    ciphers, records = Ciphers(pairs.by_tag), records_of(pairs)
    for record in records:
        ciphers.make_encrypt(record)
    assert sum(record.has_ciphers for record in records) == CIPHERS_KEPT


def test_control_of_many_pairs_keeps_few_ciphers() -> None:
    pairs = Pairs({f"pair{number}": bytes(32) for number in range(CIPHERS_KEPT + 1)})
    ciphers, records = Ciphers(pairs.by_tag), records_of(pairs)
    for record in records[:200]:
        ciphers.make_decrypt(record)
        ciphers.make_encrypt(record)
    assert [record.has_ciphers for record in records[:200]] == (
        [False] * (200 - FEW_CIPHERS_KEPT) + [True] * FEW_CIPHERS_KEPT
    )
