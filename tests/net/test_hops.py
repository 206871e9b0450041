"""netpunch.net.hops without a network; behind routers it is tried in the lab."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.errors import NetworkNotReadyError
from netpunch.net import hops
from netpunch.net.hops import router_at
from netpunch.net.sockets import bind

Run = Callable[[Coroutine[Any, Any, None]], None]


def test_a_host_without_routers_on_the_way(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses the datagram, which is no report of a router."""
    monkeypatch.setattr(hops, "PATIENCE", 0.2)

    async def main() -> None:
        assert await router_at(1, Address("127.0.0.1", 1), bind) == ""

    run(main())


def test_where_nothing_can_be_bound_nothing_is_known(run: Run) -> None:
    def refuse(*_: object) -> list[Any]:
        raise NetworkNotReadyError

    async def main() -> None:
        assert await router_at(2, Address("192.0.2.1", 1), refuse) == ""
        assert await router_at(2, Address("2001:db8::1", 1), bind) == ""

    run(main())
