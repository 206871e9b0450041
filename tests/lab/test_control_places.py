"""Controls that don't see the world's addresses: in an end's network, on its host, in a container.

Each host has a site file of its own, as each reaches control at another address.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netpunch.address import Address
from tests.lab.datagrams import passes
from tests.lab.network import Host, Lab, Router
from tests.lab.program import Program, remote_of, write_key
from tests.lab.test_scenarios import CONTROL_PORT, UPLINK_SECONDS, behind_router

pytestmark = pytest.mark.lab

SITE = """
version: 1
control: {{node: vps, address: "{control}:10001", listen: ":10001"{more}}}
pairs:
  home-office:
    secret_file: home-office.key
    deadline: {deadline}
    a: {{node: home, local: ":5000"}}
    b: {{node: office, local: ":5000"}}
"""


class Sites:
    """Programs with one key and a site file each."""

    def __init__(self, directory: Path, programs: ExitStack) -> None:
        self._directory = directory
        self._programs = programs
        write_key(directory / "home-office.key")

    def start(
        self, node: str, host: Host, control: str, *, deadline: str = "30s", more: str = ""
    ) -> Program:
        site = self._directory / f"{node}.yaml"
        site.write_text(SITE.format(control=control, deadline=deadline, more=more))
        program = Program(host.namespace, site, node)
        self._programs.callback(program.close)
        if node == "vps":
            program.wait_for("control.ready")
        return program


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    with ExitStack() as programs:
        yield Sites(tmp_path, programs)


def forward_control(router: Router, control: Host, *, hides_senders: bool = False) -> None:
    """The router forwards both ports of control to a host behind it."""
    ports = f"{{ {CONTROL_PORT}, {CONTROL_PORT + 1} }}"
    rules = f'add rule ip nat prerouting iifname "wan" udp dport {ports} dnat to {control.address}'
    if hides_senders:
        rules += '\nadd rule ip nat postrouting oifname "lan" masquerade fully-random'
    router.namespace.run("nft", "-f", "-", stdin=rules)


def assert_linked(home: Program, at_home: Host, office: Program, in_office: Host) -> None:
    links = home.wait_for("pair.up"), office.wait_for("pair.up")
    assert (home.wait_exit(), office.wait_exit()) == (0, 0)
    with (
        at_home.namespace.udp_socket(links[0]["lhost"], links[0]["lport"]) as here,
        in_office.namespace.udp_socket(links[1]["lhost"], links[1]["lport"]) as there,
    ):
        assert passes(here, remote_of(links[0]), there) == remote_of(links[1])


@pytest.mark.parametrize("told", [False, True], ids=["by its address", "by `public`"])
def test_ends_link_when_control_is_in_the_network_of_one(
    lab: Lab, sites: Sites, told: bool
) -> None:
    router = lab.router("home_router", latency=UPLINK_SECONDS)
    at_home, control = lab.host("home", router), lab.host("vps", router)
    in_office = behind_router(lab, "office")
    forward_control(router, control)
    public = router.wan.address
    own = control.address if told else public
    vps = sites.start("vps", control, own, more=f", public: {public}" if told else "")
    home = sites.start("home", at_home, control.address)
    office = sites.start("office", in_office, public)
    assert_linked(home, at_home, office, in_office)
    seen = vps.wait_for("control.end_inside")
    assert (seen["rhost"], seen["public"], seen["from_gateway"]) == (
        at_home.address,
        public,
        False,
    )


def test_ends_link_when_controls_name_means_loopback_on_its_host(lab: Lab, sites: Sites) -> None:
    """As in Debian's /etc/hosts, where the machine's own name is 127.0.1.1."""
    server, in_office = lab.server("vps"), behind_router(lab, "office")
    sites.start("vps", server, "127.0.1.1")
    home = sites.start("home", server, "127.0.1.1")
    office = sites.start("office", in_office, server.address)
    assert office.wait_for("pair.introduced")["raddr"] == str(Address(server.address, 5000))
    assert_linked(home, server, office, in_office)


def test_ends_distrust_a_control_whose_container_hides_the_senders(lab: Lab, sites: Sites) -> None:
    vps_host = lab.router("vps_host", latency=UPLINK_SECONDS)
    container = lab.host("vps", vps_host)
    forward_control(vps_host, container, hides_senders=True)
    public, gateway = vps_host.wan.address, vps_host.lan.address4(1)
    vps = sites.start("vps", container, public)
    ends = [
        sites.start(node, behind_router(lab, node), public, deadline="6s")
        for node in ("home", "office")
    ]
    assert vps.wait_for("control.end_inside")["from_gateway"] is True
    for end in ends:
        assert end.wait_for("pair.seen_inside")["observed"].startswith(f"{gateway}:")
        failed = end.wait_for("pair.failed")
        assert (failed["reason"], failed["nat"]) == ("blocked", "unknown")
        assert "private address" in failed["err"]
