"""SIGTERM at random instants of a process's life, its hooks' included: it ends in time, leaves no
child behind, and no file that is half of one.

    NETPUNCH_STOPS=100 python -m pytest tests/e2e/test_stops.py
"""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.assertions import STOP_SECONDS
from tests.e2e.harness import Netpunch
from tests.e2e.site import Settings, Site
from tests.node.children import needs_proc, nobody_left

STOPS = int(os.environ.get("NETPUNCH_STOPS", "24"))
LIFE_SECONDS = 0.8
"""From its first event on: longer than `before`, the link, files and `up` take together."""
HOOK = "sleep 0.1; echo done"
STUBBORN = "trap '' TERM; sleep 0.1 & wait; sleep 0.1"
"""A hook that doesn't listen to SIGTERM ends when it is done."""
LAST_VARIABLE = "NETPUNCH_AT="
KINDS: dict[str, Settings] = {
    "once": {"mode": "once"},
    "hold": {"mode": "keep", "keepalive": "50ms"},
    "command": {"mode": "keep", "command": ["sh", "-c", "sleep 60 & wait"]},
    "check": {"mode": "keep", "check": ["test", "-e", "alive"], "check_every": "100ms"},
}
ENV_FILES = {end: f"{end}.env" for end in "ab"}
RENDERED = {end: f"{end}.conf" for end in "ab"}
TEMPLATE = "remote {raddr}\n# the end\n"


def write(site: Site, pair: str, kind: str, *, stubborn: bool) -> None:
    then = dict.fromkeys(("before", "up", "down", "fail"), STUBBORN if stubborn else HOOK)
    site.write_file("template.in", TEMPLATE)
    ends: Settings = {
        end: {
            "env_file": ENV_FILES[end],
            "files": [{"template": "template.in", "to": RENDERED[end]}],
        }
        for end in "ab"
    }
    hooks = site.hooks(**then)
    more = KINDS[kind]
    site.write({pair: ends}, secret="generate", hooks=hooks, retry_after="100ms", **more)


def assert_whole(site: Site, pair: str) -> None:
    """Neither temporary nor half-written files; whoever gets `fail` has no env file."""
    files = {path.name for path in site.folder.iterdir()}
    assert not [name for name in files if name.startswith(".") or name.endswith(".tmp")]
    for end in "ab":
        if ENV_FILES[end] in files:
            lines = (site.folder / ENV_FILES[end]).read_text().splitlines(keepends=True)
            assert any(line.startswith(LAST_VARIABLE) for line in lines)
            assert all(line.endswith("\n") and line.count("=") == 1 for line in lines)
            assert f"NETPUNCH_END={end}\n" in lines
        if RENDERED[end] in files:
            assert (site.folder / RENDERED[end]).read_text().endswith("# the end\n")


def assert_answered(site: Site, program: Netpunch, pair: str, end: str) -> None:
    """What `before` took was used or given back."""
    log = [line.split()[0] for line in site.hook_log() if f" {pair} {end} " in line]
    claimed = False
    for occasion in log:
        if occasion == "before":
            assert not claimed, log
            claimed = True
        elif occasion in ("up", "fail"):
            assert claimed, log
            claimed = False
    if claimed:  # then `before` itself was cut
        last = program.events("hook.end", end=end, hook="before")[-1]
        assert last["outcome"] != "done", log


@needs_proc
@pytest.mark.parametrize("number", range(STOPS))
def test_a_stop_at_any_instant(tmp_path: Path, number: int) -> None:
    chance = random.Random(number)
    kind = list(KINDS)[number % len(KINDS)]
    pair = f"stop-{os.getpid()}-{number}"
    with ExitStack() as programs:
        site = Site(tmp_path, programs)
        write(site, pair, kind, stubborn=chance.random() < 0.25)
        program = site.run()
        program.wait_for("run.start")
        time.sleep(chance.uniform(0.0, LIFE_SECONDS))
        begun = time.monotonic()
        program.signal(signal.SIGTERM)
        code = program.wait_exit()
        assert time.monotonic() - begun < STOP_SECONDS
        # A process that was to link once has not, unless it has.
        assert code in ((0, 75) if kind == "once" else (0,)), program.transcript()
        assert "Traceback" not in program.said, program.said
        assert nobody_left("NETPUNCH_PAIR", pair)
        assert_whole(site, pair)
        for end in "ab":
            assert_answered(site, program, pair, end)
