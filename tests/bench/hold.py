"""Fifty links held in real time by real processes, under disturbances: does anything grow?

    python -m tests.bench hold [--pairs 50] [--seconds 600]

A control, all ends a in one process and all ends b in another, on loopback. A quarter of the pairs
each holds the hole, forwards traffic, is watched by a check, or runs a command. All along the
control is killed and restarted, the files are reloaded, unchanged or with a pair changed, checks
fail and commands die. Stable is what holds no more memory in the last third than in the second, no
more threads in the end than in the second third, and as many descriptors and children in the end
as when all was first linked. In the end all links must be up, and SIGTERM leave nobody behind.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from tests.bench.processes import machine, resident
from tests.e2e.harness import Netpunch, Record, free_port
from tests.e2e.site import Settings, Site
from tests.node.children import descendants

NODES = {"a": "home", "b": "office"}
SAMPLE_SECONDS = 1.0
DISTURBED_EVERY = 2.0
"""Seconds. A lost link is back within a few, so most are up at any time."""
DATAGRAMS = 20
"""That each program says between two samples."""
SETTLE_SECONDS = 3.0
"""After the last link: ends on standby register themselves."""
SETTLED_SAMPLES = 10
LINK_SECONDS = 60.0
"""In which all have to be linked, at the beginning and in the end."""
MIB = 1024 * 1024
MEMORY_TOLERANCE = 1.5 * MIB
"""Bytes. Caches and holes between objects were seen to take 0.8 MiB from one third to the next; a
leak of half a kilobyte for each keepalive took 2.5 MiB in ten minutes."""
KINDS: list[Settings] = [
    {"keepalive": "1s"},
    {"keepalive": "1s"},  # forwards, see `settings`
    {"check_every": "1s"},
    {"command": ["sleep", "3600"]},
]
HOLD, FORWARD, CHECK, COMMAND = range(len(KINDS))


class Sample(NamedTuple):
    """What a process holds; `memory` in bytes."""

    memory: int
    descriptors: int
    threads: int
    children: int


class Fleet:
    """The three processes, and the programs beside them."""

    def __init__(self, folder: Path, stack: ExitStack, pairs: int) -> None:
        self.site = Site(folder, stack)
        self.names = [f"p{number}" for number in range(pairs)]
        self._random = random.Random(pairs)
        self._stack = stack
        self._pairs = {name: self._settings(name, number) for number, name in enumerate(self.names)}
        self.write()
        self.control = self._run("vps")
        self.ends = {end: self._run(node) for end, node in NODES.items()}
        self.samples: dict[str, list[Sample]] = {name: [] for name in self.programs}
        self.disturbances = 0

    @property
    def programs(self) -> dict[str, Netpunch]:
        """Named by what they run."""
        return {f"ends {end}": program for end, program in self.ends.items()} | {
            "control": self.control
        }

    def _run(self, node: str) -> Netpunch:
        runtime = self.site.folder / node
        runtime.mkdir(exist_ok=True)
        return self.site.run_node(node, env={"RUNTIME_DIRECTORY": str(runtime)})

    def _settings(self, name: str, number: int) -> Settings:
        self.site.write_key(f"{name}.key")
        kind = number % len(KINDS)
        ends: Settings = {end: {"node": node} for end, node in NODES.items()}
        settings: Settings = {"secret_file": f"{name}.key"} | KINDS[kind]
        if kind == FORWARD:
            program = self._program()
            for end in ends.values():
                end["forward"] = {"listen": f"127.0.0.1:{free_port()}", "to": program}
        if kind == CHECK:
            settings["check"] = ["test", "-e", f"{name}.alive"]
            settings["hooks"] = {"up": ["touch", f"{name}.alive"]}
        return settings | ends

    def _program(self) -> str:
        """An address of a local program, which hears what comes through and says nothing."""
        sock = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"

    def write(self) -> None:
        control = {"node": "vps", "observe": "off"}
        keep: Settings = {"mode": "keep", "retry_after": "1s"}
        self.site.write(self._pairs, control=control, **keep)

    # What happens.

    def talk(self) -> None:
        """The programs on both sides of the forwarded links say something."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for settings in self._pairs.values():
                for end in NODES:
                    if "forward" in settings[end]:
                        host, _, port = settings[end]["forward"]["listen"].partition(":")
                        for _ in range(DATAGRAMS):
                            sock.sendto(bytes(1000), (host, int(port)))

    def disturb(self) -> None:
        self._random.choice(DISTURBANCES)(self)
        self.disturbances += 1

    def restart_control(self) -> None:
        self.control.kill()
        self.control = self._run("vps")

    def reload(self) -> None:
        for program in self.programs.values():
            program.wait_for("run.ready")  # until then a SIGHUP would end it
            program.signal(signal.SIGHUP)

    def change_a_pair(self) -> None:
        self._pairs[self._random.choice(self.names)]["deadline"] = (
            f"{self._random.randint(20, 90)}s"
        )
        self.write()
        self.reload()

    def fail_a_check(self) -> None:
        name = self._random.choice(self.names[CHECK :: len(KINDS)])
        (self.site.folder / f"{name}.alive").unlink(missing_ok=True)

    def kill_a_command(self) -> None:
        program = self._random.choice(list(self.ends.values()))
        if running := commands(program.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(running), signal.SIGKILL)

    # What is seen.

    def sample(self) -> dict[str, Sample]:
        return {name: sample(program.pid) for name, program in self.programs.items()}

    def are_up(self) -> bool:
        return all(status(self.site.folder / node) == 0 for node in NODES.values())

    def wait_until_up(self) -> float:
        """Seconds until all links are up, as `netpunch status` says."""
        begun = time.monotonic()
        while not self.are_up():
            assert time.monotonic() - begun < LINK_SECONDS, "not all links are up"
            time.sleep(SAMPLE_SECONDS)
        return time.monotonic() - begun

    def settled(self) -> dict[str, Sample]:
        """The least that they hold once all links are up: checks start and end meanwhile."""
        self.wait_until_up()
        taken = []
        for _ in range(SETTLED_SAMPLES):
            time.sleep(SETTLE_SECONDS / SETTLED_SAMPLES)
            taken.append(self.sample())
        return {
            name: Sample(*map(min, zip(*(each[name] for each in taken), strict=True)))
            for name in taken[0]
        }

    def stop(self) -> None:
        """Stop them cleanly, with no child left behind."""
        programs = [*self.ends.values(), self.control]
        below = [pid for program in programs for pid in descendants(program.pid)]
        codes = [program.stop() for program in programs]
        assert codes == [0, 0, 0], codes
        assert not [pid for pid in below if Path(f"/proc/{pid}").exists()], "children are left"

    def live(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        disturb_at = 0.0
        while (now := time.monotonic()) < until:
            if now >= disturb_at:
                disturb_at = now + DISTURBED_EVERY
                self.disturb()
            self.talk()
            for name, taken in self.sample().items():
                self.samples[name].append(taken)
            time.sleep(SAMPLE_SECONDS)


DISTURBANCES: list[Callable[[Fleet], None]] = [
    Fleet.restart_control,
    Fleet.reload,
    Fleet.change_a_pair,
    Fleet.fail_a_check,
    Fleet.kill_a_command,
]


def status(runtime: Path) -> int:
    """The exit code of `netpunch status`."""
    argv = [sys.executable, "-m", "netpunch", "status", str(runtime / "status.sock")]
    return subprocess.run(argv, capture_output=True, timeout=LINK_SECONDS).returncode


def sample(pid: int) -> Sample:
    folder = Path(f"/proc/{pid}")
    descriptors, threads = (len(list((folder / what).iterdir())) for what in ("fd", "task"))
    return Sample(resident(pid), descriptors, threads, len(children(pid)))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def commands(pid: int) -> list[int]:
    """The children of a process that run a pair's command."""
    found = []
    for child in children(pid):
        with contextlib.suppress(OSError):
            if b"3600" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


def longest_outage(records: list[Record]) -> float:
    """Seconds from a loss to the next link of the same end."""
    lost: dict[tuple[str, str], datetime] = {}
    longest = 0.0
    for record in records:
        whose, at = (record.get("pair", ""), record.get("end", "")), record["ts"]
        if record["event"] == "pair.down":
            lost[whose] = datetime.fromisoformat(at)
        if record["event"] == "pair.up" and whose in lost:
            since = datetime.fromisoformat(at) - lost.pop(whose)
            longest = max(longest, since.total_seconds())
    return longest


class Result(NamedTuple):
    """Of one of the processes. `first`: when all was linked for the first time; memory as medians
    of the second and the last third, `threads` the most of the second."""

    links: int
    losses: int
    longest: float
    first: Sample
    last: Sample
    peak: Sample
    second_third: float
    last_third: float
    threads: int

    @property
    def problems(self) -> list[str]:
        found = []
        if self.last_third > self.second_third + MEMORY_TOLERANCE:
            found.append("memory grows")
        if self.last.threads > self.threads:
            found.append("threads pile up")
        for what in ("descriptors", "children"):
            if getattr(self.last, what) != getattr(self.first, what):
                found.append(f"{what} leak")
        return found


def hold(pairs: int, seconds: float) -> dict[str, Result]:
    """The results of the processes with all ends a, all ends b, and the control."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        fleet = Fleet(Path(folder), stack, pairs)
        first = fleet.settled()
        fleet.live(seconds)
        for program in fleet.programs.values():
            program.wait_for("run.ready")
        last = fleet.settled()
        results = {
            name: result(program.events(), fleet.samples[name], first[name], last[name])
            for name, program in fleet.programs.items()
        }
        fleet.stop()
    return results


def result(records: list[Record], samples: list[Sample], first: Sample, last: Sample) -> Result:
    third = len(samples) // 3
    memory = [sample.memory for sample in samples]
    return Result(
        sum(record["event"] == "pair.up" for record in records),
        sum(record["event"] == "pair.down" for record in records),
        longest_outage(records),
        first,
        last,
        Sample(*map(max, zip(*samples, strict=True))),
        statistics.median(memory[third : 2 * third]),
        statistics.median(memory[2 * third :]),
        max(sample.threads for sample in (first, *samples[: 2 * third])),
    )


def table(result: Result) -> str:
    first, last, peak = result.first, result.last, result.peak
    memory = (first.memory, result.second_third, result.last_third, peak.memory)
    lines = [
        f"{result.links} links, {result.losses} losses, down for {result.longest:.1f} s at most",
        "memory {:.1f} MiB at first, {:.1f} in the second third, {:.1f} in the last, "
        "{:.1f} at most".format(*(each / MIB for each in memory)),
    ]
    for what in ("descriptors", "threads", "children"):
        at_first, in_the_end, at_most = (getattr(each, what) for each in (first, last, peak))
        lines.append(f"{what} {at_first} at first, {in_the_end} in the end, {at_most} at most")
    return "\n    ".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=600.0)
    arguments = parser.parse_args()
    print(f"{arguments.pairs} links held for {arguments.seconds:.0f} s; {machine()}")
    results = hold(arguments.pairs, arguments.seconds)
    for name, each in results.items():
        print(f"  {name}: {table(each)}")
    problems = [f"{name}: {text}" for name, each in results.items() for text in each.problems]
    print("  stable" if not problems else "\n".join(problems))
    raise SystemExit(bool(problems))


if __name__ == "__main__":
    main()
