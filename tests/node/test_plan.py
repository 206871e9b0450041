from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from netpunch.config.secrets import Secret, format_key
from netpunch.errors import ConfigurationError, HookError, PermissionsError, UsageError
from netpunch.node.options import RunOptions
from netpunch.node.plan import Failure, Plan, Planner
from netpunch.wire.keys import control_key
from tests.node.recorder import CONTROL, site_with

EMPTY: dict[str, Any] = {"a": {}, "b": {}}
NODES: dict[str, Any] = {"a": {"node": "home"}, "b": {"node": "office"}}
AT_VPS = {"node": "vps"} | CONTROL
GENERATED = {"secret": "generate"}


def plan(
    folder: Path, pairs: dict[str, Any], options: RunOptions | None = None, **rest: Any
) -> Plan:
    return Planner(options or RunOptions()).plan(*site_with(folder, pairs, **rest))


def write_key(folder: Path, name: str = "p.key", kind: str = "pair", mode: int = 0o600) -> bytes:
    value = os.urandom(32)
    path = folder / name
    path.write_text(format_key(Secret("pair" if kind == "pair" else "control", value)))
    path.chmod(mode)
    return value


def test_one_process_plans_all_ends_and_controls(tmp_path: Path) -> None:
    found = plan(tmp_path, {"p": GENERATED | EMPTY})
    assert list(found.ends) == [("p", "a"), ("p", "b")]
    a, b = (each.settings for each in found.ends.values())
    assert a.secret == b.secret
    assert [tuple(each) for each in a.controls] == [("127.0.0.1", 20001, 20002, None)]
    assert found.controls["control"].keys.unpacked() == {"p": control_key(a.secret, "p")}
    assert (found.endless, found.failures, found.warnings) == (False, (), ())
    assert repr(a.secret) not in repr(found)


def test_a_control_without_second_port(tmp_path: Path) -> None:
    found = plan(tmp_path, {"p": GENERATED | EMPTY}, control=CONTROL | {"observe": "off"})
    assert found.ends["p", "a"].settings.controls[0].observe is None


def test_generated_secrets_stay_the_same_over_reloads(tmp_path: Path) -> None:
    planner = Planner(RunOptions())
    site, part = site_with(tmp_path, {"p": GENERATED | EMPTY, "q": GENERATED | EMPTY})
    first, second = planner.plan(site, part), planner.plan(site, part)
    assert first == second
    assert first.ends["p", "a"].settings.secret != first.ends["q", "a"].settings.secret
    assert Planner(RunOptions()).plan(site, part) != first


def test_a_control_alone_serves_for_ever(tmp_path: Path) -> None:
    key = write_key(tmp_path, kind="control")
    pairs = {"p": {"secret_file": "p.key"} | NODES}
    found = plan(tmp_path, pairs, node="vps", control=AT_VPS)
    assert (found.ends, found.endless, found.warnings) == ({}, True, ())
    assert found.controls["vps"].keys.unpacked() == {"p": key}


def test_a_control_of_disabled_pairs_keeps_running(tmp_path: Path) -> None:
    pairs = {"p": {"secret_file": "p.key", "enabled": False} | NODES}
    found = plan(tmp_path, pairs, node="vps", control=AT_VPS)
    assert (found.endless, found.failures) == (True, ())
    assert found.controls["vps"].keys.unpacked() == {}


def test_control_is_warned_of_a_key_that_it_need_not_have(tmp_path: Path) -> None:
    key = write_key(tmp_path)
    pairs = {"p": {"secret_file": "p.key"} | NODES}
    found = plan(tmp_path, pairs, node="vps", control=AT_VPS)
    assert found.controls["vps"].keys.unpacked() == {"p": control_key(key, "p")}
    [warning] = found.warnings
    assert "netpunch key control" in warning


def test_a_control_none_of_whose_pairs_has_a_key_is_refused(tmp_path: Path) -> None:
    pairs = {"p": {"secret_file": "p.key"} | NODES, "q": {"secret_file": "q.key"} | NODES}
    found = plan(tmp_path, pairs, node="vps", control=AT_VPS)
    with pytest.raises(ConfigurationError, match=r"none of its pairs has a usable key \(p, q\)"):
        found.controls["vps"].refuse_if_keyless()
    write_key(tmp_path, "q.key", kind="control")
    found = plan(tmp_path, pairs, node="vps", control=AT_VPS)
    found.controls["vps"].refuse_if_keyless()
    assert [str(failure) for failure in found.failures] == ["control vps: p"]


def test_a_problem_of_many_keys_is_warned_of_once(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(60)]
    for name in names:
        write_key(tmp_path, f"{name}.key")
    pairs = {name: {"secret_file": f"{name}.key"} | NODES for name in names}
    [warning] = plan(tmp_path, pairs, node="vps", control=AT_VPS).warnings
    assert "pairs.p0.secret_file: warning: this is the pair's own key" in warning
    assert warning.endswith(
        "and the same for 59 more: pairs.p1.secret_file, pairs.p2.secret_file, "
        "pairs.p3.secret_file, ..."
    )


def test_a_classic_pair_is_planned_with_its_slots(tmp_path: Path) -> None:
    (tmp_path / "p.secret").write_text("correct horse")
    (tmp_path / "p.secret").chmod(0o600)
    classic = {"protocol": "classic", "slots": "c-d", "secret_file": "p.secret"}
    found = plan(tmp_path, {"p": classic | EMPTY})
    control = found.controls["control"]
    assert control.secrets == {"c": b"correct horse", "d": b"correct horse"}
    assert control.names == {"c": "p", "d": "p"}
    assert found.ends["p", "a"].settings.slot == "c"


def test_only_pairs_named_on_the_command_line_are_planned(tmp_path: Path) -> None:
    pairs = {"p": GENERATED | EMPTY, "q": GENERATED | EMPTY}
    found = plan(tmp_path, pairs, RunOptions(pairs=("q",)))
    assert {pair for pair, _ in found.ends} == {"q"}
    assert set(found.controls["control"].keys.unpacked()) == {"p", "q"}
    with pytest.raises(UsageError, match=r"no pair or mesh 'r' in .*site\.yaml: it has p, q"):
        plan(tmp_path, pairs, RunOptions(pairs=("q", "r")))


def test_a_mesh_named_on_the_command_line_stands_for_its_pairs(tmp_path: Path) -> None:
    write_key(tmp_path, "lan.key")
    lan = {"secret_file": "lan.key", "nodes": ["home", "office", "cabin"]}
    pairs = {"p": {"secret_file": "lan.key"} | NODES}
    for name, planned in (("lan", 2), ("lan.home.office", 1), ("p", 1)):
        options = RunOptions(pairs=(name,))
        found = plan(tmp_path, pairs, options, node="home", control=AT_VPS, meshes={"lan": lan})
        assert len(found.ends) == planned


@pytest.mark.parametrize(
    ("mode", "options", "expected"),
    [
        ("once", RunOptions(), "once"),
        ("once", RunOptions(keep=True), "keep"),
        ("keep", RunOptions(once=True), "once"),
        ("keep", RunOptions(keep=True), "keep"),
    ],
)
def test_the_command_line_overrides_the_mode(
    tmp_path: Path, mode: str, options: RunOptions, expected: str
) -> None:
    found = plan(tmp_path, {"p": GENERATED | EMPTY | {"mode": mode}}, options)
    assert {each.mode for each in found.ends.values()} == {expected}


@pytest.mark.parametrize(
    ("settings", "options", "complaint"),
    [
        ({"mode": "keep", "command": ["true"]}, RunOptions(once=True), "a command needs"),
        ({"protocol": "classic", "slots": "a-b"}, RunOptions(keep=True), "classic cannot hold"),
    ],
)
def test_a_mode_that_a_pair_cannot_have_is_refused(
    tmp_path: Path, settings: dict[str, Any], options: RunOptions, complaint: str
) -> None:
    found = plan(tmp_path, {"p": GENERATED | EMPTY | settings}, options)
    assert found.ends == {}
    for failure in found.failures:
        assert isinstance(failure.error, ConfigurationError)
        assert complaint in str(failure.error)


def test_an_unusable_secret_stops_only_its_pair(tmp_path: Path) -> None:
    write_key(tmp_path, "public.key", mode=0o644)
    pairs = {"p": {"secret_file": "public.key"} | EMPTY, "q": GENERATED | EMPTY}
    found = plan(tmp_path, pairs)
    assert {pair for pair, _ in found.ends} == {"q"}
    assert [str(failure) for failure in found.failures] == ["p a", "p b"]
    assert all(isinstance(failure.error, PermissionsError) for failure in found.failures)
    assert set(found.controls["control"].keys.unpacked()) == {"q"}


def test_a_control_that_cannot_serve_a_pair(tmp_path: Path) -> None:
    pairs = {"p": {"secret_file": "missing.key"} | NODES}
    found = plan(tmp_path, pairs, node="vps", control=AT_VPS)
    [failure] = found.failures
    assert str(failure) == "control vps: p"
    assert found.endless, "it may be there on reload"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"hooks": {"up": ["./missing"]}}, r"hooks\.up: .*/missing: no such program"),
        ({"hooks": {"before": ["no-such-program"]}}, r"hooks\.before: .* in PATH"),
        ({"hooks": {"down": ["./site.yaml"]}}, r"hooks\.down: .*not executable"),
        ({"hooks": {"fail": ["./missing"]}}, r"hooks\.fail: "),
        ({"mode": "keep", "check": ["./missing"]}, "check: "),
        ({"mode": "keep", "command": ["./{pair}-vpn"]}, "command: .*/p-vpn: no such program"),
    ],
)
def test_missing_programs_fail_the_plan(
    tmp_path: Path, settings: dict[str, Any], complaint: str
) -> None:
    found = plan(tmp_path, {"p": GENERATED | EMPTY | settings})
    assert found.ends == {}
    for failure in found.failures:
        assert isinstance(failure.error, HookError)
        with pytest.raises(HookError, match=complaint):
            raise failure.error


def test_existing_programs_pass_the_plan(tmp_path: Path) -> None:
    """One may depend on the link."""
    settings = {"mode": "keep", "command": ["./vpn-{rport}"], "hooks": {"up": ["true"]}}
    assert plan(tmp_path, {"p": GENERATED | EMPTY | settings}).failures == ()


@pytest.mark.parametrize(
    ("failure", "whose"),
    [
        (Failure(HookError(), "p", "a"), "p a"),
        (Failure(HookError(), control="vps"), "control vps"),
        (Failure(HookError(), "p", control="vps"), "control vps: p"),
    ],
)
def test_a_failure_names_its_end_or_control(failure: Failure, whose: str) -> None:
    assert str(failure) == whose


MODES: dict[str, Any] = {
    "kept": GENERATED | EMPTY | {"mode": "keep"},
    "linked": GENERATED | EMPTY | {"mode": "once"},
}


@pytest.mark.parametrize(
    ("only", "pairs", "controls"),
    [
        ((), {"kept", "linked"}, {"control"}),
        (("keep",), {"kept"}, set()),
        (("once",), {"linked"}, set()),
        (("control",), set(), {"control"}),
        (("control", "keep"), {"kept"}, {"control"}),
    ],
)
def test_several_processes_share_a_node(
    only: Any, pairs: set[str], controls: set[str], tmp_path: Path
) -> None:
    found = plan(tmp_path, MODES, RunOptions(only=only))
    assert {pair for pair, _ in found.ends} == pairs
    assert set(found.controls) == controls
    assert found.endless is ("control" in only), "its ends are in other processes"
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("only", "complaint"),
    [
        (("control",), "no control is on this node"),
        (("once",), "no enabled end of this node has `mode: once`"),
        (
            ("control", "once"),
            "no control is on this node, and no enabled end of this node has `mode: once`",
        ),
    ],
)
def test_a_share_with_nothing_in_it_is_warned_of(only: Any, complaint: str, tmp_path: Path) -> None:
    write_key(tmp_path)
    pairs = {"p": {"secret_file": "p.key", "mode": "keep"} | NODES}
    found = plan(tmp_path, pairs, RunOptions(only=only), node="home", control=AT_VPS)
    assert (found.ends, found.controls) == ({}, {})
    assert found.warnings == (f"{tmp_path}/site.yaml: warning: nothing to run: {complaint}",)


def test_a_pair_of_another_mode_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--only once: kept a has `mode: keep`"):
        plan(tmp_path, MODES, RunOptions(only=("once",), pairs=("kept",)))


def plan_mesh(folder: Path, node: str, **own: Any) -> Plan:
    """Of the mesh `lan`, with a control on `vps`."""
    lan = {"secret_file": "p.key", "nodes": ["home", "office", "cabin"]} | own
    return plan(folder, {}, node=node, control=AT_VPS, meshes={"lan": lan})


def test_control_serves_a_mesh_with_one_key(tmp_path: Path) -> None:
    key = write_key(tmp_path)
    names = ["lan.home.office", "lan.cabin.home", "lan.cabin.office"]
    ends = plan_mesh(tmp_path, "home").ends
    assert list(ends) == [("lan.home.office", "a"), ("lan.cabin.home", "b")]
    assert {end.settings.secret for end in ends.values()} == {key}
    (tmp_path / "p.key").write_text(format_key(Secret("control", control_key(key, "lan"))))
    found = plan_mesh(tmp_path, "vps")
    assert found.controls["vps"].keys.unpacked() == {name: control_key(key, name) for name in names}
    assert found.warnings == ()


def test_a_control_on_a_node_of_the_mesh_has_the_key_of_the_mesh(tmp_path: Path) -> None:
    write_key(tmp_path)
    found = plan_mesh(tmp_path, "vps", nodes=["home", "office", "vps"])
    assert len(found.controls["vps"].keys.unpacked()) == 3
    assert (len(found.ends), found.warnings) == (2, ())


def test_a_mesh_without_its_key_is_reported_once_by_control(tmp_path: Path) -> None:
    found = plan_mesh(tmp_path, "vps")
    assert [(each.pair, each.control) for each in found.failures] == [("lan", "vps")]
    assert "meshes.lan.secret_file" in str(found.failures[0].error)
    assert "`netpunch key control lan FILE" in str(found.failures[0].error)
    assert found.controls["vps"].unserved == ("lan",)
    assert len(plan_mesh(tmp_path, "home").failures) == 2


def test_a_node_more_at_the_end_changes_no_other_pair(tmp_path: Path) -> None:
    write_key(tmp_path)
    own = {"mode": "keep", "forward": {"listen": "127.0.0.1:52000+"}}
    before = plan_mesh(tmp_path, "home", **own).ends
    after = plan_mesh(tmp_path, "home", nodes=["home", "office", "cabin", "shed"], **own).ends
    off = {"home": {}, "office": {"enabled": False}, "cabin": {}}
    without = plan_mesh(tmp_path, "home", nodes=off, **own).ends
    assert {key: after[key] for key in before} == before
    assert without == {key: end for key, end in before.items() if "office" not in key[0]}


@pytest.mark.parametrize(("keys", "warned"), [({}, True), ({"hooks": {"before": ["true"]}}, False)])
def test_a_missing_folder_of_the_env_file_is_told_at_once(
    keys: dict[str, Any], warned: bool, tmp_path: Path
) -> None:
    """Unless a hook may make it."""
    found = plan(tmp_path, {"p": GENERATED | EMPTY | {"env_file": "new/{end}.env"} | keys})
    assert (f"`mkdir -p {tmp_path / 'new'}`" in "".join(found.warnings)) is warned
