"""The places of a control's ends: which are kept at a reload, and whose ciphers."""

from __future__ import annotations

from netpunch.core.control.end_records import CIPHERS_KEPT, EndRecords
from netpunch.wire.keys import pair_tag

KEY, OTHER_KEY = bytes(32), bytes(range(32))


def test_a_tag_leads_to_both_records() -> None:
    pair = EndRecords({"home": KEY}).by_tag[pair_tag("home")]
    assert (pair.name, pair.a.end, pair.b.end) == ("home", "a", "b")
    assert pair.a.partner is pair.b
    assert pair.b.partner is pair.a
    assert pair.a.pair is pair.b.pair is pair


def test_what_stays_the_same_keeps_its_records() -> None:
    records = EndRecords({"home": KEY, "office": KEY, "gone": KEY})
    before = dict(records.by_tag)
    records.replace({"home": KEY, "office": OTHER_KEY, "new": KEY})
    assert [record.pair.name for record in records.all()] == [
        name for name in ("home", "office", "new") for _ in "ab"
    ]
    assert records.by_tag[pair_tag("home")] is before[pair_tag("home")]
    assert records.by_tag[pair_tag("office")] is not before[pair_tag("office")]


def test_so_many_ciphers_are_kept_and_the_oldest_go() -> None:
    records = EndRecords({f"pair{number}": KEY for number in range(CIPHERS_KEPT // 2 + 1)})
    ends = list(records.all())
    for record in ends[:CIPHERS_KEPT]:
        records.make_decrypt(record)
        records.make_encrypt(record)
    assert all(record.decrypt and record.encrypt for record in ends[:CIPHERS_KEPT])
    made = records.make_decrypt(ends[-1])
    assert ends[-1].decrypt is made
    assert (ends[0].decrypt, ends[0].encrypt) == (None, None)
    assert all(record.decrypt for record in ends[1:CIPHERS_KEPT])


def test_no_key_is_shown() -> None:
    pair = EndRecords({"home": OTHER_KEY}).by_tag[pair_tag("home")]
    for each in (pair, pair.a):
        assert OTHER_KEY.hex() not in repr(each)
        assert repr(OTHER_KEY) not in repr(each)
