"""The key of a pair and of a mesh is replaced while links are held: node by node, control by
control, in any order, with a reload after each step."""

from __future__ import annotations

import random

import pytest

from netpunch import keys
from tests.e2e.harness import Netpunch
from tests.e2e.site import Settings, Site

NODES = ("vps", "home", "office")
OLD, BOTH, NEW = "old.key", ["new.key", "old.key"], "new.key"
HELD: Settings = {"mode": "keep", "keepalive": "100ms", "retry_after": "100ms"}


class Rotation:
    """Each node has its own copy of the site file, and of the keys only those that it needs:
    control has those derived for it."""

    def __init__(self, site: Site, *, mesh: bool) -> None:
        self.site = site
        self.programs: dict[str, Netpunch] = {}
        self._mesh = mesh
        name = "lan" if mesh else "p"
        for key in (OLD, NEW):
            text = site.write_key(key)
            site.write_file(f"vps-{key}", keys.control_key(text, name) + "\n", 0o600)

    def write(self, node: str, files: str | list[str]) -> None:
        """The site file as `node` has it, with these keys."""
        if node == "vps":
            files = f"vps-{files}" if isinstance(files, str) else [f"vps-{each}" for each in files]
        if not self._mesh:
            self.site.write_nodes({"secret_file": files}, **HELD)
            return
        lan = {"secret_file": files, "nodes": ["home", "office", "cabin"], **HELD}
        self.site.write({}, control={"node": "vps"}, process={"meshes": {"lan": lan}})

    def start(self, node: str, files: str | list[str]) -> Netpunch:
        self.write(node, files)
        program = self.programs[node] = self.site.run_node(node)
        program.wait_for("run.ready")
        return program

    def step(self, node: str, files: str | list[str]) -> None:
        self.write(node, files)
        self.site.reload(self.programs[node])

    def check(self, node: str) -> str:
        """What `netpunch check` says of the file as it is now."""
        program = self.site.start("check", str(self.site.file), "--node", node, text=True)
        assert program.wait_exit() == 0
        return program.said

    def lost(self) -> list[dict[str, object]]:
        return [each for program in self.programs.values() for each in program.events("pair.down")]


def orders(nodes: tuple[str, ...], seed: int) -> list[tuple[str, str | list[str]]]:
    """The new key everywhere, in some order; then the old one nowhere, in some order."""
    some = random.Random(seed)
    adding, removing = some.sample(nodes, len(nodes)), some.sample(nodes, len(nodes))
    return [(node, BOTH) for node in adding] + [(node, NEW) for node in removing]


@pytest.mark.parametrize("seed", range(3))
def test_the_key_of_a_pair_is_rotated_and_its_link_goes_on(site: Site, seed: int) -> None:
    rotation = Rotation(site, mesh=False)
    control, home, office = (rotation.start(node, OLD) for node in NODES)
    for end in (home, office):
        end.wait_for("pair.up")
    for node, files in orders(NODES, seed):
        rotation.step(node, files)
        noted = "note: pair p has two keys" in rotation.check(node)
        assert noted == (files == BOTH)
    moves = [end.wait_for("pair.moved", reason="key_changed") for end in (home, office)]
    assert not any(move["changed"] for move in moves), "the path is the same"
    assert not rotation.lost()
    assert not control.events("control.expired"), "both ends were there all the time"
    assert len(control.events("control.registered")) == 2
    assert [program.stop() for program in (home, office, control)] == [0, 0, 0]


def test_the_key_of_a_mesh_is_rotated_while_a_node_restarts_at_every_step(site: Site) -> None:
    """Its links to the two others come about whatever each of them has of the keys by then; the
    link between those goes on."""
    rotation = Rotation(site, mesh=True)
    for node in (*NODES, "cabin"):
        rotation.start(node, OLD)
    home, office = rotation.programs["home"], rotation.programs["office"]
    for end in (home, office):
        end.wait_for("pair.up", 2)
    own: str | list[str] = OLD
    for number, (node, files) in enumerate(orders((*NODES, "cabin"), seed=1), start=2):
        if node == "cabin":
            own = files
        else:
            rotation.step(node, files)
        assert rotation.programs["cabin"].stop() == 0
        cabin = rotation.start("cabin", own)
        for pair, other in (("lan.cabin.home", home), ("lan.cabin.office", office)):
            cabin.wait_for("pair.up", pair=pair)
            other.wait_for("pair.up", number, pair=pair)
    for end in (home, office):
        end.wait_for("pair.moved", pair="lan.home.office", reason="key_changed")
        assert not end.events("pair.down", pair="lan.home.office")
        assert len(end.events("pair.up", pair="lan.home.office")) == 1


def test_a_command_goes_on_while_the_key_is_rotated(site: Site) -> None:
    """Its end stays on standby, under whichever keys."""
    rotation = Rotation(site, mesh=False)
    held: Settings = {"mode": "keep", "command": ["sleep", "1000"]}

    def write(files: str | list[str]) -> None:
        site.write_nodes({"secret_file": files}, **held)

    write(OLD)
    rotation.programs = {node: site.run_node(node) for node in NODES}
    home, office = rotation.programs["home"], rotation.programs["office"]
    for end in (home, office):
        end.wait_for("pair.up")
    for files in (BOTH, NEW):
        write(files)
        for program in rotation.programs.values():
            site.reload(program)
            assert program.events("run.reload")[-1]["reason"] == "done"
    assert not rotation.lost()
    assert office.stop() == 0
    again = site.run_node("office")
    again.wait_for("pair.up")
    home.wait_for("pair.up", 2)
    assert home.wait_for("pair.down")["reason"] == "partner_returned"
