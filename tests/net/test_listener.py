from __future__ import annotations

import os
from typing import Any

import pytest

from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.core.events import Expired, Registered
from netpunch.errors import PortInUseError
from netpunch.net.listener import Listener
from netpunch.net.sockets import bind
from netpunch.wire.classic import sign
from tests.net.conftest import Run
from tests.net.machines import client, port_is_free
from tests.net.nodes import CLASSIC_SECRET, Watcher

ANY = ("127.0.0.1", 0)


def node() -> ControlNode:
    """A control of the classic pair a-b."""
    secrets = dict.fromkeys("ab", CLASSIC_SECRET)
    return ControlNode(ControlV2({}, random=os.urandom), ClassicControl(secrets))


def opened(machine: ControlNode | None = None, **how: Any) -> Listener:
    listener = Listener(machine or node(), [ANY], **how)
    listener.open()
    return listener


def test_a_listener_serves_from_open_to_close(run: Run) -> None:
    async def main() -> None:
        watcher = Watcher()
        listener = opened(observer=watcher)
        [address] = listener.addresses
        assert not port_is_free(address.port)
        with client() as a, client() as b:
            a.send(sign(CLASSIC_SECRET, b"a"), address)
            await watcher.wait_for(Registered)
            answer, source = await b.ask(sign(CLASSIC_SECRET, b"b"), address)
            assert source == address
            assert answer.endswith(f"i|a|{a.address}".encode())
        listener.close()
        assert port_is_free(address.port)
        listener.close()

    run(main())


def test_a_listener_binds_every_address_and_the_second_ports(run: Run) -> None:
    async def main() -> None:
        listener = Listener(node(), [ANY, ("127.0.0.2", 0)], observe=[("127.0.0.3", 0)])
        listener.open()
        hosts = [address.host for address in listener.addresses]
        assert hosts == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        assert listener.refused == []
        for address in listener.addresses:
            with client() as end:
                end.send(sign(CLASSIC_SECRET, b"a"), address)
                answered = await end.ask(sign(CLASSIC_SECRET, b"b"), address)
                assert answered[1] == address
        listener.close()

    run(main())


def test_a_listener_with_one_port_in_use_binds_none(run: Run) -> None:
    """Then none is bound."""

    async def main() -> None:
        [first] = bind(*ANY)
        free = ("127.0.0.1", first.getsockname()[1])
        first.close()
        with client() as taken, pytest.raises(PortInUseError):
            Listener(node(), [free, taken.address]).open()
        assert port_is_free(free[1])

    run(main())


def test_a_listener_serves_without_a_second_port_that_is_in_use(run: Run) -> None:
    async def main() -> None:
        with client() as taken:
            listener = opened(observe=[taken.address])
            assert [str(taken.address) in str(error) for error in listener.refused] == [True]
            assert len(listener.addresses) == 1
            listener.close()

    run(main())


@pytest.mark.parametrize("trace", [True, False])
def test_a_listener_shows_datagrams_only_with_trace(run: Run, trace: bool) -> None:
    async def main() -> None:
        watcher = Watcher()
        listener = opened(observer=watcher, trace=trace)
        with client() as a, client() as b:
            a.send(sign(CLASSIC_SECRET, b"a"), listener.addresses[0])
            await b.ask(sign(CLASSIC_SECRET, b"b"), listener.addresses[0])
        assert [seen.sent for seen in watcher.datagrams] == ([False, False, True] if trace else [])
        listener.close()

    run(main())


def test_a_listener_reports_the_events_of_a_change_at_once(run: Run) -> None:
    async def main() -> None:
        watcher, machine = Watcher(), node()
        listener = opened(machine, observer=watcher)
        with client() as a:
            a.send(sign(CLASSIC_SECRET, b"a"), listener.addresses[0])
            await watcher.wait_for(Registered)
            machine.classic.replace_secrets({})
            listener.pump()
            assert isinstance(watcher.events[-1], Expired)
        listener.close()

    run(main())


def test_a_listener_may_be_closed_before_it_was_opened(run: Run) -> None:
    async def main() -> None:
        Listener(node(), [ANY]).close()

    run(main())
