from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from typing import Any

import pytest

from netpunch.errors import (
    ConfigurationError,
    NetpunchError,
    NetworkNotReadyError,
    PermissionsError,
    PortInUseError,
    ResourcesError,
)
from netpunch.net import sockets
from netpunch.net.sockets import (
    FRESH_PORT_ATTEMPTS,
    SocketOptions,
    bind,
    bind_to_interface_again,
)
from tests.net.conftest import open_descriptors
from tests.net.machines import has_ipv6, local_address, port_is_free

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="marks need root")
needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")


def close(opened: list[socket.socket]) -> None:
    for sock in opened:
        sock.close()


def fail_to_bind(
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    *,
    family: int | None = None,
    times: int = 1_000_000,
) -> list[int]:
    """Makes bind() fail so many times with an errno; returns the list of the families concerned."""
    failed: list[int] = []

    class Failing(socket.socket):
        def bind(self, address: Any) -> None:
            if family in (None, self.family) and len(failed) < times:
                failed.append(self.family)
                raise OSError(number, "the system says no")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", Failing)
    return failed


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_binding_an_ip_address_makes_one_socket(host: str) -> None:
    [sock] = bind(host, 0)
    with sock:
        address = local_address(sock)
        assert address.host == host
        assert address.port != 0
        assert not sock.getblocking()
        assert not sock.get_inheritable()
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


@needs_ipv6
def test_binding_no_host_makes_sockets_of_both_families_on_one_fresh_port() -> None:
    opened = bind("", 0)
    first, second = (local_address(sock) for sock in opened)
    assert (first.host, second.host) == ("0.0.0.0", "::")
    assert first.port == second.port
    close(opened)


@needs_ipv6
def test_binding_no_host_makes_sockets_of_both_families_on_a_given_port() -> None:
    opened = bind("", 0)
    port = local_address(opened[0]).port
    close(opened)
    opened = bind("", port)
    assert {local_address(sock).port for sock in opened} == {port}
    assert not port_is_free(port)
    assert not port_is_free(port, "::")
    close(opened)


@needs_ipv6
@pytest.mark.parametrize(
    ("missing", "left"), [(socket.AF_INET6, "0.0.0.0"), (socket.AF_INET, "::")]
)
@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_binding_no_host_works_on_a_host_with_one_family(
    monkeypatch: pytest.MonkeyPatch, missing: int, left: str, number: int
) -> None:
    fail_to_bind(monkeypatch, number, family=missing)
    [sock] = bind("", 0)
    assert local_address(sock).host == left
    sock.close()


def test_binding_no_host_fails_on_a_host_without_any_family(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_to_bind(monkeypatch, errno.EAFNOSUPPORT)
    with pytest.raises(NetworkNotReadyError, match="neither IPv4 nor IPv6"):
        bind("", 0)


@needs_ipv6
def test_a_fresh_port_that_is_taken_in_the_other_family_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = open_descriptors()
    fail_to_bind(monkeypatch, errno.EADDRINUSE, family=socket.AF_INET6, times=3)
    opened = bind("", 0)
    assert len(opened) == 2
    close(opened)
    assert open_descriptors() == before


@needs_ipv6
def test_the_search_for_a_port_free_in_both_families_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_descriptors()
    failed = fail_to_bind(monkeypatch, errno.EADDRINUSE, family=socket.AF_INET6)
    with pytest.raises(PortInUseError):
        bind("", 0)
    assert len(failed) == FRESH_PORT_ATTEMPTS
    assert open_descriptors() == before


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_the_error_for_a_port_in_use_shows_how_to_find_its_owner(host: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = local_address(other).port
        before = open_descriptors()
        with pytest.raises(PortInUseError) as caught:
            bind(host, port)
        assert open_descriptors() == before
    assert f"{host or '0.0.0.0'}:{port} is in use" in str(caught.value)
    assert f":{port}" in str(caught.value).partition("`")[2]


@needs_ipv6
def test_a_port_taken_in_one_family_leaves_no_socket_open() -> None:
    [other] = bind("::", 0)
    port = local_address(other).port
    before = open_descriptors()
    with pytest.raises(PortInUseError, match=rf"\[::\]:{port} is in use"):
        bind("", port)
    assert open_descriptors() == before
    assert port_is_free(port)
    other.close()


@pytest.mark.parametrize(
    ("number", "port", "error", "text"),
    [
        (errno.EACCES, 500, PermissionsError, "cannot bind 127.0.0.1:500: ports below 1024"),
        (errno.EADDRINUSE, 0, PortInUseError, "127.0.0.1 has no free port left"),
        (errno.EMFILE, 500, ResourcesError, "cannot bind 127.0.0.1:500: .* LimitNOFILE="),
        (errno.ENOBUFS, 500, ResourcesError, "cannot bind 127.0.0.1:500: No buffer space"),
        (errno.EIO, 500, ConfigurationError, "cannot bind 127.0.0.1:500: the system says no$"),
    ],
)
def test_each_error_of_bind_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    port: int,
    error: type[NetpunchError],
    text: str,
) -> None:
    fail_to_bind(monkeypatch, number)
    before = open_descriptors()
    with pytest.raises(error, match=text):
        bind("127.0.0.1", port)
    assert open_descriptors() == before


WITHOUT_DESCRIPTORS = """
import resource
from netpunch.errors import ResourcesError
from netpunch.net.sockets import SocketOptions, bind
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
try:
    bind({host!r}, 0)
except ResourcesError as error:
    print(error)
"""


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_no_descriptor_is_left_for_the_first_bind_of_a_process(host: str) -> None:
    """Python opens some when it first imports certain modules."""
    script = WITHOUT_DESCRIPTORS.format(host=host)
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ": Too many open files; raise LimitNOFILE=" in told.stdout, told.stderr


def test_binding_a_missing_address_is_network_not_ready() -> None:
    with pytest.raises(NetworkNotReadyError, match=r"does not have the address 203\.0\.113\.1 now"):
        bind("203.0.113.1", 5000)


def test_binding_to_a_missing_interface_is_network_not_ready() -> None:
    before = open_descriptors()
    with pytest.raises(NetworkNotReadyError, match="no interface nowhere0 now"):
        bind("", 0, SocketOptions(interface="nowhere0"))
    assert open_descriptors() == before


def test_a_socket_is_bound_again_to_the_interface_of_that_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one that has it now, if there is one."""
    asked: list[str] = []

    def bind_to_interface(_: socket.socket, name: str) -> None:
        asked.append(name)
        raise NetworkNotReadyError("none now")

    [sock] = bind("127.0.0.1", 0)
    with sock:
        bind_to_interface_again(sock, SocketOptions(interface="lo"))
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16) == b"lo\0"
        monkeypatch.setattr(sockets, "_bind_to_interface", bind_to_interface)
        for interface in ("", "gone0"):
            bind_to_interface_again(sock, SocketOptions(interface=interface))
    assert asked == ["gone0"]


def test_a_socket_is_bound_to_its_interface() -> None:
    [sock] = bind("0.0.0.0", 0, SocketOptions(interface="lo"))
    with sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16) == b"lo\0"


@needs_root
def test_a_socket_has_the_mark_of_its_options() -> None:
    opened = bind("", 0, SocketOptions(mark=0xFFFFFFFF))
    marks = {sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) & 0xFFFFFFFF for sock in opened}
    assert marks == {0xFFFFFFFF}
    close(opened)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (SocketOptions(mark=7), "cannot set mark 7: .*CAP_NET_ADMIN"),
        (SocketOptions(interface="lo"), "cannot bind to interface lo: .*CAP_NET_RAW"),
    ],
)
def test_options_that_need_a_privilege_raise_permissions_errors(
    monkeypatch: pytest.MonkeyPatch, options: SocketOptions, told: str
) -> None:
    class Unprivileged(socket.socket):
        def setsockopt(self, level: int, name: int, *value: Any) -> None:
            if name in (socket.SO_MARK, socket.SO_BINDTODEVICE) and level == socket.SOL_SOCKET:
                raise PermissionError(errno.EPERM, "Operation not permitted")
            super().setsockopt(level, name, *value)

    monkeypatch.setattr(socket, "socket", Unprivileged)
    before = open_descriptors()
    with pytest.raises(PermissionsError, match=told):
        bind("", 0, options)
    assert open_descriptors() == before


@pytest.mark.parametrize("host", ["localhost", "[::1]", "127.0.0.1:5000", "a" * 70 + ".b"])
def test_binding_a_host_name_is_a_configuration_error(host: str) -> None:
    with pytest.raises(ConfigurationError, match="expected an IP address as the local address"):
        bind(host, 5000)


def test_a_socket_asks_for_its_receive_buffer() -> None:
    [small], [large] = (
        bind("127.0.0.1", 0, SocketOptions(receive_buffer=8192)),
        bind("127.0.0.1", 0),
    )
    with small, large:
        sizes = [s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for s in (small, large)]
    assert 8192 <= sizes[0] < sizes[1]


def test_a_receive_buffer_the_system_refuses_is_no_error() -> None:
    [sock] = bind("127.0.0.1", 0, SocketOptions(receive_buffer=-1))
    sock.close()
