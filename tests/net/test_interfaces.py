from __future__ import annotations

import ctypes
import errno
import ipaddress
import socket
import sys
from pathlib import Path

import pytest

from netpunch.address import canonical_host, is_loopback
from netpunch.net import interfaces
from netpunch.net.interfaces import (
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_OPTIMISTIC,
    IFA_F_TEMPORARY,
    IFA_F_TENTATIVE,
    IFF_POINTOPOINT,
    IFF_UP,
    InterfaceAddress,
    candidate_hosts,
    host_addresses,
    usable_addresses,
)
from netpunch.net.routes import Gateway
from tests.net.conftest import open_descriptors


@pytest.fixture(autouse=True)
def nothing_seen_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interfaces, "_cached", None)


def up(host: str, interface: str = "test0", flags: int = 0) -> InterfaceAddress:
    return InterfaceAddress(interface, IFF_UP | flags, host)


def test_addresses_of_this_host_are_candidates() -> None:
    before = open_descriptors()
    hosts = host_addresses()
    assert open_descriptors() == before
    assert len(set(hosts)) == len(hosts)
    for host in hosts:
        assert canonical_host(host) == host
        assert not is_loopback(host)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((host, 0))  # fails unless it is this host's


def test_getifaddrs_sees_the_loopback() -> None:
    found = interfaces._getifaddrs()
    [loopback] = [address for address in found if address.host == "127.0.0.1"]
    assert loopback.flags & IFF_UP
    assert loopback.interface in ("lo", "lo0")


def test_which_addresses_are_candidates() -> None:
    found = [
        up("127.0.0.1", "lo"),
        up("::1", "lo"),
        up("192.0.2.1"),
        InterfaceAddress("down0", 0, "192.0.2.2"),
        up("10.8.0.1", "wg0", IFF_POINTOPOINT),
        up("169.254.1.1"),
        up("fe80::1"),
        up("2001:db8::1"),
        up("2001:db8::dead"),
        up("192.0.2.1", "again0"),
    ]
    flags = {"2001:db8::dead": IFA_F_DEPRECATED}
    assert candidate_hosts(found, ipv6_flags=flags) == ["192.0.2.1", "2001:db8::1"]


def test_the_order_of_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bridge in ("br-1", "br-2", "uplink0"):
        (tmp_path / bridge / "bridge").mkdir(parents=True)
    monkeypatch.setattr(interfaces, "INTERFACES", tmp_path)
    wanted = [
        ("192.0.2.1", "uplink0"),  # preferred
        ("192.0.2.2", "uplink0"),
        ("10.0.0.1", "storage0"),
        ("172.17.0.1", "br-1"),
        ("172.18.0.1", "br-2"),
        ("2001:db8::1", "uplink0"),
        ("2001:db8::aaaa", "uplink0"),  # temporary, and therefore preferred
        ("fd00::1", "uplink0"),
        ("2001:db8:1::1", "storage0"),
        ("2001:db8:17::1", "br-1"),
        ("fd17::1", "br-1"),
    ]
    found = [up(host, interface) for host, interface in reversed(wanted)]
    found.sort(key=lambda each: each.host in ("172.18.0.1", "fd17::1"))
    hosts = candidate_hosts(
        found,
        ipv6_flags={"2001:db8::aaaa": IFA_F_TEMPORARY},
        preferred={"192.0.2.1", "2001:db8::aaaa"},
        uplinks={"uplink0"},
    )
    assert hosts == [host for host, _ in wanted]


def test_an_uplink_beneath_a_vpn_comes_before_bridges(monkeypatch: pytest.MonkeyPatch) -> None:
    """The VPN has taken the default route: the system prefers its address as a source."""
    found = [
        up("172.17.0.1", "br-1"),
        up("192.168.1.2", "eth0"),
        up("10.8.0.2", "wg0", IFF_POINTOPOINT),
    ]
    monkeypatch.setattr(interfaces, "_getifaddrs", lambda: found)
    monkeypatch.setattr(interfaces, "_preferred_hosts", lambda: {"10.8.0.2"})
    gateways = [Gateway("192.168.1.1", "192.168.1.2", "eth0")]
    monkeypatch.setattr(interfaces, "default_gateways", lambda: gateways)
    assert host_addresses() == ("192.168.1.2", "172.17.0.1")


class TestManyPairs:
    """Many pairs of a process start at the same moment, and all need the addresses."""

    @pytest.fixture
    def looks(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        looks: list[float] = []
        found = [up(f"10.0.{n // 250}.{n % 250 + 1}") for n in range(2000)]

        def look() -> list[InterfaceAddress]:
            looks.append(clock[0])
            return found

        clock = [1000.0]
        monkeypatch.setattr(interfaces, "monotonic", lambda: clock[0])
        monkeypatch.setattr(interfaces, "_getifaddrs", look)
        self.clock = clock
        return looks

    def test_attempts_share_what_was_read_of_the_interfaces(self, looks: list[float]) -> None:
        assert len({host_addresses() for _ in range(40)}) == 1
        assert len(looks) == 1

    def test_interfaces_are_read_again_after_a_second(self, looks: list[float]) -> None:
        for _ in range(40):
            host_addresses()
            self.clock[0] += 0.1
        assert looks == pytest.approx([1000.0, 1001.0, 1002.0, 1003.0])


def test_tun_and_tap_interfaces_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tap0").mkdir()
    (tmp_path / "tap0" / "tun_flags").touch()
    monkeypatch.setattr(interfaces, "INTERFACES", tmp_path)
    found = [up("10.8.0.1", "tap0"), up("192.0.2.1", "eth0")]
    assert candidate_hosts(found, ipv6_flags={}) == ["192.0.2.1"]


def test_ipv6_flags_are_read_from_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "if_inet6"
    table.write_text(
        "20010db8000000000000000000000001 02 40 00 a0     eth0\n"
        "fe8000000000000000fc00fffe000001 02 40 20 80     eth0\n"
    )
    monkeypatch.setattr(interfaces, "IN6_ADDRESSES", table)
    assert interfaces._ipv6_flags() == {"2001:db8::1": 0xA0, "fe80::fc:ff:fe00:1": 0x80}


def test_ipv6_flags_are_empty_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interfaces, "IN6_ADDRESSES", tmp_path / "none")
    assert interfaces._ipv6_flags() == {}


@pytest.mark.parametrize("error", [OSError("no netlink"), AttributeError("getifaddrs")])
def test_a_system_without_getifaddrs_has_no_candidates(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail() -> list[InterfaceAddress]:
        raise error

    monkeypatch.setattr(interfaces, "_getifaddrs", fail)
    assert host_addresses() == ()
    assert usable_addresses() == frozenset()


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_sockaddr_layouts(monkeypatch: pytest.MonkeyPatch, platform: str, host: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    version = ipaddress.ip_address(host).version
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    linux, bsd = int(family).to_bytes(2, sys.byteorder), bytes([28, family])
    padding = bytes(6 if version == 6 else 2)
    raw = (linux if platform == "linux" else bsd) + padding + socket.inet_pton(family, host)
    buffer = ctypes.create_string_buffer(raw, 32)
    assert interfaces._host_at(ctypes.addressof(buffer)) == host


def test_a_sockaddr_of_another_family_has_no_host() -> None:
    buffer = ctypes.create_string_buffer(b"\x11\x11", 32)
    assert interfaces._host_at(ctypes.addressof(buffer)) is None


def test_which_addresses_are_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of VPNs and loopback, too: a link may be sent from them."""
    found = [
        up("127.0.0.1", "lo"),
        up("192.0.2.1"),
        InterfaceAddress("down0", 0, "192.0.2.2"),
        up("10.8.0.1", "wg0", IFF_POINTOPOINT),
        up("fe80::1"),
        up("2001:db8::1"),
        up("2001:db8::dead"),
        up("2001:db8::2"),
        up("2001:db8::3"),
        up("2001:db8::4"),
    ]
    flags = {
        "2001:db8::dead": IFA_F_DEPRECATED,
        "2001:db8::2": IFA_F_TENTATIVE,
        "2001:db8::3": IFA_F_TENTATIVE | IFA_F_OPTIMISTIC,
        "2001:db8::4": IFA_F_TENTATIVE | IFA_F_DADFAILED,
    }
    monkeypatch.setattr(interfaces, "_getifaddrs", lambda: found)
    monkeypatch.setattr(interfaces, "_ipv6_flags", lambda: flags)
    assert usable_addresses() == {
        ("lo", "127.0.0.1"),
        ("test0", "192.0.2.1"),
        ("wg0", "10.8.0.1"),
        ("test0", "2001:db8::1"),
        ("test0", "2001:db8::dead"),
        ("test0", "2001:db8::3"),
    }


def test_addresses_read_afresh_serve_others_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [[up("192.0.2.1")], [up("192.0.2.2")]]
    monkeypatch.setattr(interfaces, "_getifaddrs", lambda: found.pop(0))
    assert host_addresses() == host_addresses() == ("192.0.2.1",)
    assert host_addresses(afresh=True) == host_addresses() == ("192.0.2.2",)


def test_windows_has_no_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert interfaces._getifaddrs() == []


def test_a_failing_getifaddrs_raises_its_errno(monkeypatch: pytest.MonkeyPatch) -> None:
    class Libc:
        @staticmethod
        def getifaddrs(_first: object) -> int:
            ctypes.set_errno(errno.EMFILE)
            return -1

    _, pointer = interfaces._libc()
    monkeypatch.setattr(interfaces, "_libc", lambda: (Libc, pointer))
    with pytest.raises(OSError, match="getifaddrs") as caught:
        interfaces._getifaddrs()
    assert caught.value.errno == errno.EMFILE
