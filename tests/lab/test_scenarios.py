"""Whole links through real NAT: control and both ends as processes, each on a host of its own.

Every hole is verified from outside: when the ends have gone, plain sockets on the reported local
ports exchange nonces by the reported addresses.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from netpunch.address import Address
from tests.lab.datagrams import passes
from tests.lab.network import HOME_ROUTER, Host, Lab, Nat, Ports, Router
from tests.lab.program import REPOSITORY, Program, Record, remote_of, write_key
from tests.lab.tun_network import missing_for_tun

pytestmark = pytest.mark.lab

CONTROL_PORT = 10001
ANSWERING_ROUTER = Nat(input_drop=False)
UPLINK_SECONDS = 0.02
"""The latency of a common uplink. Without any, chance decides which datagram arrives first."""
LATE_SECONDS = 5.0
"""How much later the second end starts, in one scenario."""

SITE = """
version: 1
control: {{node: vps, address: "{control}"}}
pairs:
  home-office:
    {protocol}
    secret_file: home-office.key
    deadline: {deadline}
    a: {{node: home, local: ":5000"}}
    b: {{node: office, local: ":5000"}}
"""
PROTOCOLS = {"v2": "protocol: v2", "classic": "protocol: classic\n    slots: a-b"}


class Site:
    """A control and the two ends of one pair, each on its host."""

    def __init__(self, directory: Path, programs: ExitStack) -> None:
        self.directory = directory
        self._programs = programs
        self._hosts: dict[str, Host] = {}

    def place(
        self, vps: Host, home: Host, office: Host, *, protocol: str = "v2", deadline: str = "30s"
    ) -> None:
        """Write the site file, which serves every host, and the pair's key."""
        self._hosts = {"vps": vps, "home": home, "office": office}
        control = str(Address(vps.address, CONTROL_PORT))
        text = SITE.format(control=control, protocol=PROTOCOLS[protocol], deadline=deadline)
        (self.directory / "site.yaml").write_text(text)
        write_key(self.directory / "home-office.key")

    def start(self, node: str) -> Program:
        program = Program(self._hosts[node].namespace, self.directory / "site.yaml", node)
        self._programs.callback(program.close)
        return program

    def start_control(self) -> Program:
        control = self.start("vps")
        control.wait_for("control.ready")
        return control

    def assert_linked(self, home: Program, office: Program, path: str) -> None:
        """Both ends report this path and end well, and its hole is open."""
        links = home.wait_for("pair.up"), office.wait_for("pair.up")
        assert [link["path"] for link in links] == [path, path]
        assert (home.wait_exit(), office.wait_exit()) == (0, 0)
        self._assert_open(*links)

    def _assert_open(self, home: Record, office: Record) -> None:
        with (
            self._hosts["home"].namespace.udp_socket(home["lhost"], home["lport"]) as at_home,
            self._hosts["office"].namespace.udp_socket(
                office["lhost"], office["lport"]
            ) as in_office,
        ):
            assert passes(at_home, remote_of(home), in_office) == remote_of(office)
            assert passes(in_office, remote_of(office), at_home) == remote_of(home)


def behind_router(lab: Lab, label: str, nat: Nat = HOME_ROUTER) -> Host:
    """A host behind a router of its own, with a common uplink."""
    return lab.host(label, lab.router(f"{label}_router", nat, latency=UPLINK_SECONDS))


def home_and_office(lab: Lab, nat: Nat = HOME_ROUTER) -> tuple[Host, Host]:
    """Two hosts, each behind a router of this kind."""
    return behind_router(lab, "home", nat), behind_router(lab, "office", nat)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as programs:
        yield Site(tmp_path, programs)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_ends_behind_home_routers_link(lab: Lab, site: Site, protocol: str) -> None:
    site.place(lab.server("vps"), *home_and_office(lab), protocol=protocol)
    control = site.start_control()
    site.assert_linked(site.start("home"), site.start("office"), "observed")
    assert control.terminate() == 0


def test_neighbours_link_on_their_lan(lab: Lab, site: Site) -> None:
    router = lab.router("router", latency=UPLINK_SECONDS)
    site.place(lab.server("vps"), lab.host("home", router), lab.host("office", router))
    site.start_control()
    site.assert_linked(site.start("home"), site.start("office"), "host")


def test_bridges_of_containers_leave_room_for_ipv6(dual_lab: Lab, site: Site) -> None:
    """No other path can link these two."""
    home, office = home_and_office(dual_lab, Nat(Ports.RANDOM))
    for host in (home, office):
        for number in range(7):
            host.namespace.configure(
                f"link add br{number} type bridge",
                f"address add 172.{17 + number}.0.1/16 dev br{number}",
                f"link set br{number} up",
            )
    site.place(dual_lab.server("vps"), home, office)
    site.start_control()
    site.assert_linked(site.start("home"), site.start("office"), "ipv6")


def test_a_public_end_and_one_behind_a_router_link(lab: Lab, site: Site) -> None:
    site.place(lab.server("vps"), behind_router(lab, "home"), lab.server("office"))
    site.start_control()
    site.assert_linked(site.start("home"), site.start("office"), "host")


@pytest.mark.parametrize("internet", ["ipv6_lab", "dual_lab"])
def test_ends_behind_ipv6_firewalls_link(
    internet: str, site: Site, request: pytest.FixtureRequest
) -> None:
    lab: Lab = request.getfixturevalue(internet)
    site.place(lab.server("vps"), *home_and_office(lab))
    site.start_control()
    site.assert_linked(site.start("home"), site.start("office"), "ipv6")


@pytest.mark.skipif(bool(missing_for_tun()), reason=f"needs {missing_for_tun()}")
@pytest.mark.parametrize("prefix", ["64:ff9b::", "2001:db8:64:64::"])
def test_an_ipv6_only_host_links_through_nat64(lab: Lab, site: Site, prefix: str) -> None:
    """Its partner and control have IPv4 only, and it knows control by its IPv4 address."""
    router = lab.router("home_router", latency=UPLINK_SECONDS)
    home = ipv6_only(lab.host("home", router), router)
    site.place(lab.server("vps"), home, behind_router(lab, "office"))
    site.start_control()
    with translating(router, prefix), home.namespace.hosts_file(f"{prefix}c000:aa ipv4only.arpa"):
        site.assert_linked(site.start("home"), site.start("office"), "observed")


def ipv6_only(host: Host, router: Router) -> Host:
    """The host without its IPv4 address, but with an IPv6 one."""
    router.namespace.configure("address add 2001:db8:1::1/64 dev lan")
    host.namespace.configure(
        f"address del {host.address4}/24 dev eth0",
        "address add 2001:db8:1::10/64 dev eth0",
        "route add default via 2001:db8:1::1",
    )
    return Host(host.namespace, "", "2001:db8:1::10")


@contextmanager
def translating(router: Router, prefix: str) -> Iterator[None]:
    """NAT64 on a router. What it translates goes on through the router's own NAT."""
    argv = (sys.executable, "-m", "tests.lab.nat64", "192.168.64.1", prefix)
    process = subprocess.Popen(
        router.namespace.command(*argv), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.communicate()


def test_an_end_behind_two_routers_links(lab: Lab, site: Site) -> None:
    carrier = lab.router("carrier", latency=UPLINK_SECONDS)
    home = lab.host("home", lab.router("home_router", behind=carrier))
    site.place(lab.server("vps"), home, behind_router(lab, "office"))
    site.start_control()
    site.assert_linked(site.start("home"), site.start("office"), "observed")


def test_ends_link_when_the_second_starts_late(lab: Lab, site: Site) -> None:
    site.place(lab.server("vps"), *home_and_office(lab))
    site.start_control()
    early = site.start("home")
    assert early.keeps_from("pair.up", LATE_SECONDS)
    early.wait_for("pair.waiting")
    site.assert_linked(early, site.start("office"), "observed")


def test_ends_link_through_routers_that_answer_datagrams_themselves(lab: Lab, site: Site) -> None:
    """An early datagram would take the port (see test_nat_behaviour): they cross in flight."""
    site.place(lab.server("vps"), *home_and_office(lab, ANSWERING_ROUTER))
    site.start_control()
    site.assert_linked(site.start("home"), site.start("office"), "observed")


def test_a_hard_nat_reaches_a_dmz_host(lab: Lab, site: Site) -> None:
    home = behind_router(lab, "home", Nat(Ports.RANDOM))
    site.place(lab.server("vps"), home, behind_router(lab, "office", Nat(dmz=True)))
    site.start_control()
    site.assert_linked(site.start("home"), site.start("office"), "observed")


@pytest.mark.parametrize(
    ("home_nat", "exit_code"), [(Nat(udp_blocked=True), 69), (HOME_ROUTER, 75)]
)
def test_an_end_alone_gives_up_at_its_deadline(
    lab: Lab, site: Site, home_nat: Nat, exit_code: int
) -> None:
    home = behind_router(lab, "home", home_nat)
    site.place(lab.server("vps"), home, lab.server("office"), deadline="3s")
    site.start_control()
    lonely = site.start("home")
    lonely.wait_for("pair.failed")
    assert lonely.wait_exit() == exit_code
