"""netpunch.link on real sockets, on both event loops."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest

import netpunch
from netpunch import Address, HeldLink, UsageError
from netpunch.net import queues
from netpunch.net.driver import clock
from tests.api.__main__ import cancellations, first_datagrams
from tests.net.conftest import Run
from tests.net.forwarding import forwarding, held
from tests.net.machines import client
from tests.net.nodes import LOCAL, PAIR, SECRET, control

by_seal = pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "unsealed"])


def end(name: str, at: Address, **more: Any) -> netpunch.StartingLink:
    how: dict[str, Any] = {"pair": PAIR, "secret": SECRET, "control": str(at), "local": LOCAL}
    return netpunch.link(end=name, **how | more)


@asynccontextmanager
async def both(at: Address, **more: Any) -> AsyncIterator[tuple[HeldLink, HeldLink]]:
    """Both ends, linked."""
    async with AsyncExitStack() as stack:
        a, b = await asyncio.gather(
            *(stack.enter_async_context(end(name, at, **more)) for name in "ab")
        )
        yield a, b


@by_seal
def test_what_either_end_sends_the_other_receives(run: Run, sealed: bool) -> None:
    async def one(name: str, at: Address) -> list[bytes]:
        async with end(name, at, sealed=sealed) as link:
            await link.send(b"from " + name.encode())
            await link.send(b"")
            await link.send(bytearray(b"then"))
            return [await link.recv() for _ in range(3)]

    async def main() -> None:
        async with control() as at:
            a, b = await asyncio.gather(one("a", at), one("b", at))
        assert a == [b"from b", b"", b"then"]
        assert b == [b"from a", b"", b"then"]

    run(main())


def test_iterating_ends_when_the_partner_has_closed_the_link(run: Run) -> None:
    async def sender(at: Address) -> None:
        async with end("a", at) as link:
            await link.send(b"1")
            await link.send(b"2")

    async def receiver(at: Address) -> list[bytes]:
        async with end("b", at) as link:
            received = [each async for each in link]
            assert (await link.closed).reason == "partner_stopped"
            assert link.closed
            with pytest.raises(netpunch.LinkClosedError, match="the partner has ended it"):
                await link.send(b"3")
        return received

    async def main() -> None:
        async with control() as at:
            _, received = await asyncio.gather(sender(at), receiver(at))
        assert received == [b"1", b"2"]

    run(main())


def test_a_link_can_be_awaited_and_closed(run: Run) -> None:
    async def one(name: str, at: Address) -> bytes:
        link = await end(name, at)
        assert re.fullmatch(r"<HeldLink 127\.\S+ -> 127\.\S+, host>", repr(link))
        assert repr(link.closed) == "<closed: not yet>"
        await link.send(name.encode())
        async with link:
            received = await link.recv()
        assert repr(link).endswith(f", host, over: {(await link.closed).reason}>")
        assert repr(link.closed) == f"<closed: {(await link.closed).reason}>"
        return received

    async def main() -> None:
        async with control() as at:
            a, b = await asyncio.gather(one("a", at), one("b", at))
            assert (a, b) == (b"b", b"a")

    run(main())


def test_a_call_makes_one_link(run: Run) -> None:
    async def main() -> None:
        async with control() as at:
            starting = end("a", at)
            (a, b) = await asyncio.gather(starting, end("b", at))
            with pytest.raises(UsageError, match=r"started before: call link\(\) again"):
                await starting
            await asyncio.gather(a.close(), b.close())

    run(main())


def test_nothing_is_lost_between_link_and_first_datagram(run: Run) -> None:
    async def main() -> None:
        assert await first_datagrams(20) == 40

    run(main())


def test_cancelled_at_any_moment_it_leaves_nothing_open(run: Run) -> None:
    async def main() -> None:
        assert await cancellations(40) == (0, 0)

    run(main())


def test_a_detached_socket_has_the_partner_and_none_of_netpunchs_datagrams(run: Run) -> None:
    async def one(name: str, at: Address) -> socket.socket:
        async with end(name, at, sealed=False, keepalive=0.05) as link:
            await link.send(b"before")
            assert await link.recv() == b"before"
            await asyncio.sleep(0.2 if name == "b" else 0)  # b pings in vain meanwhile
            sock = await link.detach()
            assert [each async for each in link] == []
            assert (await link.closed).reason == "stopped"
            with pytest.raises(netpunch.LinkClosedError):
                await link.detach()
            assert sock.getpeername() == link.remote
            assert not sock.getblocking()
            return sock

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with control() as at:
            a, b = await asyncio.gather(one("a", at), one("b", at))
        for near, far in ((a, b), (b, a)):
            near.send(b"after")
            near.send(b"")
            assert [await loop.sock_recv(far, 2048) for _ in range(2)] == [b"after", b""]
        for sock in (a, b):
            with pytest.raises(BlockingIOError):
                sock.recv(2048)
            sock.close()

    run(main())


def test_what_arrives_before_a_link_is_detached_can_be_received(run: Run) -> None:
    async def main() -> None:
        async with control() as at, both(at, sealed=False) as (a, b):
            for number in range(100):
                await a.send(b"%d" % number)
            await asyncio.sleep(0)  # all of the burst has left
            there, here = await b.detach(), await a.detach()
            here.send(b"100")
            received = [int(each) async for each in b]
            received.append(int(await asyncio.get_running_loop().sock_recv(there, 2048)))
            assert received == list(range(101))
            here.close()
            there.close()

    run(main())


@by_seal
def test_what_cannot_be_sent_or_detached_is_a_usage_error(run: Run, sealed: bool) -> None:
    async def main() -> None:
        async with control() as at, both(at, sealed=sealed) as (a, b):
            longest = 65481 if sealed else 65507
            with pytest.raises(UsageError, match=f"expected at most {longest} bytes, got"):
                await a.send(bytes(longest + 1))
            with pytest.raises(UsageError, match="expected bytes, bytearray or memoryview"):
                await a.send("text")  # type: ignore[arg-type]
            with pytest.raises(
                UsageError, match=f"at most {longest} bytes, got {longest // 4 * 8}"
            ):
                await a.send(memoryview(bytes(longest // 4 * 8)).cast("Q"))
            await a.send(bytes(longest))
            assert await b.recv() == bytes(longest)
            await a.send(memoryview(b"of bytes").cast("I"))
            await a.send(memoryview(b"every other")[::2])
            assert [await b.recv(), await b.recv()] == [b"of bytes", b"eeyohr"]
            if sealed:
                with pytest.raises(UsageError, match="pass sealed=False"):
                    await a.detach()

    run(main())


def test_a_port_of_the_same_program_is_told_from_that_of_another(run: Run) -> None:
    async def main() -> None:
        async with control() as at, both(at) as (a, _b):
            taken = str(a.local)
            said = f"^{taken} is in use by another socket of this process .* choose another port$"
            with pytest.raises(netpunch.PortInUseError, match=said):
                await end("a", at, local=taken)

    run(main())


def test_ends_that_differ_in_sealing_do_not_link(run: Run) -> None:
    async def one(name: str, at: Address) -> None:
        async with end(name, at, sealed=name == "a"):
            pass

    async def main() -> None:
        async with control() as at:
            for result in await asyncio.gather(one("a", at), one("b", at), return_exceptions=True):
                assert isinstance(result, netpunch.NotLinkedError)
                assert result.reason == "partner_mode"

    run(main())


def test_a_program_talks_to_the_local_program_of_forward(run: Run) -> None:
    async def main() -> None:
        async with control() as at, forwarding() as (forwarder, entrance):
            attempt = await held("b", at, forwarder, sealed=True)
            async with end("a", at) as link:
                await attempt.linked()
                forwarder.attach(attempt)
                with client() as program:
                    program.send(b"from a UDP program", entrance)
                    assert await link.recv() == b"from a UDP program"
                    await link.send(b"to it")
                    assert (await program.receive())[0] == b"to it"
            await attempt.close()

    run(main())


def test_what_comes_while_the_queue_is_full_is_dropped_and_counted(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "DATAGRAMS_KEPT", 3)

    async def main() -> None:
        async with control() as at, both(at) as (a, b):
            for number in range(5):
                await a.send(b"%d" % number)
            await a.close()
            assert [each async for each in b] == [b"0", b"1", b"2"]
            assert b.dropped == 2

    run(main())


def test_a_task_that_only_sends_can_be_cancelled(run: Run) -> None:
    async def send_on(link: HeldLink) -> None:
        for _ in range(1_000_000):
            await link.send(b"x")

    async def main() -> None:
        async with control() as at, both(at) as (a, _b):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(send_on(a), 0.05)

    run(main())


def test_an_observer_that_raises_harms_nothing(run: Run) -> None:
    def observe(_event: netpunch.Event) -> None:
        raise ValueError("mine")

    async def main() -> None:
        told: set[str] = set()
        asyncio.get_running_loop().set_exception_handler(lambda _, c: told.add(c["message"]))
        async with control() as at, both(at, observer=observe) as (a, b):
            await a.send(b"x")
            assert await b.recv() == b"x"
        assert told == {"netpunch: the program's observer failed"}

    run(main())


def test_a_receiver_that_is_cancelled_loses_nothing(run: Run) -> None:
    async def main() -> None:
        async with control() as at, both(at) as (a, b):
            impatient, patient = asyncio.create_task(b.recv()), asyncio.create_task(b.recv())
            await asyncio.sleep(0)
            b._inbox.put(b"x")  # wakes the first one
            impatient.cancel()
            assert await patient == b"x"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(b.recv(), 0.01)
            await a.send(b"y")
            assert await b.recv() == b"y"

    run(main())


def test_a_link_that_moves_goes_on_and_tells_of_it(run: Run) -> None:
    async def main() -> None:
        async with control() as at, both(at) as (a, b):
            moved: asyncio.Queue[netpunch.Moved] = asyncio.Queue()
            complaints: list[Any] = []
            asyncio.get_running_loop().set_exception_handler(
                lambda _, told: complaints.append(told["exception"])
            )

            @a.on_moved
            def fails(_move: netpunch.Moved) -> None:
                raise ValueError("mine")

            assert a.on_moved(moved.put_nowait) == moved.put_nowait
            punch = a._transport._punch
            assert punch._machine is not None
            assert punch._driver is not None
            punch._machine.network_changed((), clock(), gone=True)  # as if its address were gone
            punch._driver.pump()
            move = await moved.get()
            assert move.reason == "network_changed"
            assert [str(each) for each in complaints] == ["mine"]
            assert (a.local, a.remote, a.path) == (move.local, move.remote, move.path)
            await a.send(b"to b")
            await b.send(b"to a")
            assert (await a.recv(), await b.recv()) == (b"to a", b"to b")
            assert a.rtt is not None
            assert a.loss == 0.0

    run(main())


def test_on_moved_takes_plain_functions_only(run: Run) -> None:
    async def coroutine(_move: netpunch.Moved) -> None:
        pass

    async def main() -> None:
        async with control() as at, both(at) as (a, _b):
            with pytest.raises(UsageError, match="got a coroutine function, which nobody would"):
                a.on_moved(coroutine)
            with pytest.raises(UsageError, match="callback: expected a function, got None"):
                a.on_moved(None)  # type: ignore[type-var]

    run(main())


def test_waiting_for_the_end_disturbs_no_other_that_waits(run: Run) -> None:
    async def wait(link: HeldLink) -> netpunch.LinkEnd:
        return await link.closed

    async def main() -> None:
        async with control() as at, both(at) as (a, b):
            cancelled, waiting = (asyncio.create_task(wait(b)) for _ in range(2))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.sleep(0)
            assert not b.closed
            await a.close()
            assert (await waiting).reason == "partner_stopped"
            assert b.closed

    run(main())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"end": "A"}, "end: expected 'a' or 'b', got 'A'"),
        ({"sealed": "yes"}, "sealed: expected"),
        ({"keepalive": 0}, "keepalive: expected seconds"),
        ({"hold_for": "30s"}, "did you mean 30.0?"),
        ({"seal": True}, "did you mean sealed?"),
        ({"observer": 1}, "observer: expected"),
    ],
)
def test_a_wrong_argument_is_told_by_the_call_itself(wrong: dict[str, Any], said: str) -> None:
    how: dict[str, Any] = {"pair": PAIR, "end": "a", "secret": SECRET, "control": "vps:1"}
    for call in (netpunch.link, partial(netpunch.create_link_endpoint, asyncio.DatagramProtocol)):
        with pytest.raises(UsageError, match=re.escape(said)):
            call(**how | wrong)
