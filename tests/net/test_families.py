"""A control on IPv4 and IPv6, and ends with one of them or both."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.core.events import Linked, Reason, Registered
from netpunch.core.settings import ControlAt, EndSettings
from netpunch.errors import PunchError
from netpunch.net.punch import Punch
from tests.net.conftest import Run
from tests.net.machines import has_ipv6
from tests.net.names import NameServer
from tests.net.nodes import CLASSIC_SECRET, PAIR, SECRET, Watcher, control

pytestmark = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")

NAME = "vps.example.net"
V4, V6, BOTH = "127.0.0.1", "::1", ""
DEADLINE = 0.5
"""Seconds: enough to find out that a link is impossible."""
PROTOCOLS: dict[str, Any] = {
    "v2": {"secret": SECRET},
    "classic": {"protocol": "classic", "secret": CLASSIC_SECRET},
}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    """Resolves the control's name to both addresses."""
    names = NameServer(monkeypatch)
    names.know(NAME, Address(V6, 0), Address(V4, 0))
    return names


def ends(one: str, other: str, port: int, **how: Any) -> tuple[Punch, Punch]:
    """Ends bound to these addresses, which find their control by name."""
    controls = (ControlAt(NAME, port),)
    a = EndSettings(PAIR, "a", controls=controls, slot="a", local=(one, 0), **how)
    b = EndSettings(PAIR, "b", controls=controls, slot="b", local=(other, 0), **how)
    return Punch(a), Punch(b)


async def outcomes(*attempts: Punch) -> list[Linked | BaseException]:
    """The outcome of both ends."""
    for attempt in attempts:
        await attempt.open()
    linking = (attempt.linked() for attempt in attempts)
    found = await asyncio.gather(*linking, return_exceptions=True)
    await asyncio.gather(*(attempt.close() for attempt in attempts))
    return found


@pytest.mark.parametrize(
    ("one", "other", "family", "protocol"),
    [
        *((V4, V4, 4, protocol) for protocol in PROTOCOLS),
        *((V6, V6, 6, protocol) for protocol in PROTOCOLS),
        *((BOTH, V4, 4, protocol) for protocol in PROTOCOLS),
        *((V4, BOTH, 4, protocol) for protocol in PROTOCOLS),
        (BOTH, V6, 6, "v2"),
        (V6, BOTH, 6, "v2"),
    ],
)
def test_ends_with_a_common_family_link(
    run: Run, names: NameServer, one: str, other: str, family: int, protocol: str
) -> None:
    """An end with both announces itself by IPv4; in v2 its card has its IPv6 address, too."""

    async def main() -> None:
        async with control(":0") as address:
            a, b = await outcomes(*ends(one, other, address.port, **PROTOCOLS[protocol]))
        assert isinstance(a, Linked), a
        assert isinstance(b, Linked), b
        assert {each.family for each in (a.local, a.remote, b.local, b.remote)} == {family}
        assert (a.local.port, a.remote.port) == (b.remote.port, b.local.port)

    run(main())


def test_two_ends_with_both_families_link(run: Run, names: NameServer) -> None:
    async def main() -> None:
        async with control(":0") as address:
            a, b = await outcomes(*ends(BOTH, BOTH, address.port, **PROTOCOLS["v2"]))
        assert isinstance(a, Linked), a
        assert isinstance(b, Linked), b
        assert a.remote.family == b.remote.family
        assert (a.local.port, a.remote.port) == (b.remote.port, b.local.port)

    run(main())


@pytest.mark.parametrize(
    ("one", "other", "protocol"),
    [
        (V4, V6, "v2"),
        (V6, V4, "v2"),
        (V4, V6, "classic"),
        (BOTH, V6, "classic"),  # its slot has room for one address, and that is IPv4
    ],
)
def test_ends_without_a_common_family_report_why_they_cannot_link(
    run: Run, names: NameServer, one: str, other: str, protocol: str
) -> None:
    """Even though control serves both families."""

    async def main() -> None:
        watcher = Watcher()
        how = PROTOCOLS[protocol] | {"deadline": DEADLINE}
        async with control(":0", observer=watcher) as address:
            failures = await outcomes(*ends(one, other, address.port, **how))
        registered = [each.address for each in watcher.events if isinstance(each, Registered)]
        assert {address.family for address in registered} == {4, 6}
        for failure in failures:
            assert isinstance(failure, PunchError), failure
            assert "IPv4" in str(failure)
            assert "IPv6" in str(failure)
            if protocol == "v2":
                assert failure.reason == Reason.BLOCKED

    run(main())
