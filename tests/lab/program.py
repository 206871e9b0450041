"""The real program in a namespace: `python -m netpunch run`, its events read as they come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Condition, Thread
from typing import Any

from netpunch.address import Address
from tests.lab.namespace import Namespace

Record = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]
NETPUNCH = (sys.executable, "-m", "netpunch")
EVENT_SECONDS = 20.0
"""Enough for an event, even on a busy machine."""
EXIT_SECONDS = 15.0
"""A stop is promised to take at most 10 s."""
KEY_SECONDS = 20


class Program:
    """One `netpunch run` as one node of a site."""

    def __init__(
        self,
        namespace: Namespace,
        site: Path,
        node: str,
        *options: str,
        netpunch: tuple[str, ...] = NETPUNCH,
    ) -> None:
        """`options` are more arguments, `netpunch` is the command."""
        self._node = node
        self._changed = Condition()
        self._records: list[Record] = []
        self._ended = False
        self._errors = site.parent / f"{node}.stderr"
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                namespace.command(*netpunch, "run", str(site), "--node", node, *options),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=REPOSITORY,
                env={"PATH": os.environ["PATH"]},
            )
        self._reader = Thread(target=self._read, name=f"events of {node}")
        self._reader.start()

    def wait_for(
        self, event: str, seconds: float = EVENT_SECONDS, *, after: str | None = None
    ) -> Record:
        """The first record of an event (or the first `after` the first of another one), once there
        is one; AssertionError if there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._find(event, after), seconds)
            record = self._find(event, after)
        assert record, f"no {event} within {seconds} s\n{self._transcript()}"
        return record

    def keeps_from(self, event: str, seconds: float) -> bool:
        """Whether it runs for that long without such an event."""
        with self._changed:
            return not self._changed.wait_for(lambda: self._ended or self._find(event), seconds)

    def records(self) -> list[Record]:
        """All events so far."""
        with self._changed:
            return list(self._records)

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait_exit(self) -> int:
        """Wait until it has ended by itself; returns the exit code."""
        try:
            code = self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running\n{self._transcript()}") from None
        self._reader.join()
        return code

    def terminate(self) -> int:
        """Send SIGTERM; returns the exit code."""
        self.send_signal(signal.SIGTERM)
        return self.wait_exit()

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """Kill it if it still runs."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            with self._process.stdout as lines:
                for line in lines:
                    record = json.loads(line)
                    with self._changed:
                        self._records.append(record)
                        self._changed.notify_all()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _find(self, event: str, after: str | None = None) -> Record | None:
        records = iter(self._records)
        if after is not None and not any(record["event"] == after for record in records):
            return None
        return next((record for record in records if record["event"] == event), None)

    def _transcript(self) -> str:
        events = "\n".join(json.dumps(record) for record in self._records)
        return f"-- events of {self._node}:\n{events}\n-- stderr:\n{self._errors.read_text()}"


def write_key(path: Path) -> None:
    """A new pair key, made by the program itself."""
    done = subprocess.run(
        [*NETPUNCH, "key", "new", "-o", str(path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=KEY_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def remote_of(record: Record) -> Address:
    """The partner's address in a `pair.up`."""
    return Address(record["rhost"], record["rport"])
