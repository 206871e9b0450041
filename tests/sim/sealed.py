"""Attacks on a link whose `forward` is sealed, by somebody who hears all that both ends send, and
sends what he likes as if from the partner's address.

    python -m tests.sim.sealed [--attacks N] [--seed S]

Both ends are behind NATs. The link has moved once, so each end knows two keys. An attack counts as
delivered if its datagram gives the program anything. After every few attacks an honest datagram has
to arrive, and in the end the link has to be the same.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from netpunch.address import Address
from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.core.control.relay import Relay
from netpunch.core.events import Moved, Via
from netpunch.core.machine import Machine
from netpunch.core.timing import RETIRED_FOR
from netpunch.wire.keys import control_key
from netpunch.wire.sealed import WINDOW
from tests.sim.machines import PAIR, V2
from tests.sim.nat import PORT_RESTRICTED_CONE
from tests.sim.scenarios import Scenario, Setup, Side

HONEST_EVERY = 50
"""Attacks between two honest datagrams."""
LINKING, MOVING = 10.0, 30.0
"""Seconds, at most."""


class AnotherPair(V2):
    """Its control knows another secret, too."""

    def __init__(self) -> None:
        super().__init__(bytes(range(1, 33)))

    def control(self, random: Callable[[int], bytes], *, relay: Relay | None = None) -> Machine:
        keys = {PAIR: control_key(self.secret, PAIR)}
        return ControlNode(ControlV2(keys, random=random, relay=relay), ClassicControl({}))


class SealedLink:
    """A held link, and what its two programs receive. An attacker's datagrams come at once, without
    the network: as if from the partner's address, or (`retired`) from where it was before."""

    def __init__(self, seed: object, protocol: V2 | None = None) -> None:
        self.random = Random(f"sealed {seed}")
        nat = (PORT_RESTRICTED_CONE,)
        settings = {"holds": True, "sealed": True}
        setup = Setup(protocol=protocol or V2(), nat_a=nat, nat_b=nat, settings=settings)
        self.run = Scenario(self.random.getrandbits(32), setup)
        self.received: dict[str, list[bytes]] = {}
        self.places: dict[str, list[tuple[Via, Address]]] = {}
        """Where the partner is seen, for each end: now, and before the last move."""
        self._numbers = 0
        for side in self.run.sides:
            self._listen(side)
        self.run.start()
        assert self.run.run_until_linked(LINKING)
        self.find_places()

    def _listen(self, side: Side) -> None:
        got: list[bytes] = []
        self.received[side.name] = got
        side.host.on_payload = got.append

    def find_places(self) -> None:
        for side in self.run.sides:
            places = [(each.via, each.remote) for each in side.links[-2:]]
            self.places[side.name] = places[::-1]

    def move(self) -> None:
        """Nothing but the NAT's address changes; the programs send, so that it is noticed."""
        a, b = self.run.sides
        moves = [len(list(side.host.told_of(Moved))) for side in (a, b)]
        a.nats[-1].rebind(self.run.another_public(a))
        for _ in range(int(MOVING / 0.1)):
            self.honest(a, check=False)
            self.run.run(0.1)
            if all(
                len(list(s.host.told_of(Moved))) > n for s, n in zip((a, b), moves, strict=True)
            ):
                break
        else:
            raise AssertionError("the link has not moved")
        self.run.run(1.0)
        self.find_places()

    def restart(self) -> None:
        """Both processes are others, which link anew."""
        links = [len(side.links) for side in self.run.sides]
        for side in self.run.sides:
            self.run.restart_end(side)
        linked = self.run.run_until(
            lambda: all(len(s.links) > n for s, n in zip(self.run.sides, links, strict=True)),
            LINKING,
        )
        assert linked
        self.find_places()

    def partner(self, side: Side) -> Side:
        return self.run.b if side is self.run.a else self.run.a

    def sealed_by(self, side: Side) -> bytes:
        """What it sends for its program; nobody receives it."""
        self._numbers += 1
        machine = side.host.machine
        assert machine is not None
        machine.send_payload(b"program's datagram %d" % self._numbers, side.host.clock())
        (sent,) = machine.datagrams_to_send()
        return sent.data

    def hand(self, data: bytes, side: Side, *, retired: bool = False) -> bool:
        """Gives an end a datagram; returns whether its program got anything."""
        got = self.received[side.name]
        before = len(got)
        via, source = self.places[side.name][-1 if retired else 0]
        side.host.ask(lambda end, now: end.receive_datagram(data, source, now, via))
        return len(got) > before

    def honest(self, side: Side, *, check: bool = True) -> bytes:
        """One datagram from this side, which has to arrive."""
        data = self.sealed_by(side)
        arrived = self.hand(data, self.partner(side))
        assert arrived or not check, "the link no longer carries anything"
        return data


class Attack(NamedTuple):
    """A datagram for an end; `retired`: it comes on the path from before the last move."""

    data: bytes
    target: Side
    retired: bool = False


Attacks = Callable[[SealedLink], Iterator[Attack]]


def sides(link: SealedLink) -> Iterator[tuple[Side, Side]]:
    """Whom the attacker imitates, and whom he attacks."""
    while True:
        sender = link.random.choice(link.run.sides)
        yield sender, link.partner(sender)


def replay(link: SealedLink) -> Iterator[Attack]:
    """What has arrived comes again, soon or much later, on either path."""
    heard: dict[str, list[bytes]] = {"a": [], "b": []}
    for number, (sender, target) in enumerate(sides(link)):
        if number % 4 == 0:
            heard[sender.name].append(link.honest(sender))
        if recordings := heard[sender.name]:
            latest = recordings[-link.random.choice([1, 5, 2000]) :]
            yield Attack(link.random.choice(latest), target, link.random.random() < 0.5)


def late(link: SealedLink) -> Iterator[Attack]:
    """What never arrived comes after WINDOW others, or more."""
    held: list[bytes] = []
    sender, target = next(sides(link))
    for number in range(10**9):
        if number % 3:
            link.honest(sender)
        else:
            held.append(link.sealed_by(sender))
        if len(held) > WINDOW:
            yield Attack(held.pop(link.random.randrange(len(held) - WINDOW)), target)


def bit_flips(link: SealedLink) -> Iterator[Attack]:
    """What never arrived, with one to eight bits changed, or some bytes fewer or more."""
    random = link.random
    for sender, target in sides(link):
        data = bytearray(link.sealed_by(sender))
        if random.random() < 0.1:
            end = bytes([data[-1] ^ random.randint(1, 255)])
            data = data[: random.randrange(len(data))] + random.choice([b"", end, end * 16])
        else:
            for bit in random.sample(range(8 * len(data)), random.randint(1, 8)):
                data[bit // 8] ^= 1 << bit % 8
        yield Attack(bytes(data), target)


def reflection(link: SealedLink) -> Iterator[Attack]:
    """What an end has sent comes back to it."""
    for sender, _ in sides(link):
        yield Attack(link.sealed_by(sender), sender, link.random.random() < 0.5)


def cross_pair(link: SealedLink) -> Iterator[Attack]:
    """What never arrived of another pair's link, or of the same pair's former ones; as it is, or
    named as if sealed with the key in use."""
    others = [SealedLink("another pair", AnotherPair()), SealedLink("another link")]
    former = {side.name: [link.sealed_by(side) for _ in range(5000)] for side in link.run.sides}
    link.restart()
    forgotten = {side.name: [link.sealed_by(side) for _ in range(5000)] for side in link.run.sides}
    link.move()
    link.run.run(2 * RETIRED_FOR)
    for sender, target in sides(link):
        kind = link.random.randrange(4)
        if kind < 2:
            other = others[kind].run.sides["ab".index(sender.name)]
            data = others[kind].sealed_by(other)
        else:
            kept = (former if kind == 2 else forgotten)[sender.name]
            data = link.random.choice(kept)
        if link.random.random() < 0.5:
            data = data[:1] + link.sealed_by(sender)[1:2] + data[2:]
        yield Attack(data, target)


def forgery(link: SealedLink) -> Iterator[Attack]:
    """A header that could be the next one, with other bytes behind it; or what a plain program
    might send, also in the lengths and with the first byte of netpunch's own."""
    for sender, target in sides(link):
        length = link.random.choice([0, 1, 20, 26, 102, 128, 358, 384, 1280])
        body = link.random.randbytes(length)
        header = link.random.choice([b"", b"\xf2", b"\xf3", link.sealed_by(sender)[:10]])
        yield Attack(header + body[len(header) :], target, link.random.random() < 0.5)


KINDS: dict[str, Attacks] = {
    "replay": replay,
    "reorder beyond the window": late,
    "bit flips": bit_flips,
    "reflection": reflection,
    "cross-pair": cross_pair,
    "forgery": forgery,
}


class Result(NamedTuple):
    attacks: int
    delivered: int
    honest: int
    """Datagrams that had to arrive meanwhile, and did."""
    drops: Counter[str]


def attack(kind: str, attacks: int, seed: object = 0) -> Result:
    """So many attacks of one kind on one link."""
    link = SealedLink(seed)
    link.move()
    before = drops_of(link)
    delivered = honest = done = 0
    for each in KINDS[kind](link):
        if done == 0 and kind == "cross-pair":
            before = drops_of(link)
        delivered += link.hand(each.data, each.target, retired=each.retired)
        done += 1
        if done % HONEST_EVERY == 0 or done == attacks:
            for side in link.run.sides:
                link.honest(side)
                honest += 1
        if done == attacks:
            break
    return Result(done, delivered, honest, drops_of(link) - before)


def drops_of(link: SealedLink) -> Counter[str]:
    found: Counter[str] = Counter()
    for side in link.run.sides:
        assert side.host.machine is not None
        found += Counter({str(drop): count for drop, count in side.host.machine.drops.items()})
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attacks", type=int, default=10_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    total = 0
    for kind in KINDS:
        result = attack(kind, given.attacks, given.seed)
        total += result.delivered
        drops = ", ".join(f"{reason} {count}" for reason, count in result.drops.most_common())
        print(
            f"{kind:26} {result.attacks:7} attacks, {result.delivered} delivered "
            f"({result.honest} honest datagrams arrived); dropped: {drops}"
        )
    return 1 if total else 0


if __name__ == "__main__":
    raise SystemExit(main())
