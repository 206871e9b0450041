"""`share`: programs keep their ports, and netpunch holds the paths between them from there."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.e2e.assertions import assert_same_path
from tests.e2e.harness import EVENT_SECONDS, NETPUNCH, free_port
from tests.e2e.site import Site

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="needs Linux and CAP_NET_RAW"
)

HOST = "127.0.0.1"
PAIRS = ("one", "two", "three")
DATAGRAMS = 200
LENGTHS = (1, 32, 127, 129, 148, 1400)
"""Of a program that does not imitate netpunch."""


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as cleanup:
        yield cleanup


def program(cleanup: ExitStack, port: int) -> socket.socket:
    sock = cleanup.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind((HOST, port))
    sock.settimeout(EVENT_SECONDS)
    return sock


def star(hub: int, leaves: list[int]) -> dict[str, Any]:
    """A pair to each leaf; all share the hub's port."""
    return {
        pair: {"a": {"local": f"{HOST}:{hub}"}, "b": {"local": f"{HOST}:{leaf}"}}
        for pair, leaf in zip(PAIRS, leaves, strict=True)
    }


def test_programs_keep_their_ports_and_are_told_of_each_other(
    site: Site, cleanup: ExitStack
) -> None:
    """They exchange what they like by their own sockets, and none of it is netpunch's to see."""
    hub, *leaves = ports = [free_port() for _ in range(4)]
    sockets = {port: program(cleanup, port) for port in ports}
    site.write(star(hub, leaves), share=True, secret="generate")
    process = site.run("--trace")
    for pair, leaf in zip(PAIRS, leaves, strict=True):
        ups = [process.wait_for("pair.up", pair=pair, end=end) for end in ("a", "b")]
        assert_same_path(*ups)
        assert [up["rport"] for up in ups] == [leaf, hub]
    for serial in range(DATAGRAMS):
        leaf = leaves[serial % 3]
        payload = bytes((serial % 4 + 1,)) * LENGTHS[serial % len(LENGTHS)]
        sockets[hub].sendto(payload, (HOST, leaf))
        assert received(sockets[leaf]) == (payload, hub)
        sockets[leaf].sendto(payload, (HOST, hub))
        assert received(sockets[hub]) == (payload, leaf)
    assert process.stop() == 0
    assert not process.events("pair.down")
    assert not process.events("pair.moved")
    seen = [each for each in process.events("datagram") if each["direction"] == "received"]
    assert seen
    assert {each["bytes"] for each in seen} == {128, 384}


def received(sock: socket.socket) -> tuple[bytes, int]:
    """What a program makes of a datagram; like WireGuard, it passes over what is netpunch's."""
    while True:
        data, (_, port) = sock.recvfrom(2048)
        if data[0] != 0xF2:
            return data, port


def test_netpunch_waits_for_the_program(site: Site, cleanup: ExitStack) -> None:
    """As at boot."""
    hub, *leaves = ports = [free_port() for _ in range(4)]
    site.write(star(hub, leaves), share=True, secret="generate")
    process = site.run()
    told = process.wait_for("pair.waiting", reason="no_program", pair="one", end="a")
    assert f"no program of this host has UDP port {hub}" in told["err"]
    sockets = [program(cleanup, port) for port in ports]
    for pair in PAIRS:
        process.wait_for("pair.up", pair=pair, end="a")
    sockets[0].close()
    lost = process.wait_for("pair.down", pair="one", end="a")
    assert lost["reason"] == "no_program"
    process.wait_for("pair.down", pair="one", end="b", reason="partner_stopped")
    program(cleanup, hub)
    for pair in PAIRS:
        process.wait_for("pair.up", count=2, pair=pair, end="a")


def test_a_program_that_is_restarted_is_told_anew(site: Site, cleanup: ExitStack) -> None:
    """However quickly: it may have forgotten its partners."""
    one, other = (free_port() for _ in range(2))
    sock = program(cleanup, one)
    program(cleanup, other)
    ends = {"a": {"local": f"{HOST}:{one}"}, "b": {"local": f"{HOST}:{other}"}}
    site.write({"one": ends}, share=True, secret="generate", hooks={"up": site.write_hook()})
    process = site.run(env=site.runtime)
    process.wait_for("hook.end", end="a", hook="up")
    site.status()  # so it has gone on
    sock.close()
    program(cleanup, one)
    lost = process.wait_for("pair.down", end="a")
    assert lost["reason"] == "no_program"
    assert lost["err"].endswith(f"the program with UDP port {one} was restarted")
    process.wait_for("hook.end", 2, end="a", hook="up")


def test_a_partner_that_carries_is_linked_with_one_that_shares(
    site: Site, cleanup: ExitStack
) -> None:
    """Its program sends by way of netpunch, the other one by itself."""
    shared, listen, to = (free_port() for _ in range(3))
    sharing, carried = program(cleanup, shared), program(cleanup, to)
    forward = {"listen": f"{HOST}:{listen}", "to": f"{HOST}:{to}"}
    ends = {"a": {"share": True, "local": f"{HOST}:{shared}"}, "b": {"forward": forward}}
    site.write({"one": ends}, mode="keep", secret="generate")
    process = site.run()
    at_a, _ = (process.wait_for("pair.up", end=end) for end in ("a", "b"))
    sharing.sendto(b"\x01to the carried one", (HOST, at_a["rport"]))
    assert received(carried) == (b"\x01to the carried one", listen)
    carried.sendto(b"\x01and back", (HOST, listen))
    assert received(sharing) == (b"\x01and back", at_a["rport"])


def test_a_reload_changes_one_of_the_pairs_at_a_port(site: Site, cleanup: ExitStack) -> None:
    hub, *leaves = ports = [free_port() for _ in range(4)]
    for port in ports:
        program(cleanup, port)
    pairs = star(hub, leaves)
    site.write(pairs, share=True, secret="generate")
    process = site.run()
    for pair in PAIRS:
        process.wait_for("pair.up", pair=pair, end="a")
    pairs["two"]["keepalive"] = "2s"
    site.write(pairs, share=True, secret="generate")
    site.reload(process)
    process.wait_for("pair.up", count=2, pair="two", end="a")
    assert [len(process.events("pair.up", pair=pair, end="a")) for pair in PAIRS] == [1, 2, 1]


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
@pytest.mark.parametrize("capability", ["+net_raw", "-net_raw"])
def test_one_capability_is_all_it_takes(site: Site, cleanup: ExitStack, capability: str) -> None:
    one, other = (free_port() for _ in range(2))
    for port in (one, other):
        program(cleanup, port)
    ends = {"a": {"local": f"{HOST}:{one}"}, "b": {"local": f"{HOST}:{other}"}}
    site.write({"one": ends}, share=True, secret="generate")
    limits = [f"--{each}=-all,{capability}" for each in ("inh-caps", "bounding-set")]
    process = site.run(program=["setpriv", *limits, *NETPUNCH])
    if capability == "+net_raw":
        process.wait_for("pair.up", end="a")
    else:
        failed = process.wait_for("pair.failed", end="a", reason="permissions")
        assert "AmbientCapabilities=CAP_NET_RAW" in failed["err"]
