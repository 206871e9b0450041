"""A tunnel that takes the host's default route: the datagrams that carry it must stay out of it.

The tunnel is a tun device that nobody reads: what is sent into it is lost. Its routes are those
that wg-quick makes for `AllowedIPs = 0.0.0.0/0`, or those of OpenVPN's `redirect-gateway def1`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netpunch.address import Address
from tests.lab.namespace import Namespace
from tests.lab.network import HOME_ROUTER, Host, Lab, Nat, Ports
from tests.lab.program import NETPUNCH, REPOSITORY, Program, write_key

pytestmark = pytest.mark.lab

MARK = 51820
CONTROL_PORT = 10001
CHECK_SECONDS = 20
HELD_SECONDS = 6.0
"""Twice as long as a link is held without an answer."""
GATEWAY_PORT = 5351
"""Where PCP and NAT-PMP are asked."""

SITE = """
version: 1
control: {{node: vps, address: "{control}"}}
defaults: {{mode: keep, keepalive: 1s, hold_for: 3s, retry_after: 1s, deadline: 20s}}
pairs:
  p:
    secret_file: p.key
    a: {{node: home, local: ":5000", {home}}}
    b: {{node: office, local: ":5000", {office}}}
"""

TUNNEL = (
    "tuntap add dev tun0 mode tun",
    "link set tun0 up",
    "address add 10.9.0.1/24 dev tun0",
)
BY_MARK = (
    f"route add default dev tun0 table {MARK}",
    f"rule add not fwmark {MARK} table {MARK}",
    "rule add table main suppress_prefixlength 0",
)
BY_HALVES = ("route add 0.0.0.0/1 dev tun0", "route add 128.0.0.0/1 dev tun0")

WATCH = f"""
    table inet watch {{
        counter unmarked {{ }}
        counter marked {{ }}
        counter to_gateway {{ }}
        chain output {{
            type filter hook output priority filter;
            oifname "lo" accept
            meta l4proto udp meta mark != {MARK} counter name unmarked
            meta l4proto udp meta mark {MARK} counter name marked
            udp dport {GATEWAY_PORT} counter name to_gateway
        }}
    }}
"""


class Tunnelled:
    """A control, and two hosts behind routers; home's default route leads into its tunnel."""

    def __init__(self, folder: Path, lab: Lab, cleanup: ExitStack, nat: Nat) -> None:
        self._folder = folder
        self._cleanup = cleanup
        self.vps = lab.server("vps")
        self.router = lab.router("home_router", nat)
        self.home = lab.host("home", self.router)
        self.office = lab.host("office", lab.router("office_router"))

    def write(self, home: str = "", office: str = "") -> None:
        """The site, with these settings of the ends."""
        control = str(Address(self.vps.address, CONTROL_PORT))
        text = SITE.format(control=control, home=home, office=office)
        (self._folder / "site.yaml").write_text(text)
        write_key(self._folder / "p.key")

    def start(self, host: Host, node: str) -> Program:
        program = Program(host.namespace, self._folder / "site.yaml", node)
        self._cleanup.callback(program.close)
        return program

    def start_all(self) -> tuple[Program, Program]:
        self.start(self.vps, "vps").wait_for("control.ready")
        return self.start(self.home, "home"), self.start(self.office, "office")

    def check(self) -> str:
        """What `netpunch check` says at home on standard error; it passes."""
        argv = [*NETPUNCH, "check", str(self._folder / "site.yaml"), "--node", "home"]
        done = subprocess.run(
            self.home.namespace.command(*argv),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
            check=True,
        )
        return done.stderr


@pytest.fixture(params=[HOME_ROUTER])
def tunnelled(lab: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Tunnelled]:
    with ExitStack() as cleanup:
        yield Tunnelled(tmp_path, lab, cleanup, request.param)


def packets(namespace: Namespace, counter: str) -> int:
    words = namespace.run("nft", "list", "counter", "inet", "watch", counter).split()
    return int(words[words.index("packets") + 1])


def assert_all_marked(namespace: Namespace) -> None:
    assert packets(namespace, "unmarked") == 0
    assert packets(namespace, "marked") > 0


@pytest.mark.parametrize("tunnelled", [Nat(ports=Ports.SEQUENTIAL)], indirect=True, ids=["hard"])
def test_every_datagram_of_an_end_is_marked(tunnelled: Tunnelled) -> None:
    """Those to controls, to a partner from fresh ports and those that ask the gateway, too."""
    tunnelled.home.namespace.configure(*TUNNEL, *BY_MARK)
    tunnelled.home.namespace.run("nft", "-f", "-", stdin=WATCH)
    tunnelled.write(f"mark: {MARK}, candidates: [observed, host, any-port, mapped]")
    for end in tunnelled.start_all():
        end.wait_for("pair.up")
    assert_all_marked(tunnelled.home.namespace)
    assert packets(tunnelled.home.namespace, "to_gateway") > 0


def test_an_end_on_standby_is_marked(tunnelled: Tunnelled) -> None:
    tunnelled.home.namespace.configure(*TUNNEL, *BY_MARK)
    tunnelled.home.namespace.run("nft", "-f", "-", stdin=WATCH)
    command = 'command: [sleep, "100"]'
    tunnelled.write(f"mark: {MARK}, {command}", command)
    home, office = tunnelled.start_all()
    for end in (home, office):
        end.wait_for("pair.up")
    office.terminate()
    tunnelled.start(tunnelled.office, "office").wait_for("pair.up")
    assert home.wait_for("pair.down")["reason"] == "partner_returned"
    assert_all_marked(tunnelled.home.namespace)


def test_an_end_keeps_to_its_interface(tunnelled: Tunnelled) -> None:
    tunnelled.home.namespace.configure(*TUNNEL, *BY_HALVES)
    tunnelled.write("interface: eth0")
    for end in tunnelled.start_all():
        end.wait_for("pair.up")
    assert "tunnel" not in tunnelled.check()


@pytest.mark.parametrize("routes", [BY_MARK, BY_HALVES], ids=["by-mark", "by-halves"])
def test_the_tunnel_that_takes_the_route_to_control_is_named(
    tunnelled: Tunnelled, routes: tuple[str, ...]
) -> None:
    tunnelled.home.namespace.configure(*TUNNEL, *routes)
    tunnelled.write()
    home, _ = tunnelled.start_all()
    told = f"the route to {Address(tunnelled.vps.address, CONTROL_PORT)} leads into the tunnel tun0"
    assert told in home.wait_for("pair.waiting")["err"]
    assert told in tunnelled.check()


def test_a_tunnel_that_takes_only_the_way_to_the_partner_is_named(tunnelled: Tunnelled) -> None:
    tunnelled.home.namespace.configure(*TUNNEL, "route add 203.0.113.0/24 dev tun0")
    tunnelled.write("deadline: 2s")
    home, _ = tunnelled.start_all()
    failed = home.wait_for("pair.failed")
    assert "leads into the tunnel tun0" in failed["err"]
    assert "the route to 203.0.113." in failed["err"]


def test_a_tunnel_that_takes_the_default_route_leaves_a_held_link_alone(
    tunnelled: Tunnelled,
) -> None:
    """The link keeps to its interface. Once nothing comes by that any more, it is lost, as every
    other way leads into the tunnel."""
    tunnelled.write()
    home, office = tunnelled.start_all()
    for end in (home, office):
        end.wait_for("pair.up")
    tunnelled.home.namespace.configure(*TUNNEL, *BY_MARK)
    assert home.keeps_from("pair.down", HELD_SECONDS)

    tunnelled.router.namespace.configure("link set lan down")
    assert "leads into the tunnel tun0" in home.wait_for("pair.down")["err"]
