"""Port mapping at a real gateway: miniupnpd behind its own rules, in namespaces.

           ┌── server
internet ──┤
           └── router (miniupnpd) ── lan ──┬── host
                                           └── neighbour
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event, Thread, Timer
from typing import TypeVar

import pytest

from netpunch.address import Address, parse_address
from netpunch.core.events import Mapped, Unmapped
from netpunch.core.portmap.inquiry import GatewayInquiry
from netpunch.core.portmap.pcp import VIA, PortMapper
from netpunch.wire.portmap import NONCE_LENGTH, SERVER_PORT
from tests.lab.datagrams import is_dropped, local_address, passes
from tests.lab.namespace import Namespace
from tests.lab.network import Host, Segment
from tests.lab.program import REPOSITORY

E = TypeVar("E", Mapped, Unmapped)

MINIUPNPD = "miniupnpd"
PORT = 5000

# It maps nothing to addresses that are reserved for documentation, so these are others. Nothing
# leaves the namespaces.
INTERNET4, INTERNET6 = "45.45.45", "2a00:45:1"
LAN4, LAN6 = "192.168.1", "2a00:45:2"

CONFIGURATION = f"""
ext_ifname=wan
listening_ip=lan
enable_natpmp=yes
enable_upnp=no
http_port=0
uuid=00000000-0000-0000-0000-000000000000
allow 1024-65535 {LAN4}.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""
LISTENING = "Listening for NAT-PMP/PCP"

ROUTER_RULES = """
    table inet filter {
        chain forward {
            type filter hook forward priority filter; policy drop;
            ct state established,related accept
            iifname "lan" accept
            jump miniupnpd
        }
        chain prerouting {
            type nat hook prerouting priority dstnat;
            jump prerouting_miniupnpd
        }
        chain postrouting {
            type nat hook postrouting priority srcnat;
            jump postrouting_miniupnpd
            meta nfproto ipv4 oifname "wan" masquerade
        }
        chain miniupnpd { }
        chain prerouting_miniupnpd { }
        chain postrouting_miniupnpd { }
    }
"""
FORGET_MAPPINGS = """
    flush chain inet filter miniupnpd
    flush chain inet filter prerouting_miniupnpd
    flush chain inet filter postrouting_miniupnpd
"""
PCP_LOST = f"""
    table inet old_gateway {{
        chain input {{
            type filter hook input priority filter;
            udp dport {SERVER_PORT} @th,64,8 2 drop
        }}
    }}
"""
"""A gateway that ignores unknown protocol versions: PCP begins with a 2."""

LONG_ENOUGH = 20.0
"""An answer takes milliseconds; this is for a busy machine."""
QUIET = 60.0
"""If nothing is due for so many seconds, the mapper has its mapping or has given up."""

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("_namespaces")]


class Miniupnpd:
    """The server of a router; started, it listens."""

    def __init__(self, router: Namespace, directory: Path) -> None:
        configuration = directory / "miniupnpd.conf"
        configuration.write_text(CONFIGURATION)
        self._process = subprocess.Popen(
            router.command(
                MINIUPNPD, "-d", "-f", str(configuration), "-P", str(directory / "miniupnpd.pid")
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._said = ""
        self._listening = Event()
        self._reader = Thread(target=self._read)  # it must never wait for a reader
        self._reader.start()
        if not self._listening.wait(LONG_ENOUGH):
            self.stop()
            raise AssertionError(f"{MINIUPNPD} does not listen: {self._said}")

    def stop(self) -> None:
        """Cuts its power; may be repeated. (Asked to end, it sometimes takes half a minute.)"""
        with self._process:
            self._process.kill()
            self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said += line
            if LISTENING in line:
                self._listening.set()


class Home:
    """A network behind a router, and a server outside; a context manager."""

    def __init__(self, directory: Path) -> None:
        self.cleanup = ExitStack()
        self.speaks_pcp = True
        self._directory = directory
        self._miniupnpd: Miniupnpd | None = None

    def __enter__(self) -> Home:
        try:
            self._build()
        except BaseException:
            self.cleanup.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.cleanup.close()

    def start_miniupnpd(self) -> None:
        """Returns once it listens."""
        self._miniupnpd = Miniupnpd(self.router, self._directory)
        self.cleanup.callback(self._miniupnpd.stop)

    def restart_miniupnpd(self) -> None:
        """As the whole router would: no mapping survives."""
        assert self._miniupnpd is not None
        self._miniupnpd.stop()
        self.router.run("nft", "-f", "-", stdin=FORGET_MAPPINGS)
        self.start_miniupnpd()

    def udp_socket(self, namespace: Namespace, host: str, port: int = 0) -> socket.socket:
        """A socket of the test's own."""
        sock = namespace.udp_socket(host, port)
        self.cleanup.callback(sock.close)
        return sock

    def outside(self, family: int = 4) -> socket.socket:
        """A new socket of the server: to the router it is a stranger."""
        host = self.server.address4 if family == 4 else self.server.address6
        return self.udp_socket(self.server.namespace, host)

    def _build(self) -> None:
        internet, self.router = self._namespace("internet"), self._namespace("router")
        public = Segment(internet, "public", INTERNET4, INTERNET6)
        self.wan = public.join(self.router, "wan")
        self.server = public.join(self._namespace("server"))
        lan = Segment(self.router, "lan", LAN4, LAN6)
        self.host = lan.join(self._namespace("host"))
        self.neighbour = lan.join(self._namespace("neighbour"))
        internet.configure(f"route add {LAN6}::/64 via {self.wan.address6}")
        for namespace in (internet, self.router):
            namespace.sysctl("ipv4/ip_forward", 1)
            namespace.sysctl("ipv6/conf/all/forwarding", 1)
        self.router.run("nft", "-f", "-", stdin=ROUTER_RULES)

    def _namespace(self, label: str) -> Namespace:
        namespace = Namespace(label)
        self.cleanup.callback(namespace.delete)
        return namespace


class Client:
    """A mapper on a host's socket, whose clock the test can advance."""

    def __init__(self, home: Home, host: Host, nonce: bytes | None = None) -> None:
        self._skipped = 0.0
        self._sock = home.udp_socket(host.namespace, host.address4)
        self.said: list[str] = []
        """The names of what was sent."""
        self.mapper = PortMapper(
            Address(f"{LAN4}.1", SERVER_PORT),
            client=host.address4,
            internal_port=PORT,
            random=os.urandom,
            now=self.now,
            nonce=nonce,
        )

    @property
    def now(self) -> float:
        return time.monotonic() + self._skipped

    def mapped(self) -> Address:
        """The external address, once the gateway has told it."""
        return self._wait_for(Mapped).external

    def renew(self) -> None:
        """Half of the lease passes. Returns when the gateway has answered."""
        self._skipped += self.mapper.next_timer() - self.now
        self._step()
        deadline = time.monotonic() + LONG_ENOUGH
        while self.mapper.next_timer() < self.now + QUIET:
            assert time.monotonic() < deadline, "no answer"
            self._step()

    def release(self) -> None:
        """Ends the mapping; returns when the gateway has confirmed it, or is given up."""
        self.mapper.close(self.now)
        self._wait_for(Unmapped)

    def _wait_for(self, kind: type[E]) -> E:
        deadline = time.monotonic() + LONG_ENOUGH
        while not isinstance(event := self.mapper.next_event(), kind):
            assert event is None, event
            assert time.monotonic() < deadline, f"no {kind.__name__}"
            self._step()
        return event

    def _step(self) -> None:
        """What is due, then the next datagram, if it comes before the next timer."""
        if self.mapper.next_timer() <= self.now:
            self.mapper.handle_timer(self.now)
        for sent in self.mapper.datagrams_to_send():
            self.said.append(self.mapper.describe(sent.data).split()[0])
            self._sock.sendto(sent.data, sent.destination)
        wait = min(self.mapper.next_timer() - self.now, LONG_ENOUGH)
        self._sock.settimeout(max(wait, 0.001))
        try:
            data, source = self._sock.recvfrom(2048)
        except TimeoutError:
            return
        self.mapper.receive_datagram(data, Address(*source), self.now, VIA)


class Program:
    """`tests.lab.map_port` on a host."""

    def __init__(self, home: Home, host: Host) -> None:
        self._process = subprocess.Popen(
            host.namespace.command(sys.executable, "-m", "tests.lab.map_port", str(PORT)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        home.cleanup.callback(self._stop)

    def next_line(self) -> str:
        """Its next line; empty once it has ended, if need be by force."""
        assert self._process.stdout is not None
        watchdog = Timer(LONG_ENOUGH, self._process.kill)
        watchdog.start()
        try:
            return self._process.stdout.readline().rstrip()
        finally:
            watchdog.cancel()

    def end(self) -> int:
        """The exit code, once its input has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(LONG_ENOUGH)

    def _stop(self) -> None:
        with self._process:
            self._process.kill()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    if shutil.which(MINIUPNPD) is None:
        pytest.skip(f"needs {MINIUPNPD} (Debian's miniupnpd-nftables)")
    with Home(tmp_path) as home:
        home.start_miniupnpd()
        yield home


@pytest.fixture(params=["PCP", "NAT-PMP"])
def either(home: Home, request: pytest.FixtureRequest) -> Home:
    """A gateway that speaks PCP, and one that only speaks NAT-PMP."""
    home.speaks_pcp = request.param == "PCP"
    if not home.speaks_pcp:
        home.router.run("nft", "-f", "-", stdin=PCP_LOST)
    return home


def test_a_mapped_port_is_reached_until_it_is_released(either: Home) -> None:
    receiver = either.udp_socket(either.host.namespace, either.host.address4, PORT)
    client = Client(either, either.host)
    external = client.mapped()
    assert external == Address(either.wan.address4, PORT)
    passes(either.outside(), external, receiver)
    client.release()
    assert is_dropped(either.outside(), external, receiver)


def test_a_gateway_without_pcp_is_asked_in_nat_pmp(home: Home) -> None:
    home.router.run("nft", "-f", "-", stdin=PCP_LOST)
    client = Client(home, home.host)
    client.mapped()
    assert list(dict.fromkeys(client.said)) == ["PcpRequest", "AddressRequest", "PortRequest"]


def test_a_renewed_mapping_stays_as_it_is(either: Home) -> None:
    receiver = either.udp_socket(either.host.namespace, either.host.address4, PORT)
    client = Client(either, either.host)
    external = client.mapped()
    for _ in range(3):
        client.renew()
        passes(either.outside(), external, receiver)
    assert client.mapper.next_event() is None
    client.release()
    assert is_dropped(either.outside(), external, receiver)


def test_a_port_that_a_neighbour_has_is_mapped_from_another_one(either: Home) -> None:
    hosts = (either.neighbour, either.host)
    receivers = [either.udp_socket(host.namespace, host.address4, PORT) for host in hosts]
    neighbour, client = clients = [Client(either, host) for host in hosts]
    theirs, ours = (each.mapped() for each in clients)
    assert theirs == Address(either.wan.address4, PORT)
    assert ours != theirs
    client.renew()
    for external, receiver in zip((theirs, ours), receivers, strict=True):
        passes(either.outside(), external, receiver)
    client.release()
    assert is_dropped(either.outside(), ours, receivers[1])
    passes(either.outside(), theirs, receivers[0])
    neighbour.release()


def test_a_gateway_that_restarted_has_the_mapping_again_after_a_renewal(either: Home) -> None:
    receiver = either.udp_socket(either.host.namespace, either.host.address4, PORT)
    client = Client(either, either.host)
    external = client.mapped()
    either.restart_miniupnpd()
    assert is_dropped(either.outside(), external, receiver)
    client.renew()
    passes(either.outside(), external, receiver)


def test_what_a_killed_client_left_behind_is_taken_over(home: Home) -> None:
    receiver = home.udp_socket(home.host.namespace, home.host.address4, PORT)
    nonce = os.urandom(NONCE_LENGTH)
    left = Client(home, home.host, nonce).mapped()
    successor = Client(home, home.host, nonce)
    assert successor.mapped() == left
    passes(home.outside(), left, receiver)
    successor.release()
    assert is_dropped(home.outside(), left, receiver)


def test_both_families_are_mapped_by_their_default_gateways(home: Home) -> None:
    _use_link_local_gateway(home)
    receivers = {
        4: home.udp_socket(home.host.namespace, home.host.address4, PORT),
        6: home.udp_socket(home.host.namespace, home.host.address6, PORT),
    }
    program = Program(home, home.host)
    first, both = program.next_line().split()[1:], program.next_line().split()[1:]
    assert len(first) == 1
    externals = [parse_address(text) for text in both]
    assert externals == [
        Address(home.wan.address4, PORT),
        local_address(receivers[6]),  # a hole in the firewall, not another address
    ]
    for external in externals:
        passes(home.outside(external.family), external, receivers[external.family])
    assert program.end() == 0
    for external in externals:
        assert is_dropped(home.outside(external.family), external, receivers[external.family])


def test_a_gateway_without_server_is_given_up_within_its_budget(tmp_path: Path) -> None:
    with Home(tmp_path) as home:
        began = time.monotonic()
        program = Program(home, home.host)
        lines = sorted(program.next_line() for _ in range(2))
        assert time.monotonic() - began < LONG_ENOUGH
        assert [line.startswith("lost the gateway ") for line in lines] == [True, True]
        assert program.end() == 0


def _use_link_local_gateway(home: Home) -> None:
    """As router advertisements set it."""
    shown = home.router.run("ip", "-6", "-o", "address", "show", "dev", "lan", "scope", "link")
    link_local = shown.split()[3].partition("/")[0]
    home.host.namespace.configure(f"route replace default via {link_local} dev eth0")


def test_what_a_gateway_offers_is_known_without_a_mapping(either: Home) -> None:
    sock = either.udp_socket(either.host.namespace, either.host.address4)
    sock.settimeout(0.1)
    done = Event()
    inquiry = GatewayInquiry(
        Address(f"{LAN4}.1", SERVER_PORT),
        either.host.address4,
        now=time.monotonic(),
        on_done=done.set,
    )
    while not done.is_set():
        inquiry.handle_timer(time.monotonic())
        for sent in inquiry.datagrams_to_send():
            sock.sendto(sent.data, sent.destination)
        with suppress(TimeoutError):
            data, source = sock.recvfrom(2048)
            inquiry.receive_datagram(data, Address(*source), time.monotonic(), VIA)
    assert inquiry.pcp is (True if either.speaks_pcp else None)
    assert inquiry.nat_pmp
    assert inquiry.external == either.wan.address4
    assert "dnat" not in either.router.run("nft", "list", "ruleset")
