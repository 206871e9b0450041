"""Attacks on a relay's real sockets, where datagrams pass in batches, by the machine's leave.

`tests/core/control/test_relay_attacks.py` has those on the machine that decides. Here strangers'
datagrams, recordings and those of two pairs lie in the same batches: whoever is bound gets what its
partner sends, and nobody else gets a byte that was relayed.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import ExitStack
from random import Random

import pytest

from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.core.control.relay import HEADERS, burst
from netpunch.net.driver import clock
from netpunch.net.listener import Listener
from netpunch.wire import v2
from netpunch.wire.envelope import CONTROL_DATAGRAM
from tests.core.control.test_relay_attacks import ENDS, PAIRS, PAYLOADS, End
from tests.net.conftest import Run
from tests.net.machines import Client, client

ATTACKS = 10_000
"""Of each kind."""
STRANGERS = 8
AT_ONCE = 50
"""Datagrams that lie in the relay's queue together."""
UDP_SEGMENT = 103

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="batches are Linux's")


class Bound:
    """An end that is bound at the relay, from a real socket. What it sends begins with its name."""

    def __init__(self, end: End, sock: Client) -> None:
        self.end = end
        self.sock = sock
        self.name = f"{end.pair} {end.end} ".encode()
        self.binds: list[bytes] = []
        self.got: list[bytes] = []


class Site:
    """A control that relays for two pairs, whose ends are bound."""

    def __init__(self, stack: ExitStack, rate: float, total: float) -> None:
        self.random = Random(1)
        self.control = ControlV2(PAIRS, random=self.random.randbytes)
        self.control.relay.limit(rate, total)
        self._node = ControlNode(self.control, ClassicControl({}))
        listener = Listener(self._node, [("127.0.0.1", 0)], relay=[("127.0.0.1", 0)])
        listener.open()
        stack.callback(listener.close)
        self.relay = listener.relay_addresses[0]
        (self._via,) = self.control.relay.sources
        self.strangers = [stack.enter_context(client()) for _ in range(STRANGERS)]
        ends = [(pair, end, stack.enter_context(client())) for pair in PAIRS for end in ENDS]
        self.bound = [Bound(End(pair, end, sock.address), sock) for pair, end, sock in ends]
        for each in self.bound:
            self.bind(each)

    def move(self, bound: Bound) -> None:
        """To a stranger's socket; who was bound is a stranger from now on."""
        number = self.random.randrange(STRANGERS)
        bound.sock, self.strangers[number] = self.strangers[number], bound.sock
        bound.end.source, bound.end.cookie = bound.sock.address, v2.NO_COOKIE
        self.bind(bound)

    def bind(self, bound: Bound) -> None:
        """Its next attempt registers and binds."""
        end, cookie = bound.end, v2.NO_COOKIE
        end.attempt = self.random.randbytes(v2.ATTEMPT_LENGTH)
        for counter in (1, 2):
            card = bytes(v2.SEALED_CARD_LENGTH)
            announce = v2.Announce(end.attempt, counter, cookie, v2.Purpose.PUNCH, card)
            answer = self._say(end, end.seal(announce, self.random), 0)
            assert isinstance(answer, v2.Waiting | v2.Introduce | v2.Knock | v2.Challenge)
            cookie = answer.cookie
        for counter in (1, 2):
            bind = end.seal(v2.Bind(end.attempt, counter, end.cookie), self.random)
            bound.binds.append(bind)
            answer = self._say(end, bind, self._via)
            if isinstance(answer, v2.Challenge):
                end.cookie = answer.cookie
        assert self.bindings()[v2.pack_address(end.source)] == (end.pair, end.attempt)

    def _say(self, end: End, data: bytes, via: int) -> v2.Message:
        self._node.receive_datagram(data, end.source, clock(), via)
        to_it = [e for e in self._node.datagrams_to_send() if e.destination == end.source]
        answer = end.channel.from_control.open(to_it[0].data)
        assert isinstance(answer, v2.Message)
        return answer

    def bindings(self) -> dict[bytes, tuple[str, bytes]]:
        bound = self.control.relay.sources[self._via]
        return {source: (each.pair.name, each.attempt) for source, each in bound.items()}

    async def settle(self) -> None:
        """Until the relay has read all that was sent so far: the last of each end has passed."""
        for bound in self.bound:
            bound.sock.send(bound.name + b"last", self.relay)
        for receiver in self.bound:
            while not receiver.got or not receiver.got[-1].endswith(b"last"):
                data, source = await receiver.sock.receive()
                assert source == self.relay
                receiver.got.append(data)


def received(sock: Client) -> list[bytes]:
    """What has come to a socket that nothing waits for."""
    got = []
    while True:
        try:
            got.append(sock.sock.recv(65536))
        except BlockingIOError:
            return got


def test_nobody_but_the_bound_partner_gets_what_is_relayed(run: Run) -> None:
    """Strangers send garbage, recorded BINDs of all ends, and what begins like one; two pairs send
    what programs send; now and then an end binds elsewhere."""

    async def main() -> None:
        with ExitStack() as stack:
            site = Site(stack, 1e12, 1e12)
            random, answers = site.random, 0
            for _ in range(ATTACKS // AT_ONCE):
                before = site.bindings()
                recorded = [bind for each in site.bound for bind in each.binds[-8:]]
                for _ in range(AT_ONCE):
                    stranger = random.choice(site.strangers)
                    stranger.send(random.choice(PAYLOADS), site.relay)
                    stranger.send(random.choice(recorded), site.relay)
                    sender = random.choice(site.bound)
                    sender.sock.send(sender.name + random.choice(PAYLOADS), site.relay)
                await site.settle()
                for each in site.bound:
                    other = "b" if each.end.end == "a" else "a"
                    partner = f"{each.end.pair} {other} ".encode()
                    assert all(data.startswith(partner) for data in each.got)
                    each.got.clear()
                for stranger in site.strangers:
                    for data in received(stranger):
                        answers += 1
                        assert len(data) == CONTROL_DATAGRAM
                        assert data[1] & 0x7F == v2.Kind.CHALLENGE
                assert site.bindings() == before
                if random.random() < 0.1:
                    site.move(random.choice(site.bound))
            relay = site.control.relay
            assert relay.strangers >= ATTACKS
            assert relay.total.datagrams >= ATTACKS
            assert answers <= len(PAIRS) * (16 + 60 / 4), "all strangers are one host"

    run(main())


@pytest.mark.parametrize(("rate", "total"), [(8e6, 1e9), (1e9, 8e6)], ids=["pair", "all"])
def test_no_more_passes_than_the_rates_and_a_burst(run: Run, rate: float, total: float) -> None:
    """Both pairs send all they can, one by one and in segments."""

    async def main() -> None:
        with ExitStack() as stack:
            site = Site(stack, rate, total)
            began, passed = clock(), dict.fromkeys(PAIRS, 0)
            for number in range(ATTACKS // 20):
                for each in site.bound:
                    send_five(each.sock, site, in_segments=number % 2 == 0)
                await asyncio.sleep(0)  # the loop reads
                for each in site.bound:
                    passed[each.end.pair] += sum(len(e) + HEADERS for e in received(each.sock))
                elapsed = clock() - began
                assert max(passed.values()) <= burst(rate) + rate / 8 * elapsed
                assert sum(passed.values()) <= burst(total) + total / 8 * elapsed
            assert site.control.relay.total.over_rate > ATTACKS / 10
            assert sum(passed.values()) > burst(8e6), "it is used up"

    run(main())


def send_five(sock: Client, site: Site, *, in_segments: bool) -> None:
    if in_segments:
        option = (socket.IPPROTO_UDP, UDP_SEGMENT, (1200).to_bytes(2, sys.byteorder))
        sock.sock.sendmsg([bytes(6000)], [option], 0, site.relay)
    else:
        for _ in range(5):
            sock.send(bytes(site.random.choice([0, 100, 1200, 1400])), site.relay)
