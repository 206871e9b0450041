"""Which part of a site a host runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from netpunch.config.loading import pairs_served, select, status_socket
from netpunch.errors import ConfigurationError
from tests.config.conftest import LoadText

SITE = """\
version: 1
control:
  - {node: vps.example.net, address: "vps.example.net:10001"}
  - {node: home, address: "home.example.net:10001"}
defaults: {secret_file: key}
pairs:
  p:
    a: {node: Home}
    b: {node: office}
  q:
    control: home
    a: {node: home}
    b: {node: office, enabled: off}
  off:
    enabled: off
    a: {node: home}
    b: {node: cabin}
"""

IN_ONE_PROCESS = """\
version: 1
control: {address: "127.0.0.1:10001"}
defaults: {secret: generate}
pairs: {p: {a: {}, b: {}}}
"""


@pytest.mark.parametrize(
    ("node", "hostname", "environ", "chosen"),
    [
        ("office", "home", "vps.example.net", "office"),
        ("OFFICE", "home", None, "office"),
        (None, "home", "office", "office"),
        (None, "home", "", "home"),
        (None, "HOME.lan", None, "home"),
        (None, "vps.example.net", None, "vps.example.net"),
        (None, "cabin", None, "cabin"),
    ],
)
def test_the_node_is_chosen_by_option_environment_or_host_name(
    load_text: LoadText, node: str | None, hostname: str, environ: str | None, chosen: str
) -> None:
    assert select(load_text(SITE), node, hostname, environ).node == chosen


def test_the_node_of_the_file_ranks_before_the_host_name(load_text: LoadText) -> None:
    site = load_text(f"node: office\n{SITE}")
    assert select(site, None, "home", None).node == "office"
    assert select(site, None, "home", "cabin").node == "cabin"
    assert select(site, "home", "office", "cabin").node == "home"


def test_a_node_without_a_part_is_refused_with_the_known_ones(load_text: LoadText) -> None:
    names = "cabin, home, office, vps.example.net"
    with pytest.raises(ConfigurationError) as caught:
        select(load_text(SITE), None, "vps", None)
    assert str(caught.value) == (
        f"site.yaml: no part runs on 'vps': choose one of {names} "
        "with `--node`, NETPUNCH_NODE, or `node:` in the file"
    )
    with pytest.raises(ConfigurationError) as caught:
        select(load_text(SITE), "home.lan", "home", None)
    assert str(caught.value) == (
        f"site.yaml: no part runs on 'home.lan' (did you mean home?): choose one of {names} "
        "with `--node`"
    )


def test_a_wrong_node_of_a_large_mesh_is_refused_in_one_line(load_text: LoadText) -> None:
    nodes = ", ".join(f"shop{number:03}" for number in range(500))
    mesh = f"meshes: {{shops: {{secret_file: shops.key, hub: shop000, nodes: [{nodes}]}}}}"
    control = 'control: {node: vps, address: "vps.example.net:10001"}'
    with pytest.raises(ConfigurationError) as caught:
        select(load_text(f"version: 1\n{control}\n{mesh}\n"), "shop0499", "home", None)
    assert str(caught.value) == (
        "site.yaml: no part runs on 'shop0499' (did you mean shop499?): choose one of shop000, "
        "shop001, shop002, shop003, shop004, shop005, shop006, shop007, shop008, shop009, ... "
        "with `--node`"
    )


def test_a_node_runs_its_controls_and_enabled_ends(load_text: LoadText) -> None:
    site = load_text(SITE)
    home = select(site, "home", "x", None)
    assert [control.name for control in home.controls] == ["home"]
    assert [(end.pair, end.end) for end in home.ends] == [("p", "a"), ("q", "a")]
    office = select(site, "office", "x", None)
    assert [(end.pair, end.end) for end in office.ends] == [("p", "b")]
    cabin = select(site, "cabin", "x", None)
    assert (cabin.controls, cabin.ends) == ((), ())


def test_a_site_without_nodes_runs_in_one_process(load_text: LoadText) -> None:
    site = load_text(IN_ONE_PROCESS)
    part = select(site, None, "whatever", "ignored")
    assert part.node is None
    assert part.controls == site.controls
    assert part.ends == site.pairs[0].ends
    with pytest.raises(ConfigurationError, match="no part names a node, so all parts run in this"):
        select(site, "home", "whatever", None)


def test_a_control_serves_the_enabled_pairs_that_name_it(load_text: LoadText) -> None:
    site = load_text(SITE)
    vps, home = site.controls
    assert [pair.name for pair in pairs_served(site, vps)] == ["p"]
    assert [pair.name for pair in pairs_served(site, home)] == ["p", "q"]


PATHS = 'status: "/run/{node}.sock"\nmetrics: {textfile: "/var/{node}/n.prom"}\n'


def test_the_node_stands_in_the_paths_of_the_process(load_text: LoadText) -> None:
    part = select(load_text(PATHS + SITE), None, "office.lan", None)
    assert part.status == Path("/run/office.sock")
    assert part.metrics_textfile == Path("/var/office/n.prom")


@pytest.mark.parametrize(
    ("node", "environ", "found"), [(None, None, "home"), (None, "cabin", "cabin"), ("office",) * 3]
)
def test_the_socket_to_ask_is_that_of_this_node(
    load_text: LoadText, node: str | None, environ: str | None, found: str
) -> None:
    site = load_text(PATHS + SITE)
    assert status_socket(site, node, "home", environ) == Path(f"/run/{found}.sock")


def test_a_host_that_is_no_node_finds_only_a_socket_that_depends_on_none(
    load_text: LoadText,
) -> None:
    assert status_socket(load_text("status: /run/x.sock\n" + SITE), None, "elsewhere", None)
    with pytest.raises(ConfigurationError, match="no part runs on 'elsewhere'"):
        status_socket(load_text(PATHS + SITE), None, "elsewhere", None)
