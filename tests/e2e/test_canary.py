"""Secrets leave a process nowhere: not in events with --trace, not on standard error with
--debug, not in files, children, status or metrics; not when it reloads, nor when it crashes."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from netpunch.config.secrets import Secret, format_key, parse_key
from netpunch.wire.keys import control_key
from tests.e2e.canaries import Canaries, forms
from tests.e2e.harness import Netpunch
from tests.e2e.site import Settings, Site
from tests.node.children import descendants, needs_proc

pytestmark = needs_proc

V2_PAIRS = ("inline", "in-a-file", "handed")
CLASSIC_PAIRS = ("classic-inline", "classic-in-a-file")
PAIRS = (*V2_PAIRS, *CLASSIC_PAIRS)
CLASSIC_TEXT = 'CanaryTweet9Qx "of" {many}\\words\''
CLASSIC_BYTES = b"\xff\xfe\0 canary of raw bytes \x1b[2J'\"\\ \n"

CHILD = """#!/bin/sh
seen=seen/$1.$NETPUNCH_EVENT.$NETPUNCH_PAIR.$NETPUNCH_END.$$
cat /proc/$$/cmdline /proc/$$/environ > $seen.proc
if [ "$NETPUNCH_SESSION_KEY_FILE" ]; then
  stat -c %a "$NETPUNCH_SESSION_KEY_FILE" > session/$$.mode
  echo "$NETPUNCH_SESSION_KEY_FILE" > session/$$.path
  cp "$NETPUNCH_SESSION_KEY_FILE" session/$$.key
fi
env
case $1 in
  check) cat > $seen.event; exit 1 ;;
  hook) cat > $seen.event ;;
  command) echo ready; exec sleep 600 ;;
esac
"""
"""A child that logs what it got, and keeps the session key for the search."""

HARMLESS = ("site.yaml", "secrets/", "session/")
"""Files that hold secrets by nature."""


class Den:
    """A site whose pairs take their secrets from every source, and what it left behind."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.canaries = Canaries()
        self.folder = site.folder
        self.environment = {
            "CREDENTIALS_DIRECTORY": str(self.folder / "secrets"),
            "RUNTIME_DIRECTORY": str(self.folder / "run"),
        }
        for name in ("secrets", "seen", "session", "run"):
            (self.folder / name).mkdir()
        site.write_file("child", CHILD, 0o755)
        site.write_file("vpn.conf.in", "{pair} {end} {laddr} {raddr}\n")
        self.canaries.add("classic-inline", CLASSIC_TEXT.encode())
        self.canaries.add("classic-in-a-file", CLASSIC_BYTES)
        site.write_file("secrets/handed.key", self.new_key("handed"), 0o600)
        site.write_file("secrets/classic.key", CLASSIC_BYTES, 0o600)
        self.renew()

    def new_key(self, pair: str) -> str:
        """A pair's secret, searched for from now on."""
        value = os.urandom(32)
        text = format_key(Secret("pair", value))
        self.canaries.add_pair_key(pair, value)
        self.canaries.add(f"{pair}: text", text.encode())
        return text

    def renew(self) -> None:
        """New secrets where they are easily replaced: in the site file and in a key file."""
        self.site.write_file("secrets/file.key", self.new_key("in-a-file"), 0o600)
        self.write(self.new_key("inline"))

    def write(self, inline: str, **pair: str) -> None:
        ran: Settings = {
            "mode": "keep",
            "check": ["./child", "check"],
            "check_every": "10m",
            "command": ["./child", "command"],
            "hooks": ["./child", "hook"],
        }
        left: Settings = {
            "env_file": "{pair}.{end}.env",
            "files": [{"template": "vpn.conf.in", "to": "{pair}.{end}.conf"}],
        }
        classic: Settings = {"protocol": "classic", "session_key": False}
        pairs: Settings = {
            "inline": {"secret": inline} | pair,
            "in-a-file": {"secret_file": "secrets/file.key"},
            "handed": {"credential": "{pair}.key"},
            "classic-inline": classic | {"slots": "a-b", "secret": CLASSIC_TEXT},
            "classic-in-a-file": classic | {"slots": "c-d", "secret_file": "secrets/classic.key"},
        }
        self.site.write(pairs, session_key=True, **ran, **left)
        site = json.loads(self.site.file.read_text()) | {"metrics": {"textfile": "metrics.prom"}}
        self.site.write_file("site.yaml", json.dumps(site, indent=1), 0o600)

    def run(self, *options: str) -> Netpunch:
        arguments = ("--debug", "run", str(self.site.file), "--trace", *options)
        return self.site.start(*arguments, env=self.environment)

    def take_session_keys(self) -> int:
        """Search for them from now on, too; returns how many there were."""
        found = list((self.folder / "session").glob("*.key"))
        for file in found:
            self.canaries.add(f"session key {file.stem}", base64.b64decode(file.read_bytes()))
        return len(found)

    def files(self) -> dict[str, bytes]:
        """All files left in the folder, without those that hold secrets."""
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        named = {str(path.relative_to(self.folder)): path for path in paths}
        return {
            name: path.read_bytes() for name, path in named.items() if not name.startswith(HARMLESS)
        }


@pytest.fixture
def den(site: Site) -> Den:
    return Den(site)


def output(*programs: Netpunch) -> dict[str, bytes]:
    return {
        f"{stream} of {program.pid}": text.encode()
        for program in programs
        for stream, text in (("stdout", "".join(program.lines)), ("stderr", program.said))
    }


def processes(pids: Iterable[int]) -> dict[str, bytes]:
    """What `ps` shows of these processes."""
    paths = (Path(f"/proc/{pid}/{what}") for pid in pids for what in ("cmdline", "environ"))
    return {str(path): path.read_bytes() for path in paths}


def answer(path: Path) -> bytes:
    """The whole answer of a status socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        return b"".join(iter(lambda: client.recv(65536), b""))


def wait_for_commands(program: Netpunch, count: int) -> None:
    program.wait_for("hook.output", count, hook="command", text="ready")


def test_every_form_of_a_secret_is_found_by_the_search() -> None:
    secret = os.urandom(32)
    canaries = Canaries()
    canaries.add("it", secret)
    for form in forms(secret):
        assert canaries.found_in({"there": b"before " + form[3:-3] + b" behind"})
    for text in (base64.b64encode(b"x" * n + secret) for n in range(3)):
        assert canaries.found_in({"there": text})
    assert not canaries.found_in({"there": os.urandom(1000) + b"npk1:" * 100})


def test_no_secret_appears_in_the_whole_life_of_a_site(den: Den) -> None:
    """Link, look at everything while it runs, reload with other secrets, stop."""
    program = den.run()
    wait_for_commands(program, 2 * len(PAIRS))
    children = descendants(program.pid)
    assert len(children) >= 2 * len(PAIRS)
    seen = processes([program.pid, *children])
    seen["the status socket"] = answer(den.folder / "run/status.sock")
    asked = [
        den.site.start("status", *json_, env=den.environment, text=True)
        for json_ in ((), ("--json",))
    ]
    assert [each.wait_exit() for each in asked] == [0, 0]

    den.renew()
    den.site.reload(program)
    wait_for_commands(program, 2 * len(PAIRS) + 4)
    assert program.stop() == 0, program.said

    assert den.take_session_keys() == 2 * len(V2_PAIRS) + 4
    seen |= output(program, *asked) | den.files()
    assert_all_was_seen(seen, program)
    assert_session_keys_are_gone(den)
    assert den.canaries.found_in(seen) == []
    print(f"a whole life, {len(seen)} places: {den.canaries}")


def assert_all_was_seen(seen: dict[str, bytes], program: Netpunch) -> None:
    """The search proves nothing unless it finds what is there."""
    for pair in PAIRS:
        for name in (f"{pair}.a.env", f"{pair}.b.conf"):
            assert pair.encode() in seen[name]
        for what in ("check.", "hook.before", "hook.up", "command."):
            found = [name for name in seen if name.startswith(f"seen/{what}") and pair in name]
            assert found, f"{what} of {pair}"
        assert pair.encode() in seen["the status socket"]
        assert program.events("datagram", pair=pair)
    assert b"netpunch_pair_up" in seen["metrics.prom"]
    assert any(b"NETPUNCH_SESSION_KEY_FILE=" in data for data in seen.values())
    assert any(b"sleep\x00600" in data for name, data in seen.items() if name.endswith("cmdline"))


def assert_session_keys_are_gone(den: Den) -> None:
    session = den.folder / "session"
    assert {file.read_text() for file in session.glob("*.mode")} == {"600\n"}
    assert not [file for file in session.glob("*.path") if Path(file.read_text().strip()).exists()]
    assert list((den.folder / "run").iterdir()) == []


def test_no_secret_appears_when_a_reload_finds_invalid_ones(den: Den) -> None:
    program = den.run()
    wait_for_commands(program, 2 * len(PAIRS))
    key = den.new_key("inline")
    damaged = key[:-1] + ("A" if key[-1] != "A" else "B")
    right = den.site.file.read_text()
    for wrong in (
        damaged,
        key[:30],
        key[5:],
        CLASSIC_TEXT,
        format_key(Secret("control", parse_key(key).value)),
    ):
        den.write(wrong)
        reload_refused(den, program)
    for name in ("credential", "secret_file", "sekret", "psk", "env_file"):
        den.write(key, **{name: key})
        reload_refused(den, program)
    for slip in (
        f'"secret": {key}"',
        f'"secret": "{key}',
        f'\t"secret": "{key}"',
        f"secret {key}:",
    ):
        den.site.write_file("site.yaml", right.replace('"secret":', slip, 1), 0o600)
        reload_refused(den, program)
    den.site.write_file("site.yaml", right, 0o600)
    den.site.write_file("secrets/file.key", damaged, 0o600)
    den.site.reload(program)
    assert "checksum" in program.wait_for("pair.failed", pair="in-a-file")["err"]
    program.stop()
    den.take_session_keys()
    assert den.canaries.found_in(output(program) | den.files()) == []
    print(f"{len(program.events('run.reload'))} reloads: {den.canaries}")


def reload_refused(den: Den, program: Netpunch) -> None:
    count = len(program.events("run.reload", reason="invalid"))
    den.site.reload(program)
    assert len(program.events("run.reload", reason="invalid")) == count + 1, (
        den.site.file.read_text()
    )


WITH_A_BUG = """
import importlib, sys

def held(values):
    values = [getattr(value, "secret", getattr(value, "value", value)) for value in values]
    return b"".join(value for value in values if isinstance(value, bytes))

def bug(*args, **kwargs):
    secrets = held([*args, *kwargs.values()])
    if KIND == "undecodable":
        raise UnicodeDecodeError("utf-8", secrets, 0, 1, "a bug")
    raise RuntimeError("a bug")

KIND, place = sys.argv[1:3]
module, _, path = place.partition(":")
owner = importlib.import_module(module)
*classes, name = path.split(".")
for each in classes:
    owner = getattr(owner, each)
setattr(owner, name, bug)
from netpunch.cli import main
sys.exit(main(sys.argv[3:]))
"""
"""Runs netpunch with a function that raises; the frames and maybe the error hold secrets."""


@pytest.mark.parametrize("kind", ["plain", "undecodable"])
@pytest.mark.parametrize(
    ("place", "goes_on"),
    [
        ("netpunch.config.secrets:_advice", False),  # while a secret is read
        ("netpunch.node.plan:control_key", False),  # at the top level
        ("netpunch.node.end_task:Punch", True),  # in an end's task
        ("netpunch.core.end.identity:session_key", True),  # in the loop's callback for a datagram
    ],
)
def test_no_secret_appears_when_a_process_crashes(
    den: Den, place: str, goes_on: bool, kind: str
) -> None:
    program = den.site.start(
        *("--debug", "run", str(den.site.file), "--trace"),
        env=den.environment,
        program=[sys.executable, "-W", "error", "-c", WITH_A_BUG, kind, place],
    )
    program.wait_said(", in bug\n")
    if goes_on:
        program.signal(signal.SIGTERM)
    assert program.wait_exit() == 70, program.transcript()
    assert "Traceback (most recent call last)" in program.said
    assert den.canaries.found_in(output(program) | den.files()) == []
    print(f"{kind} bug in {place}: {den.canaries}")


def test_no_secret_appears_at_a_control_with_its_own_key(site: Site) -> None:
    """Control has `npc1:`, the ends have the pair's key, and each runs as a process."""
    canaries, value = Canaries(), os.urandom(32)
    canaries.add_pair_key("p", value)
    keys = {
        "control": format_key(Secret("control", control_key(value, "p"))),
        "end": format_key(Secret("pair", value)),
    }
    for role, text in keys.items():
        canaries.add(f"text for {role}", text.encode())
        (site.folder / role).mkdir()
        site.write_file(f"{role}/p.key", text, 0o600)
    pair = {"credential": "p.key", "a": {"node": "home"}, "b": {"node": "office"}}
    site.write({"p": pair}, control={"node": "vps"})
    programs = [
        site.start(
            *("--debug", "run", str(site.file), "--trace", "--node", node),
            env={"CREDENTIALS_DIRECTORY": str(site.folder / role)},
        )
        for node, role in (("vps", "control"), ("home", "end"), ("office", "end"))
    ]
    control, *ends = programs
    assert [end.wait_exit() for end in ends] == [0, 0]
    seen = processes([control.pid])
    assert control.stop() == 0
    assert all(program.events("datagram", pair="p") for program in ends)
    assert control.events("datagram")
    assert canaries.found_in(seen | output(*programs)) == []
    print(f"three processes: {canaries}")
