"""Links between processes: both ends report the same path, and the ports are free for it."""

from __future__ import annotations

import pytest

from tests.e2e.assertions import assert_linked, assert_same_path
from tests.e2e.harness import REPOSITORY, free_port, is_free
from tests.e2e.site import PROTOCOLS, Site
from tests.net.machines import has_ipv6

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")

EXAMPLE = REPOSITORY / "configs" / "example.yaml"
EXAMPLE_PORT = 10001


@pytest.mark.skipif(not is_free(EXAMPLE_PORT), reason=f"port {EXAMPLE_PORT} is taken")
def test_the_example_file_runs_as_it_is(site: Site) -> None:
    program = site.start("run", str(EXAMPLE), "--format", "text", text=True)
    assert program.wait_exit() == 0, program.transcript()
    links = sorted(line.split(":")[0] for line in program.lines)
    assert links == ["classic-hello.a", "classic-hello.b", "hello.a", "hello.b"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_control_and_two_ends_in_three_processes_link(site: Site, protocol: str) -> None:
    site.write_nodes(PROTOCOLS[protocol])
    control = site.run_node("vps")
    control.wait_for("control.ready")
    home, office = site.run_node("home"), site.run_node("office")
    up, _ = assert_linked(home, office)
    assert (up["pair"], up["end"], up["node"]) == ("p", "a", "home")
    assert control.events("control.registered", pair="p", end="a")[0]["raddr"] == up["laddr"]
    assert control.stop() == 0
    assert control.events("run.stop")[0]["reason"] == "SIGTERM"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_ends_link_when_control_starts_last(site: Site, protocol: str) -> None:
    site.write_nodes(PROTOCOLS[protocol])
    home, office = site.run_node("home"), site.run_node("office")
    home.wait_for("run.ready")
    office.wait_for("run.ready")
    site.run_node("vps")
    assert_linked(home, office)


def test_an_end_that_waits_survives_a_restart_of_control(site: Site) -> None:
    """Classic, because a waiting v2 end announces itself only every 15 s."""
    site.write_nodes(PROTOCOLS["classic"])
    control = site.run_node("vps")
    home = site.run_node("home")
    control.wait_for("control.registered", end="a")
    control.kill()
    control = site.run_node("vps")
    control.wait_for("control.registered", end="a")
    assert_linked(home, site.run_node("office"))


def test_two_pairs_link_with_the_same_ports(site: Site) -> None:
    """As on two networks; only the addresses differ."""
    port, other = free_port(), free_port()
    ends = {
        "one": {"a": {"local": f"127.0.1.1:{port}"}, "b": {"local": f"127.0.1.2:{other}"}},
        "two": {"a": {"local": f"127.0.2.1:{port}"}, "b": {"local": f"127.0.2.2:{other}"}},
    }
    site.write(ends, secret="generate", candidates=["observed", "host"])
    program = site.run()
    assert program.wait_exit() == 0, program.said
    for pair, pair_ends in ends.items():
        a, b = (program.events("pair.up", pair=pair, end=end)[0] for end in "ab")
        assert_same_path(a, b)
        assert (a["laddr"], b["laddr"]) == (pair_ends["a"]["local"], pair_ends["b"]["local"])


@needs_ipv6
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_ends_link_over_ipv6(site: Site, protocol: str) -> None:
    address = f"[::1]:{site.port}"
    control = {"address": address, "listen": address}
    site.write_nodes(
        PROTOCOLS[protocol], control=control, local="[::1]:0", env_file="{pair}.{end}.env"
    )
    site.run_node("vps")
    up, _ = assert_linked(site.run_node("home"), site.run_node("office"))
    assert up["raddr"] == f"[::1]:{up['rport']}"
    assert f"NETPUNCH_RADDR={up['raddr']}\n" in (site.folder / "p.a.env").read_text()


@needs_ipv6
def test_ends_on_wildcards_of_both_families_link(site: Site) -> None:
    """The reported local host is the wildcard of the remote's family."""
    site.write_nodes(local=":0")
    site.run_node("vps")
    home, office = site.run_node("home"), site.run_node("office")
    ups = home.wait_for("pair.up"), office.wait_for("pair.up")
    assert (home.wait_exit(), office.wait_exit()) == (0, 0)
    for up, other in (ups, ups[::-1]):
        wildcard = "::" if ":" in up["rhost"] else "0.0.0.0"
        assert up["lhost"] == wildcard
        assert up["rport"] == other["lport"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_control_on_every_address_answers_from_the_one_asked(site: Site, protocol: str) -> None:
    control = {"address": f"127.0.0.2:{site.port}", "listen": f":{site.port}"}
    site.write_nodes(PROTOCOLS[protocol], control=control)
    site.run_node("vps")
    assert_linked(site.run_node("home"), site.run_node("office"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_port_is_free_when_the_env_file_is_there(site: Site, protocol: str) -> None:
    """`pair.up` has the address earlier, when the path is agreed."""
    site.write({"p": PROTOCOLS[protocol]}, secret="generate", env_file="{pair}.{end}.env")
    program = site.run()
    for end in "ab":
        program.wait_for("env.written", end=end)
        (up,) = program.events("pair.up", end=end)
        assert is_free(up["lport"], up["lhost"])
    assert program.wait_exit() == 0
