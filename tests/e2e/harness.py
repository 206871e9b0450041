"""Real processes of netpunch on loopback: their events are read as they come."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import termios
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Condition, Thread
from typing import IO, Any

Record = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]
NETPUNCH = (sys.executable, "-W", "error", "-m", "netpunch")
EVENT_SECONDS = 30.0
"""For what happens at once if all is well, even on the slowest machine."""
EXIT_SECONDS = 15.0
"""A stop ends within 10 s, by promise."""
BELOW_EPHEMERAL = range(10_000, 32_000, 2)
"""The system gives none of these to sockets that ask for any port, so nobody takes a free one
before the process under test binds it. Even ones: each is given with the next."""
CLAIMS_KEPT = 64
"""Many more than one test needs; each costs a descriptor."""
_claims: deque[int] = deque()


class Netpunch:
    """A process of netpunch. Its standard output is read line by line and, but for `text`, as
    JSON; `said` is its standard error. Whoever starts one must `close` it."""

    def __init__(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        text: bool = False,
        unread: bool = False,
        program: Sequence[str] = NETPUNCH,
    ) -> None:
        """`unread`: its standard output is a pipe that is not read until `close`."""
        self.lines: list[str] = []
        self.said = ""
        self._records: list[Record] = []
        self._text = text
        self._changed = Condition()
        self._process = subprocess.Popen(
            [*program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **(env or {})},
        )
        self._unread = self._process.stdout if unread else None
        sources = [(self._process.stderr, self._take_said)]
        if not unread:
            sources.append((self._process.stdout, self._take_line))
        self._readers = [Thread(target=self._read, args=source) for source in sources]
        self._reading = len(self._readers)
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def events(self, event: str | None = None, **fields: object) -> list[Record]:
        """The records so far, or those of one event with such fields."""
        with self._changed:
            return self._matching(event, fields)

    def wait_for(
        self, event: str, count: int = 1, seconds: float = EVENT_SECONDS, **fields: object
    ) -> Record:
        """The `count`-th record of an event with such fields, once it is there."""
        with self._changed:
            self._wait(lambda: len(self._matching(event, fields)) >= count, seconds)
            found = self._matching(event, fields)
        assert len(found) >= count, f"no {event} {fields or ''}\n{self.transcript()}"
        return found[count - 1]

    def wait_said(self, text: str, seconds: float = EVENT_SECONDS) -> None:
        """Wait until it has written this to standard error."""
        with self._changed:
            self._wait(lambda: text in self.said, seconds)
        assert text in self.said, f"not said: {text!r}\n{self.transcript()}"

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait_exit(self, seconds: float = EXIT_SECONDS) -> int:
        """Wait until it has ended by itself and all its output is read; returns the exit code."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running\n{self.transcript()}") from None
        for reader in self._readers:
            reader.join()
        return code

    def stop(self) -> int:
        """Send SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_exit()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Kill it if it still runs."""
        self.kill()
        self.stop_reading()
        for reader in self._readers:
            reader.join()

    def stop_reading(self) -> None:
        """Close the unread pipe."""
        if self._unread:
            self._unread.close()

    def unread_bytes(self) -> int:
        """How much of its standard output waits for a reader."""
        assert self._unread is not None
        answer = fcntl.ioctl(self._unread, termios.FIONREAD, bytes(4))
        return int.from_bytes(answer, sys.byteorder)

    def transcript(self) -> str:
        return f"-- stdout:\n{''.join(self.lines)}\n-- stderr:\n{self.said}"

    def _wait(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until it holds, or no more output will come."""
        self._changed.wait_for(lambda: not self._reading or condition(), seconds)

    def _matching(self, event: str | None, fields: Mapping[str, object]) -> list[Record]:
        return [
            record
            for record in self._records
            if event in (None, record["event"])
            and all(record.get(name) == value for name, value in fields.items())
        ]

    def _take_line(self, line: str) -> None:
        self.lines.append(line)
        if not self._text:
            self._records.append(json.loads(line))

    def _take_said(self, line: str) -> None:
        self.said += line

    def _read(self, source: IO[bytes], take: Callable[[str], None]) -> None:
        try:
            with source:
                for line in source:
                    with self._changed:
                        take(line.decode())
                        self._changed.notify_all()
        finally:
            with self._changed:
                self._reading -= 1
                self._changed.notify_all()


def free_port() -> int:
    """A UDP port that is free on every address, and the next one, too. No other test gets these
    meanwhile."""
    for port in random.sample(BELOW_EPHEMERAL, len(BELOW_EPHEMERAL)):
        if is_free(port) and is_free(port + 1) and claim(port):
            return port
    raise AssertionError("this machine has no free port left")


def claim(port: int) -> bool:
    """Claims a port and the next one, unless a test of this or another process has: before the
    process under test binds them, others look what is free, too."""
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(f"\0netpunch test port {port}")  # abstract: gone with this process
    except OSError:
        name.close()
        return False
    _claims.append(name.detach())
    if len(_claims) > CLAIMS_KEPT:
        os.close(_claims.popleft())
    return True


def is_free(port: int, host: str = "") -> bool:
    """Whether a UDP port can be bound: at an address, or at all of IPv4."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.bind((host, port))
        return True
    return False
