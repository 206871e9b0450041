"""What an end knows of one attempt of its partner."""

from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.core.end.checks import Checklist, Path
from netpunch.core.end.identity import Identity
from netpunch.core.end.partner import Nomination, Partner
from netpunch.core.events import PathKind, Via
from netpunch.core.machine import NEVER
from netpunch.core.traversal.nat import Bracket
from netpunch.wire import v2
from netpunch.wire.card import Card, NatClass
from netpunch.wire.v2 import NO_ATTEMPT
from tests.core.v2_bench import make_resources
from tests.core.v2_pair import CHANNELS, B, seeded


class Attempt:
    """One that sends nothing."""

    may_be_relayed = True

    def __init__(self) -> None:
        self.resources = make_resources("a")
        self.identity = Identity(seeded(1))

    def is_own(self, address: Address) -> bool:
        return False

    def send(self, message: v2.PeerMessage, destination: Address, via: Via, ttl: int = 0) -> None:
        raise AssertionError("nothing is to be sent")


@pytest.fixture
def partner() -> Partner:
    return Partner(b"partner1", Checklist(Attempt(), b"partner1"), CHANNELS)


def test_nothing_is_known_without_a_card(partner: Partner) -> None:
    assert partner.nat_class is NatClass.UNKNOWN
    assert partner.bracket == Bracket()
    assert partner.next_timer() == NEVER


@pytest.mark.parametrize("nat_class", NatClass)
def test_its_card_tells_how_its_nat_maps(partner: Partner, nat_class: NatClass) -> None:
    partner.card = Card(bytes(32), NO_ATTEMPT, False, nat_class, 40000, -2, 7, 3)
    assert partner.nat_class is nat_class
    assert partner.bracket == Bracket(port=40000, step=-2, span=7, round=3)


def test_a_class_of_a_later_version_is_unknown(partner: Partner) -> None:
    partner.card = Card(bytes(32), NO_ATTEMPT, False, 99)
    assert partner.nat_class is NatClass.UNKNOWN


def test_its_timer_is_the_earliest_of_all_its_parts(partner: Partner) -> None:
    partner.decide_at = 7.0
    assert partner.next_timer() == 7.0
    partner.nomination = Nomination(Path(0, B, PathKind.HOST, next_ping=0.0), 5.0)
    assert partner.next_timer() == 5.0


@pytest.mark.parametrize(
    ("bracket", "ports"),
    [
        (Bracket(40000, 2, 3), [40000, 40002, 40004]),
        (Bracket(65534, 1, 3), [65534, 65535, 1]),
        (Bracket(2, -1, 3), [2, 1, 65535]),
    ],
)
def test_a_bracket_goes_on_around_the_end_of_the_range(bracket: Bracket, ports: list[int]) -> None:
    assert [bracket.port_at(steps) for steps in range(3)] == ports
