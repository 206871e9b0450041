from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.errors import ControlUnreachableError
from netpunch.net.loop import run as run_for_users
from netpunch.net.resolver import resolve
from tests.net.conftest import Run

NAME = "vps.example.net"


def system_answers(monkeypatch: pytest.MonkeyPatch, answer: list[Any] | Exception) -> None:
    def getaddrinfo(*_args: Any, **_options: Any) -> list[Any]:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def found(family: int, *sockaddr: Any) -> tuple[Any, ...]:
    return family, socket.SOCK_DGRAM, 17, "", sockaddr


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_ip_addresses_are_not_looked_up(
    run: Run, monkeypatch: pytest.MonkeyPatch, host: str, canonical: str
) -> None:
    system_answers(monkeypatch, AssertionError("looked up"))

    async def main() -> None:
        assert await resolve(host, 10001) == [Address(canonical, 10001)]

    run(main())


def test_a_name_resolves_to_all_its_addresses_ipv4_first(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = [
        found(socket.AF_INET6, "2001:db8::1", 0, 0, 0),
        found(socket.AF_INET, "192.0.2.2", 0),
        found(socket.AF_INET, "192.0.2.1", 0),
        found(socket.AF_INET, "192.0.2.2", 0),
    ]
    system_answers(monkeypatch, answer)

    async def main() -> None:
        addresses = await resolve(NAME, 10001)
        assert [str(address) for address in addresses] == [
            "192.0.2.2:10001",
            "192.0.2.1:10001",
            "[2001:db8::1]:10001",
        ]

    run(main())


@pytest.mark.parametrize(
    ("answer", "cause", "advice"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "unknown", "there is no such name: check"),
        (socket.gaierror(socket.EAI_AGAIN, "failure"), "failure", "no name server answers: check"),
        (OSError("odd"), "odd", "check the spelling"),
        (UnicodeError("label too long"), "label too long", "check the spelling"),
        ([], "no address", "check the spelling"),
    ],
)
def test_a_failed_lookup_reports_the_name_and_the_cause(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    answer: list[Any] | Exception,
    cause: str,
    advice: str,
) -> None:
    system_answers(monkeypatch, answer)

    async def main() -> None:
        with pytest.raises(ControlUnreachableError) as caught:
            await resolve(NAME, 10001)
        assert str(caught.value).startswith(f"cannot resolve '{NAME}': {cause}; {advice}")

    run(main())


def test_localhost_resolves_to_loopback(run: Run) -> None:
    async def main() -> None:
        addresses = await resolve("localhost", 10001)
        assert {address.host for address in addresses} <= {"127.0.0.1", "::1"}

    run(main())


def test_an_invalid_name_does_not_resolve(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ControlUnreachableError, match="cannot resolve"):
            await resolve("a" * 70 + ".invalid", 10001)

    run(main())


class SlowSystem:
    """A getaddrinfo() that answers when the test lets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.thread: threading.Thread | None = None
        monkeypatch.setattr(socket, "getaddrinfo", self._getaddrinfo)

    def _getaddrinfo(self, *_args: Any, **_options: Any) -> list[Any]:
        self.thread = threading.current_thread()
        self.asked.set()
        assert self.may_answer.wait(10)
        return [found(socket.AF_INET, "192.0.2.1", 0)]

    def answer(self) -> None:
        assert self.thread is not None
        self.may_answer.set()
        self.thread.join(10)
        assert not self.thread.is_alive()

    async def cancelled_lookup(self) -> None:
        task = asyncio.create_task(resolve(NAME, 10001))
        await asyncio.to_thread(self.asked.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_the_answer_to_a_cancelled_lookup_is_dropped(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        system = SlowSystem(monkeypatch)
        await system.cancelled_lookup()
        system.answer()
        await asyncio.sleep(0)

    run(main())


def test_the_loop_ends_while_a_lookup_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    system = SlowSystem(monkeypatch)
    run_for_users(system.cancelled_lookup())
    assert not system.may_answer.is_set()
    system.answer()
