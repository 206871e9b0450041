"""Rules between parts that are kept: what they must not refuse."""

from __future__ import annotations

import pytest

from tests.config.conftest import LoadText, ReportOf

SITE = """\
version: 1
control: {node: vps, address: "vps:10001"}
defaults: {secret_file: "{pair}.key"}
pairs:
"""


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        (":5000", ":5000", True),
        (":5000", ":5001", False),
        (":0", ":0", False),
        ("192.0.2.1:5000", "192.0.2.1:5000", True),
        ("192.0.2.1:5000", "192.0.2.2:5000", False),
        (":5000", "[2001:db8::1]:5000", True),
        ("0.0.0.0:5000", "192.0.2.1:5000", True),
        ("0.0.0.0:5000", "[2001:db8::1]:5000", False),
        ("[::]:5000", "192.0.2.1:5000", False),
        ("[2001:db8::1]:5000", "[::]:5000", True),
        ("a:5000", "b:5000", False),
    ],
)
def test_ports(
    load_text: LoadText, report_of: ReportOf, one: str, other: str, collide: bool
) -> None:
    ends = f'a: {{node: home, local: "{one}"}}, b: {{node: HOME, local: "{other}"}}'
    if collide:
        assert "pairs.p.a.local uses port 5000 on the same node" in report_of(
            f"{SITE}  p: {{{ends}}}\n"
        )
    else:
        load_text(f"{SITE}  p: {{{ends}}}\n")
    load_text(f"{SITE}  p: {{{ends.replace('HOME', 'office')}}}\n")


def test_what_is_disabled_takes_nothing(load_text: LoadText) -> None:
    pair = (
        "{protocol: classic, slots: a-b, env_file: /e, "
        'a: {node: home, local: ":5000"}, b: {node: office}}'
    )
    load_text(f"{SITE}  p: {pair}\n  q: {pair.replace('{', '{enabled: off, ', 1)}\n")


def test_equal_slots_at_different_controls(load_text: LoadText) -> None:
    head = SITE.replace(
        "{node: vps,", '[{name: one, node: vps2, address: "vps2:10001"}, {node: vps,'
    ).replace('"vps:10001"}', '"vps:10001"}]')
    pair = "{protocol: classic, slots: a-b, a: {node: home}, b: {node: office}}"
    q = pair.replace("{", "{control: one, ", 1)
    load_text(f"{head}  p: {pair.replace('{', '{control: vps, ', 1)}\n  q: {q}\n")


def test_forward_takes_a_port(report_of: ReportOf) -> None:
    pair = (
        '{mode: keep, forward: {listen: "127.0.0.1:5000"}, '
        'a: {node: home, local: ":5000"}, b: {node: office}}'
    )
    assert (
        "pairs.p.a.forward.listen: pairs.p.a.local uses port 5000 on the same node (line 5)"
        in report_of(f"{SITE}  p: {pair}\n")
    )


def test_an_output_over_a_secret_is_told_by_node(load_text: LoadText, report_of: ReportOf) -> None:
    ends = "a: {node: home, env_file: q.key}, b: {node: office}"
    other = "  q: {a: {node: cabin}, b: {node: shed}}\n"
    load_text(f"{SITE}  p: {{{ends}}}\n{other}")
    told = report_of(f"{SITE}  p: {{{ends}}}\n{other.replace('shed', 'home')}")
    assert "pairs.p.a.env_file: would overwrite" in told
    assert "q.key, which is a secret\n" in told


def test_paths_are_compared_in_their_shortest_form(report_of: ReportOf) -> None:
    ends = "a: {node: home, env_file: /run/x}, b: {node: home, env_file: /run/./y/../x}"
    told = report_of(f"{SITE}  p: {{{ends}}}\n")
    assert "pairs.p.b.env_file: pairs.p.a.env_file writes /run/x on the same node" in told


def test_the_own_node_is_judged_only_if_all_are_known(report_of: ReportOf) -> None:
    told = report_of(f"node: hime\n{SITE}  p: {{mode: x, a: {{node: home}}, b: {{node: b}}}}\n")
    assert "no part runs on" not in told
    told = report_of(f"node: '!'\n{SITE}  p: {{a: {{node: home}}, b: {{node: b}}}}\n")
    assert told.count("site.yaml:") == 1


def test_a_wrong_control_hides_nothing_and_adds_nothing(report_of: ReportOf) -> None:
    text = (
        SITE.replace('"vps:10001"', ":1")
        + "  p: {control: vpn, mode: x, a: {node: h}, b: {node: b}}\n"
        "  q: {control: vpn, a: {node: h}, b: {node: b}, command: [x]}\n"
    ).replace("address: :1", 'address: ":1"')
    told = report_of(text)
    assert "control.address" in told
    assert "pairs.p.mode" in told
    assert "pairs.q.command" in told
    assert told.count("site.yaml:") == 3
