"""A sealed `forward` by the real program: the recipe as it is written, and datagrams with a forged
source, which an unsealed one takes for the partner's."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netpunch.address import Address
from tests.lab.datagrams import SILENCE_SECONDS, passes, receive
from tests.lab.network import Host, Lab
from tests.lab.program import REPOSITORY, Program, Record, write_key
from tests.lab.traffic import LISTEN, TO

pytestmark = pytest.mark.lab

RECIPE = "## Games and syslog by a sealed `forward`"
CONTROL_NAME, CONTROL_PORT = "vps.example.net", 10001
LOG_SECONDS = 5.0
SITE = """
version: 1
control: {{node: vps, address: "{control}"}}
pairs:
  p:
    secret_file: p.key
    mode: keep
    forward: {{listen: "127.0.0.1:51821", to: "127.0.0.1:51820", sealed: {sealed}}}
    a: {{node: home}}
    b: {{node: office}}
"""


@pytest.fixture
def cleanup(lab: Lab) -> Iterator[ExitStack]:
    """Ends before the lab does."""
    with ExitStack() as cleanup:
        yield cleanup


def recipe() -> str:
    """Its site file."""
    _, _, text = (REPOSITORY / "docs" / "recipes.md").read_text().partition(RECIPE)
    found = re.search(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


def test_the_recipe_carries_a_game_and_a_log(lab: Lab, tmp_path: Path, cleanup: ExitStack) -> None:
    vps = lab.server("vps")
    hosts = {name: lab.host(name, lab.router(f"{name}_nat")) for name in ("home", "friend", "shop")}
    site = tmp_path / "site.yaml"
    site.write_text(recipe())
    for name in ("game", "log"):
        write_key(tmp_path / f"{name}.key")
    programs = {}
    for name, host in {"vps": vps, **hosts}.items():
        cleanup.enter_context(host.namespace.hosts_file(f"{vps.address} {CONTROL_NAME}"))
        programs[name] = Program(host.namespace, site, name)
        cleanup.callback(programs[name].close)
    for name in ("friend", "shop"):
        programs[name].wait_for("pair.up")

    def at(name: str, port: int) -> socket.socket:
        return cleanup.enter_context(hosts[name].namespace.udp_socket("127.0.0.1", port))

    server, player = at("home", 27960), at("friend", 0)
    seen = passes(player, Address("127.0.0.1", 27960), server)
    passes(server, seen, player)
    log = at("home", 5514)
    log.settimeout(LOG_SECONDS)
    options = ("--server", "127.0.0.1", "--port", "5514", "--udp", "--rfc3164")
    hosts["shop"].namespace.run("logger", *options, "the till is open")
    assert log.recv(2048).endswith(b"the till is open")


@pytest.mark.parametrize("sealed", ["off", "on"])
def test_a_datagram_with_a_forged_source_reaches_the_program_unless_it_is_sealed(
    lab: Lab, tmp_path: Path, cleanup: ExitStack, sealed: str
) -> None:
    vps, stranger = lab.server("vps"), lab.server("stranger")
    hosts = {name: lab.host(name, lab.router(f"{name}_nat")) for name in ("home", "office")}
    site = tmp_path / "site.yaml"
    control = Address(vps.address, CONTROL_PORT)
    site.write_text(SITE.format(control=control, sealed=sealed))
    write_key(tmp_path / "p.key")
    ends = {}
    for name, host in {"vps": vps, **hosts}.items():
        ends[name] = Program(host.namespace, site, name)
        cleanup.callback(ends[name].close)
    at_home, in_office = (ends[name].wait_for("pair.up") for name in ("home", "office"))
    home, office = (
        cleanup.enter_context(host.namespace.udp_socket(*TO)) for host in hosts.values()
    )
    for sender, receiver in ((home, office), (office, home)):
        passes(sender, Address(*LISTEN), receiver)
    forge(stranger, source=remote(at_home), destination=remote(in_office), data=b"forged")
    arrived = receive(home, b"forged", LOG_SECONDS if sealed == "off" else SILENCE_SECONDS)
    assert (arrived is not None) is (sealed == "off")
    passes(home, Address(*LISTEN), office)


def remote(up: Record) -> Address:
    return Address(up["rhost"], up["rport"])


def forge(attacker: Host, source: Address, destination: Address, data: bytes) -> None:
    """Sends a UDP datagram as if from somebody else; the system adds what is left out."""
    udp = struct.pack("!4H", source.port, destination.port, 8 + len(data), 0)
    hosts = socket.inet_aton(source.host) + socket.inet_aton(destination.host)
    ip = struct.pack("!BBHHHBBH8s", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0, hosts)
    raw = socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW
    with attacker.namespace.open_socket(*raw) as sock:
        sock.sendto(ip + udp + data, (destination.host, 0))
