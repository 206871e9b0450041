"""`forward: {listen: auto}`: which ports netpunch chooses, and which it leaves alone."""

from __future__ import annotations

import pytest

from netpunch.config import auto_ports
from netpunch.config.auto_ports import AUTO_PORTS, SPARE_PORTS, choose_ports
from netpunch.config.display import show
from netpunch.config.loading import select
from netpunch.config.values import Chosen
from netpunch.errors import ConfigurationError
from tests.config.conftest import LoadText, ReportOf

HEAD = """\
version: 1
control: {node: vps, address: "vps:10001"}
defaults: {secret_file: key, mode: keep, forward: {listen: auto}, a: {node: hub}}
pairs:
"""


def pairs(*names: str, **more: str) -> str:
    texts = dict.fromkeys(names, "") | more
    return HEAD + "".join(f"  {name}: {{b: {{node: {name}}}{texts[name]}}}\n" for name in texts)


def ports(load_text: LoadText, text: str, node: str = "hub") -> dict[str, int]:
    chosen = choose_ports(load_text(text), node)
    assert all(listen.host == "127.0.0.1" for listen in chosen.values())
    return {pair: listen.port for (pair, _), listen in chosen.items()}


def test_the_ends_of_a_node_are_counted_in_the_order_of_the_file(load_text: LoadText) -> None:
    text = pairs("x", "a", "m")
    assert ports(load_text, text) == {"x": 23001, "a": 23002, "m": 23003}
    assert ports(load_text, text, "a") == {"a": 23001}
    assert ports(load_text, text, "vps") == {}


def test_a_disabled_end_and_one_with_a_written_port_move_no_other(load_text: LoadText) -> None:
    written = ', forward: {listen: "127.0.0.1:7001"}'
    text = pairs(x=", enabled: off", y=written, z="")
    assert ports(load_text, text) == {"x": 23001, "z": 23002}


def test_ports_that_the_file_gives_to_something_else_are_left_out(load_text: LoadText) -> None:
    text = pairs(
        x=', local: ":23001"',
        y=', forward: {listen: ":23002"}',
        z=', forward: {to: "127.0.0.1:23003"}',
    ).replace('{node: vps, address: "vps:10001"}', '{node: hub, address: "vps:23004"}')
    assert ports(load_text, text) == {"x": 23006, "z": 23007}, "23005 is for `observe`"


def test_an_end_that_has_a_port_keeps_it_while_others_come_and_go(load_text: LoadText) -> None:
    before = choose_ports(load_text(pairs("m", "z")), "hub")
    after = choose_ports(load_text(pairs("a", "z", "m", "b")), "hub", before)
    assert {pair: listen.port for (pair, _), listen in after.items()} == {
        "a": 23003,
        "z": 23002,
        "m": 23001,
        "b": 23004,
    }


def test_a_port_that_the_file_now_gives_to_something_else_is_not_kept(load_text: LoadText) -> None:
    before = choose_ports(load_text(pairs("m")), "hub")
    taken = pairs(m="", x=', forward: {listen: ":23001"}')
    assert choose_ports(load_text(taken), "hub", before)["m", "a"] == Chosen("127.0.0.1", 23002)


def test_the_nodes_of_a_mesh_count_their_partners(load_text: LoadText) -> None:
    mesh = (
        'version: 1\ncontrol: {node: vps, address: "vps:1"}\nmeshes:\n'
        "  m: {secret_file: k, mode: keep, forward: {listen: auto}, nodes: [c, a, b]}\n"
    )
    assert ports(load_text, mesh, "b") == {"m.b.c": 23001, "m.a.b": 23002}


def test_the_part_of_a_node_and_what_is_shown_of_it_have_the_ports(load_text: LoadText) -> None:
    site = load_text(pairs("x", "y"))
    part = select(site, "hub", "x", None)
    assert [end.forward and end.forward.listen.port for end in part.ends] == [23001, 23002]
    assert "listen: 127.0.0.1:23002" in show(part)
    assert "listen: auto" in show(site), "which is the same on all hosts"


def test_more_ends_than_ports_are_refused(
    load_text: LoadText, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto_ports, "AUTO_PORTS", range(23001, 23003))
    with pytest.raises(ConfigurationError, match="3 ends of one node have `listen: auto`, but"):
        select(load_text(pairs("x", "y", "z")), "hub", "x", None)


def test_written_ports_that_meet_are_told_of_auto(report_of: ReportOf) -> None:
    text = pairs("x", "y").replace("auto", '"127.0.0.1:7001"')
    assert "(line 3): choose `listen: auto`, or another port" in report_of(text)


def test_no_port_is_in_both_ranges_or_among_those_that_linux_gives_away() -> None:
    assert AUTO_PORTS.stop <= SPARE_PORTS.start
    assert SPARE_PORTS.stop <= 32768
