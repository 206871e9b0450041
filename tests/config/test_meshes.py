"""Meshes of a site file: the pairs that they stand for, and what is refused."""

from __future__ import annotations

import time
from pathlib import Path

import jsonschema
import pytest
import yaml

from netpunch.config.display import json_schema, show
from netpunch.config.loading import pairs_served, select
from netpunch.config.meshes import MAX_PAIRS
from netpunch.config.model import Site
from netpunch.config.values import HostPort
from tests.config.conftest import LoadText, ReportOf

HEAD = """\
version: 1
control: {node: vps, address: "vps:10001"}
"""
SECONDS = 4.0
"""For 200 nodes, of this process's time; it takes a third of that unless the machine is busy."""


def mesh(*lines: str, head: str = HEAD) -> str:
    """A site with the mesh `lan`, whose lines these are."""
    return head + "meshes:\n  lan:\n" + "".join(f"    {line}\n" for line in lines)


def lan(*lines: str) -> str:
    return mesh("secret_file: lan.key", *lines)


def names(site: Site) -> list[str]:
    return [pair.name for pair in site.pairs]


def test_a_mesh_is_every_pair_of_its_nodes_in_alphabetical_order(load_text: LoadText) -> None:
    site = load_text(lan("nodes: [shed, Home, cabin]"))
    assert names(site) == ["lan.home.shed", "lan.cabin.shed", "lan.cabin.home"]
    a, b = site.pairs[0].ends
    assert (a.node, a.end, a.partner_node) == ("home", "a", "shed")
    assert (b.node, b.end, b.partner_node) == ("shed", "b", "home")
    assert (a.pair, a.path, a.protocol) == ("lan.home.shed", "meshes.lan.nodes.home", "v2")


def test_a_hub_makes_a_star(load_text: LoadText) -> None:
    site = load_text(lan("nodes: [home, office, cabin]", "hub: office"))
    assert names(site) == ["lan.home.office", "lan.cabin.office"]


def test_a_node_overrides_the_mesh_and_the_mesh_the_defaults(load_text: LoadText) -> None:
    site = load_text(
        HEAD + "defaults: {mode: keep, keepalive: 5s, hold_for: 50s, protocol: classic,"
        " slots: a-b, a: {keepalive: 1s}}\n"
        "meshes: {lan: {secret_file: lan.key, keepalive: 10s,"
        " nodes: {home: {keepalive: 20s}, office: {}}}}\n"
    )
    home, office = (end.settings for end in site.pairs[0].ends)
    assert (home.keepalive, home.hold_for, home.protocol) == (20.0, 50.0, "v2")
    assert (office.keepalive, office.holds) == (10.0, True)


def test_all_ends_and_control_have_the_secret_of_the_mesh(load_text: LoadText) -> None:
    head = HEAD + 'defaults: {secret_file: "keys/{pair}"}\n'
    site = load_text(mesh("nodes: {a: {}, b: {credential: np_lan}, c: {}}", head=head))
    assert all(pair.secret.path.endswith("/keys/lan") for pair in site.pairs)
    b = next(pair.b.secret for pair in site.pairs if pair.name == "lan.a.b")
    assert (b.kind, b.path, b.mesh) == ("credential", "np_lan", "lan")


def test_ports_count_the_partners_in_the_order_of_nodes(load_text: LoadText) -> None:
    site = load_text(
        lan(
            "mode: keep",
            'local: ":6000+"',
            'forward: {listen: "127.0.0.1:52000+", to: "127.0.0.1:51820"}',
            "nodes: [shed, home, cabin]",
        )
    )
    ports = {
        (end.node, end.partner_node): (end.settings.local[1], end.forward.listen)
        for pair in site.pairs
        for end in pair.ends
        if end.forward
    }
    assert ports["shed", "home"] == (6001, HostPort("127.0.0.1", 52001))
    assert ports["cabin", "home"] == (6001, HostPort("127.0.0.1", 52001))
    assert ports["home", "shed"] == (6000, HostPort("127.0.0.1", 52000))
    assert ports["home", "cabin"] == (6002, HostPort("127.0.0.1", 52002))


def test_a_node_that_is_off_takes_part_in_nothing_and_keeps_its_place(
    load_text: LoadText,
) -> None:
    site = load_text(lan('local: ":6000+"', "nodes: {a: {}, b: {enabled: off}, c: {}}"))
    assert [pair.name for pair in pairs_served(site, site.controls[0])] == ["lan.a.c"]
    part = select(site, "a", "a", None)
    assert [(end.pair, end.settings.local[1]) for end in part.ends] == [("lan.a.c", 6002)]


def test_templates_know_mesh_node_and_partner(load_text: LoadText, tmp_path: Path) -> None:
    (tmp_path / "home.in").write_text("{mesh} {node} {partner} {raddr}")
    site = load_text(
        lan(
            'env_file: "/run/{mesh}/{node}-{partner}.env"',
            'files: [{template: "{node}.in", to: "/run/{partner}.conf"}]',
            "nodes: [home, office, cabin]",
        )
    )
    part = select(site, "home", "home", None)
    assert {file.template.name for end in part.ends for file in end.files} == {"home.in"}


def test_two_meshes_and_pairs_share_a_site(load_text: LoadText) -> None:
    site = load_text(
        HEAD + "defaults: {secret_file: x.key}\n"
        "pairs: {p: {a: {node: home}, b: {node: office}}}\n"
        "meshes: {lan: {nodes: [home, office]}, wan: {nodes: [office, home, cabin], hub: home}}\n"
    )
    assert names(site) == ["p", "lan.home.office", "wan.home.office", "wan.cabin.home"]


MESHES = [
    lan("nodes: [home, office, cabin]", "hub: home"),
    lan("nodes: {home: {}, office: {mode: once}}", 'local: ":5000+"'),
    lan("nodes: [home, office]", "mode: keep", 'forward: {listen: ":5000+", to: "h:1"}'),
]


@pytest.mark.parametrize("text", MESHES)
def test_the_json_schema_accepts_meshes(load_text: LoadText, text: str) -> None:
    load_text(text)
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(text))


@pytest.mark.parametrize("text", MESHES)
def test_a_shown_mesh_loads_as_its_pairs(load_text: LoadText, text: str) -> None:
    site = load_text(text)
    again = load_text(show(site))
    assert names(again) == names(site)
    for one, other in zip(site.pairs, again.pairs, strict=True):
        assert [end.settings for end in one.ends] == [end.settings for end in other.ends]
        assert [end.node for end in one.ends] == [end.node for end in other.ends]
        assert one.secret.path == other.secret.path


WRONG = {
    "one node": ("nodes: [home]", "lan.nodes: a mesh links two nodes or more"),
    "a node twice": ("nodes: [home, office, Home]", "the node home is in the list twice"),
    "a node twice as keys": ("nodes: {home: {}, HOME: {}}", "the node home is in the list twice"),
    "an unknown hub": (
        "nodes: [home, office], hub: offise",
        "lan.hub: offise is no node of this mesh (did you mean office?): nodes are home, office",
    ),
    "a node with a dot": ("nodes: [home, office.example.net]", "without dots, such as office"),
    "an unknown key of a node": (
        "nodes: {home: {}, office: {lokal: 3}}",
        "unknown key; did you mean local?",
    ),
    "no nodes": ("hub: home", "`nodes` is missing"),
    "classic": ("nodes: [a, b], protocol: classic", "speak v2 alone"),
    "ends": ("nodes: [a, b], a: {}", "a mesh has no ends of its own"),
    "a generated secret": ("nodes: [a, b], secret: generate", "all need the same key"),
    "a fixed port to listen on": (
        'nodes: [a, b, c], mode: keep, forward: {listen: "127.0.0.1:5000"}',
        "lan.nodes.a.forward.listen: a node of a mesh has several pairs, and each needs a port of "
        'its own: expected "127.0.0.1:5000+"',
    ),
    "a fixed local port": ('nodes: [a, b, c], local: ":5000"', 'expected ":5000+"'),
    "no ports left": ('nodes: [a, b, c], local: ":65534+"', "no ports are left above 65534"),
    "port 0 counted": ('nodes: [a, b], local: ":0+"', "port 0 can't be counted from"),
    "files of all pairs at one path": (
        "nodes: [a, b, c], env_file: /run/link.env",
        "all pairs of a mesh's node would write the same path: put {pair} or {partner} in it",
    ),
    "modes that do not fit": (
        "nodes: {a: {mode: keep}, b: {}}",
        "node a keeps the port after the link, node b hands it over",
    ),
    "a node that does not seal": (
        'nodes: {a: {}, b: {forward: {sealed: off}}}, mode: keep, forward: {listen: ":1+", '
        "sealed: on}",
        "node a seals what `forward` carries, node b does not",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_mesh_is_refused_at_its_place(report_of: ReportOf, what: str) -> None:
    text, expected = WRONG[what]
    secret = "" if "secret" in text else "secret_file: lan.key, "
    report = report_of(f"{HEAD}meshes:\n  lan: {{{secret}{text}}}\n")
    assert expected in report
    assert "site.yaml:4:" in report


def test_a_mesh_without_a_secret_is_told_how_to_get_one(report_of: ReportOf) -> None:
    assert "the mesh has no secret: add `secret_file: lan.key`" in report_of(mesh("nodes: [a, b]"))


def test_a_written_pair_of_a_mesh_clashes(report_of: ReportOf, load_text: LoadText) -> None:
    pair = "pairs: {lan.a.b: {secret_file: lan.key, a: {node: a}, b: {node: b}}}\n"
    assert "pairs.lan.a.b (line 8) is a pair of this mesh" in report_of(
        lan("nodes: [a, b]", "control: vps") + pair
    )
    load_text(lan("nodes: [a, b, c]", "hub: c") + pair)


def test_a_pair_cannot_have_the_name_of_a_mesh(report_of: ReportOf) -> None:
    pair = "pairs: {lan: {secret_file: lan.key, a: {node: a}, b: {node: b}}}\n"
    assert "pairs.lan (line 7) has the same name" in report_of(lan("nodes: [a, b]") + pair)


def test_a_written_pairs_nodes_are_in_order(report_of: ReportOf) -> None:
    report = report_of(HEAD + "pairs: {lan.b.a: {secret_file: k, a: {node: b}, b: {node: a}}}\n")
    assert "invalid pair name: lan.a.b: a mesh's pair has its nodes in alphabetical order" in report


@pytest.mark.parametrize("key", ['env_file: "/x/{mesh}"', "command: [x, '{partner}']"])
def test_other_pairs_have_no_placeholders_of_a_mesh(report_of: ReportOf, key: str) -> None:
    pair = f"pairs: {{p: {{secret_file: k, mode: keep, {key}, a: {{node: a}}, b: {{node: b}}}}}}\n"
    assert "only the pairs of a mesh have {" in report_of(HEAD + pair)


def test_other_pairs_count_no_ports(report_of: ReportOf) -> None:
    pair = 'pairs: {p: {secret_file: k, a: {node: a, local: ":5000+"}, b: {node: b}}}\n'
    assert "only the pairs of a mesh count ports: expected one port, :5000" in report_of(
        HEAD + pair
    )


def test_nodes_without_a_common_control_are_refused(report_of: ReportOf) -> None:
    head = "version: 1\ncontrol: [{node: x, address: 'x:1'}, {node: y, address: 'y:1'}]\n"
    nodes = "nodes: {a: {control: x}, b: {control: y}}"
    report = report_of(mesh("secret_file: lan.key", nodes, head=head))
    assert "nodes a and b have no control in common" in report


def test_a_short_file_cannot_stand_for_millions_of_pairs(report_of: ReportOf) -> None:
    nodes = ", ".join(f"n{number}" for number in range(5000))
    report = report_of(lan(f"nodes: [{nodes}]"))
    assert f"but a file may have {MAX_PAIRS:,} of them" in report


def test_a_mesh_of_200_nodes_loads_in_time(load_text: LoadText) -> None:
    nodes = ", ".join(f"n{number}" for number in range(200))
    text = lan("mode: keep", 'forward: {listen: "127.0.0.1:52000+"}', f"nodes: [{nodes}]")
    begun = time.process_time()
    site = load_text(text)
    assert time.process_time() - begun < SECONDS
    assert len(site.pairs) == 19_900
    assert len(select(site, "n7", "n7", None).ends) == 199
