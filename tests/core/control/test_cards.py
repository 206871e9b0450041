"""Which cards a control keeps, and what it does about one that has gone."""

from __future__ import annotations

import pytest

from netpunch.core.control.cards import INTRODUCED_PAIRS_KEPT, Cards
from netpunch.core.control.control import ControlV2
from netpunch.core.control.registrations import Pair, Pairs
from netpunch.wire import v2
from netpunch.wire.envelope import END_B
from netpunch.wire.keys import pair_tag
from netpunch.wire.v2 import Purpose
from tests.core.v2_pair import PAIR, A, B, Voice, make_control


def make_pairs(number: int) -> list[Pair]:
    return [*Pairs({f"pair{each}": bytes(32) for each in range(number)}).by_tag.values()]


class TestCards:
    def test_cards_are_kept_until_the_partner_comes(self) -> None:
        cards, pairs = Cards(), make_pairs(2 * INTRODUCED_PAIRS_KEPT)
        for pair in pairs:
            cards.take(pair.record(0), Purpose.PUNCH, b"card")
        assert all(cards.of(pair.record(0)) == b"card" for pair in pairs)

    def test_of_introduced_pairs_the_last_are_kept(self) -> None:
        cards, pairs = Cards(), make_pairs(INTRODUCED_PAIRS_KEPT + 2)
        first, *others = pairs
        for pair in pairs:
            for flag in (0, END_B):
                cards.take(pair.record(flag), Purpose.PUNCH, b"card")
            cards.introduced(pair)
            cards.introduced(first)  # again and again
        for pair, card in ((first, b"card"), (others[1], None), (others[2], b"card")):
            assert [cards.of(record) for record in pair.records] == [card, card]

    def test_a_new_card_replaces_the_old_one(self) -> None:
        cards, record = Cards(), make_pairs(1)[0].record(0)
        cards.take(record, Purpose.PUNCH, b"old")
        cards.take(record, Purpose.PUNCH, b"new")
        assert cards.of(record) == b"new"

    @pytest.mark.parametrize("leaves", [True, False])
    def test_when_an_end_leaves_or_goes_on_standby_its_partner_waits_again(
        self, leaves: bool
    ) -> None:
        cards, (pair, *others) = Cards(), make_pairs(INTRODUCED_PAIRS_KEPT + 1)
        a, b = pair.record(0), pair.record(END_B)
        for record in (a, b):
            cards.take(record, Purpose.PUNCH, b"card")
        cards.introduced(pair)
        if leaves:
            cards.forget(a)
        else:
            cards.take(a, Purpose.STANDBY, b"card")
        for other in others:
            cards.introduced(other)
        assert (cards.of(a), cards.of(b)) == (None, b"card")


class TestControl:
    @pytest.fixture
    def control(self) -> ControlV2:
        return make_control()

    @pytest.fixture(autouse=True)
    def forgotten(self, control: ControlV2) -> None:
        """End b is here, but without its card."""
        Voice("b", B, b"attempt2").register(control, 0.0)
        control._cards.forget(control._pairs.by_tag[pair_tag(PAIR)].record(END_B))

    def test_a_partner_whose_card_has_gone_is_asked_for_it(self, control: ControlV2) -> None:
        a, b = Voice("a", A, b"attempt1"), Voice("b", B, b"attempt2", counter=2)
        to_a, to_b = a.register(control, 1.0)
        assert (to_a.destination, to_b.destination) == (A, B)
        assert to_a.message == v2.Waiting(a.attempt, 2, A, 1000, b.attempt)
        assert to_b.message == v2.Waiting(b.attempt, 0, B, 0, a.attempt)
        to_b, to_a = b.announce(control, 1.1)
        assert to_b.message == v2.Introduce(b.attempt, 3, B, a.attempt, A, a.card)
        assert to_a.message == v2.Introduce(a.attempt, 0, A, b.attempt, B, b.card)

    def test_an_address_that_is_not_proved_makes_nobody_announce(self, control: ControlV2) -> None:
        """A recording of an end's announcement may come from anywhere."""
        (to_a,) = Voice("a", A, b"attempt1").announce(control, 1.0)
        assert to_a.destination == A
        assert isinstance(to_a.message, v2.Waiting)
