"""Rules beyond single values: what they refuse and what they must not, and links without a use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from netpunch.config.document.problems import SiteError
from netpunch.config.remarks import (
    FILES,
    HELD,
    NOTHING,
    UNTOLD,
    certainly_unused,
    crowded_relays,
    readable_links,
    unused_links,
)
from tests.config.conftest import LoadText, ReportOf
from tests.node.recorder import site_with

HANDS_OVER = {"mode": "keep", "command": ["x"]}
BOTH: dict[str, Any] = {"a": {}, "b": {}}
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
def test_two_parts_of_a_node_cannot_bind_the_same_port(
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


@pytest.mark.parametrize(
    ("keys", "hold_for"),
    [
        ({}, 60.0),
        ({"keepalive": "20s"}, 60.0),
        ({"keepalive": "45s"}, 135.0),
        ({"keepalive": "45s", "hold_for": "90s"}, 90.0),
        ({"keepalive": "10s", "hold_for": "20s"}, 20.0),
    ],
)
def test_a_held_link_may_miss_keepalives(
    tmp_path: Path, keys: dict[str, str], hold_for: float
) -> None:
    _, part = site_with(tmp_path, {"p": {"secret": "generate", "mode": "keep", **keys} | BOTH})
    assert {end.settings.hold_for for end in part.ends} == {hold_for}


def test_hold_for_counts_only_for_ends_that_hold(tmp_path: Path) -> None:
    """`defaults` have it for all."""
    settings = {"secret": "generate", "hold_for": "1s"}
    site_with(tmp_path, {"p": settings | BOTH, "q": settings | HANDS_OVER | BOTH})


def test_disabled_parts_take_no_ports_files_or_slots(load_text: LoadText) -> None:
    pair = (
        "{protocol: classic, slots: a-b, env_file: /e, "
        'a: {node: home, local: ":5000"}, b: {node: office}}'
    )
    load_text(f"{SITE}  p: {pair}\n  q: {pair.replace('{', '{enabled: off, ', 1)}\n")


def test_pairs_may_have_equal_slots_at_different_controls(load_text: LoadText) -> None:
    head = SITE.replace(
        "{node: vps,", '[{name: one, node: vps2, address: "vps2:10001"}, {node: vps,'
    ).replace('"vps:10001"}', '"vps:10001"}]')
    pair = "{protocol: classic, slots: a-b, a: {node: home}, b: {node: office}}"
    q = pair.replace("{", "{control: one, ", 1)
    load_text(f"{head}  p: {pair.replace('{', '{control: vps, ', 1)}\n  q: {q}\n")


def test_the_port_of_forward_collides_with_that_of_local(report_of: ReportOf) -> None:
    pair = (
        '{mode: keep, forward: {listen: "127.0.0.1:5000"}, '
        'a: {node: home, local: ":5000"}, b: {node: office}}'
    )
    assert (
        "pairs.p.a.forward.listen: pairs.p.a.local uses port 5000 on the same node (line 5)"
        in report_of(f"{SITE}  p: {pair}\n")
    )


def test_a_file_over_a_secret_is_refused_only_on_the_same_node(
    load_text: LoadText, report_of: ReportOf
) -> None:
    ends = "a: {node: home, env_file: q.key}, b: {node: office}"
    other = "  q: {a: {node: cabin}, b: {node: shed}}\n"
    load_text(f"{SITE}  p: {{{ends}}}\n{other}")
    told = report_of(f"{SITE}  p: {{{ends}}}\n{other.replace('shed', 'home')}")
    assert "pairs.p.a.env_file: would overwrite" in told
    assert "q.key, which is a secret\n" in told


def test_output_paths_are_compared_in_their_shortest_form(report_of: ReportOf) -> None:
    ends = "a: {node: home, env_file: /run/x}, b: {node: home, env_file: /run/./y/../x}"
    told = report_of(f"{SITE}  p: {{{ends}}}\n")
    assert "pairs.p.b.env_file: pairs.p.a.env_file writes /run/x on the same node" in told


def test_the_file_s_own_node_is_checked_only_if_all_nodes_are_known(report_of: ReportOf) -> None:
    told = report_of(f"node: hime\n{SITE}  p: {{mode: x, a: {{node: home}}, b: {{node: b}}}}\n")
    assert "no part runs on" not in told
    told = report_of(f"node: '!'\n{SITE}  p: {{a: {{node: home}}, b: {{node: b}}}}\n")
    assert told.count("site.yaml:") == 1


def test_a_wrong_control_neither_hides_nor_adds_problems(report_of: ReportOf) -> None:
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


CHECK = {"mode": "keep", "check": ["true"]}
FORWARD = {"forward": {"listen": "127.0.0.1:51821", "to": "127.0.0.1:51820"}}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (CHECK, NOTHING),
        (CHECK | {"hooks": {"down": ["true"]}}, NOTHING),
        (CHECK | {"env_file": "/run/netpunch/{pair}.env"}, FILES),
        (CHECK | {"command": ["true"]}, None),
        (CHECK | {"hooks": {"up": ["true"]}}, None),
        ({"mode": "keep"}, HELD),
        ({"mode": "keep"} | FORWARD, None),
        ({"mode": "once"}, None),
        ({"share": "on", "local": ":51820"}, UNTOLD),
        ({"share": "on", "local": ":51820", "hooks": {"up": ["true"]}}, None),
    ],
)
def test_a_link_that_nothing_uses_is_warned_of(
    tmp_path: Path, settings: dict[str, Any], expected: str | None
) -> None:
    pair = settings | {"secret": "generate", "a": {}, "b": {"enabled": False}}
    site, part = site_with(tmp_path, {"p": pair})
    problems = list(unused_links(site, part.ends))
    assert [each.message for each in problems] == ([expected] if expected else [])
    assert bool(list(certainly_unused(problems))) == (expected == NOTHING)
    assert all(each.key == "pairs.p.a" for each in problems)


@pytest.mark.parametrize(
    ("relay", "share", "noted"),
    [
        ({}, {}, []),
        ({"relay": ":20003"}, {}, ["pairs.p.a"]),
        ({"relay": ":20003", "relay_ports": 2}, {}, []),
        ({"relay": ":20003"}, {"candidates": ["host", "observed"]}, []),
        ({"relay": ":20003"}, {"share": "off", "local": ":0"}, []),
    ],
)
def test_check_says_if_more_pairs_share_a_port_than_the_relay_has_ports(
    tmp_path: Path, relay: dict[str, Any], share: dict[str, Any], noted: list[str]
) -> None:
    a = {"share": "on", "local": ":51820"} | share
    pair = {"secret": "generate", "mode": "keep", "a": a, "b": {}}
    control = {"address": "127.0.0.1:20001", **relay}
    site, part = site_with(tmp_path, {"p": pair, "q": pair}, control=control)
    notes = list(crowded_relays(site, part.ends))
    assert [each.key for each in notes] == noted
    assert all(
        "2 pairs share port 51820, of which the relay of control control can carry 1 at a time"
        in each.message
        for each in notes
    )


@pytest.mark.parametrize(
    ("relay", "settings", "noted"),
    [
        (True, FORWARD, True),
        (False, FORWARD, False),
        (True, FORWARD | {"candidates": ["host", "observed"]}, False),
        (True, FORWARD | {"b": {"candidates": ["host"], "forward": {"listen": ":1"}}}, False),
        (True, {"forward": FORWARD["forward"] | {"sealed": "on"}}, False),
        (True, {}, False),
        (True, {"command": ["vpn"]}, False),
    ],
)
def test_check_says_if_a_relay_may_read_what_forward_carries(
    tmp_path: Path, relay: bool, settings: dict[str, Any], noted: bool
) -> None:
    """Only if both ends may be relayed, and the control does it."""
    control = {"address": "127.0.0.1:20001"} | ({"relay": ":20003"} if relay else {})
    pair = {"secret": "generate", "mode": "keep", "a": {}} | {"b": {"forward": {"listen": ":1"}}}
    if "forward" not in settings:
        pair["b"] = {}
    site, part = site_with(tmp_path, {"p": pair | settings}, control=control)
    notes = list(readable_links(site, part.ends))
    assert [each.key for each in notes] == (["pairs.p.a", "pairs.p.b"] if noted else [])
    assert all("the relay of control control, whose" in each.message for each in notes)


CONTROL = 'control: {node: vps, address: "vps:10001"'


# Relays.


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            'relay: ":10003", relay_rate: 20',
            "control.relay_rate: expected a rate such as 500kbit/s, 20Mbit/s or 1Gbit/s, "
            "got '20': no unit",
        ),
        ('relay: ":10003", relay_rate: 20/s', "control.relay_rate: expected a rate such as"),
        ('relay: ":10003", relay_rate: 20MB/s', "control.relay_rate: expected a rate such as"),
        ('relay: ":10003", relay_total: 1bit/s', "must be from 64kbit/s to 100Gbit/s"),
        (
            "relay_rate: 1Mbit/s",
            'control.relay_rate: without `relay` it has no use: add `relay: ":10003"`',
        ),
        ("relay_total: 1Gbit/s", "control.relay_total: without `relay` it has no use"),
        (
            'relay: ":10003", relay_rate: 1Gbit/s',
            "control.relay_rate: `relay_rate` is above `relay_total`",
        ),
        (
            'relay: ":10003", relay_total: 1Mbit/s',
            "control.relay_total: `relay_rate` is above `relay_total`",
        ),
        ('relay: ":10001"', "control.relay: control.listen uses port 10001 on the same node"),
        ('relay: ":10002"', "control.relay: control.observe uses port 10002 on the same node"),
        ("relay: on", "control.relay: expected an address to listen on"),
        (
            'relay: ["192.0.2.1:10003", "192.0.2.2:10004"]',
            "control.relay: expected one port for all addresses",
        ),
        ("relay_ports: 2", "control.relay_ports: without `relay` it has no use"),
        ('relay: ":10003", relay_ports: 0', "relay_ports: expected a number from 1 to 256, got"),
        ('relay: ":10003", relay_ports: 257', "relay_ports: expected a number from 1 to 256, got"),
        (
            'relay: ":65530", relay_ports: 7',
            "control.relay_ports: the last one would be 65536, above 65535",
        ),
        (
            'relay: ":9999", relay_ports: 4',
            "control.relay: control.listen uses port 10001 on the same node",
        ),
        ('tls: ":443"', "control.tls: without `relay` nothing could be linked over it"),
    ],
)
def test_what_a_relay_cannot_be(report_of: ReportOf, keys: str, message: str) -> None:
    site = SITE.replace(CONTROL, f"{CONTROL}, {keys}")
    report = report_of(f"{site}  p: {{a: {{node: home}}, b: {{node: office}}}}\n")
    assert message in report
    assert re.search(r"site\.yaml:\d+:\d+: control\.", report)


def test_a_relay_with_its_ports_and_rates(load_text: LoadText) -> None:
    rates = "relay_rate: 500kbit/s, relay_total: 0.5Gbit/s"
    keys = f'relay: ":10003", relay_ports: 3, {rates}'
    site = load_text(
        SITE.replace(CONTROL, f"{CONTROL}, {keys}") + "  p: {a: {node: home}, b: {node: office}}\n"
    )
    [control] = site.controls
    assert (control.relay, control.relay_rate, control.relay_total) == ((("", 10003),), 5e5, 5e8)
    assert control.relay_sockets == [("", 10003), ("", 10004), ("", 10005)]


# TLS.


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "tls_certificate: c.pem",
            'control.tls_certificate: without `tls` it has no use: add `tls: ":443"`',
        ),
        ("tls_key: k.pem", "control.tls_key: without `tls` it has no use"),
        ('tls: ":443", tls_key: k.pem', "control.tls_key: `tls_certificate` is missing"),
        ('tls: ":0"', "control.tls: expected an address to listen on"),
        ("tls: on", "control.tls: expected an address to listen on"),
    ],
)
def test_a_control_cannot_have_half_of_tls(report_of: ReportOf, keys: str, message: str) -> None:
    site = SITE.replace(CONTROL, f"{CONTROL}, {keys}")
    assert message in report_of(f"{site}  p: {{a: {{node: home}}, b: {{node: office}}}}\n")


def test_two_controls_of_a_node_cannot_listen_on_the_same_tcp_port(
    load_text: LoadText, report_of: ReportOf
) -> None:
    def site(*ports: tuple[int, int]) -> str:
        controls = ", ".join(
            f'{{name: c{udp}, node: vps, address: "vps:{udp}", relay: ":{udp + 2}", tls: ":{tcp}"}}'
            for udp, tcp in ports
        )
        return f"version: 1\ncontrol: [{controls}]\npairs: {{}}\n"

    assert "control[1].tls: control[0].tls uses port 443 on the same node" in report_of(
        site((10001, 443), (20001, 443))
    )
    load_text(site((10001, 443), (443, 10001)))  # TCP's ports are not UDP's


@pytest.mark.parametrize(
    ("control", "end", "port"),
    [
        ("", "", 443),
        (', relay: ":10003", tls: ":8443"', "", 8443),
        (', relay: ":10003", tls: ":8443"', ", tls: 9443", 9443),
        ("", ", tls: 9443", 9443),
        (', relay: ":10003", tls: ":8443"', ", tls: off", 0),
    ],
)
def test_an_end_tries_the_port_that_its_own_key_or_its_control_names(
    load_text: LoadText, control: str, end: str, port: int
) -> None:
    site = load_text(
        SITE.replace(CONTROL, CONTROL + control)
        + f"  p: {{a: {{node: home{end}}}, b: {{node: office}}}}\n"
    )
    settings = site.pairs[0].a.settings
    assert [settings.tls_port(each) for each in settings.controls] == [port]


@pytest.mark.parametrize("port", ["0", "65536", "on", '":443"'])
def test_what_is_no_tcp_port_is_told(report_of: ReportOf, port: str) -> None:
    ends = f"a: {{node: home, tls: {port}}}, b: {{node: office}}"
    assert "pairs.p.a.tls: expected a TCP port such as 443, or off" in report_of(
        f"{SITE}  p: {{{ends}}}\n"
    )


# Sharing the port of another program.

SHARED = {"share": "on", "local": ":51820", "secret": "generate", "a": {}, "b": {"enabled": False}}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"mode": "once"}, "share: mode `once` ends at the link"),
        ({"forward": {"listen": ":1"}}, "share: with `share` the program itself sends"),
        ({"command": ["x"]}, "share: with `share` netpunch holds the link itself"),
        ({"check": ["x"]}, "share: with `share` netpunch holds the link itself"),
        ({"protocol": "classic", "slots": "a-b"}, "share: a classic pair can't hold the link"),
        ({"local": ":0"}, "share: `local` has to name the port that the program has"),
    ],
)
def test_what_cannot_share_a_port(tmp_path: Path, settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(SiteError) as caught:
        site_with(tmp_path, {"p": SHARED | settings})
    assert expected in str(caught.value)


def test_a_shared_link_is_kept_and_watched_each_second(tmp_path: Path) -> None:
    _, part = site_with(tmp_path, {"p": SHARED, "q": SHARED | {"keepalive": "10s"}})
    assert [(end.mode, end.settings.keepalive) for end in part.ends] == [("keep", 1), ("keep", 10)]
    assert all(end.holds for end in part.ends)


def test_pairs_of_a_node_may_share_a_port_with_each_other_only(
    load_text: LoadText, report_of: ReportOf
) -> None:
    pair = '{share: on, local: ":51820", a: {node: home}, b: {node: NODE}}'
    p, q = f"  p: {pair}\n".replace("NODE", "office"), f"  q: {pair}\n".replace("NODE", "cabin")
    load_text(SITE + p + q)
    collision = "pairs.q.a.local: pairs.p.a.local uses port 51820 on the same node"
    unshared = q.replace("{share: on", "{share: off, mode: keep")
    assert collision in report_of(SITE + p + unshared)
    both = "pairs.p.b.local: pairs.p.a.local uses port 51820 on the same node"
    assert both in report_of(SITE + p.replace("office", "home"))


def test_a_mesh_shares_a_port_without_counting(load_text: LoadText) -> None:
    keys = {node: f"{'A' * 42}{last}=" for node, last in (("home", "A"), ("cabin", "E"))}
    nodes = ", ".join(f'{node}: {{wireguard_key: "{key}"}}' for node, key in keys.items())
    mesh = f'{{secret_file: lan.key, share: on, local: ":51820", nodes: {{{nodes}, shed: {{}}}}}}'
    site = load_text(
        f"version: 1\ncontrol: {{node: vps, address: 'vps:1'}}\nmeshes: {{lan: {mesh}}}\n"
    )
    ends = [end for pair in site.pairs for end in pair.ends]
    assert {end.settings.local for end in ends} == {("", 51820)}
    assert all(end.partner_wireguard_key == keys.get(end.partner_node or "") for end in ends)


def test_the_wireguard_key_is_an_end_s(load_text: LoadText, report_of: ReportOf) -> None:
    key = f"{'A' * 43}="
    pair = f'  p: {{a: {{node: home, wireguard_key: "{key}"}}, b: {{node: office}}}}\n'
    (site,) = load_text(SITE + pair).pairs
    assert (site.a.wireguard_key, site.b.partner_wireguard_key) == (key, key)
    assert (site.b.wireguard_key, site.a.partner_wireguard_key) == (None, None)
    assert "expected a public key" in report_of(SITE + pair.replace(key, "AAAA"))
    at_pair = f'  p: {{wireguard_key: "{key}", a: {{node: home}}, b: {{node: office}}}}\n'
    assert "belongs to an end" in report_of(SITE + at_pair)
