from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from netpunch import tunnels
from netpunch.address import Address
from netpunch.net.routes import Route, route_to
from netpunch.net.sockets import SocketOptions
from tests.net.machines import has_ipv6

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is Linux's")

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")
UEVENT = "INTERFACE=x\nDEVTYPE={}\n"


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
@pytest.mark.parametrize("options", [SocketOptions(), SocketOptions(51820, "lo")])
def test_route_to_this_host_is_loopback(host: str, options: SocketOptions) -> None:
    assert route_to(Address(host, 5000), port=5001, options=options) == Route("lo", host)


def test_route_to_an_interface_that_is_not_there_is_none() -> None:
    destination = Address("127.0.0.1", 5000)
    assert route_to(destination, options=SocketOptions(interface="nowhere0")) is None
    assert route_to(Address("240.0.0.1", 5000), options=SocketOptions(interface="nowhere0")) is None


def interface(folder: Path, name: str, **files: str) -> None:
    (folder / name).mkdir()
    for file, text in files.items():
        (folder / name / file).write_text(text)


def test_tunnels_are_told_from_other_interfaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tap may be the only uplink of a container without privileges."""
    monkeypatch.setattr(tunnels, "INTERFACES", tmp_path)
    assert not tunnels.has_tunnel()
    interface(tmp_path, "eth0", uevent="INTERFACE=eth0\nIFINDEX=2\n")
    interface(tmp_path, "tap0", uevent="INTERFACE=tap0\n", tun_flags="0x1002\n")
    assert not tunnels.has_tunnel()
    interface(tmp_path, "tun0", uevent="INTERFACE=tun0\n", tun_flags="0x1001\n")
    interface(tmp_path, "wg0", uevent=UEVENT.format("wireguard"))
    interface(tmp_path, "ovpn0", uevent=UEVENT.format("ovpn"))
    interface(tmp_path, "ppp0", uevent=UEVENT.format("ppp"))
    found = {each.name for each in tmp_path.iterdir()} | {"gone0"}
    assert {name for name in found if tunnels.is_tunnel(name)} == {"tun0", "wg0", "ovpn0"}
    assert tunnels.has_tunnel()


def test_route_to_is_none_without_netlink(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a unit's RestrictAddressFamilies= forbids it."""

    def refuse(*_: object) -> None:
        raise OSError("Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    assert route_to(Address("127.0.0.1", 5000)) is None
