"""An end whose control is silent on UDP, with a real control's TLS beside, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.core.events import Registered, Waiting
from netpunch.core.settings import ControlAt
from netpunch.errors import ControlUnreachableError
from netpunch.net.listener import Listener, TlsAt
from netpunch.net.punch import Punch
from netpunch.net.tls_certificate import server_context
from netpunch.reasons import Reason
from netpunch.wire.keys import control_key
from tests.net.conftest import Run
from tests.net.machines import client
from tests.net.nodes import PAIR, SECRET, Watcher, spec

SOON = 0.1
"""Seconds of silence on UDP after which TLS is tried here."""


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    return server_context()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "STREAMS_AFTER_FIRST", SOON)
    monkeypatch.setattr(timing, "STREAMS_AFTER", SOON)
    monkeypatch.setattr(timing, "SILENCE_NOTICE", SOON)


@contextlib.asynccontextmanager
async def blocked(context: ssl.SSLContext) -> AsyncIterator[tuple[ControlAt, Watcher, Listener]]:
    """A control of PAIR; what ends take for its UDP port says nothing."""
    watcher = Watcher()
    keys = {PAIR: control_key(SECRET, PAIR)}
    node = ControlNode(ControlV2(keys, random=os.urandom), ClassicControl({}))
    at = TlsAt("127.0.0.1", 0, context)
    listener = Listener(
        node, [("127.0.0.1", 0)], relay=[("127.0.0.1", 0)], tls=at, observer=watcher
    )
    listener.open()
    assert listener.tls is not None
    with client() as mute:
        try:
            yield ControlAt(*mute.address, None, listener.tls.local.port), watcher, listener
        finally:
            listener.close()


def punch(control: ControlAt, watcher: Watcher, end: str = "a", **settings: object) -> Punch:
    chosen = spec(end, **{"deadline": None, **settings})._replace(controls=(control,))
    return Punch(chosen, watcher)


def test_an_end_that_holds_registers_over_tls(run: Run, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with blocked(context) as (control, at_control, listener):
            seen = Watcher()
            end = punch(control, seen, holds=True)
            await end.open()
            registered = await at_control.wait_for(Registered)
            assert listener.tls is not None
            assert listener.tls.ends == 1
            await seen.wait_for(Waiting, reason=Reason.PARTNER_ABSENT)
            assert registered.address.host == "127.0.0.1"
            await end.close()

    run(main())


def test_an_end_that_hands_over_fails_with_the_reason(run: Run, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with blocked(context) as (control, at_control, _):
            seen = Watcher()
            end = punch(control, seen, deadline=1.5)
            await end.open()
            with pytest.raises(ControlUnreachableError, match="a firewall here drops UDP") as error:
                await end.linked()
            assert error.value.reason is Reason.UDP_BLOCKED
            await end.close()
            assert not [each for each in at_control.events if isinstance(each, Registered)]

    run(main())


@pytest.mark.parametrize("named", [True, False])
def test_tls_that_is_off_is_not_tried(run: Run, context: ssl.SSLContext, named: bool) -> None:
    async def main() -> None:
        async with blocked(context) as (control, _, listener):
            control = control if named else control._replace(tls=None)
            end = punch(control, Watcher(), holds=True, tls=0)
            await end.open()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5 * SOON):
                    await end.linked()
            assert listener.tls is not None
            assert (listener.tls.ends, listener.tls.strangers) == (0, 0)
            await end.close()

    run(main())


def test_an_end_may_name_another_port_than_its_control_does(
    run: Run, context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with blocked(context) as (control, at_control, _):
            port = control.tls or 0
            end = punch(control._replace(tls=1), Watcher(), holds=True, tls=port)
            await end.open()
            await at_control.wait_for(Registered)
            await end.close()

    run(main())


def test_a_control_by_name_is_found_over_tls_at_each_of_its_addresses(
    run: Run, context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with blocked(context) as (control, at_control, _):
            end = punch(control._replace(host="localhost"), Watcher(), holds=True)
            await end.open()
            assert isinstance(await at_control.wait_for(Registered), Registered)
            await end.close()

    run(main())


def test_an_end_that_is_closed_while_it_connects_leaves_nothing(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netpunch.net.punch.TLS_PATIENCE", 0.0)  # it tells when it begins

    async def main() -> None:
        async with blocked(context) as (control, _, listener):
            seen = Watcher()
            end = punch(control, seen, holds=True)
            await end.open()
            await seen.wait_for(Waiting, reason=Reason.SECRET_REJECTED_OR_SILENT)
            await end.close()
            assert isinstance(listener.addresses[0], Address)

    run(main())
