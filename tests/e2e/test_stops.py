"""SIGTERM at random instants of a process's life, its hooks' included: it ends in time, leaves no
child behind, and no file that is half of one.

    NETPUNCH_STOPS=100 python -m pytest tests/e2e/test_stops.py
"""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.assertions import STOP_SECONDS, assert_answered
from tests.e2e.site import Settings, Site
from tests.node.children import needs_proc, nobody_left

STOPS = int(os.environ.get("NETPUNCH_STOPS", "24"))
AT_ONCE = 4
STUBBORN_PART = 0.25
LIFE_SECONDS = 0.8
"""After its first event: longer than `before`, the link, files and `up` take together."""
HOOK = "sleep 0.1; echo done"
STUBBORN = "trap '' TERM; sleep 0.1 & wait; sleep 0.1"
"""A hook that ignores SIGTERM ends when it is done."""
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


def assert_whole(site: Site) -> None:
    """No temporary or half-written files are left, and no env file after `fail`."""
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


def stop_at_random(folder: Path, kind: str, seed: int) -> None:
    chance = random.Random(f"{kind} {seed}")
    pair = f"stop-{kind}-{seed}-{os.getpid()}"
    folder.mkdir()
    with ExitStack() as programs:
        site = Site(folder, programs)
        write(site, pair, kind, stubborn=chance.random() < STUBBORN_PART)
        program = site.run()
        program.wait_for("run.start")
        time.sleep(chance.uniform(0.0, LIFE_SECONDS))
        begun = time.monotonic()
        program.signal(signal.SIGTERM)
        code = program.wait_exit()
        assert time.monotonic() - begun < STOP_SECONDS
        # What was to link once may have been linked by then.
        assert code in ((0, 75) if kind == "once" else (0,)), program.transcript()
        assert "Traceback" not in program.said, program.said
        assert nobody_left("NETPUNCH_PAIR", pair)
        assert_whole(site)
        for end in "ab":
            assert_answered(program, pair, end)


@needs_proc
@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_at_any_instant_is_clean(tmp_path: Path, kind: str) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        stops = [
            threads.submit(stop_at_random, tmp_path / f"{seed}", kind, seed)
            for seed in range(STOPS // len(KINDS))
        ]
    for stop in stops:
        stop.result()
