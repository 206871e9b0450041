"""A held link's path survives own addresses that come and go, and packets that are too long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netpunch.address import Address
from tests.lab.datagrams import ARRIVAL_SECONDS, receive
from tests.lab.network import Host, Lab
from tests.lab.program import Program, write_key

pytestmark = pytest.mark.lab

CONTROL_PORT = 10001
LOST_SECONDS = 5.0
"""With a keepalive each half second, a link without answers moves in less than three."""
ETHERNET = 1472
"""Bytes of the longest datagram that IPv4 carries in one packet of Ethernet."""
IP_MTU_DISCOVER, PMTUDISC_DONT = 10, 0

SITE = """
version: 1
control: {{node: vps, address: "{control}"}}
defaults: {{mode: keep, keepalive: 500ms, retry_after: 1s, {defaults}}}
pairs:
  p:
    secret_file: p.key
    a: {{node: home, local: "{home}"}}
    b: {{node: office, local: ":5000"}}
"""
FORWARD = 'forward: {listen: "127.0.0.1:51821", to: "127.0.0.1:51820"}'

NO_ICMP = """
    table ip blackhole {
        chain output {
            type filter hook output priority filter;
            icmp type destination-unreachable drop
        }
    }
"""


class Linked:
    """Two hosts behind routers of their own, linked by the real program."""

    def __init__(
        self,
        folder: Path,
        lab: Lab,
        cleanup: ExitStack,
        defaults: str = "",
        *,
        bound: bool = False,
    ) -> None:
        """`bound`: home's end is bound to the host's address."""
        self._site = folder / "site.yaml"
        self._cleanup = cleanup
        self.routers = {name: lab.router(f"{name}_router") for name in ("home", "office")}
        self.hosts = {name: lab.host(name, router) for name, router in self.routers.items()}
        vps = lab.server("vps")
        control = str(Address(vps.address, CONTROL_PORT))
        home = Address(self.hosts["home"].address, 5000) if bound else ":5000"
        self._site.write_text(SITE.format(control=control, defaults=defaults, home=home))
        write_key(folder / "p.key")
        self._start(vps, "vps").wait_for("control.ready")
        self.ends = {name: self._start(host, name) for name, host in self.hosts.items()}
        self.links = {name: end.wait_for("pair.up") for name, end in self.ends.items()}

    def _start(self, host: Host, node: str) -> Program:
        program = Program(host.namespace, self._site, node)
        self._cleanup.callback(program.close)
        return program


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as cleanup:
        yield cleanup


def test_a_fresh_address_of_ipv6_does_not_move_a_link(
    ipv6_lab: Lab, tmp_path: Path, cleanup: ExitStack
) -> None:
    """As with temporary addresses: a new one each day, the old ones valid for another week."""
    linked = Linked(tmp_path, ipv6_lab, cleanup)
    home, old = linked.hosts["home"].namespace, linked.hosts["home"].address6
    fresh = old.rpartition(":")[0] + ":f00d"
    home.configure(
        f"address add {fresh}/64 dev eth0", f"address change {old}/64 dev eth0 preferred_lft 0"
    )
    assert f"src {fresh}" in home.run("ip", "route", "get", linked.links["home"]["rhost"])
    assert linked.ends["home"].keeps_from("pair.moved", LOST_SECONDS)

    home.configure(f"address delete {old}/64 dev eth0")
    linked.ends["home"].wait_for("pair.moved")


def test_another_preferred_address_does_not_move_a_link(
    lab: Lab, tmp_path: Path, cleanup: ExitStack
) -> None:
    linked = Linked(tmp_path, lab, cleanup)
    home, old = linked.hosts["home"].namespace, linked.hosts["home"].address4
    network = old.rpartition(".")[0]
    home.configure(
        f"address add {network}.77/24 dev eth0",
        f"route replace default via {network}.1 src {network}.77",
    )
    assert f"src {network}.77" in home.run("ip", "route", "get", linked.links["home"]["rhost"])
    assert linked.ends["home"].keeps_from("pair.moved", LOST_SECONDS)

    home.configure(
        f"address delete {old}/24 dev eth0",
        f"address replace {network}.77/24 dev eth0",
        f"route replace default via {network}.1",
    )
    linked.ends["home"].wait_for("pair.moved")


@pytest.mark.parametrize("family", ["lab", "ipv6_lab"])
def test_another_uplink_that_is_preferred_interrupts_no_link(
    family: str, request: pytest.FixtureRequest, tmp_path: Path, cleanup: ExitStack
) -> None:
    """As when a cable is plugged in beside a WLAN. In IPv6 the system leaves the old uplink, and
    the link moves; when the cable is pulled out it goes back."""
    lab: Lab = request.getfixturevalue(family)
    router = lab.router("cable_router")
    linked = Linked(tmp_path, lab, cleanup)
    home, ipv4 = linked.hosts["home"].namespace, family == "lab"
    lans = (linked.routers["home"].lan, router.lan)
    old, new = (lan.address4(1) or lan.address6(1) for lan in lans)
    home.configure(f"route replace default via {old} dev eth0 metric 600")
    if ipv4:
        home.configure(f"route delete default via {old} dev eth0 metric 0")
    host = router.lan.plug(home, "eth1")
    home.configure(
        "link set eth1 up",
        f"address add {host.address}/{24 if ipv4 else 64} dev eth1",
        f"route add default via {new} dev eth1 metric 100",
    )
    if not ipv4:
        linked.ends["home"].wait_for("pair.moved")
    assert linked.ends["home"].keeps_from("pair.down", LOST_SECONDS)
    home.configure("link delete eth1")
    if ipv4:
        assert linked.ends["home"].keeps_from("pair.moved", LOST_SECONDS)
    assert linked.ends["home"].keeps_from("pair.down", LOST_SECONDS)


def test_a_link_moves_to_the_interface_that_gets_the_name_of_its_own(
    lab: Lab, tmp_path: Path, cleanup: ExitStack
) -> None:
    """As with modems: each connection is another interface."""
    linked = Linked(tmp_path, lab, cleanup, 'interface: "eth0"')
    home, lan = linked.hosts["home"].namespace, linked.routers["home"].lan
    home.configure("link delete eth0")
    host = lan.plug(home, "eth0")
    home.configure(
        "link set eth0 up",
        f"address add {host.address4}/24 dev eth0",
        *lan.default_routes(),
    )
    for end in linked.ends.values():
        end.wait_for("pair.moved")
        assert end.keeps_from("pair.down", 0)


def test_a_link_of_one_address_works_again_when_that_is_back(
    lab: Lab, tmp_path: Path, cleanup: ExitStack
) -> None:
    """It cannot move: its socket has that address."""
    linked = Linked(tmp_path, lab, cleanup, FORWARD, bound=True)
    home, lan = linked.hosts["home"], linked.routers["home"].lan
    office = linked.hosts["office"].namespace
    with (
        home.namespace.udp_socket("127.0.0.1", 0) as sender,
        office.udp_socket("127.0.0.1", 51820) as to,
    ):
        home.namespace.configure(f"address delete {home.address4}/24 dev eth0")
        sender.sendto(b"lost", ("127.0.0.1", 51821))
        assert linked.ends["home"].keeps_from("pair.down", LOST_SECONDS)
        home.namespace.configure(f"address add {home.address4}/24 dev eth0", *lan.default_routes())
        for _ in range(50):
            sender.sendto(b"again", ("127.0.0.1", 51821))
            if receive(to, b"again", 0.1):
                break
        else:
            raise AssertionError("nothing arrives")
    assert linked.ends["home"].keeps_from("pair.down", 0)


def test_long_datagrams_pass_where_the_path_tells_nothing_of_its_limit(
    lab: Lab, tmp_path: Path, cleanup: ExitStack
) -> None:
    """A router that may not say "fragmentation needed" loses what must not be fragmented."""
    linked = Linked(tmp_path, lab, cleanup, FORWARD)
    router = linked.routers["office"].namespace
    router.configure("link set lan mtu 1300")
    router.run("nft", "-f", "-", stdin=NO_ICMP)
    home, office = (linked.hosts[name].namespace for name in ("home", "office"))
    with home.udp_socket("127.0.0.1", 0) as sender, office.udp_socket("127.0.0.1", 51820) as to:
        sender.setsockopt(0, IP_MTU_DISCOVER, PMTUDISC_DONT)
        for size in (200, ETHERNET):
            sender.sendto(bytes(size), ("127.0.0.1", 51821))
            assert receive(to, bytes(size), ARRIVAL_SECONDS)
