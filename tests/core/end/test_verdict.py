"""Every reason for a failure comes with a sentence that helps."""

from __future__ import annotations

import pytest

from netpunch.core.end.verdict import Facts, verdict
from netpunch.reasons import Reason
from tests.core.v2_pair import CONTROL

TOLD_BY_CORE = [
    Reason.NO_CONTROL,
    Reason.SECRET_REJECTED_OR_SILENT,
    Reason.PARTNER_ABSENT,
    Reason.BLOCKED,
    Reason.INFEASIBLE,
    Reason.UDP_BLOCKED,
    Reason.NOT_AGREED,
    Reason.PARTNER_MODE,
]


@pytest.mark.parametrize("reason", TOLD_BY_CORE)
def test_every_reason_has_a_sentence_of_its_own(reason: Reason) -> None:
    detail = verdict(reason)
    assert len(detail) > 30
    assert [other for other in TOLD_BY_CORE if verdict(other) == detail] == [reason]


def test_silence_names_the_controls_that_were_asked_and_how_to_compare_keys() -> None:
    detail = verdict(Reason.SECRET_REJECTED_OR_SILENT, Facts((CONTROL, CONTROL)))
    assert f"{CONTROL}, {CONTROL}" in detail
    assert "netpunch key id PAIR FILE" in detail


@pytest.mark.parametrize("holds", [True, False])
def test_a_mode_is_told_from_this_ends_view(holds: bool) -> None:
    """Also where one of the ends is `once`: a command or a check would not help there."""
    ours, _, theirs = verdict(Reason.PARTNER_MODE, Facts(holds=holds)).partition("the partner")
    assert ("holds the link" in ours, "holds the link" in theirs) == (holds, not holds)
    assert "`mode: once`" in (theirs if holds else ours)


def test_the_infeasible_names_both_nats_and_what_would_help() -> None:
    detail = verdict(Reason.INFEASIBLE, Facts(nats=("hard_step", "hard_random")))
    assert "hard_step" in detail
    assert "hard_random" in detail
    assert "`candidates: [mapped, ...]`" in detail
    assert "IPv6" in detail


def test_what_is_on_is_not_recommended() -> None:
    facts = Facts(nats=("hard_random", "hard_random"), asks_gateways=True)
    detail = verdict(Reason.INFEASIBLE, facts)
    assert "candidates:" not in detail
    assert "`mapped` is on" in detail


ONE, OTHER = "198.51.100.21", "198.51.100.31"
LAN = "192.168.1.10"


@pytest.mark.parametrize(
    ("facts", "told", "not_told"),
    [
        (Facts(nats=("easy", "open")), "so NAT does not prevent it", "another port"),
        (Facts(nats=("easy", "blocked")), "only a relay helps", "firewall"),
        (Facts(nats=("easy", "hard_random")), "which takes luck", "so NAT does not prevent it"),
        (Facts(), "`observe`", "so NAT does not prevent it"),
        (Facts(reachable=False), "IPv4 only", "firewall"),
        (Facts(heard=True, nats=("easy", "easy")), "none of this end's reach", "nothing it sends"),
        (Facts(nats=("easy", "easy"), hosts=(OTHER, ONE)), f"({ONE}, {OTHER})", "firewall"),
        (Facts(partner_hosts=(ONE, OTHER)), "the partner is seen at several public", "firewall"),
        (Facts((CONTROL,), hosts=(LAN, LAN)), f"sees this end at a private address ({LAN})", "NAT"),
        (Facts((CONTROL,), partner_hosts=(LAN,)), "sees the partner at a private", "NAT"),
        (Facts((CONTROL,), hosts=(LAN, ONE), partner_hosts=(OTHER,)), "NAT", "private"),
        (Facts((CONTROL._replace(host=LAN),), hosts=(LAN,)), "NAT", "private"),
        (Facts(nats=("easy", "easy"), hosts=(ONE, "2001:db8::1")), "firewall", "several public"),
    ],
)
def test_what_blocks_follows_from_what_was_seen(facts: Facts, told: str, not_told: str) -> None:
    detail = verdict(Reason.BLOCKED, facts)
    assert told in detail
    assert not_told not in detail


def test_uplinks_used_in_turn_look_like_a_random_nat_but_are_told() -> None:
    detail = verdict(Reason.INFEASIBLE, Facts(nats=("hard_random", "easy"), hosts=(ONE, OTHER)))
    assert f"({ONE}, {OTHER})" in detail
    assert "random port" not in detail
