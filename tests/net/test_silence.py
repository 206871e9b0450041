"""Why a control is silent: what its host tells, on loopback."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.core.settings import ControlAt, EndSettings
from netpunch.net import silence
from netpunch.net.silence import Look, asker, begin_to_look, explanation, look, refuses_others
from netpunch.wire.envelope import ControlChannel
from netpunch.wire.keys import control_key
from netpunch.wire.v2 import Observed

Run = Callable[[Coroutine[Any, Any, None]], None]

SETTINGS = EndSettings("p", "a", b"s" * 32, controls=(ControlAt("127.0.0.1", 1),))
HERE = "127.0.0.1"


@pytest.fixture
def control() -> Iterator[socket.socket]:
    """What a control's port is to others: something listens there, and says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HERE, 0))
        sock.setblocking(False)
        yield sock


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "REPEAT_AFTER", 0.05)
    monkeypatch.setattr(silence, "PATIENCE", 0.1)


async def sender_to(sock: socket.socket) -> tuple[str, int]:
    """Whose datagram arrives."""
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sock, arrived.set)
    await arrived.wait()
    loop.remove_reader(sock)
    _, source = sock.recvfrom(1000)
    host, port = source
    return host, port


def place_of(sock: socket.socket) -> Address:
    return Address(*sock.getsockname())


def test_a_port_where_nothing_listens_is_refused(run: Run, control: socket.socket) -> None:
    place = place_of(control)
    control.close()

    async def main() -> None:
        found = await look(place, SETTINGS)
        assert found == Look(error=errno.ECONNREFUSED, refuses=True)
        assert found.explain(place, "p").startswith("nothing listens there")

    run(main())


def test_one_that_listens_and_is_silent_has_another_key(run: Run, control: socket.socket) -> None:
    place = place_of(control)

    async def main() -> None:
        found = await look(place, SETTINGS)
        assert found == Look(refuses=True)
        assert "another key or name" in found.explain(place, "p")
        assert await refuses_others(place, SETTINGS)

    run(main())


def test_where_no_port_is_refused_nothing_is_known(
    run: Run, control: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a firewall that drops what it does not allow."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((HERE, 0))
        monkeypatch.setattr(silence, "UNUSED_PORT", other.getsockname()[1])

        async def main() -> None:
            found = await look(place_of(control), SETTINGS)
            assert found == Look()
            assert found.explain(place_of(control), "p") == ""

        run(main())


@pytest.mark.parametrize("authentic", [True, False])
def test_an_answer_to_another_port_is_believed_if_it_is_authentic(
    run: Run, control: socket.socket, authentic: bool
) -> None:
    key = control_key(SETTINGS.secret if authentic else b"x" * 32, "p")
    channel = ControlChannel(key, "p", "a")

    async def main() -> None:
        looking = asyncio.ensure_future(look(place_of(control), SETTINGS))
        source = await sender_to(control)
        seen = Observed(bytes(8), Address(*source), 0)
        control.sendto(channel.from_control.seal(seen, os.urandom(12)), source)
        found = await looking
        assert found.answered == (asker(SETTINGS) if authentic else "")
        told = found.explain(place_of(control), asker(SETTINGS))
        assert ("other ports of this host" in told) is authentic
        for other in (SETTINGS._replace(pair="q"), SETTINGS._replace(secret=b"y" * 32)):
            assert authentic is ("another pair" in found.explain(place_of(control), asker(other)))

    run(main())


def test_all_ends_of_a_loop_share_one_look(run: Run, control: socket.socket) -> None:
    place = place_of(control)

    async def main() -> None:
        begun = [begin_to_look(place, SETTINGS._replace(pair=pair)) for pair in "pqr"]
        assert explanation(place, SETTINGS) == ""  # not yet
        assert begun[0] is not None
        assert begun[1:] == [None, None]
        await begun[0]
        assert "another key" in explanation(place, SETTINGS)
        assert explanation(place, SETTINGS._replace(pair="q")) == explanation(place, SETTINGS)
        assert begin_to_look(place, SETTINGS) is None

    run(main())


def test_a_look_that_its_end_has_cancelled_is_begun_anew(run: Run, control: socket.socket) -> None:
    place = place_of(control)

    async def main() -> None:
        first = begin_to_look(place, SETTINGS)
        assert first is not None
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second = begin_to_look(place, SETTINGS)
        assert second is not None
        await second

    run(main())


@pytest.mark.parametrize(
    ("error", "words"),
    [(errno.EHOSTUNREACH, "ip route get 127.0.0.1"), (errno.EPERM, "nft list ruleset"), (0, "")],
)
def test_what_this_host_or_a_router_reports(error: int, words: str) -> None:
    assert words in Look(error=error).explain(Address(HERE, 1), "p")
