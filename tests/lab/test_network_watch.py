"""Changes of a real kernel's network are noticed, at once and only those that matter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from threading import Thread
from typing import Any

import pytest

from netpunch.net import suspend
from tests.lab.namespace import Namespace
from tests.lab.program import REPOSITORY

pytestmark = pytest.mark.lab

PATIENCE = 10.0
"""Seconds until something must have been told, however busy the machine is."""
PROMPTLY = 2.0
"""Seconds until it is told when the kernel tells, on a busy machine: otherwise 15 ms."""
QUIET = 0.5
"""Seconds after which nothing more is to be expected."""

Told = dict[str, Any]


class Watching:
    """The program in a namespace."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: Queue[str] = Queue()
        self._reader = Thread(target=self._read)
        self._reader.start()
        assert self._lines.get(timeout=PATIENCE) == "follows\n"

    def next(self, within: float = PATIENCE) -> Told:
        told: Told = json.loads(self._lines.get(timeout=within))
        return told

    def last(self) -> Told:
        """What it was told last, once nothing more comes."""
        told = self.next()
        while (more := self._more()) is not None:
            told = more
        return told

    def keeps_quiet(self) -> bool:
        return self._more() is None

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def _more(self) -> Told | None:
        try:
            return self.next(QUIET)
        except Empty:
            return None

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._lines.put(line)


@pytest.fixture
def host(_namespaces: None) -> Iterator[Namespace]:
    """With an uplink, eth0, and another interface."""
    namespace = Namespace("watched")
    try:
        namespace.configure(
            "link add eth0 type veth peer name far0",
            "link set far0 up",
            "link set eth0 up",
            "address add 192.0.2.7/24 dev eth0",
            "route add default via 192.0.2.1",
            "link add eth1 type veth peer name far1",
            "link set far1 up",
        )
        yield namespace
    finally:
        namespace.delete()


@contextmanager
def watching(
    host: Namespace, *asked: str, mark: int = 0, how: str = "listens"
) -> Iterator[Watching]:
    argv = [sys.executable, "-m", "tests.lab.watching", how, str(mark), *asked]
    process = subprocess.Popen(
        host.command(*argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    program = Watching(process)
    try:
        yield program
    finally:
        program.stop()
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize("how", ["listens", "polls"])
@pytest.mark.parametrize(
    "commands",
    [
        ["address add 192.0.2.8/24 dev eth0"],
        ["address delete 192.0.2.7/24 dev eth0"],
        ["address add 2001:db8:1::7/64 dev eth0"],
        ["link set eth0 down"],
        ["route replace default via 192.0.2.2"],
        ["route replace default via 192.0.2.1 src 192.0.2.9"],
        ["route delete default"],
        ["link set eth1 up", "route replace default dev eth1"],
        ["route add 128.0.0.0/1 via 192.0.2.2"],
        ["link delete eth0"],
        ["rule add priority 100 table 100"],
    ],
    ids=lambda commands: commands[-1].replace(" ", "-"),
)
def test_a_change_is_told(host: Namespace, how: str, commands: list[str]) -> None:
    host.configure(
        "address add 192.0.2.9/24 dev eth0",
        "route add 192.0.2.128/25 dev eth0 table 100",
        "route add default via 192.0.2.129 table 100",
    )
    with watching(host, how=how) as program:
        host.configure(*commands)
        assert program.next()["woke"] is False


def test_a_change_is_told_at_once(host: Namespace) -> None:
    with watching(host, "192.0.2.7", "192.0.2.8") as program:
        for new, old in (("192.0.2.8", "192.0.2.7"), ("192.0.2.7", "192.0.2.8")):
            host.configure(f"address delete {old}/24 dev eth0", f"address add {new}/24 dev eth0")
            began = time.monotonic()
            told = program.last()
            assert told["has"] == [new]
            assert told["hosts"] == [new]
            assert told["at"] - began < PROMPTLY


def test_what_makes_no_difference_is_not_told(host: Namespace) -> None:
    with watching(host) as program:
        host.configure(
            "link set eth1 up",
            "route add 198.51.100.0/24 via 192.0.2.5",
            "route add default via 192.0.2.3 metric 500",
            "neighbour add 192.0.2.200 lladdr 02:00:00:00:00:01 dev eth0",
            "link set eth0 mtu 1400",
            "link add eth2 type veth peer name eth3",
            "link set eth2 up",
            "link set eth3 up",
        )
        assert program.keeps_quiet()
        host.configure("address add 192.0.2.8/24 dev eth0")
        assert "192.0.2.8" in program.next()["hosts"]


def test_addresses_of_an_interface_that_is_down_are_gone(host: Namespace) -> None:
    """IPv4 addresses stay configured."""
    with watching(host, "192.0.2.7") as program:
        host.configure("link set eth0 down")
        assert program.last()["has"] == []
        host.configure("link set eth0 up")
        assert program.last()["has"] == ["192.0.2.7"]


def test_an_ipv6_address_is_there_once_it_has_been_checked_for_duplicates(
    host: Namespace,
) -> None:
    host.sysctl("ipv6/conf/eth0/accept_dad", 1)
    host.sysctl("ipv6/conf/eth0/dad_transmits", 1)
    with watching(host, "2001:db8:1::7") as program:
        host.configure("address add 2001:db8:1::7/64 dev eth0")
        assert program.last()["has"] == ["2001:db8:1::7"]


def test_a_rule_for_marked_datagrams_concerns_those_who_mark(host: Namespace) -> None:
    host.configure("route add default dev eth0 table 100")
    with watching(host, mark=7) as marked, watching(host) as plain:
        host.configure("rule add fwmark 7 table 100")
        marked.next()
        assert plain.keeps_quiet()


def test_more_messages_than_fit_into_the_queue_are_survived(host: Namespace) -> None:
    """They come while the program is stopped; what it is told is where they have led."""
    with watching(host, "192.0.2.8") as program:
        os.kill(program.process.pid, signal.SIGSTOP)
        for number in range(10):
            host.configure(
                *(f"route add 10.{number}.{each}.0/24 dev eth0" for each in range(250)),
            )
        host.configure("address add 192.0.2.8/24 dev eth0")
        os.kill(program.process.pid, signal.SIGCONT)
        assert program.last()["has"] == ["192.0.2.8"]
        host.configure("address delete 192.0.2.8/24 dev eth0")
        assert program.last()["has"] == []


def test_a_process_that_was_stopped_is_told(host: Namespace) -> None:
    with watching(host) as program:
        os.kill(program.process.pid, signal.SIGSTOP)
        time.sleep(suspend.TICK + suspend.TOLERANCE + 0.2)
        os.kill(program.process.pid, signal.SIGCONT)
        began = time.monotonic()
        assert program.next()["woke"] is True
        assert time.monotonic() - began < suspend.TICK
        assert program.keeps_quiet()
