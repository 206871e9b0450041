"""Hooks: when they run, in which order, with which environment, and what follows from them."""

from __future__ import annotations

import base64
import json

import pytest

from tests.e2e.assertions import assert_stops
from tests.e2e.site import Site
from tests.node.children import needs_proc

IGNORE_SIGTERM = "trap '' TERM; "


def test_hooks_run_before_and_then_up(site: Site) -> None:
    site.write({"p": {}}, secret="generate", hooks=site.hooks())
    program = site.run()
    assert program.wait_exit() == 0, program.said
    for end in "ab":
        log = [line for line in site.hook_log() if f" {end} " in line]
        assert log == [f"before p {end} ", f"up p {end} "]
        done = program.events("hook.end", end=end)
        assert [record["outcome"] for record in done] == ["done", "done"]


def test_the_up_hook_gets_the_link_in_its_environment(site: Site) -> None:
    hook = site.write_hook(then="env > $NETPUNCH_END.env; cat > $NETPUNCH_END.json")
    site.write({"p": {}}, secret="generate", hooks={"up": hook})
    program = site.run(env={"SECRET_OF_THE_SERVICE": "x"})
    assert program.wait_exit() == 0, program.said
    for end in "ab":
        up = program.events("pair.up", end=end)[0]
        assert json.loads((site.folder / f"{end}.json").read_text()) == up
        text = (site.folder / f"{end}.env").read_text()
        variables = dict(line.split("=", 1) for line in text.splitlines())
        assert variables.pop("NETPUNCH_AT").endswith("Z")
        own = {name: value for name, value in variables.items() if name.startswith("NETPUNCH_")}
        assert own == {
            "NETPUNCH_EVENT": "up",
            "NETPUNCH_PAIR": "p",
            "NETPUNCH_END": end,
            "NETPUNCH_CHANGED": "1",
            "NETPUNCH_LADDR": up["laddr"],
            "NETPUNCH_LHOST": up["lhost"],
            "NETPUNCH_LPORT": str(up["lport"]),
            "NETPUNCH_RADDR": up["raddr"],
            "NETPUNCH_RHOST": up["rhost"],
            "NETPUNCH_RPORT": str(up["rport"]),
            "NETPUNCH_RFAMILY": "inet",
        }
        assert "SECRET_OF_THE_SERVICE" not in variables


def test_the_fail_hook_runs_when_the_deadline_passes(site: Site) -> None:
    site.write_nodes(deadline="400ms", hooks=site.hooks())
    site.run_node("vps")
    home = site.run_node("home")
    assert home.wait_exit() == 75
    assert site.hook_log() == ["before p a ", "fail p a partner_absent"]


@pytest.mark.parametrize(("then", "code"), [("exit 3", 1), ("exit 75", 75)])
def test_a_failing_before_hook_stops_the_attempt(site: Site, then: str, code: int) -> None:
    site.write({"p": {"b": {"enabled": False}}}, secret="generate", hooks=site.hooks(before=then))
    program = site.run()
    assert program.wait_exit() == code
    assert site.hook_log() == ["before p a ", "fail p a hook"]
    assert program.events("pair.failed")[0]["reason"] == "hook"
    assert not program.events("control.registered")


def test_a_failing_up_hook_fails_the_link(site: Site) -> None:
    """No program uses the link then: there is no env file."""
    failing = {"a": {"hooks": site.hooks(up="echo no route; exit 3"), "env_file": "a.env"}}
    site.write({"p": failing}, secret="generate")
    program = site.run()
    assert program.wait_exit() == 1
    assert site.hook_log() == ["before p a ", "up p a "]
    assert program.events("hook.output")[0]["text"] == "no route"
    assert "p a: hook up says: no route" in program.said
    assert program.events("pair.failed", end="a")[0]["reason"] == "hook"
    assert program.events("env.written", end="a")
    assert not (site.folder / "a.env").exists()
    assert not program.events("pair.failed", end="b")


def test_a_missing_hook_stops_only_its_pair(site: Site) -> None:
    site.write({"good": {}, "bad": {"hooks": {"up": ["./missing"]}}}, secret="generate")
    program = site.run()
    assert program.wait_exit() == 1
    assert {record["end"] for record in program.events("pair.up", pair="good")} == {"a", "b"}
    assert not program.events("control.registered", pair="bad")
    assert program.said.count("missing: no such program") == 1, "once for both ends"


def test_the_up_hook_gets_the_session_key_in_a_file(site: Site) -> None:
    """Equal at both ends, only while the hook runs, and readable by no one else."""
    hook = site.write_hook(
        then='echo "$NETPUNCH_SESSION_KEY_FILE" > $NETPUNCH_END.path;'
        ' stat -c %a "$NETPUNCH_SESSION_KEY_FILE" > $NETPUNCH_END.mode;'
        ' cp "$NETPUNCH_SESSION_KEY_FILE" $NETPUNCH_END.key'
    )
    site.write({"p": {}}, secret="generate", session_key=True, hooks={"up": hook})
    program = site.run("--trace")
    assert program.wait_exit() == 0, program.said
    keys = [(site.folder / f"{end}.key").read_text().strip() for end in "ab"]
    assert keys[0] == keys[1]
    assert len(base64.b64decode(keys[0], validate=True)) == 32
    assert keys[0] not in program.transcript()
    for end in "ab":
        assert (site.folder / f"{end}.mode").read_text() == "600\n"
        assert not (site.folder / (site.folder / f"{end}.path").read_text().strip()).exists()


@needs_proc
def test_a_stop_during_the_before_hook_is_clean(site: Site) -> None:
    pair = f"before-{site.port}"
    then = site.hooks(before="echo begun; sleep 60")
    site.write({pair: {"b": {"enabled": False}}}, secret="generate", hooks=then)
    program = site.run()
    program.wait_for("hook.output", text="begun")
    assert_stops(program, pair, 75)
    assert site.hook_log() == [f"before {pair} a "], "it took nothing"
    assert program.events("hook.end")[0]["outcome"] == "stopped"


@needs_proc
@pytest.mark.parametrize("stubborn", ["", IGNORE_SIGTERM], ids=["polite", "stubborn"])
def test_a_stop_while_punching_runs_the_fail_hook(site: Site, stubborn: str) -> None:
    pair = f"punch-{site.port}"
    fail = stubborn and stubborn + "sleep 60"
    site.write({pair: {"b": {"enabled": False}}}, secret="generate", hooks=site.hooks(fail=fail))
    program = site.run()
    program.wait_for("pair.waiting")
    assert_stops(program, pair, 75)
    assert site.hook_log() == [f"before {pair} a ", f"fail {pair} a stopped"]
    assert program.events("pair.failed")[0]["reason"] == "stopped"


@needs_proc
def test_a_stop_during_the_up_hook_is_clean(site: Site) -> None:
    pair = f"up-{site.port}"
    end = {"hooks": site.hooks(up="echo begun; sleep 60"), "env_file": "a.env"}
    site.write({pair: {"a": end}}, secret="generate")
    program = site.run()
    program.wait_for("hook.output", text="begun")
    assert_stops(program, pair, 75)
    assert site.hook_log() == [f"before {pair} a ", f"up {pair} a "]
    assert not (site.folder / "a.env").exists(), "nobody uses the link"


@needs_proc
def test_a_stop_runs_the_hooks_of_more_ends_than_may_run_at_once(site: Site) -> None:
    pairs = [f"many-{site.port}-{i}" for i in range(12)]
    slow = site.hooks(fail="sleep 1; echo given back >> back.log")
    site.write({pair: {"b": {"enabled": False}} for pair in pairs}, secret="generate", hooks=slow)
    program = site.run()
    program.wait_for("pair.waiting", count=len(pairs))
    assert_stops(program, pairs[0], 75)
    expected = [f"{line} {pair} a" for pair in pairs for line in ("before", "fail")]
    assert sorted(line.rsplit(" ", 1)[0] for line in site.hook_log()) == sorted(expected)
    assert len((site.folder / "back.log").read_text().splitlines()) == len(pairs)
