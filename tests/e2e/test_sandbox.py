"""Systems that lack what makes `forward` fast: it is slower there, and nothing else."""

from __future__ import annotations

import socket
import sys

import pytest

if sys.platform != "linux":
    pytest.skip("recvmmsg(2) is Linux's", allow_module_level=True)

from netpunch.net.segments import UDP_SEGMENT
from tests.e2e.harness import NETPUNCH, free_port
from tests.e2e.sandbox import CALLS
from tests.e2e.site import Site
from tests.e2e.test_forward import QUICK, Program, pair_of, programs

SEGMENT, SEGMENTS = 1200, 40
MESSAGES = 3

SANDBOX = (sys.executable, "-m", "tests.e2e.sandbox")
OLD_KERNEL = "UDP_SEGMENT,UDP_GRO,sendmsg"
"""Before 4.18, such a kernel sends the whole message of an option it does not know as one datagram,
so it must not be asked to."""


def burst(sender: Program, receiver: Program) -> tuple[list[bytes], list[bytes]]:
    """What a program sends in messages of segments, as wireguard-go does, and what arrives."""
    sent = [b"%04d" % number + bytes(SEGMENT - 4) for number in range(MESSAGES * SEGMENTS)]
    receiver.sock.settimeout(5.0)
    got = []
    for first in range(0, len(sent), SEGMENTS):
        with sender.sock.dup() as sock:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SEGMENT)
            sock.sendto(b"".join(sent[first : first + SEGMENTS]), sender.forward)
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
        got += [receiver.sock.recv(65_535) for _ in range(SEGMENTS)]
    return sent, got


@pytest.mark.skipif(not CALLS, reason="the numbers of this machine's system calls are not known")
@pytest.mark.parametrize("lacking", ["recvmmsg,sendmmsg", OLD_KERNEL])
def test_forward_does_without(site: Site, lacking: str) -> None:
    with programs(free_port(), free_port()) as (home, office):
        ends = pair_of(home, office)
        site.write({"p": ends}, secret="generate", **QUICK)
        process = site.run(program=[*SANDBOX, lacking, *NETPUNCH])
        for end in ("a", "b"):
            process.wait_for("pair.up", end=end)
        home.reaches(office, b"request")
        office.reaches(home, b"answer")
        sent, got = burst(home, office)
        assert got == sent
        assert process.stop() == 0
