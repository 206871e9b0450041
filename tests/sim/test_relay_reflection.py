"""A pair that only a relay links, under attack: nothing that is relayed reaches a victim, the
bounds for unproved addresses hold, and the link stays."""

from __future__ import annotations

from random import Random

import pytest

from netpunch.address import Address
from netpunch.core.events import Linked, Lost, Moved, PathKind
from netpunch.wire.envelope import END_B
from netpunch.wire.v2 import Kind
from tests.sim.promises import TALLY
from tests.sim.reflection import (
    BY_CONTROL,
    HOMES,
    Pair,
    control_address,
    excess,
    most_in,
    relay_of,
    relayed_session,
)

ATTACKS = 10_000
ATTACKS_A_PAIR = 500
SESSIONS = 8
LONG_RUN = 60.0
PER_SECOND = 5


def victim(number: int) -> Address:
    return Address(f"198.{18 + number // 65536}.{number // 256 % 256}.{number % 256}", 53)


@pytest.fixture(scope="module")
def sessions() -> list[list[bytes]]:
    return [relayed_session(number, controls=2) for number in range(SESSIONS)]


def linked(seed: object, random: Random) -> Pair:
    """Both ends hold a relayed link."""
    pair = Pair(seed, random.choice([1, 2]), relays=True, direct=False)
    pair.start("a", holds=True)
    pair.run(random.uniform(0.0, 1.0))
    pair.start("b", holds=True)
    pair.run(5.0)
    for home in HOMES.values():
        (link,) = [each for each in pair.events[home] if isinstance(each, Linked)]
        assert link.path is PathKind.RELAY
    return pair


def targets(pair: Pair, data: bytes, random: Random) -> Address:
    """Where it belongs or, more often than elsewhere, a relay."""
    relays = [relay_of(control_address(number)) for number in range(pair.controls)]
    return random.choice([*pair.targets(data), *relays])


def check(pair: Pair, host: str, replayed: list[int]) -> None:
    """A victim gets what it may, and by a relay nothing but control's answers: nothing relayed."""
    sent = pair.to_victims.get(host, [])
    assert {each.kind for each in sent if each.by_relay} <= BY_CONTROL - {Kind.BOUND}
    assert [each for each in excess(pair, replayed) if each.startswith(f"{host} ")] == []
    assert most_in(sent, LONG_RUN) <= PER_SECOND * LONG_RUN


def still_linked(pair: Pair) -> bool:
    """By the relay, at which both are where they were, and nobody else is."""
    ends = [event for home in HOMES.values() for event in pair.events[home]]
    moves = [each for each in ends if isinstance(each, Moved)]
    return not any(isinstance(each, Lost) for each in ends) and not moves


def test_a_replayed_datagram_earns_a_victim_nothing_that_was_relayed(
    sessions: list[list[bytes]],
) -> None:
    """Of former sessions and of this one, from victims' addresses, to everybody."""
    random, attacks, answered = Random(1), 0, 0
    while attacks < ATTACKS:
        pair = linked(f"one {attacks}", random)
        for _ in range(ATTACKS_A_PAIR):
            attacks += 1
            at = victim(attacks)
            data = random.choice(random.choice([*sessions, pair.recorded]))
            source = pair.forged_source(data, at, random)
            pair.deliver(data, source, targets(pair, data, random))
            pair.run(random.choice([0.0, 0.05, 0.3]))
            check(pair, at.host, [len(data)])
            answered += bool(pair.to_victims.get(at.host))
        pair.run(70.0)
        assert still_linked(pair)
    TALLY.runs += attacks
    assert answered > 0, "the attack is one"


def test_replays_from_the_ends_own_addresses_end_no_relayed_link(
    sessions: list[list[bytes]],
) -> None:
    """Forged sources that are bound: BINDs above all, and what the ends say through the relay."""
    random, attacks = Random(2), 0
    while attacks < ATTACKS:
        pair = linked(f"own {attacks}", random)
        binds = [data for each in sessions for data in each if data[1] & ~END_B == Kind.BIND]
        for _ in range(ATTACKS_A_PAIR):
            attacks += 1
            own = [data for data in pair.recorded if data[1] & ~END_B == Kind.BIND]
            data = random.choice(
                [random.choice(binds), random.choice(own), random.choice(pair.recorded)]
            )
            source = random.choice(list(HOMES.values()))
            pair.deliver(data, source, targets(pair, data, random))
            pair.run(random.choice([0.0, 0.05, 0.3]))
        assert pair.to_victims == {}
        pair.run(70.0)
        assert still_linked(pair)
    TALLY.runs += attacks


def test_a_victim_gets_five_a_second_at_most(sessions: list[list[bytes]]) -> None:
    """However many of all recordings are replayed from its address, for a minute and longer."""
    random, attacks, number = Random(3), 0, 0
    while attacks < ATTACKS:
        number += 1
        pair, at, replayed = linked(f"storm {number}", random), victim(number), list[int]()
        for _ in range(2000):
            data = random.choice(random.choice([*sessions, pair.recorded]))
            source = pair.forged_source(data, at._replace(port=random.randrange(65536)), random)
            pair.deliver(data, source, targets(pair, data, random))
            replayed.append(len(data))
            pair.run(random.choice([0.02, 0.05]))
            if random.random() < 0.001:
                pair.restart_control(random.randrange(pair.controls))
        check(pair, at.host, replayed)
        attacks += len(replayed)
    TALLY.runs += attacks
