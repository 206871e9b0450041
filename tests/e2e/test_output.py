"""What a run writes: events, texts, files; and what happens when readers or disks fail."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.assertions import STOP_SECONDS
from tests.e2e.harness import EVENT_SECONDS, NETPUNCH, REPOSITORY, Netpunch, free_port
from tests.e2e.site import POLL_SECONDS, Site

SETTLED_LOOKS = 20
"""A pipe that has not grown in so many looks is full."""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def test_every_event_record_is_stamped(site: Site) -> None:
    site.write({"p": {}}, secret="generate")
    program = site.run("--trace")
    assert program.wait_exit() == 0
    records = program.events()
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    assert {record["v"] for record in records} == {1}
    assert len({record["run"] for record in records}) == 1
    assert all(TIME.fullmatch(record["ts"]) for record in records)
    assert [records[0]["event"], records[-1]["event"]] == ["run.start", "run.stop"]
    announced = program.events("datagram", direction="sent", end="a")[0]
    assert (announced["rport"], announced["bytes"]) == (site.port, 384)
    assert "ANNOUNCE" in announced["text"]


def test_text_format_prints_only_templates_and_quiet_prints_no_messages(site: Site) -> None:
    site.write({"p": {}}, secret="generate", template="{end} {{{pair}}} {lport}>{rport}")
    program = site.run("--format", "text", "-q", text=True)
    assert program.wait_exit() == 0
    assert program.said == ""
    one, other = (re.fullmatch(r"[ab] \{p\} (\d+)>(\d+)\n", line) for line in program.lines)
    assert one
    assert other
    assert one.groups() == other.groups()[::-1]


def test_the_files_of_a_link_are_written(site: Site) -> None:
    ends = {end: {"local": f"127.0.0.1:{free_port()}"} for end in "ab"}
    site.write_file("vpn.conf.in", "remote {rhost} {rport} # {pair} {{}}\n")
    hook = site.write_hook(then="echo $NETPUNCH_CHANGED $NETPUNCH_PREV_RADDR >> $NETPUNCH_END.told")
    site.write(
        {"p": ends},
        secret="generate",
        env_file="{pair}.{end}.env",
        files=[{"template": "vpn.conf.in", "to": "{pair}.{end}.conf", "mode": "0600"}],
        hooks={"up": hook},
    )
    first, again = site.run(), None
    assert first.wait_exit() == 0, first.said
    again = site.run()
    assert again.wait_exit() == 0, again.said
    assert [record["changed"] for record in first.events("pair.up")] == [True, True]
    assert [record["changed"] for record in again.events("pair.up")] == [False, False]
    up = again.events("pair.up", end="a")[0]
    assert (site.folder / "a.told").read_text() == f"1\n0 {up['raddr']}\n"
    config = site.folder / "p.a.conf"
    assert config.read_text() == f"remote {up['rhost']} {up['rport']} # p {{}}\n"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    env_file = site.folder / "p.a.env"
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o640
    sourced = subprocess.run(
        ["sh", "-c", f'. {env_file}; echo "$NETPUNCH_PAIR $NETPUNCH_END $NETPUNCH_RADDR"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert sourced.stdout == f"p a {up['raddr']}\n"
    assert not [path for path in site.folder.iterdir() if path.suffix == ".tmp"]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system without a free byte."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        with (folder / "filler").open("wb") as filler, contextlib.suppress(OSError):
            while os.write(filler.fileno(), bytes(4096)):
                pass
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_an_output_error(site: Site, full_disk: Path) -> None:
    """`up` does not run, `fail` undoes `before`, and no half-written file is left."""
    end = {"env_file": str(full_disk / "p.env"), "hooks": site.hooks()}
    site.write({"p": {"a": end}, "q": {}}, secret="generate")
    program = site.run()
    assert program.wait_exit() == 73
    failed = program.events("pair.failed")
    assert [(record["pair"], record["end"], record["reason"]) for record in failed] == [
        ("p", "a", "output")
    ]
    assert "free some space" in program.said
    assert site.hook_log() == ["before p a ", "fail p a output"]
    assert len(program.events("pair.up", pair="q")) == 2
    assert [path.name for path in full_disk.iterdir()] == ["filler"]


def test_a_reader_that_closes_standard_output_stops_no_link(site: Site) -> None:
    site.write({"p": {}}, secret="generate", hooks=site.hooks())
    program = site.run(unread=True)
    program.stop_reading()
    assert program.wait_exit() == 73
    assert sorted(site.hook_log())[2:] == ["up p a ", "up p b "]
    assert "cannot write to standard output: Broken pipe" in program.said


def wait_until_full(program: Netpunch) -> None:
    """The pipe of its standard output."""
    looks: list[int] = []
    deadline = time.monotonic() + EVENT_SECONDS
    while len(looks) < SETTLED_LOOKS or looks[0] == 0 or len(set(looks)) > 1:
        assert time.monotonic() < deadline, looks
        looks = [*looks, program.unread_bytes()][-SETTLED_LOOKS:]
        time.sleep(POLL_SECONDS)


def test_a_reader_that_stalls_does_not_stall_the_links(site: Site) -> None:
    """Neither the link nor the process's end is delayed."""
    talkative = site.write_hook(then="seq 900")
    site.write_nodes({"a": {"hooks": {"up": talkative}}}, mode="keep", keepalive="300ms")
    site.run_node("vps")
    office = site.run_node("office", "--trace")
    home = site.run_node("home", "--trace", unread=True)
    office.wait_for("pair.up")
    wait_until_full(home)
    seen = len(office.events("datagram", direction="received"))
    office.wait_for("datagram", seen + 4, direction="received")
    assert not office.events("pair.down")
    begun = time.monotonic()
    home.signal(signal.SIGTERM)
    assert home.wait_exit() == 73
    assert time.monotonic() - begun < STOP_SECONDS
    assert "standard output: its reader stalls" in home.said


def test_secrets_appear_in_no_output_file_or_argument(site: Site) -> None:
    """Not in events, lines for people, files, or what children see: of keys that are right,
    wrong and misplaced."""
    keys = [site.write_key(name) for name in ("p.key", "wrong.key")]
    password = "correct horse battery staple"
    site.write_file("classic.key", password, 0o600)
    hook = site.write_hook(then="env; cat; tr '\\0' ' ' < /proc/$PPID/cmdline")
    pairs = {
        "inline": {"secret": keys[0], "session_key": True},
        "classic": {"secret_file": "classic.key", "protocol": "classic", "slots": "a-b"},
        "misplaced": {"secret_file": "classic.key"},
        "differ": {
            "secret_file": "p.key",
            "deadline": "400ms",
            "b": {"secret_file": "wrong.key"},
        },
    }
    damaged = {"secret": keys[0].replace("npk1", "npk2")}
    hooks = {"before": hook, "up": hook, "fail": hook}
    seen = ""
    for also in ({}, {"damaged": damaged}):
        site.write(pairs | also, hooks=hooks, env_file="{pair}.{end}.env")
        shown = site.start("check", str(site.file), "--show", text=True)
        program = site.run("--trace", "--debug")
        codes = shown.wait_exit(), program.wait_exit()
        assert codes == (78, 78), "misplaced"
        seen += shown.transcript() + program.transcript()
        assert also or len(program.events("pair.up")) == 4
        assert also or len(program.events("hook.output")) > 100
    seen += "".join(path.read_text() for path in site.folder.glob("*.env"))
    for secret in (*keys, password):
        assert secret.removeprefix("npk1:")[:12] not in seen


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 2>&-", "0<&-", "1>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_descriptors_change_nothing_else(site: Site, closed: str) -> None:
    """What is for people never lands among the events, and whoever starts a service without any
    descriptor gets a service."""
    site.write({"p": {}}, secret="generate", hooks={"up": site.write_hook()})
    program = site.run(program=("sh", "-c", f'exec "$@" {closed}', "sh", *NETPUNCH))
    assert program.wait_exit() == 0, program.transcript()
    assert sorted(site.hook_log()) == ["up p a ", "up p b "]
    if "1>" not in closed:
        assert len(program.events("pair.up")) == 2
        assert len(program.lines) == len(program.events()), "and nothing but events"
    assert ("linked" in program.said) == ("2>" not in closed)


@pytest.mark.parametrize(
    ("options", "is_json"),
    [((), False), (("--format", "json"), True), (("--format", "text"), False)],
)
def test_the_journal_gets_each_message_once(
    site: Site, options: tuple[str, ...], is_json: bool
) -> None:
    """Standard output and standard error are the same stream, as systemd's journal is."""
    site.write({"p": {}}, secret="generate")
    journal, stream = socket.socketpair()
    found = os.fstat(stream.fileno())
    with journal, stream:
        process = subprocess.Popen(
            [*NETPUNCH, "run", str(site.file), *options],
            env=os.environ | {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
            stdout=stream.fileno(),
            stderr=stream.fileno(),
            cwd=REPOSITORY,
        )
        stream.close()
        with process, journal.makefile("r", encoding="utf-8") as lines:
            told = [line.rstrip("\n") for line in lines]
        assert process.returncode == 0, told
    linked = [line for line in told if "linked" in line or '"event":"pair.up"' in line]
    assert len(linked) == 2, told
    assert all(line.startswith("{") is is_json for line in told), told


def test_output_that_does_not_go_to_the_journal_is_unchanged(site: Site) -> None:
    """A service whose output was sent elsewhere inherits the variable."""
    site.write({"p": {}}, secret="generate")
    program = site.run(env={"JOURNAL_STREAM": "9:12345"})
    assert program.wait_exit() == 0
    assert len(program.events("pair.up")) == 2
    assert program.said.count(" linked ") == 2


def test_processes_without_a_status_key_are_found_by_their_site_file(
    site: Site, tmp_path: Path
) -> None:
    runtime = {"XDG_RUNTIME_DIR": str(tmp_path)}
    site.write_nodes(mode="keep")
    ends = [site.run_node(node, env=runtime) for node in ("home", "office")]
    for program in (site.run_node("vps", env=runtime), *ends):
        program.wait_for("run.ready")
    for program in ends:
        program.wait_for("pair.up")
    deadline = time.monotonic() + EVENT_SECONDS
    answers: list[str] = []
    while len(answers) < 3:  # the socket comes a moment after `run.ready`
        assert time.monotonic() < deadline, answers
        asked = site.start("status", "--json", str(site.file), env=runtime, text=True)
        asked.wait_exit()
        answers = asked.lines
    nodes = {json.loads(answer)["node"] for answer in answers}
    assert nodes == {"home", "office", "vps"}
    assert asked.wait_exit() == 0
    for program in ends:
        assert program.stop() == 0
    asked = site.start("status", "--json", str(site.file), env=runtime, text=True)
    assert asked.wait_exit() == 0, "they leave no socket behind"
    assert len(asked.lines) == 1


def test_a_reload_removes_the_env_files_of_what_it_removes(site: Site) -> None:
    pairs: dict[str, Any] = {name: {} for name in ("stays", "goes", "moves")}
    site.write(pairs, secret="generate", mode="keep", env_file="{pair}.{end}.env")
    program = site.run()
    program.wait_for("env.written", 6)
    del pairs["goes"]
    pairs["moves"] = {"env_file": "{pair}.{end}.moved"}
    site.write(pairs, secret="generate", mode="keep", env_file="{pair}.{end}.env")
    site.reload(program)
    program.wait_for("env.written", 8)
    left = {path.name for path in site.folder.iterdir() if path.suffix in {".env", ".moved"}}
    assert left == {"stays.a.env", "stays.b.env", "moves.a.moved", "moves.b.moved"}
    assert program.stop() == 0
    assert (site.folder / "stays.a.env").exists(), "a VPN may still use the link"


def test_a_unit_removes_the_env_files_of_pairs_removed_while_it_was_stopped(
    site: Site, tmp_path: Path
) -> None:
    folder = tmp_path / "netpunch"
    folder.mkdir()
    unit: dict[str, Any] = {"env": {"RUNTIME_DIRECTORY": str(folder)}}
    env_file = f"{folder}/{{pair}}.{{end}}.env"
    site.write({"goes": {}, "stays": {}}, secret="generate", mode="keep", env_file=env_file)
    program = site.run(**unit)
    program.wait_for("env.written", 4)
    assert program.stop() == 0
    (folder / "note.env").write_text("NETPUNCH_PAIR=goes\nPATH=/bin\n")
    site.write({"stays": {}}, secret="generate", mode="keep", env_file=env_file)
    program = site.run(**unit)
    program.wait_for("run.ready")
    left = {path.name for path in folder.glob("*.env")}
    assert left == {"stays.a.env", "stays.b.env", "note.env"}, "and what is somebody else's"
    assert program.stop() == 0
