"""What replays, strangers, partners and other pairs can do to a relay: nothing.

Two pairs live at one control: their ends start attempts, move, bind, send and leave, as they like.
An attacker has all that was ever sent, and sends datagrams from any address. After each attack the
bindings are what they were, and nothing went out but a CHALLENGE, no longer than what came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import pytest

from netpunch.address import Address
from netpunch.core.control.control import ControlV2
from netpunch.core.control.relay import HEADERS, LARGEST, Binding, Relay, burst
from netpunch.core.events import Via
from netpunch.core.machine import Transmit
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import (
    CONTROL_DATAGRAM,
    NONCE_LENGTH,
    OTHER,
    ControlChannel,
    EndName,
)
from netpunch.wire.keys import KEY_LENGTH

ATTACKS = 10_000
LIVES = 40
"""Of both pairs: each meets ATTACKS / LIVES attacks."""
RELAY: Via = 9
STREAMS: Via = 8
PAIRS = {"one": bytes(range(KEY_LENGTH)), "other": bytes(range(1, KEY_LENGTH + 1))}
ENDS: tuple[EndName, EndName] = ("a", "b")
VICTIM = Address("198.18.0.1", 53)
PAYLOADS = (b"", b"\xf2", bytes(100), bytes(384), b"\xf2\x09".ljust(384, b"x"), bytes(1400))


class Said(NamedTuple):
    """A recording: what was sent to control, from where."""

    data: bytes
    source: Address
    via: Via


@dataclass
class End:
    """One end: its keys, where it is, and its present attempt, if any."""

    pair: str
    end: EndName
    source: Address
    attempt: bytes = b""
    counter: int = 0
    binds: int = 0
    cookie: bytes = v2.NO_COOKIE
    via: Via = RELAY

    def __post_init__(self) -> None:
        self.channel = ControlChannel(PAIRS[self.pair], self.pair, self.end)

    def seal(self, message: v2.Message, random: Random) -> bytes:
        return self.channel.to_control.seal(message, random.randbytes(NONCE_LENGTH))


class World:
    """A control that relays, four ends, and what an attacker has recorded of them."""

    def __init__(self, seed: object) -> None:
        self.random = Random(str(seed))
        self.now = 1000.0
        self.recorded: list[Said] = []
        self.echoed: dict[tuple[Via, Address], tuple[str, EndName]] = {}
        """Whose cookie was brought back, by where it was received."""
        self.relayed = 0
        self.loss = 0.0
        """Of what ends say to control; the attacker hears it all the same."""
        self.control = self._boot()
        self._hosts = iter(range(1, 1 << 16))
        self.ends = [End(pair, end, self._address()) for pair in PAIRS for end in ENDS]

    def _boot(self) -> ControlV2:
        control = ControlV2(PAIRS, random=self.random.randbytes)
        for via in (RELAY, STREAMS):
            control.relay.serve(via)
        return control

    def _address(self) -> Address:
        number = next(self._hosts)
        return Address(f"203.0.{number // 256}.{number % 256}", self.random.randrange(1024, 65536))

    # What ends do.

    def live(self) -> None:
        """Something that an honest end does, or time."""
        actions: list[Callable[[End], object]] = [
            *(self.start, self.move, self.leave, self.restart),
            *2 * [self.pass_time],
            *6 * [self.bind],
            *4 * [self.send],
        ]
        self.random.choice(actions)(self.random.choice(self.ends))

    def start(self, end: End) -> None:
        """A new attempt, registered and proved."""
        end.attempt = self.random.randbytes(v2.ATTEMPT_LENGTH)
        end.counter = end.binds = 0
        end.cookie, cookie = v2.NO_COOKIE, v2.NO_COOKIE
        for _ in range(2):
            end.counter += 1
            card = bytes(v2.SEALED_CARD_LENGTH)
            announce = v2.Announce(end.attempt, end.counter, cookie, v2.Purpose.PUNCH, card)
            for answer in self.say(end, end.seal(announce, self.random), 0):
                opened = end.channel.from_control.open(answer.data)
                if isinstance(opened, v2.Waiting | v2.Introduce | v2.Knock | v2.Challenge):
                    cookie = opened.cookie

    def move(self, end: End) -> None:
        """To another address; perhaps to a stream, or back."""
        end.source, end.via = self._address(), self.random.choice([RELAY, RELAY, STREAMS])
        end.cookie = v2.NO_COOKIE

    def bind(self, end: End) -> None:
        """With a cookie, if that is asked for."""
        for _ in range(2):
            end.binds += 1
            bind = v2.Bind(end.attempt.ljust(8, b"\0"), end.binds, end.cookie)
            for answer in self.say(end, end.seal(bind, self.random), end.via):
                opened = end.channel.from_control.open(answer.data)
                if isinstance(opened, v2.Challenge):
                    end.cookie = opened.cookie
                elif isinstance(opened, v2.Bound):
                    assert opened.observed == end.source
                    assert end.cookie != v2.NO_COOKIE
                    self.echoed[end.via, end.source] = (end.pair, end.end)
                    return

    def send(self, end: End) -> None:
        """Reaches the partner's bound address, or nobody."""
        data = self.random.choice(PAYLOADS)
        partner = (end.pair, OTHER[end.end])
        for out in self.deliver(Said(data, end.source, end.via)):
            assert out.data == data
            assert self.echoed[out.via, out.destination] == partner
            self.relayed += 1

    def leave(self, end: End) -> None:
        end.counter += 1
        leave = v2.Leave(end.attempt.ljust(8, b"\0"), end.counter)
        self.say(end, end.seal(leave, self.random), 0)

    def restart(self, _end: End) -> None:
        """Control, rarely."""
        if self.random.random() < 0.1:
            self.control = self._boot()
            for end in self.ends:
                end.cookie = v2.NO_COOKIE

    def pass_time(self, _end: End) -> None:
        self.now += self.random.choice([0.01, 0.3, 5.0, 20.0, 70.0, 130.0])
        self.control.handle_timer(self.now)

    def say(self, end: End, data: bytes, via: Via) -> list[Transmit]:
        said = Said(data, end.source, via)
        self.recorded.append(said)
        return [] if self.random.random() < self.loss else self.deliver(said)

    # What others do.

    def deliver(self, said: Said) -> list[Transmit]:
        self.now += 0.001
        self.control.receive_datagram(*said[:2], self.now, said.via)
        while self.control.next_event() is not None:
            pass
        return self.control.datagrams_to_send()

    def bindings(self) -> dict[Via, dict[bytes, tuple[str, bytes, int]]]:
        return {
            via: {
                source: (binding.pair.name, binding.attempt, binding.counter)
                for source, binding in bound.items()
            }
            for via, bound in self.control.relay.sources.items()
        }

    def attack(self, said: Said) -> list[Transmit]:
        """Delivers it, and checks that nothing comes of it but an answer that is no longer."""
        before, passed = self.bindings(), self.control.relay.total.datagrams
        sent = self.deliver(said)
        assert self.bindings() == before
        assert self.control.relay.total.datagrams == passed
        assert sum(len(each.data) for each in sent) <= len(said.data)
        assert all(each[1:3] == (said.source, said.via) for each in sent)
        return sent

    @property
    def binds(self) -> list[Said]:
        return [each for each in self.recorded if each.data[1] & 0x7F == v2.Kind.BIND]


def anywhere(random: Random) -> Address:
    return Address(f"198.18.{random.randrange(256)}.{random.randrange(256)}", 53)


# The kinds of attacks. Each gives a datagram and where it seems to come from.


def replayed_from_elsewhere(world: World) -> Said:
    said = world.random.choice(world.binds)
    source = world.random.choice([VICTIM, anywhere(world.random)])
    return said._replace(source=source, via=world.random.choice([RELAY, STREAMS]))


def replayed_from_its_own_address(world: World) -> Said:
    return world.random.choice(world.binds)


def replayed_from_its_own_address_on_another_socket(world: World) -> Said:
    said = world.random.choice(world.binds)
    return said._replace(via=STREAMS if said.via == RELAY else RELAY)


def replayed_from_an_address_that_is_bound(world: World) -> Said:
    """Its partner's, the other pair's, or the one that it was bound to earlier."""
    bound = [(via, source) for via, each in world.bindings().items() for source in each]
    said = world.random.choice(world.binds)
    if not bound:
        return said
    via, source = world.random.choice(bound)
    return said._replace(source=v2.unpack_address(source), via=via)


def replayed_in_a_burst(world: World) -> Said:
    """The latest ones, while their cookies are still good."""
    return world.random.choice(world.binds[-4:])


def sent_by_a_stranger(world: World) -> Said:
    near = world.random.choice(world.ends).source
    source = world.random.choice(
        [VICTIM, anywhere(world.random), near._replace(port=near.port ^ 1)]
    )
    data = world.random.choice([*PAYLOADS, *(each.data for each in world.recorded[-50:])])
    if len(data) == CONTROL_DATAGRAM:
        data = data[:-1] + bytes([data[-1] ^ 1])
    return Said(data, source, world.random.choice([RELAY, STREAMS]))


def answers_of_control_sent_back(world: World) -> Said:
    end = world.random.choice(world.ends)
    attempt, counter = end.attempt.ljust(8, b"\0"), world.random.randrange(100)
    messages: list[v2.Message] = [
        v2.Bound(attempt, counter, VICTIM, 1, 120),
        v2.Challenge(attempt, counter, world.random.randbytes(v2.COOKIE_LENGTH)),
    ]
    message = world.random.choice(messages)
    data = end.channel.from_control.seal(message, world.random.randbytes(NONCE_LENGTH))
    return Said(data, VICTIM, RELAY)


REPLAYS = [
    replayed_from_elsewhere,
    replayed_from_its_own_address,
    replayed_from_its_own_address_on_another_socket,
    replayed_from_an_address_that_is_bound,
    replayed_in_a_burst,
    sent_by_a_stranger,
    answers_of_control_sent_back,
]


@pytest.mark.parametrize("kind", REPLAYS, ids=lambda kind: kind.__name__)
def test_who_has_no_key_binds_nobody(kind: Callable[[World], Said]) -> None:
    relayed = answered = 0
    for life in range(LIVES):
        world = World(f"{kind.__name__} {life}")
        for end in world.ends:
            world.start(end)
            world.bind(end)
        if kind is replayed_from_elsewhere:
            world.loss = 0.2  # a BIND that control never heard is no replay to it
        for _ in range(ATTACKS // LIVES):
            world.live()
            answered += len(world.attack(kind(world)))
        relayed += world.relayed
    assert relayed > ATTACKS / 50, "the ends go on"
    if kind is replayed_from_elsewhere:
        assert answered > 0, "some are challenged"


def test_to_a_victim_goes_no_more_than_its_allowance() -> None:
    """However many recordings there are, from whatever ports."""
    for life in range(LIVES):
        world = World(f"victim {life}")
        for end in world.ends:
            world.start(end)
            world.bind(end)
        begun, sent = world.now, 0
        for _ in range(ATTACKS // LIVES):
            world.bind(world.random.choice(world.ends))
            port = world.random.randrange(1, 65536)
            said = world.random.choice(world.binds)._replace(source=VICTIM._replace(port=port))
            sent += len(world.attack(said))
        pairs, seconds = len(PAIRS), world.now - begun
        assert sent <= pairs * (16 + seconds / 4 + 1)


class Liar:
    """A partner, or an end of another pair, that seals what it likes."""

    def __init__(self, world: World, own: End, other: End) -> None:
        self.world = world
        self.own = own
        self.other = other
        self.counter = 1 << 32

    def bind(self, attempt: bytes, cookie: bytes, source: Address, via: Via = RELAY) -> Said:
        self.counter += 1
        message = v2.Bind(attempt.ljust(8, b"\0"), self.counter, cookie)
        return Said(self.own.seal(message, self.world.random), source, via)

    def lie(self) -> Said:
        """With the attempt, the cookie, or the address of another end; one of them at least is
        not its own."""
        own, other, random = self.own, self.other, self.world.random
        attempt = random.choice([own.attempt, other.attempt, random.randbytes(8)])
        cookie = random.choice([own.cookie, other.cookie, v2.NO_COOKIE, random.randbytes(15)])
        sources = [VICTIM, anywhere(random), other.source]
        if attempt != own.attempt:
            sources.append(own.source)
        return self.bind(attempt, cookie, random.choice(sources), random.choice([RELAY, STREAMS]))


@pytest.mark.parametrize("other", ["one", "other"], ids=["its partner", "another pair"])
def test_a_liar_binds_nobody_else_and_no_address_of_others(other: str) -> None:
    """It holds its own end's key: BINDs with whatever attempt, cookie, counter and source."""
    for life in range(LIVES):
        world = World(f"liar {other} {life}")
        for end in world.ends:
            world.start(end)
            world.bind(end)
        (own,) = [each for each in world.ends if (each.pair, each.end) == ("one", "b")]
        (target,) = [each for each in world.ends if (each.pair, each.end) == (other, "a")]
        liar = Liar(world, own, target)
        for _ in range(ATTACKS // LIVES):
            world.bind(world.random.choice(world.ends))
            world.attack(liar.lie())
            world.now += world.random.choice([0.0, 0.1, 4.0])


def test_an_attempt_that_is_over_binds_nobody() -> None:
    """Not even one that holds the key, and a cookie that is still good."""
    for life in range(LIVES):
        world = World(f"over {life}")
        (own, *_) = world.ends
        world.start(own)
        world.bind(own)
        over = [(own.attempt, own.cookie)]
        world.start(own)
        world.bind(own)
        liar = Liar(world, own, own)
        for _ in range(ATTACKS // LIVES):
            attempt, cookie = world.random.choice(over)
            assert world.attack(liar.bind(attempt, cookie, own.source)) == []
        assert world.control.drops[Drop.WRONG_ATTEMPT] == ATTACKS // LIVES


class Meter:
    """Checks that in any stretch of time no more passed than the rate and one burst."""

    def __init__(self, rate: float) -> None:
        self._octets_a_second = rate / 8
        self._level, self._at = 0.0, 0.0
        self._burst = burst(rate)

    def add(self, octets: int, now: float) -> None:
        self._level = max(0.0, self._level - (now - self._at) * self._octets_a_second) + octets
        self._at = now
        assert self._level <= self._burst * 1.000001


def test_no_more_passes_than_the_rates_and_a_burst() -> None:
    """Whatever is sent when, in batches or one by one, and however the pairs share the total."""
    datagrams = 0
    for life in range(LIVES):
        world = World(f"rates {life}")
        random = world.random
        rate, total = random.choice([64e3, 1e6, 20e6]), random.choice([1e6, 30e6])
        relay = world.control.relay
        relay.limit(rate, total)
        for end in world.ends:
            world.start(end)
            world.bind(end)
        meters = {pair: Meter(rate) for pair in PAIRS}
        of_all = Meter(total)
        now = world.now
        for _ in range(10 * ATTACKS // LIVES):
            now += random.choice([0.0, 0.0, 0.0001, 0.001, 0.01, 0.5])
            batch: list[tuple[End, Binding, list[int]]] = []
            for end in random.sample(world.ends, random.choice([1, 1, len(world.ends)])):
                sender = relay.sources[end.via][v2.pack_address(end.source)]
                count = random.choice([1, 1, 1, 8, 64])
                lengths = [random.choice([0, 60, 1280, 1280, 1400, LARGEST]) for _ in range(count)]
                batch.append((end, sender, lengths))
                datagrams += count
            senders = [sender for _, sender, _ in batch]
            sizes = [lengths for _, _, lengths in batch]
            over = relay.admit_flows(senders, list(map(len, sizes)), list(map(sum, sizes)), now)
            for number, (end, sender, lengths) in enumerate(batch):
                passed = relay.admit(sender, lengths, now) if number in over else len(lengths)
                octets = sum(lengths[:passed]) + passed * HEADERS
                if passed:
                    meters[end.pair].add(octets, now)
                    of_all.add(octets, now)
        pairs = relay.busiest(10)
        assert sum(pair.datagrams for pair in pairs) == relay.total.datagrams
        assert sum(pair.over_rate for pair in pairs) == relay.total.over_rate > 0
    assert datagrams > 10 * ATTACKS


def test_a_relay_keeps_one_entry_for_each_end_that_was_bound() -> None:
    """However often ends move and start anew, and whatever strangers send."""
    world = World("memory")
    for _ in range(ATTACKS // 10):
        for end in world.ends:
            world.move(end)
            world.start(end)
            world.bind(end)
            world.deliver(sent_by_a_stranger(world))
    relay: Relay = world.control.relay
    assert relay.bound == len(world.ends)
    assert len(relay.busiest(100)) == len(PAIRS)
    filed = [each for second in relay._expiries._seconds.values() for each in second]
    assert len(filed) <= len(world.ends)
