"""SIGHUP applies the difference and does not disturb the rest."""

from __future__ import annotations

import signal
import time

import pytest

from tests.e2e.assertions import assert_answered, assert_stops
from tests.e2e.harness import Record
from tests.e2e.site import Settings, Site
from tests.node.children import GATED, needs_proc


def names(records: list[Record]) -> set[tuple[str, str]]:
    return {(record["pair"], record["end"]) for record in records}


def test_a_reload_adds_removes_and_changes_pairs(site: Site) -> None:
    held: Settings = {"secret": "generate", "mode": "keep"}
    site.write({"stays": {}, "goes": {}, "changes": {}}, **held)
    program = site.run()
    program.wait_for("pair.up", 6)
    before = len(program.events())
    site.write({"comes": {}, "changes": {"deadline": "19s"}, "stays": {}}, **held)
    site.reload(program)
    assert program.events("run.reload")[0]["reason"] == "done"
    program.wait_for("pair.up", 10)
    since = program.events()[before:]
    told = names([record for record in since if record["event"].startswith("pair.")])
    assert told == {(pair, end) for pair in ("comes", "changes") for end in "ab"}
    assert not program.events("pair.down")
    assert not [record for record in since if record["event"] == "control.ready"]
    assert program.stop() == 0


def test_a_reload_reads_included_files_again(site: Site) -> None:
    folder = site.file.parent / "pairs"
    folder.mkdir()
    site.write({"p": {}}, process={"include": "pairs/"}, secret="generate", mode="keep")
    program = site.run()
    program.wait_for("pair.up", 2)
    (folder / "q.yaml").write_text("pairs: {q: {a: {}, b: {}}}")
    site.reload(program)
    program.wait_for("pair.up", 2, pair="q")
    (folder / "q.yaml").write_text("pairs: {q: {x: 1, a: {}, b: {}}}")
    site.reload(program)
    assert program.events("run.reload")[1]["err"].startswith(f"{folder / 'q.yaml'}:1:13: ")
    (folder / "q.yaml").unlink()
    site.reload(program)
    assert program.events("run.reload")[2]["stopped"] == ["q a", "q b"]
    assert not program.events("pair.down", pair="p")
    assert program.stop() == 0


def test_a_reload_of_an_invalid_file_changes_nothing(site: Site) -> None:
    site.write({"p": {}}, secret="generate", mode="keep")
    program = site.run()
    program.wait_for("pair.up", 2)
    site.write({"p": {}}, sekret="generate", mode="keep")
    site.reload(program)
    reload = program.events("run.reload")[0]
    assert reload["reason"] == "invalid"
    assert reload["err"].startswith(f"{site.file}:")
    program.wait_said("did you mean secret")
    assert not program.events("pair.down")
    site.write({"p": {}, "new": {}}, secret="generate", mode="keep")
    site.reload(program)
    program.wait_for("pair.up", 2, pair="new")
    assert len(program.events("pair.up", pair="p")) == 2
    assert program.stop() == 0


def test_a_failure_that_a_reload_fixed_does_not_count_in_the_exit_code(site: Site) -> None:
    site.write({"p": {"secret_file": "p.key"}, "q": {"secret": "generate"}}, mode="keep")
    program = site.run()
    program.wait_for("run.ready")
    assert program.events("pair.failed", pair="p")[0]["reason"] == "configuration"
    site.write_key("p.key")
    site.reload(program)
    program.wait_for("pair.up", 2, pair="p")
    assert program.stop() == 0


def test_a_reload_with_a_new_secret_relinks_the_pair(site: Site) -> None:
    site.write_nodes(mode="keep")
    programs = [site.run_node(node) for node in ("vps", "home", "office")]
    ends = programs[1:]
    for end in ends:
        end.wait_for("pair.up")
    site.write_key("p.key")
    for program in programs:
        site.reload(program)
    for end in ends:
        end.wait_for("pair.up", 2)
    assert [program.stop() for program in programs] == [0, 0, 0]


def test_control_serves_pairs_that_a_reload_adds(site: Site) -> None:
    site.write_nodes({"enabled": False})
    control = site.run_node("vps")
    control.wait_for("control.ready")
    site.write_nodes()
    site.reload(control)
    home, office = site.run_node("home"), site.run_node("office")
    assert (home.wait_exit(), office.wait_exit()) == (0, 0)
    site.write_nodes({"enabled": False})
    site.reload(control)
    assert len(control.events("control.ready")) == 1
    assert control.stop() == 0


def test_a_reload_does_not_disturb_ends_of_other_pairs_on_other_nodes(site: Site) -> None:
    """Other pairs of their control are added, changed and removed. One end is linked, one waits."""

    def between(a: str, b: str, name: str) -> Settings:
        return {name: {"secret_file": f"{name}.key", "a": {"node": a}, "b": {"node": b}}}

    for name in ("linked", "waits", "goes", "changes", "comes"):
        site.write_key(f"{name}.key")
    these = between("home", "office", "linked") | between("home", "late", "waits")
    others = between("away", "away", "goes") | between("away", "away", "changes")
    vps: Settings = {"control": {"node": "vps"}, "mode": "keep", "keepalive": "1s"}
    site.write(these | others, **vps)
    control, home, office = (site.run_node(node) for node in ("vps", "home", "office"))
    home.wait_for("pair.up", pair="linked")
    office.wait_for("pair.up", pair="linked")
    home.wait_for("pair.waiting", pair="waits")
    told = home.events(), office.events()
    others = between("away", "away", "changes") | between("away", "away", "comes")
    site.write_key("changes.key")
    site.write(these | others, **vps)
    site.reload(control)
    away = site.run_node("away")
    for name in ("changes", "comes"):
        away.wait_for("pair.up", 2, pair=name)
    assert (home.events(), office.events()) == told
    late = site.run_node("late")
    for end in (home, late):
        end.wait_for("pair.up", pair="waits")
    assert len(control.events("control.registered", pair="waits", end="a")) == 1
    assert home.events(pair="linked") == [each for each in told[0] if each.get("pair") == "linked"]
    assert office.events() == told[1]
    assert [each.stop() for each in (control, home, office, away, late)] == [0] * 5


def test_a_reload_applies_another_expiry_to_registered_ends(site: Site) -> None:
    site.write_nodes(mode="keep", control={"expire": "1h"})
    control = site.run_node("vps")
    home = site.run_node("home")
    control.wait_for("control.registered", end="a")
    home.signal(signal.SIGSTOP)
    site.write_nodes(mode="keep", control={"expire": "2h"})
    site.reload(control)
    assert not control.events("control.expired")
    site.write_nodes(mode="keep", control={"expire": "100ms"})
    site.reload(control)
    assert control.wait_for("control.expired", end="a")["reason"] == "silent"
    assert len(control.events("control.registered")) == 1
    assert len(control.events("control.ready")) == 1
    assert control.stop() == 0


def test_a_reload_with_another_probe_rate_keeps_held_links(site: Site) -> None:
    site.write({"p": {}}, secret="generate", mode="keep", keepalive="100ms")
    program = site.run()
    program.wait_for("pair.up", 2)
    site.write({"p": {}}, secret="generate", mode="keep", keepalive="100ms", probe_rate="50/s")
    site.reload(program)
    assert not program.events("pair.down")
    assert len(program.events("pair.up")) == 2
    assert program.stop() == 0


def test_a_reload_reports_a_removed_pair_as_gone(site: Site) -> None:
    site.write_nodes(mode="keep")
    control, home = site.run_node("vps"), site.run_node("home")
    control.wait_for("control.registered", end="a")
    site.write_nodes({"enabled": False}, mode="keep")
    site.reload(control)
    assert control.wait_for("control.expired", end="a")["reason"] == "removed"
    assert [each.stop() for each in (control, home)] == [0, 0]


def test_a_reload_does_not_cut_a_running_hook(site: Site) -> None:
    gated = {"a": {"hooks": site.hooks(up=GATED)}, "mode": "keep"}
    site.write({"p": gated}, secret="generate")
    program = site.run()
    program.wait_for("hook.output", text="begun")
    site.write({"p": gated | {"deadline": "19s"}}, secret="generate")
    program.signal(signal.SIGHUP)
    program.wait_for("control.expired", end="b", reason="left")
    (site.folder / "open").touch()
    program.wait_for("run.reload", reason="done")
    assert program.events("hook.end", hook="up")[0]["outcome"] == "done"
    program.wait_for("pair.up", 2, end="a")
    assert program.stop() == 0


def test_the_fail_hook_follows_a_before_hook_that_ends_after_the_reload(site: Site) -> None:
    gated = {"a": {"hooks": site.hooks(before=GATED)}, "b": {"enabled": False}}
    site.write({"p": gated, "q": {}}, secret="generate", mode="keep")
    program = site.run()
    program.wait_for("hook.output", text="begun")
    program.wait_for("pair.up", 2, pair="q")
    site.write({"q": {"deadline": "19s"}}, secret="generate", mode="keep")
    program.signal(signal.SIGHUP)
    program.wait_for("control.expired", pair="q", reason="left")
    (site.folder / "open").touch()
    program.wait_for("run.reload", reason="done")
    assert site.hook_log() == ["before p a ", "fail p a stopped"]
    assert program.stop() == 0


@needs_proc
def test_a_stop_while_a_reload_waits_for_a_hook_is_clean(site: Site) -> None:
    pair = f"gated-{site.port}"
    gated = {"a": {"hooks": site.hooks(up=GATED)}, "mode": "keep"}
    site.write({pair: gated}, secret="generate")
    program = site.run()
    program.wait_for("hook.output", text="begun")
    site.write({"q": {}}, secret="generate", mode="keep")
    program.signal(signal.SIGHUP)
    program.wait_for("control.expired", end="b", reason="left")
    begun = time.monotonic()
    assert_stops(program, pair, 0)
    assert time.monotonic() - begun < 5
    assert not program.events("control.registered", pair="q"), "nothing new is begun"
    assert not program.events("run.reload")


@needs_proc
def test_a_stop_does_not_cut_the_fail_hook_that_a_reload_waits_for(site: Site) -> None:
    pair = f"owes-{site.port}"
    hooks = site.hooks(fail=GATED)
    site.write({pair: {"a": {"hooks": hooks}, "b": {"enabled": False}}}, secret="generate")
    program = site.run()
    program.wait_for("pair.waiting", pair=pair)
    site.write({"q": {}}, secret="generate", mode="keep")
    program.signal(signal.SIGHUP)
    program.wait_for("hook.output", hook="fail", text="begun")
    program.signal(signal.SIGTERM)
    program.wait_said("SIGTERM: stopping")
    (site.folder / "open").touch()
    program.wait_exit()
    assert program.events("hook.end", hook="fail")[0]["outcome"] == "done"
    assert site.hook_log() == [f"before {pair} a ", f"fail {pair} a stopped"]


@needs_proc
@pytest.mark.parametrize("reloads", [True, False])
@pytest.mark.parametrize("stubborn", ["", "trap '' TERM; "], ids=["polite", "stubborn"])
def test_a_stop_does_not_lose_a_fail_hook_that_waits_for_the_partners_hook(
    site: Site, reloads: bool, stubborn: str
) -> None:
    """End a owes it because a reload stops it, or because its deadline has passed."""
    pair = f"owes-{site.port}"
    ends = {
        "a": {"hooks": site.hooks()},
        "b": {"hooks": {"before": site.write_hook("slow", f"{stubborn}echo begun; sleep 60")}},
    }
    pairs: Settings = {pair: ends | ({} if reloads else {"deadline": "500ms"})}
    alone: Settings = {"b": {"enabled": False}, "deadline": "1s"}
    site.write(pairs | {"later": alone}, secret="generate")
    program = site.run()
    program.wait_for("hook.output", text="begun", end="b")
    if reloads:
        site.write({"later": alone}, secret="generate")
        program.signal(signal.SIGHUP)
    reason = program.wait_for("pair.failed", pair=pair, end="a")["reason"]
    program.wait_for("pair.failed", pair="later")  # so that one waits for its turn by now
    assert_stops(program, pair, 75)
    assert [line for line in site.hook_log() if " a " in line] == [
        f"before {pair} a ",
        f"fail {pair} a {reason}",
    ]
    assert program.events("hook.end", hook="fail")[0]["outcome"] == "done"
    assert_answered(program, pair, "a")


@needs_proc
def test_stubborn_hooks_of_both_ends_do_not_hold_up_a_stop(site: Site) -> None:
    pair = f"owe-{site.port}"
    slow = site.hooks(fail="trap '' TERM; echo begun; sleep 60")
    site.write_key("p.key")
    here: Settings = {"secret_file": "p.key", "a": {"node": "home"}, "b": {"node": "home"}}
    control = {"node": "vps"}  # which does not run
    site.write({pair: here}, hooks=slow, control=control)
    program = site.run_node("home")
    for end in "ab":
        program.wait_for("hook.end", hook="before", end=end)
    site.write({"q": here}, control=control)
    program.signal(signal.SIGHUP)
    program.wait_for("hook.output", hook="fail", text="begun")
    assert_stops(program, pair, 0)
    for end in "ab":
        assert_answered(program, pair, end)
