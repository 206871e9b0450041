"""What is told of changes, with a kernel that says what the test wants. Real changes are in
tests/lab/test_network_watch.py."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import pytest

from netpunch.net import netlink, suspend, watch
from netpunch.net.routes import Route
from netpunch.net.sockets import DEFAULT_OPTIONS, SocketOptions
from netpunch.net.watch import NetworkWatch, network_watch
from tests.net.conftest import Run, count_descriptors

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is Linux's")
MARKED = SocketOptions(mark=7)


class Host:
    """The addresses and routes of a host, and its kernel's messages about them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, tells: bool = True) -> None:
        self.addresses = {("eth0", "192.0.2.7")}
        self.gateways: dict[SocketOptions, str] = {}
        self.looks = 0
        self._looked = asyncio.Event()
        self._tells = tells
        self._kernel: socket.socket | None = None
        monkeypatch.setattr(watch, "usable_addresses", self._read)
        monkeypatch.setattr(watch, "host_addresses", lambda *, afresh: ())
        monkeypatch.setattr(watch, "route_to", self._route)
        monkeypatch.setattr(netlink, "open_changes", self._open)

    @property
    def is_watched(self) -> bool:
        return self._kernel is not None and self._kernel.fileno() != -1

    def tell(self, times: int = 1) -> None:
        """The kernel says that something has changed."""
        assert self._kernel is not None
        for _ in range(times):
            with contextlib.suppress(BlockingIOError):
                self._kernel.send(b"a message")

    async def looked_at(self) -> None:
        """Waits for the next look."""
        self._looked.clear()
        await self._looked.wait()

    def close(self) -> None:
        if self._kernel is not None:
            self._kernel.close()

    def _open(self) -> socket.socket:
        if not self._tells:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        self.close()
        self._kernel, changes = socket.socketpair(type=socket.SOCK_DGRAM)
        for each in (self._kernel, changes):
            each.setblocking(False)
        return changes

    def _read(self) -> frozenset[tuple[str, str]]:
        self.looks += 1
        self._looked.set()
        return frozenset(self.addresses)

    def _route(self, somewhere: object, *, options: SocketOptions) -> Route:
        return Route("eth0", "192.0.2.7", self.gateways.get(options, "192.0.2.1"))


class Follower:
    def __init__(self, following: NetworkWatch, options: SocketOptions = DEFAULT_OPTIONS) -> None:
        self.told: list[bool] = []
        self._news = asyncio.Event()
        self._following = following
        following.follow(self.take, options)

    def take(self, *, woke: bool) -> None:
        self.told.append(woke)
        self._news.set()

    async def next(self) -> bool:
        """Waits until it is told something more: whether the host woke."""
        await self._news.wait()
        self._news.clear()
        return self.told[-1]

    def leave(self) -> None:
        self._following.unfollow(self.take)


@contextlib.asynccontextmanager
async def followers(host: Host, *options: SocketOptions) -> AsyncIterator[list[Follower]]:
    following = NetworkWatch()
    all_of_them = [Follower(following, each) for each in options]
    try:
        yield all_of_them
    finally:
        for one in all_of_them:
            one.leave()
        host.close()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def test_everything_in_a_loop_shares_one_watch(run: Run, host: Host) -> None:
    async def main() -> None:
        assert network_watch() is network_watch()
        before = count_descriptors()
        many = [Follower(network_watch()) for _ in range(1000)]
        assert count_descriptors() <= before + 3
        host.addresses.add(("wlan0", "192.0.2.8"))
        host.tell()
        for one in many:
            assert await one.next() is False
            assert one.told == [False]
        for one in many:
            one.leave()
            one.leave()
        host.close()
        assert count_descriptors() == before

    run(main())


def test_only_what_makes_a_difference_is_told(run: Run, host: Host) -> None:
    async def main() -> None:
        async with followers(host, DEFAULT_OPTIONS) as [one]:
            looks = host.looks
            host.tell(20)
            await host.looked_at()
            await asyncio.sleep(watch.SETTLE)
            assert host.looks == looks + 1, "one look for all messages"
            assert not one.told
            host.gateways[DEFAULT_OPTIONS] = "192.0.2.254"
            host.tell()
            await one.next()
            host.addresses.clear()
            host.tell()
            await one.next()
            assert one.told == [False, False]

    run(main())


def test_an_end_hears_of_its_own_way_out(run: Run, host: Host) -> None:
    """Policy routing sends marked sockets another way."""

    async def main() -> None:
        async with followers(host, DEFAULT_OPTIONS, MARKED) as [plain, marked]:
            host.gateways[MARKED] = "192.0.2.254"
            host.tell()
            await marked.next()
            await plain.next()
            marked.leave()
            host.gateways[MARKED] = "192.0.2.253"
            host.tell()
            host.gateways[DEFAULT_OPTIONS] = "192.0.2.252"
            await plain.next()
            assert len(plain.told) == 2
            late = Follower(plain._following, MARKED)
            host.gateways[MARKED] = "192.0.2.251"
            host.tell()
            await late.next()
            late.leave()
            assert len(marked.told) == 1

    run(main())


def test_followers_may_leave_while_others_are_told(run: Run, host: Host) -> None:
    async def main() -> None:
        async with followers(host, *[DEFAULT_OPTIONS] * 3) as [first, second, third]:

            def leave(*, woke: bool) -> None:
                second.leave()
                first._following.unfollow(leave)
                raise ValueError("a follower's own trouble")

            trouble = asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: trouble.set())
            first.leave()
            first._following.follow(leave, DEFAULT_OPTIONS)
            first._following.follow(first.take, DEFAULT_OPTIONS)
            second.leave()
            first._following.follow(second.take, DEFAULT_OPTIONS)
            host.addresses.clear()
            host.tell()
            await first.next()
            await third.next()
            await trouble.wait()
            assert not second.told

    run(main())


def test_messages_without_end_cost_a_bounded_number_of_looks(
    run: Run, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a router: thousands of routes change each second."""
    monkeypatch.setattr(watch, "SETTLE", 0.0)

    async def main() -> None:
        now = asyncio.get_running_loop().time
        began = now()
        async with followers(host, DEFAULT_OPTIONS) as [one]:
            while now() < began + 1.0:
                host.tell(200)
                await asyncio.sleep(0.001)
            most = watch.LOOKS_AT_ONCE + watch.LOOKS * (now() - began)
            assert host.looks <= 1 + most, "one at the beginning"
            host.addresses.clear()
            await one.next()  # nevertheless

    run(main())


def test_without_messages_of_the_kernel_it_looks_by_itself(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLL", 0.02)
    host = Host(monkeypatch, tells=False)

    async def main() -> None:
        async with followers(host, DEFAULT_OPTIONS) as [one]:
            host.gateways[DEFAULT_OPTIONS] = "192.0.2.254"
            await one.next()
            for _ in range(3):
                await host.looked_at()
            assert one.told == [False]
        assert not host.is_watched

    run(main())


@pytest.mark.parametrize("boot_timer", [True, False])
def test_a_standstill_is_told(
    run: Run, host: Host, monkeypatch: pytest.MonkeyPatch, boot_timer: bool
) -> None:
    monkeypatch.setattr(suspend, "TICK", 0.05)
    if not boot_timer:
        monkeypatch.setattr(suspend, "_boot_timer", refuse)

    async def main() -> None:
        async with followers(host, *[DEFAULT_OPTIONS] * 2) as both:
            await asyncio.sleep(4 * suspend.TICK)
            assert not both[0].told
            hold_up(suspend.TICK + suspend.TOLERANCE + 0.05)
            assert [await one.next() for one in both] == [True, True]

    run(main())


def test_a_suspend_is_told_though_the_loop_s_clock_stood_still(
    run: Run, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = 0.0
    monkeypatch.setattr(suspend, "TICK", 0.05)
    monkeypatch.setattr(suspend, "boot_clock", lambda: time.monotonic() + slept)

    async def main() -> None:
        nonlocal slept
        async with followers(host, DEFAULT_OPTIONS) as [one]:
            await asyncio.sleep(2 * suspend.TICK)
            slept = 10.0
            assert await one.next() is True
            await asyncio.sleep(2 * suspend.TICK)
            assert one.told == [True]

    run(main())


STOPPED = """
import asyncio
from netpunch.net.loop import run
from netpunch.net.sockets import DEFAULT_OPTIONS
from netpunch.net.watch import network_watch

async def main():
    woken = asyncio.Event()
    def take(*, woke):
        if woke:
            woken.set()
    network_watch().follow(take, DEFAULT_OPTIONS)
    print("follows", flush=True)
    await woken.wait()
    print("woke", flush=True)
    network_watch().unfollow(take)

run(main())
"""


def test_a_process_that_was_stopped_notices_at_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "follows\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(suspend.TICK + suspend.TOLERANCE + 0.2)
        os.kill(process.pid, signal.SIGCONT)
        began = time.monotonic()
        assert process.stdout.readline() == "woke\n"
        assert time.monotonic() - began < suspend.TICK


@linux_only
def test_the_kernel_s_own_ways_out_are_read() -> None:
    ways = watch._ways_out(SocketOptions(interface="lo"))
    assert all(isinstance(way, str | Route) for way in ways)
    assert len(ways) == 2


def hold_up(seconds: float) -> None:
    time.sleep(seconds)


def refuse(_: float) -> int:
    raise OSError(errno.ENOSYS, "no timers")
