"""`mode: keep`: what owns the port after the link, when a link counts as lost, what follows."""

from __future__ import annotations

import pytest

from tests.e2e.assertions import assert_same_path, assert_stops
from tests.e2e.harness import is_free
from tests.e2e.site import PROTOCOLS, Settings, Site
from tests.node.children import needs_proc

QUICK: Settings = {"mode": "keep", "retry_after": "100ms"}
ALIVE_FILE = ["test", "-e", "alive"]
COUNTED_CHECK = ["sh", "-c", 'echo "check $NETPUNCH_END" >>hooks.log; test -e alive']
"""A passing check emits no event, so it logs itself."""


def test_a_held_link_stays_up(site: Site) -> None:
    """It lasts, the port stays taken, and a stop frees it: the links of a site that is stopped
    are not lost, so `down` does not run."""
    site.write({"p": {}}, secret="generate", hooks=site.hooks(), **QUICK)
    program = site.run()
    ups = [program.wait_for("pair.up", end=end) for end in "ab"]
    assert_same_path(*ups)
    assert not any(is_free(up["lport"], up["lhost"]) for up in ups)
    site.wait_for_hooks("up p a ", "up p b ")
    assert program.stop() == 0
    assert not program.events("pair.down")
    assert sorted(site.hook_log()) == ["before p a ", "before p b ", "up p a ", "up p b "]


def test_a_held_link_is_lost_when_the_partner_dies(site: Site) -> None:
    """After `hold_for`; when the partner is back, both link again."""
    site.write_nodes(hooks=site.hooks(), keepalive="200ms", hold_for="1s", **QUICK)
    site.run_node("vps")
    home, office = site.run_node("home"), site.run_node("office")
    home.wait_for("pair.up")
    office.wait_for("pair.up")
    office.kill()
    down = home.wait_for("pair.down")
    assert (down["reason"], down["err"]) == ("silent", "no answer for 1 s")
    site.wait_for_hooks("down p a silent")
    office = site.run_node("office")
    assert_same_path(home.wait_for("pair.up", 2), office.wait_for("pair.up"))
    log = [line.split()[0] for line in site.hook_log() if " a " in line]
    assert log[:4] == ["before", "up", "down", "before"]
    assert (home.stop(), office.stop()) == (0, 0)


MOVED = 'echo "$NETPUNCH_CHANGED $NETPUNCH_RADDR $NETPUNCH_PREV_RADDR" >>paths.log'


def test_a_held_link_moves_when_the_partner_is_restarted(site: Site) -> None:
    """Before its silence is noticed: the successor that the partner asks for is on standby. Env
    file, hook and status follow; to the partner it is a new link."""
    hooks = {"up": site.write_hook("up", MOVED), "down": site.write_hook("down")}
    home_end: Settings = {"hooks": hooks, "env_file": "a.env"}
    site.write_nodes({"a": home_end}, keepalive="30s", **QUICK)
    site.run_node("vps")
    home = site.run_node("home", env=site.runtime)
    office = site.run_node("office")
    up = home.wait_for("pair.up")
    office.wait_for("pair.up")
    for count in (1, 2):
        site.wait_for_hooks("up p a ")
        before = (home.events("pair.moved") or [up])[-1]
        office.kill()
        office = site.run_node("office")
        moved = home.wait_for("pair.moved", count)
        assert (moved["reason"], moved["changed"]) == ("partner_asked", True)
        assert moved["prev_raddr"] == before["raddr"]
        assert_same_path(moved, office.wait_for("pair.up"))
        home.wait_for("hook.end", count, hook="moved", outcome="done")
        lines = (site.folder / "paths.log").read_text().splitlines()
        assert lines[-1] == f"1 {moved['raddr']} {moved['prev_raddr']}"
        assert f"NETPUNCH_RADDR={moved['raddr']}\n" in (site.folder / "a.env").read_text()
    [end] = site.status()["pairs"]
    assert (end["state"], end["raddr"], end["links"]) == ("up", moved["raddr"], 1)
    assert end["moves"] == {"partner_asked": 2}
    assert site.hook_log() == ["up p a ", *["moved p a partner_asked"] * 2]
    assert not home.events("pair.down")
    assert (home.stop(), office.stop()) == (0, 0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_command_that_ends_at_once_is_backed_off(site: Site, protocol: str) -> None:
    command = ["sh", "-c", "echo $0 $1 {{}}; exit 3", "{laddr}", "{raddr}"]
    site.write({"p": PROTOCOLS[protocol]}, secret="generate", command=command, **QUICK)
    program = site.run()
    up = program.wait_for("pair.up", end="a")
    down = program.wait_for("pair.down", end="a")
    assert (down["reason"], down["err"]) == ("command", "sh: exit status 3")
    output = program.events("hook.output", end="a", hook="command")[0]
    assert output["text"] == f"{up['laddr']} {up['raddr']} {{}}"
    program.wait_for("pair.up", 2, end="a")
    assert program.stop() == 0


@needs_proc
def test_a_command_runs_in_the_foreground_of_its_link(site: Site) -> None:
    """The command has the port; a stop ends it and all that it started."""
    pair = f"command-{site.port}"
    server = "import socket, sys, time; socket.socket(2, 2).bind(('', int(sys.argv[1])))"
    script = 'sleep 60 & python3 -c "$0" "$1" && echo bound; wait'
    site.write(
        {pair: {}}, secret="generate", command=["sh", "-c", script, server, "{lport}"], **QUICK
    )
    program = site.run()
    for end in "ab":
        program.wait_for("hook.output", end=end, text="bound")
    assert_stops(program, pair, 0)


def test_a_passing_check_keeps_the_link(site: Site) -> None:
    site.write({"p": {}}, secret="generate", check=["true"], hooks=site.hooks())
    program = site.run()
    assert program.wait_exit() == 0
    assert {record["end"] for record in program.events("pair.alive")} == {"a", "b"}
    assert not program.events("control.registered")
    assert site.hook_log() == []


def test_a_check_that_fails_twice_ends_the_link(site: Site) -> None:
    site.write(
        {"p": {}},
        secret="generate",
        check=COUNTED_CHECK,
        check_every="50ms",
        hooks=site.hooks(up="touch alive", down="rm -f alive"),
        **QUICK,
    )
    program = site.run()
    for end in "ab":
        program.wait_for("hook.end", end=end, hook="check", outcome="done")
        site.wait_for_hooks(f"check {end}", count=site.hook_log().count(f"check {end}") + 2)
    assert not program.events("pair.down")
    (site.folder / "alive").unlink()
    for end in "ab":
        assert program.wait_for("pair.down", end=end)["reason"] == "check"
        program.wait_for("pair.up", 2, end=end)
    assert program.stop() == 0


def test_a_link_of_an_earlier_process_is_lost(site: Site) -> None:
    (site.folder / "alive").touch()
    site.write(
        {"p": {"b": {"enabled": False}}},
        secret="generate",
        check=ALIVE_FILE,
        check_every="50ms",
        hooks=site.hooks(),
        **QUICK,
    )
    program = site.run()
    program.wait_for("pair.alive")
    (site.folder / "alive").unlink()
    program.wait_for("pair.waiting")
    assert site.hook_log() == ["down p a check", "before p a "]
    assert program.stop() == 0


def test_one_end_holds_and_the_other_hands_over(site: Site) -> None:
    """A file cannot set this, but an option can."""
    site.write_nodes(hooks=site.hooks(), mode="keep", retry_after="60s")
    site.run_node("vps")
    home, office = site.run_node("home"), site.run_node("office", "--once")
    assert home.wait_for("pair.failed")["reason"] == "partner_mode"
    assert office.wait_for("pair.failed")["reason"] == "partner_mode"
    assert office.wait_exit() == 75
    site.wait_for_hooks("fail p a partner_mode", "fail p b partner_mode")
    home.wait_said("the next attempt is in")
    assert home.stop() == 0
