"""Which messages systemd gets, and when."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netpunch.output.systemd import Notifier
from tests.e2e.conftest import site as site
from tests.e2e.harness import EVENT_SECONDS, free_port, is_free
from tests.e2e.site import Site
from tests.node.children import Run, on_both_loops


class Manager:
    """Listens as systemd does."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(EVENT_SECONDS)

    def receive(self) -> str:
        return self._socket.recv(4096).decode()

    def receive_all(self) -> list[str]:
        """What is there by now."""
        self._socket.setblocking(False)
        received = []
        try:
            while True:
                received.append(self.receive())
        except BlockingIOError:
            self._socket.settimeout(EVENT_SECONDS)
            return received

    def wait_for(self, beginning: str) -> list[str]:
        """Everything up to the first message that begins so."""
        received = [self.receive()]
        give_up_at = time.monotonic() + EVENT_SECONDS
        while not received[-1].startswith(beginning):
            assert time.monotonic() < give_up_at, received
            received.append(self.receive())
        return received

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


def told(run: Run[None], notifier: Notifier, manager: Manager) -> list[str]:
    """Says everything there is to say once."""

    async def main() -> None:
        notifier.open()
        notifier.ready()
        notifier.status("1 of 2 pairs up")
        notifier.status("1 of 2 pairs up")
        notifier.status("2 of 2 pairs up")
        notifier.stopping()
        notifier.close()

    run(main())
    return manager.receive_all()


@on_both_loops
def test_the_messages_to_systemd(run: Run[None], manager: Manager) -> None:
    expected = ["READY=1", "STATUS=1 of 2 pairs up", "STATUS=2 of 2 pairs up", "STOPPING=1"]
    assert told(run, Notifier(manager.address), manager) == expected


@on_both_loops
def test_systemd_at_an_abstract_address(run: Run[None]) -> None:
    manager = Manager(f"@netpunch-test-{secrets.token_hex(8)}")
    environ = {"NOTIFY_SOCKET": manager.address}
    assert "READY=1" in told(run, Notifier.from_environment(environ), manager)
    manager.close()


@on_both_loops
def test_a_reload_is_notified_with_its_time(run: Run[None], manager: Manager) -> None:
    async def main() -> None:
        notifier = Notifier(manager.address)
        notifier.open()
        notifier.reloading()
        notifier.close()

    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    run(main())
    reloading, clock = manager.receive().split("\n")
    assert reloading == "RELOADING=1"
    name, _, microseconds = clock.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@on_both_loops
def test_the_watchdog_is_notified_twice_per_interval(run: Run[float], manager: Manager) -> None:
    async def main() -> float:
        notifier = Notifier(manager.address, watchdog=0.2)
        notifier.open()
        begun = time.monotonic()
        for _ in range(4):
            assert await asyncio.to_thread(manager.receive) == "WATCHDOG=1"
        took = time.monotonic() - begun
        notifier.close()
        return took

    assert run(main()) > 0.29, "three pauses of 0.1 s, give or take a clock's tick"


def test_the_watchdog_is_not_notified_while_the_loop_hangs(manager: Manager) -> None:
    async def main() -> None:
        notifier = Notifier(manager.address, watchdog=0.02)
        notifier.open()
        manager.receive_all()
        time.sleep(0.1)  # noqa: ASYNC251 - that is the point
        assert manager.receive_all() == []
        await asyncio.sleep(0)
        await asyncio.to_thread(manager.receive)
        notifier.close()

    asyncio.run(main())


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative/path"])
def test_without_an_address_nothing_is_sent(address: str) -> None:
    async def main() -> None:
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000"})
        notifier.open()
        notifier.ready()
        notifier.status("x")
        notifier.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_a_service_manager_that_is_gone_stops_nothing(manager: Manager) -> None:
    manager.close()
    Path(manager.address).unlink()

    async def main() -> None:
        notifier = Notifier(manager.address, watchdog=1.0)
        notifier.open()
        notifier.ready()
        notifier.close()

    asyncio.run(main())


@on_both_loops
def test_messages_to_a_full_queue_come_later_in_order(run: Run[None], manager: Manager) -> None:
    """Linux queues some 10 datagrams, or 512; more come later, in order."""

    async def main() -> None:
        notifier = Notifier(manager.address)
        notifier.open()
        count = 0
        while not notifier._waiting:
            notifier.status(str(count))
            count += 1
        notifier.ready()
        notifier.status("the last")
        received: list[str] = []
        while "STATUS=the last" not in received:
            received.append(await asyncio.to_thread(manager.receive))
        assert received == [
            *(f"STATUS={number}" for number in range(count)),
            *("READY=1", "STATUS=the last"),
        ]
        notifier.close()

    run(main())


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_interval_of_the_watchdog(environ: dict[str, str], seconds: float | None) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": "/run/systemd/notify"} | environ)
    assert notifier._watchdog == seconds


# The whole program.


def test_systemd_is_notified_of_the_life_of_a_service(site: Site, manager: Manager) -> None:
    site.write({"p": {}}, secret="generate", mode="keep")
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"}
    program = site.run(env=environ)
    before = manager.wait_for("READY=1")
    assert "WATCHDOG=1" in before
    assert not is_free(site.port, "127.0.0.1"), "ready once the sockets are bound"
    program.wait_for("pair.up", 2)
    manager.wait_for("STATUS=1 of 1 pair up")
    manager.wait_for("WATCHDOG=1")
    program.signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")
    assert program.stop() == 0
    assert any(message.startswith("STOPPING=1") for message in manager.receive_all())


def test_ends_are_bound_when_the_service_is_ready(site: Site, manager: Manager) -> None:
    port = free_port()
    site.write(
        {"p": {"a": {"local": f"127.0.0.1:{port}"}, "b": {"enabled": False}}}, secret="generate"
    )
    site.run(env={"NOTIFY_SOCKET": manager.address})
    manager.wait_for("READY=1")
    assert not is_free(port, "127.0.0.1")


def test_systemd_is_notified_of_the_end_of_a_failed_reload(site: Site, manager: Manager) -> None:
    site.write({"p": {}}, secret="generate", mode="keep")
    program = site.run(env={"NOTIFY_SOCKET": manager.address})
    manager.wait_for("READY=1")
    site.file.write_text("version: 2\n")
    program.signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")
    program.wait_for("run.reload", reason="invalid")


def test_a_failed_reload_is_in_the_status_until_one_succeeds(site: Site, manager: Manager) -> None:
    site.write({"p": {}}, secret="generate", mode="keep", process={"status": "status.sock"})
    good = site.file.read_text()
    program = site.run(env={"NOTIFY_SOCKET": manager.address})
    manager.wait_for("STATUS=1 of 1 pair up")
    site.file.write_text("version: 2\n")
    site.reload(program)
    manager.wait_for(f"STATUS=reload refused: {site.file}:")
    site.file.write_text(good)
    asked = site.start("status", str(site.file), text=True)
    assert asked.wait_exit() == 0, "the links are up"
    assert "reload refused: " in asked.transcript()
    assert "it has kept the earlier configuration" in asked.transcript()
    site.reload(program)
    manager.wait_for("STATUS=1 of 1 pair up")


def test_children_do_not_get_the_address_of_systemd(site: Site, manager: Manager) -> None:
    hook = site.write_hook(then="env > $NETPUNCH_END.env")
    site.write({"p": {}}, secret="generate", hooks={"up": hook})
    program = site.run(env={"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000000"})
    assert program.wait_exit() == 0, program.transcript()
    told = (site.folder / "a.env").read_text()
    assert "NETPUNCH_PAIR" in told
    assert "NOTIFY_SOCKET" not in told
    assert "WATCHDOG" not in told
