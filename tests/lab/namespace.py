"""A network namespace: a separate host, as far as the kernel's network is concerned."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

NETNS_DIRECTORY = Path("/run/netns")
"""Where `ip netns add` pins namespaces by name."""
NETNS_FILES = Path("/etc/netns")
"""`ip netns exec` binds the files in its subfolder NAME over those in /etc."""
CLONE_NEWNET = 0x40000000
"""setns(2): the file must be a network namespace."""
COMMAND_SECONDS = 10
"""A configuration command takes milliseconds; more than this is a hang."""
KILLED_SECONDS = 5
"""How long killed processes may take to leave their namespace."""

_NAME = re.compile(r"netpunch-lab-(?P<pid>\d+)-\d+-\w+")
_serial = 0


class HostsFile:
    """The /etc/hosts of a namespace's programs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, line: str) -> None:
        """Set the only line besides localhost, also for programs that run: the file stays the same
        one, which is bound over theirs."""
        self._path.write_text(f"127.0.0.1 localhost\n{line}\n")


class Namespace:
    """Named `netpunch-lab-PID-SERIAL-LABEL`, so that a later run can tell and remove what a
    killed one left behind."""

    def __init__(self, label: str) -> None:
        global _serial
        _serial += 1
        self.name = f"netpunch-lab-{os.getpid()}-{_serial}-{label}"
        _run(["ip", "netns", "add", self.name])
        # An address that is being checked for duplicates cannot be used for a second or two.
        self.sysctl("ipv6/conf/default/accept_dad", 0)
        self.configure("link set lo up")

    def configure(self, *commands: str) -> None:
        """Run `ip` commands in it, all in one process; the first that fails raises."""
        _run(["ip", "-n", self.name, "-batch", "-"], "\n".join(commands) + "\n")

    def command(self, *argv: str) -> list[str]:
        """The argv that runs `argv` in it; the process keeps its id, so signals reach it."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv: str, stdin: str = "") -> str:
        """The standard output of a short command run in it. Raises CalledProcessError."""
        return _run(self.command(*argv), stdin)

    def sysctl(self, key: str, value: int) -> None:
        """Set `net.KEY`, written with slashes."""
        self.inside(lambda: (Path("/proc/sys/net") / key).write_text(f"{value}\n"))

    def udp_socket(self, host: str, port: int) -> socket.socket:
        """A UDP socket of this namespace, for the test process itself."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = self.open_socket(family, socket.SOCK_DGRAM)
        try:
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        return sock

    def open_socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """An unbound socket of this namespace."""
        return self.inside(lambda: socket.socket(family, kind, protocol))

    @contextmanager
    def hosts_file(self, line: str) -> Iterator[HostsFile]:
        """Set the names that programs in it resolve besides localhost: one line of /etc/hosts."""
        folder = NETNS_FILES / self.name
        folder.mkdir(parents=True)
        try:
            file = HostsFile(folder / "hosts")
            file.write(line)
            yield file
        finally:
            shutil.rmtree(folder)

    def delete(self) -> None:
        """Remove it with everything in it, killing what still runs there."""
        remove_namespace(self.name)

    def inside(self, action: Callable[[], T]) -> T:
        """Run `action` in a thread that has entered the namespace and ends with it."""

        def enter_and_act() -> T:
            _enter(self.name)
            return action()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(enter_and_act).result(COMMAND_SECONDS)


def remove_namespace(name: str) -> None:
    """Kill what runs in a namespace and remove it."""
    deadline = time.monotonic() + KILLED_SECONDS
    while (pids := _run(["ip", "netns", "pids", name]).split()) and time.monotonic() < deadline:
        for pid in pids:
            _kill(int(pid))
        time.sleep(0.01)  # there is no event to wait for: they are not all our children
    _run(["ip", "netns", "delete", name])


def remove_stale_namespaces() -> list[str]:
    """Remove the namespaces of runs that have ended; returns their names. Another run that begins
    may do the same meanwhile."""
    if not NETNS_DIRECTORY.is_dir():
        return []
    stale = [path.name for path in NETNS_DIRECTORY.iterdir() if _is_stale(path.name)]
    for name in stale:
        try:
            remove_namespace(name)
        except RuntimeError:
            if (NETNS_DIRECTORY / name).exists():
                raise
    return stale


def _is_stale(name: str) -> bool:
    match = _NAME.fullmatch(name)
    return match is not None and not Path("/proc", match["pid"]).exists()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _enter(name: str) -> None:
    """setns(2) for the calling thread (os.setns came with Python 3.12 only)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with (NETNS_DIRECTORY / name).open("rb") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter namespace {name}")


def _run(argv: list[str], stdin: str = "") -> str:
    done = subprocess.run(
        argv, input=stdin, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout
