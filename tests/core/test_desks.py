"""The places of a control's ends: which are kept at a reload, and whose ciphers."""

from __future__ import annotations

from netpunch.core.desks import CIPHERS_KEPT, Desks
from netpunch.wire.keys import pair_tag

KEY, OTHER_KEY = bytes(32), bytes(range(32))


def test_a_tag_leads_to_both_desks() -> None:
    pair = Desks({"home": KEY}).by_tag[pair_tag("home")]
    assert (pair.name, pair.a.end, pair.b.end) == ("home", "a", "b")
    assert pair.a.partner is pair.b
    assert pair.b.partner is pair.a
    assert pair.a.pair is pair.b.pair is pair


def test_what_stays_the_same_keeps_its_desks() -> None:
    desks = Desks({"home": KEY, "office": KEY, "gone": KEY})
    before = dict(desks.by_tag)
    desks.replace({"home": KEY, "office": OTHER_KEY, "new": KEY})
    assert [desk.pair.name for desk in desks.all()] == [
        name for name in ("home", "office", "new") for _ in "ab"
    ]
    assert desks.by_tag[pair_tag("home")] is before[pair_tag("home")]
    assert desks.by_tag[pair_tag("office")] is not before[pair_tag("office")]


def test_so_many_ciphers_are_kept_and_the_oldest_go() -> None:
    desks = Desks({f"pair{number}": KEY for number in range(CIPHERS_KEPT // 2 + 1)})
    ends = list(desks.all())
    for desk in ends[:CIPHERS_KEPT]:
        desks.make_decrypt(desk)
        desks.make_encrypt(desk)
    assert all(desk.decrypt and desk.encrypt for desk in ends[:CIPHERS_KEPT])
    made = desks.make_decrypt(ends[-1])
    assert ends[-1].decrypt is made
    assert (ends[0].decrypt, ends[0].encrypt) == (None, None)
    assert all(desk.decrypt for desk in ends[1:CIPHERS_KEPT])


def test_no_key_is_shown() -> None:
    pair = Desks({"home": OTHER_KEY}).by_tag[pair_tag("home")]
    for each in (pair, pair.a):
        assert OTHER_KEY.hex() not in repr(each)
        assert repr(OTHER_KEY) not in repr(each)
