"""A mesh: one control and three hosts, each a process of its own."""

from __future__ import annotations

from netpunch import keys
from tests.e2e.assertions import assert_same_path
from tests.e2e.harness import free_port
from tests.e2e.site import Settings, Site

NODES = ["home", "office", "cabin"]
PAIRS = {
    "lan.cabin.home": ("cabin", "home"),
    "lan.cabin.office": ("cabin", "office"),
    "lan.home.office": ("home", "office"),
}


def write_mesh(site: Site, nodes: object, **own: object) -> None:
    lan = {"secret_file": "lan.key", "nodes": nodes, **own}
    site.write({}, control={"node": "vps"}, process={"meshes": {"lan": lan}})


def test_three_hosts_of_a_mesh_are_linked_each_with_every_other(site: Site) -> None:
    text = site.write_key("lan.key")
    hook = site.write_hook(
        "up", 'echo "$NETPUNCH_MESH $NETPUNCH_NODE $NETPUNCH_PARTNER_NODE" >> hooks.log'
    )
    write_mesh(site, NODES, mode="keep", hooks={"up": hook})
    hosts = {node: site.run_node(node) for node in NODES}
    for host in hosts.values():
        host.wait_for("run.ready")
    # Control has nothing but the key derived from the mesh's.
    site.write_file("lan.key", keys.control_key(text, "lan") + "\n", 0o600)
    control = site.run_node("vps")
    for pair, (a, b) in PAIRS.items():
        ups = [
            hosts[node].wait_for("pair.up", pair=pair, end=end)
            for node, end in ((a, "a"), (b, "b"))
        ]
        assert_same_path(*ups)
        site.wait_for_hooks(f"lan {a} {b}", f"lan {b} {a}")
    assert {event["pair"] for event in control.events("control.registered")} == set(PAIRS)


def test_a_reload_with_a_node_more_and_less_leaves_the_other_pairs_alone(site: Site) -> None:
    site.write_key("lan.key")
    listening = {"forward": {"listen": f"127.0.0.1:{free_port()}+"}}
    nodes: Settings = {"home": listening, "office": {}}
    own: Settings = {"mode": "keep", "hub": "home"}
    write_mesh(site, nodes, **own)
    control, home = site.run_node("vps"), site.run_node("home")
    site.run_node("office").wait_for("pair.up", pair="lan.home.office")
    home.wait_for("pair.up", pair="lan.home.office")
    write_mesh(site, nodes | {"cabin": {}}, **own)
    for program in (control, home):
        site.reload(program)
    site.run_node("cabin").wait_for("pair.up", pair="lan.cabin.home")
    home.wait_for("pair.up", pair="lan.cabin.home")
    write_mesh(site, nodes, **own)
    for program in (control, home):
        site.reload(program)
    assert home.events("run.reload")[1]["stopped"] == ["lan.cabin.home b"]
    for program in (control, home):
        assert not program.events("pair.down", pair="lan.home.office")
    assert len(home.events("pair.up", pair="lan.home.office")) == 1
    assert not control.events("control.expired", pair="lan.home.office")
