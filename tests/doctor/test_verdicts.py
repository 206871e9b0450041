"""netpunch.doctor.verdicts: what speaks against a link, and what is only not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netpunch.config.loading import load
from netpunch.config.model import Site
from netpunch.doctor.facts import Facts
from netpunch.doctor.finding import Finding, fail, warn
from netpunch.doctor.keys import Key
from netpunch.doctor.measuring import ControlSeen, Network
from netpunch.doctor.report import Verdict
from netpunch.doctor.verdicts import CLASSIC, NO_ANSWER, Judge
from netpunch.net.observation import Reply
from netpunch.wire.card import NatClass
from tests.doctor.seen import AT, CONTROL, control, reply, survey

SITE = """
version: 1
control:
  - {name: one, node: vps, address: "vps.example.net:10001"}
  - {name: two, node: vps2, address: "vps2.example.net:10001"}
pairs:
  p: {secret_file: p.key, KEYS, a: {node: home}, b: {node: office}}
"""
SILENT = control(replies={("p", CONTROL): Reply()})
UNRESOLVED = ControlSeen(AT, problem="no name; see DNS")
LACKS_KEY = control(replies={("p", CONTROL): Reply(), ("q", CONTROL): reply()})
NOT_ASKED = control(replies={})
FAILS = fail("control", "one: is silent", "start it", code=69)


def site_with(folder: Path, keys: str = "control: [one, two]") -> Site:
    file = folder / "site.yaml"
    file.write_text(SITE.replace("KEYS", keys))
    return load(file)


def judged(
    folder: Path, one: ControlSeen, two: ControlSeen, *findings: Finding, **more: Any
) -> Verdict:
    site = site_with(folder, more.pop("keys", "control: [one, two]"))
    network = Network({"one": one, "two": two}, **more)
    facts = Facts({"p": (Key("p", "p", "p.key"),)}, network, (), None)
    return Judge(site, facts, findings).end(site.pairs[0].a)


def test_one_control_that_answers_is_enough(tmp_path: Path) -> None:
    for other in (SILENT, UNRESOLVED, LACKS_KEY):
        verdict = judged(tmp_path, other, control(), FAILS, nat=survey(NatClass.EASY))
        assert verdict.can_link
        assert verdict.ways


def test_a_pair_without_any_control_that_answers_cannot_link(tmp_path: Path) -> None:
    verdict = judged(tmp_path, SILENT, UNRESOLVED, FAILS)
    assert verdict.can_link is False
    assert verdict.text == "cannot link: control one: is silent"


def test_a_key_that_no_control_has_is_named_first(tmp_path: Path) -> None:
    key = fail("key", "5f3a; control one answers other keys", "compare", "p", code=69)
    verdict = judged(tmp_path, LACKS_KEY, SILENT, FAILS, key)
    assert verdict.text == "cannot link: key 5f3a; control one answers other keys"


def test_a_control_that_was_not_asked_may_have_the_key(tmp_path: Path) -> None:
    verdict = judged(tmp_path, SILENT, NOT_ASKED, FAILS)
    assert verdict == Verdict("p", NO_ANSWER)


def test_a_failure_that_prevents_nothing_is_no_obstacle(tmp_path: Path) -> None:
    folder = fail("folder", "gone", "make it", "p", code=73)
    other = fail("port", "taken", "free it", "q", blocks=True)
    verdict = judged(
        tmp_path,
        control(),
        control(),
        folder,
        other,
        warn("a", "b", "c"),
        nat=survey(NatClass.OPEN),
    )
    assert verdict.can_link


def test_a_failure_of_the_pair_is_an_obstacle(tmp_path: Path) -> None:
    taken = fail("port", "UDP 5000 is owned by x", "stop it", "p", blocks=True)
    verdict = judged(tmp_path, control(), control(), taken)
    assert verdict.text == "cannot link: port UDP 5000 is owned by x"


def test_of_a_classic_pair_little_is_known(tmp_path: Path) -> None:
    keys = "protocol: classic, slots: a-b, control: [one]"
    assert judged(tmp_path, NOT_ASKED, NOT_ASKED, keys=keys) == Verdict("p", CLASSIC)


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        (10003, SILENT, "behind a symmetric NAT: by the relay at one;"),
        (0, control(), "behind a symmetric NAT or blocked UDP: not at all"),
        (0, SILENT, "behind a symmetric NAT: not known;"),
    ],
)
def test_a_relay_that_control_offers_is_reckoned_with(
    one: int, two: ControlSeen, expected: str, tmp_path: Path
) -> None:
    seen = control(replies={("p", CONTROL): reply(one)})
    verdict = judged(tmp_path, seen, two, nat=survey(NatClass.HARD_RANDOM))
    assert expected in verdict.text


def test_a_failure_that_prevents_no_link_is_in_the_verdict_with_its_cure(tmp_path: Path) -> None:
    folder = fail("folder", "env_file: there is no folder x", "`mkdir x`", "p", code=73)
    verdict = judged(tmp_path, control(), control(), folder, nat=survey(NatClass.EASY))
    assert verdict.can_link
    assert verdict.text.endswith("; but folder: env_file: there is no folder x")
    assert verdict.cure == "`mkdir x`"
