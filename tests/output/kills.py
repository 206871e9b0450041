"""A process that writes a file again and again is killed again and again, at random moments.

Runs as a process of its own (`python -m tests.output.kills files|env FILE`), for it forks: the
one that runs the tests has threads.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from netpunch.address import Address
from netpunch.output.atomic import replace_file
from netpunch.output.envfile import link_variables, write_env_file

REPOSITORY = Path(__file__).parents[2]
KILLS = 300
MEASURED_WRITES = 20
"""How long a write takes differs a hundredfold between disks, so it is measured first."""
WRITES_BEFORE_KILL = 6
"""At most, some: each kill comes at a random moment of one of them."""
START_SECONDS = 0.002
"""A forked child's first steps; a kill that comes so early hits no write."""
PATIENCE = 120.0
"""Seconds; a healthy disk needs two."""

Write = Callable[[Path], object]


class Kills(NamedTuple):
    """What came of them."""

    interrupted: int
    """Kills in the middle of a write: its temporary file was left."""
    contents: int
    """How many different files were found after kills."""

    def __str__(self) -> str:
        return (
            f"{KILLS} kills, {self.interrupted} in the middle of a write: none torn,"
            f" {self.contents} different files seen whole"
        )


def kills_while_writing(kind: str, path: Path) -> Kills:
    """Kills writers of `files` of very different sizes, or of `env` files of different links.

    Raises AssertionError when a file is torn, or a kill's temporary file outlives the next
    write."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", __name__, kind, path],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return Kills(*map(int, done.stdout.split()))


def main(kind: str, path: Path) -> Kills:
    writes: Sequence[Write] = {"files": _files, "env": _env_files}[kind]()
    wholes = [_written(write, path) for write in writes]
    longest = START_SECONDS + WRITES_BEFORE_KILL * _seconds_a_write(writes, path)
    interrupted, seen = 0, set()
    for _ in range(KILLS):
        _kill_a_writer(writes, path, after=random.uniform(0, longest))
        found = (path.read_bytes(), path.stat().st_mode)
        assert found in wholes, f"torn: {found}"
        seen.add(found)
        if _names(path.parent) != [path.name]:
            interrupted += 1
            assert _written(writes[0], path) == wholes[0]
        assert _names(path.parent) == [path.name]
    return Kills(interrupted, len(seen))


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def _files() -> Sequence[Write]:
    """The largest takes several calls of write."""
    contents = [letter * size for letter, size in ((b"A", 3000), (b"B", 70_000), (b"C", 1))]
    return [partial(replace_file, content=content, mode=0o600) for content in contents]


def _env_files() -> Sequence[Write]:
    """Of links whose texts differ in length."""
    links = [
        ("home-office", Address("0.0.0.0", 5000), Address("198.51.100.7", 40000)),
        ("home-office", Address("::", 5000), Address("2001:db8:1:2:3:4:5:6", 40001)),
        ("p", Address("10.0.0.1", 1), Address("192.0.2.1", 2)),
    ]
    told = [
        link_variables(pair, "a", local, remote, "2026-01-01T00:00:00.250000Z")
        for pair, local, remote in links
    ]
    return [partial(write_env_file, variables=variables) for variables in told]


def _written(write: Write, path: Path) -> tuple[bytes, int]:
    write(path)
    return path.read_bytes(), path.stat().st_mode


def _seconds_a_write(writes: Sequence[Write], path: Path) -> float:
    begun = time.perf_counter()
    for number in range(MEASURED_WRITES):
        writes[number % len(writes)](path)
    return (time.perf_counter() - begun) / MEASURED_WRITES


def _kill_a_writer(writes: Sequence[Write], path: Path, *, after: float) -> None:
    child = os.fork()
    if child == 0:
        try:
            while True:
                for write in writes:
                    write(path)
        finally:
            os._exit(1)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it could not write"


if __name__ == "__main__":
    print(*main(sys.argv[1], Path(sys.argv[2])))
