"""Processes under measurement: starting them, from any checkout; their CPU time and memory."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import subjects

ROOT = Path(__file__).parents[2]
"""This checkout."""


def machine() -> str:
    """One line: the machine that a figure was taken on."""
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.release()}"
    )


def resident(pid: int) -> int:
    """Bytes of memory that a process holds. Linux."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu(pid: int) -> float:
    """Seconds of CPU time, user and system, that a process has used. Linux."""
    process_clock = (~pid << 3) | 2  # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)
    return time.clock_gettime(process_clock)


class Server(NamedTuple):
    """A running server on 127.0.0.1."""

    pid: int
    port: int

    def cpu(self) -> float:
        return cpu(self.pid)

    def resident(self) -> int:
        return resident(self.pid)


class Subject(NamedTuple):
    """A running subject, which has answered that it is ready."""

    pid: int
    ready: Any
    ask: Callable[[int], Any]
    """Answers for so many rounds."""


def environment(checkout: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(checkout)}


@contextlib.contextmanager
def subject(run: Callable[..., None], *arguments: Any, checkout: Path = ROOT) -> Iterator[Subject]:
    """Run one of `subjects` with the netpunch of a checkout until the block ends."""
    argv = [sys.executable, "-P", subjects.__file__, run.__name__]
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=checkout,
        env=environment(checkout),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        to, answers = process.stdin, process.stdout

        def ask(rounds: int) -> Any:
            to.write(f"{rounds}\n".encode())
            to.flush()
            return json.loads(answers.readline())

        try:
            pickle.dump(arguments, to)
            to.flush()
            yield Subject(process.pid, json.loads(answers.readline()), ask)
        finally:
            process.terminate()


@contextlib.contextmanager
def server(run: Callable[..., None], *arguments: Any, checkout: Path = ROOT) -> Iterator[Server]:
    """Run a server out of `subjects` until the block ends."""
    with subject(run, *arguments, checkout=checkout) as running:
        yield Server(running.pid, running.ready)
