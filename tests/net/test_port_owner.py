"""Whether a program has a port, as /proc says."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from netpunch.net import port_owner
from netpunch.net.port_owner import PortOwners, owned_families, owner_lately, sockets_at
from netpunch.net.sockets import bind

INET, INET6 = socket.AF_INET, socket.AF_INET6

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


@pytest.mark.parametrize(
    ("bound", "asked", "owned"),
    [
        (["127.0.0.1"], "", {INET}),
        (["127.0.0.1"], "127.0.0.1", {INET}),
        (["127.0.0.1"], "192.0.2.1", set()),
        (["0.0.0.0"], "192.0.2.1", {INET}),
        (["::1"], "", {INET6}),
        (["::1"], "::1", {INET6}),
        (["::1"], "2001:db8::1", set()),
        (["::1", "127.0.0.1"], "", {INET, INET6}),
        ([], "", set()),
    ],
)
def test_a_port_is_owned_in_the_families_of_its_sockets(
    bound: list[str], asked: str, owned: set[int]
) -> None:
    (first,) = bind("0.0.0.0", 0)
    port = first.getsockname()[1]
    first.close()
    sockets = [sock for host in bound for sock in bind(host, port)]
    try:
        assert owned_families(asked, port) == owned
    finally:
        for sock in sockets:
            sock.close()


def test_a_wildcard_ipv6_socket_may_receive_ipv4_too() -> None:
    with socket.socket(INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::", 0))
        assert owned_families("", sock.getsockname()[1]) == {INET, INET6}


def test_nothing_is_known_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(port_owner, "TABLES", {INET: tmp_path / "udp"})
    assert owned_families("", 51820) is None


@pytest.mark.parametrize(
    ("bound", "asked", "in_the_way"),
    [
        ("127.0.0.1", "", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "::1", False),
    ],
)
def test_the_sockets_in_the_way_of_an_address_are_known(
    bound: str, asked: str, in_the_way: bool
) -> None:
    (sock,) = bind(bound, 0)
    with sock:
        own = {Path(f"/proc/self/fd/{sock.fileno()}").stat().st_ino}
        assert sockets_at(asked, sock.getsockname()[1]) == (own if in_the_way else set())


def test_sockets_are_not_known_where_the_system_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(port_owner, "TABLES", {INET: tmp_path / "none"})
    assert sockets_at("", 5000) is None


def pid_of_owner(sock: socket.socket) -> int | None:
    owner = owner_lately(*sock.getsockname())
    assert owner is not None
    return owner.pid


def test_a_socket_newer_than_what_is_remembered_has_an_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In this process at once, in others when it is time to look again."""
    monkeypatch.setattr(port_owner, "_latest", [])
    with bind("127.0.0.1", 0)[0] as older:
        assert pid_of_owner(older) == os.getpid()
        with bind("127.0.0.1", 0)[0] as newer:
            assert pid_of_owner(newer) == os.getpid()
            monkeypatch.setattr(port_owner, "OWN", Path("/proc/none"))
            began, owners = time.monotonic(), PortOwners()
            owners._processes = {}
            port_owner._latest[:] = [(began, owners)]
            assert pid_of_owner(newer) is None
            port_owner._latest[:] = [(began - port_owner.SEEK_AGAIN, owners)]
            assert pid_of_owner(newer) == os.getpid()
