"""What the tests of child processes share: both event loops, scripts, and a look at /proc."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]


def run_on_asyncio(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(main)


def run_on_uvloop(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


on_both_loops = pytest.mark.parametrize(
    "run", [run_on_asyncio, run_on_uvloop], ids=["asyncio", "uvloop"]
)

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc")


GATE_TURNS = 6000
"""Looks for the gate, a hundredth of a second and more apart: longer than a test waits for what
is behind it. The hook must not look on for ever when its test is killed."""
GATED = (
    f"echo begun; turns={GATE_TURNS}; while [ ! -e open ]; do"
    " sleep 0.01; turns=$((turns - 1)); [ $turns -gt 0 ] || exit 1; done"
)
"""A hook that says so when it begins, and lasts until the test makes a file `open`."""


class Output:
    """Collects what a child printed."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.came = asyncio.Event()

    def __call__(self, stream: str, text: str) -> None:
        self.lines.append((stream, text))
        self.came.set()

    def of(self, stream: str) -> list[str]:
        return [text for its_stream, text in self.lines if its_stream == stream]


def script(path: Path, text: str) -> str:
    """An executable shell script; gives its path."""
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def processes_with(variable: str, value: str) -> list[int]:
    """Ids of the living processes that have this in their environment."""
    wanted = f"{variable}={value}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:  # ended meanwhile, or somebody else's
                continue
            if wanted in environment.split(b"\0"):
                found.append(int(entry.name))
    return found


def children(pid: int) -> list[int]:
    """The living children of a process."""
    return [child for child, parent in _parents().items() if parent == pid]


def descendants(pid: int) -> list[int]:
    """The living children of a process, and theirs."""
    parents = _parents()
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found[1:]


def _parents() -> dict[int, int]:
    """The parent of every living process."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            # What follows the name, which may hold anything: state, parent.
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
    return parents


def nobody_left(variable: str, value: str, within: float = 2.0) -> bool:
    """Killed processes take a moment to vanish."""
    deadline = time.monotonic() + within
    while processes_with(variable, value):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
