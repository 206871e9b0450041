"""Ends in networks that block UDP: linked over TLS and a relay, and directly once UDP passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netpunch.address import Address
from tests.lab.datagrams import receive
from tests.lab.network import Host, Lab, Nat, Ports, Router
from tests.lab.program import Program, Record, write_key
from tests.lab.traffic import FORWARD, LISTEN, TO

pytestmark = pytest.mark.lab

CONTROL_PORT, RELAY_PORT, TLS_PORT = 10001, 10003, 443
WITHIN = 6.0
"""Seconds until a pair is linked whose UDP is blocked."""
BACK_WITHIN = 20.0
"""Seconds until a link is direct again: a silent control is asked on UDP every 15 s."""
ECHO_SECONDS = 2.0
BLOCKS_UDP = Nat(udp_blocked=True)

SITE = """
version: 1
control: {{node: vps, address: "{control}", relay: ":10003", tls: ":443"}}
defaults: {{secret_file: p.key, {defaults}}}
pairs:
  p: {{a: {{node: home}}, b: {{node: office}}}}
"""


class Pair:
    """Control and two ends behind routers of their own, by the real program."""

    def __init__(
        self, folder: Path, lab: Lab, cleanup: ExitStack, home: Nat, office: Nat, defaults: str
    ) -> None:
        self._site = folder / "site.yaml"
        self._cleanup = cleanup
        self.routers = {
            "home": lab.router("home_router", home),
            "office": lab.router("office_router", office),
        }
        self.blocking = [
            router
            for router, nat in zip(self.routers.values(), (home, office), strict=True)
            if nat.udp_blocked
        ]
        self.hosts = {name: lab.host(name, router) for name, router in self.routers.items()}
        self._vps = lab.server("vps")
        control = str(Address(self._vps.address, CONTROL_PORT))
        self._site.write_text(SITE.format(control=control, defaults=defaults))
        write_key(folder / "p.key")
        self.start(self._vps, "vps").wait_for("control.ready")
        self.ends = {name: self.start(host, name) for name, host in self.hosts.items()}

    def start(self, host: Host, node: str) -> Program:
        program = Program(host.namespace, self._site, node)
        self._cleanup.callback(program.close)
        return program

    def all_tell(self, event: str, seconds: float) -> list[Record]:
        return [end.wait_for(event, seconds) for end in self.ends.values()]

    def echoes(self) -> bool:
        """Whether a program's datagram passes there and back."""
        home, office = (self.hosts[name].namespace for name in ("home", "office"))
        with home.udp_socket(*TO) as here, office.udp_socket(*TO) as there:
            here.sendto(b"ping", LISTEN)
            if receive(there, b"ping", ECHO_SECONDS) is None:
                return False
            there.sendto(b"pong", LISTEN)
            return receive(here, b"pong", ECHO_SECONDS) is not None


def allow_udp(router: Router) -> None:
    """Takes the rule away that drops all UDP."""
    rules = router.namespace.run("nft", "-a", "list", "chain", "inet", "filter", "forward")
    (rule,) = (line for line in rules.splitlines() if "l4proto udp drop" in line)
    handle = rule.rpartition("handle ")[2]
    router.namespace.run("nft", "delete", "rule", "inet", "filter", "forward", "handle", handle)


def block_udp(router: Router) -> None:
    rule = "meta l4proto udp drop"
    router.namespace.run("nft", "insert", "rule", "inet", "filter", "forward", *rule.split())


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as cleanup:
        yield cleanup


@pytest.mark.parametrize("office", [Nat(), BLOCKS_UDP], ids=["one end", "both ends"])
def test_a_pair_without_udp_is_linked_over_tls_and_directly_once_udp_passes(
    lab: Lab, tmp_path: Path, cleanup: ExitStack, office: Nat
) -> None:
    pair = Pair(tmp_path, lab, cleanup, BLOCKS_UDP, office, f"mode: keep, {FORWARD}")
    ups = pair.all_tell("pair.up", 2 * WITHIN)
    assert [up["path"] for up in ups] == ["relay", "relay"]
    assert max(up["duration_s"] for up in ups) <= WITHIN
    assert ups[0]["rport"] == TLS_PORT
    assert pair.echoes()
    for router in pair.blocking:
        allow_udp(router)
    moves = pair.all_tell("pair.moved", BACK_WITHIN)
    assert [move["path"] for move in moves] == ["observed", "observed"]
    assert pair.echoes()


def test_a_link_that_only_a_relay_can_carry_returns_to_it_on_udp(
    lab: Lab, tmp_path: Path, cleanup: ExitStack
) -> None:
    """Its partner notices nothing."""
    pair = Pair(
        tmp_path,
        lab,
        cleanup,
        dataclasses.replace(BLOCKS_UDP, ports=Ports.RANDOM),
        Nat(ports=Ports.RANDOM),
        f"mode: keep, {FORWARD}",
    )
    ups = pair.all_tell("pair.up", 2 * WITHIN)
    assert [up["rport"] for up in ups] == [TLS_PORT, RELAY_PORT]
    allow_udp(pair.routers["home"])
    moved = pair.ends["home"].wait_for("pair.moved", BACK_WITHIN)
    assert (moved["path"], moved["rport"]) == ("relay", RELAY_PORT)
    assert pair.echoes()
    assert pair.ends["office"].keeps_from("pair.moved", 0.5)


def test_a_held_link_moves_to_tls_when_its_network_begins_to_block_udp(
    lab: Lab, tmp_path: Path, cleanup: ExitStack
) -> None:
    pair = Pair(tmp_path, lab, cleanup, Nat(), Nat(), f"mode: keep, keepalive: 2s, {FORWARD}")
    pair.all_tell("pair.up", WITHIN)
    block_udp(pair.routers["home"])
    moves = pair.all_tell("pair.moved", BACK_WITHIN)
    assert [move["path"] for move in moves] == ["relay", "relay"]
    assert pair.echoes()


def test_an_end_that_hands_its_port_over_says_that_udp_is_blocked(
    lab: Lab, tmp_path: Path, cleanup: ExitStack
) -> None:
    pair = Pair(tmp_path, lab, cleanup, BLOCKS_UDP, Nat(), "mode: once, deadline: 6s")
    failed = pair.ends["home"].wait_for("pair.failed", 2 * WITHIN)
    assert failed["reason"] == "udp_blocked"
    assert "mode: keep" in failed["err"]
