"""Runs real processes with a fault, all at once, and reads what each complains about first."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Condition, Thread
from typing import IO, Any, NamedTuple

from tests.faults.table import Fault, Sign

REPOSITORY = Path(__file__).parents[2]
NETPUNCH = (sys.executable, "-W", "error", "-m", "netpunch")
COMPLAINT = re.compile(r"\b(?:warning|error): |^netpunch run: ")
"""What a line of `run` has that needs attention."""
FINDING = re.compile(r"  (ok|warn|FAIL) +(?=\S)")
"""How a finding of `doctor` begins."""
AT_ONCE = 4
"""Faults that are being provoked."""
BUSY = 2.0
"""Times as long as promised: some fifty processes share the machine with other tests."""


class Watched:
    """A process, and what it has written to standard error (`run`) or output (`doctor`)."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], *, of_output: bool) -> None:
        self.began = time.monotonic()
        self.lines: list[tuple[float, str]] = []
        """With the seconds since it began."""
        self._changed = Condition()
        self._ended = False
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            cwd=REPOSITORY,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **env},
            stdout=subprocess.PIPE if of_output else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if of_output else subprocess.PIPE,
        )
        source = self._process.stdout or self._process.stderr
        assert source is not None
        self._reader = Thread(target=self._read, args=(source,))
        self._reader.start()

    def wait_for(self, found: Callable[[str], bool], seconds: float) -> bool:
        """Until a line is as wanted; False if none is so soon."""

        def is_there() -> bool:
            return any(found(line) for _, line in self.lines)

        with self._changed:
            self._changed.wait_for(lambda: self._ended or is_there(), seconds)
            return is_there()

    def wait_end(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ended, seconds)

    def freeze(self) -> None:
        """It says nothing more, and goes on owning what it has."""
        self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    @property
    def transcript(self) -> str:
        with self._changed:
            return "\n".join(f"{at:6.1f} {line}" for at, line in self.lines) or "(nothing)"

    def _read(self, source: IO[bytes]) -> None:
        with source:
            for line in source:
                with self._changed:
                    self.lines.append((time.monotonic() - self.began, line.decode().rstrip()))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Complaint(NamedTuple):
    """In one line; `at`: seconds after the process began."""

    text: str
    at: float


def complaint_of_run(run: Watched, seconds: float) -> Complaint | None:
    """The first line that is a warning or an error."""
    if not run.wait_for(lambda line: bool(COMPLAINT.search(line)), seconds):
        return None
    return next(Complaint(line, at) for at, line in run.lines if COMPLAINT.search(line))


def complaint_of_doctor(doctor: Watched, seconds: float) -> Complaint | None:
    """The verdict and, unless it says what to do, the first finding that is not well."""
    doctor.wait_end(seconds)
    parts: list[list[str]] = [[]]
    for _, line in doctor.lines:
        if FINDING.match(line):
            parts.append([])
        if not line:
            break
        parts[-1].append(line.strip())
    verdict, *findings = [" ".join(part) for part in parts]
    if not findings:
        return None
    bad = next((each for each in findings if not each.startswith("ok ")), "")
    if " -> " not in verdict:
        verdict = f"{verdict} {bad}"
    return Complaint(" ".join(verdict.split()), doctor.lines[-1][0])


def provoke(scenes: Mapping[str, Scene], provoked: Mapping[str, Callable[[Any], None]]) -> None:
    """A few at a time: starting takes the processor, and then most of the time is waiting."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for each in [threads.submit(provoked[name], scene) for name, scene in scenes.items()]:
            each.result()


FIRST_COMPLAINT = {"run": complaint_of_run, "doctor": complaint_of_doctor}


class Scene:
    """One fault with its folder and processes; `node` names who runs what."""

    def __init__(self, folder: Path, cleanup: ExitStack) -> None:
        self.folder = folder
        self.processes: dict[tuple[str, str], Watched] = {}
        """By command and node."""
        self.cleanup = cleanup

    def start(
        self,
        command: str,
        node: str,
        site: Path,
        *,
        netpunch: Sequence[str] = NETPUNCH,
        env: Mapping[str, str] | None = None,
    ) -> Watched:
        argv = [*netpunch, command, str(site), "--node", node]
        watched = Watched(argv, env or {}, of_output=command == "doctor")
        self.cleanup.callback(watched.close)
        self.processes[command, node] = watched
        return watched

    def unnamed(self, fault: Fault) -> str:
        """What the table promises, and no process says first; empty if all do."""
        wrong = [text for sign in fault.signs if (text := self._unnamed(sign))]
        return "\n".join([f"{fault.name}:", *wrong]) if wrong else ""

    def _unnamed(self, sign: Sign) -> str:
        process = self.processes[sign.command, sign.node]
        left = max(process.began + sign.within * BUSY - time.monotonic(), 0.0)
        if sign.says_nothing:
            wrong = "" if process.wait_for(lambda line: sign.cause in line, left) else "not linked"
            found = FIRST_COMPLAINT[sign.command](process, 0.0)
            wrong = found.text if found else wrong
        elif (found := FIRST_COMPLAINT[sign.command](process, left)) is None:
            wrong = "no complaint"
        elif not sign.is_in(found.text):
            wrong = f"expected {sign.cause!r} and {sign.cure!r}, got {found.text!r}"
        else:
            wrong = ""
        if not wrong:
            return ""
        return f"  {sign.command} at {sign.node}: {wrong}\n{process.transcript}"


def unnamed(scenes: Mapping[str, Scene], faults: Mapping[str, Fault]) -> str:
    """What is not complained about as the table has it, of all scenes."""
    wrong = [scene.unnamed(faults[name]) for name, scene in scenes.items()]
    return "\n\n".join(["", *filter(None, wrong)]) if any(wrong) else ""
