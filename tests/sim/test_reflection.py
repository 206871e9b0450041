"""To an address that has not proved itself, whatever is replayed: at most 3 datagrams and 3 times
the bytes for each replayed one, and at most 5 a second in the long run. All lengths count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest

from netpunch.address import Address
from netpunch.core.events import Finished, Introduced, Linked, Lost, PartnerReturned
from netpunch.wire.envelope import END_B, EndName
from netpunch.wire.v2 import Kind
from tests.sim.promises import TALLY
from tests.sim.reflection import (
    HOMES,
    Pair,
    control_address,
    excess,
    most_in,
    session,
)

ATTACKS = 10_000
ATTACKS_A_PAIR = 100
"""Each with a victim of its own: later attacks meet what the earlier ones have left behind."""
LONG_RUN = 60.0
PER_SECOND = 5
SESSIONS = 12


def victim(number: int) -> Address:
    return Address(f"198.{18 + number // 65536}.{number // 256 % 256}.{number % 256}", 53)


@pytest.fixture(scope="module")
def sessions() -> list[list[bytes]]:
    return [session(number, controls=2) for number in range(SESSIONS)]


def situations(random: Random) -> Callable[[Pair], None]:
    """What the honest ends are doing."""

    def nobody(pair: Pair) -> None:
        pair.run(1.0)

    def one_waits(pair: Pair) -> None:
        pair.start(random.choice(["a", "b"]))
        pair.run(random.uniform(0.0, 40.0))

    def both_have_a_link(pair: Pair) -> None:
        pair.start("a", holds=True)
        pair.start("b", holds=True)
        pair.run(random.uniform(0.0, 60.0))

    return random.choice([nobody, one_waits, one_waits, both_have_a_link])


def begun(random: Random, seed: object, controls: int = 1) -> Pair:
    pair = Pair(seed, controls)
    situations(random)(pair)
    return pair


def replay(pair: Pair, data: bytes, source: Address, random: Random) -> int:
    """Sends it once; its length."""
    target = random.choice(pair.targets(data))
    pair.deliver(data, pair.forged_source(data, source, random), target)
    return len(data)


def verdict(pair: Pair, host: str, replayed: list[int]) -> list[str]:
    """What a victim got too much of; other victims (who is where the ends were) count, too."""
    sent = pair.to_victims.get(host, [])
    long_run = most_in(sent, LONG_RUN)
    found = [each for each in excess(pair, replayed) if each.startswith(f"{host} ")]
    if long_run > PER_SECOND * LONG_RUN:
        found.append(f"{host} gets {long_run} in {LONG_RUN} s")
    return found


class TestOne:
    """One datagram of a former session, once, from a victim's address."""

    def test_it_makes_nobody_send_more_than_three(self, sessions: list[list[bytes]]) -> None:
        random, attacks, answered = Random(1), 0, 0
        while attacks < ATTACKS:
            pair = begun(random, f"one {attacks}", random.choice([1, 2]))
            for _ in range(ATTACKS_A_PAIR):
                attacks += 1
                at = victim(attacks)
                data = random.choice(random.choice([*sessions, pair.recorded or sessions[0]]))
                length = replay(pair, data, at, random)
                pair.run(random.choice([0.0, 0.1, 3.0]))
                if random.random() < 0.05:
                    pair.restart_control(random.randrange(pair.controls))
                assert verdict(pair, at.host, [length]) == []
                answered += bool(pair.to_victims.get(at.host))
            pair.run(70.0)
            hosts = [victim(attacks - number).host for number in range(ATTACKS_A_PAIR)]
            assert [found for host in hosts for found in verdict(pair, host, [384])] == []
        TALLY.runs += attacks
        assert answered > ATTACKS / 20, "the attack is one"


class TestOrder:
    """A whole former session in order, from one victim's address, as fast as it was or faster."""

    def test_each_of_it_earns_no_more_than_three(self, sessions: list[list[bytes]]) -> None:
        random, attacks, number = Random(2), 0, 0
        while attacks < 2 * ATTACKS:
            pair = begun(random, f"order {number}", random.choice([1, 2]))
            for _ in range(4):
                number += 1
                at, replayed = victim(number), []
                recorded = random.choice(sessions)
                gap = random.choice([0.0, 0.02, 0.2])
                only_end = random.choice([None, 0, END_B])
                for data in recorded:
                    if only_end is None or data[1] & END_B == only_end:
                        replayed.append(replay(pair, data, at, random))
                        pair.run(gap)
                    if random.random() < 0.01:
                        pair.restart_control(random.randrange(pair.controls))
                pair.run(random.choice([0.1, 5.0]))
                assert verdict(pair, at.host, replayed) == []
                attacks += len(replayed)
        TALLY.runs += attacks


class TestLongRun:
    """Carousel, storm, many controls: minutes of attack at one victim."""

    SECONDS = 120.0

    def attack(
        self,
        random: Random,
        pair: Pair,
        recorded: Iterator[bytes],
        rate: float,
        *,
        at: Address,
        any_port: bool,
        restarts: float,
    ) -> list[int]:
        replayed, step = [], 1.0 / rate
        until = pair.now + self.SECONDS
        while pair.now < until:
            port = random.randrange(1, 65536) if any_port else at.port
            replayed.append(replay(pair, next(recorded), Address(at.host, port), random))
            pair.run(step)
            if random.random() < restarts * step:
                pair.restart_control(random.randrange(pair.controls))
        return replayed

    def carousel(self, sessions: list[list[bytes]]) -> Iterator[bytes]:
        """One attempt after the other announces itself and leaves."""
        while True:
            for recorded in sessions:
                for kind in (Kind.ANNOUNCE, Kind.LEAVE):
                    yield next(data for data in recorded if data[1] & ~END_B == kind)

    def storm(self, sessions: list[list[bytes]], pair: Pair, random: Random) -> Iterator[bytes]:
        """Anything, of then and now."""
        while True:
            yield random.choice(random.choice([*sessions, pair.recorded or sessions[0]]))

    @pytest.mark.parametrize("kind", ["carousel", "storm", "controls"])
    def test_a_victim_gets_five_a_second_at_most(
        self, sessions: list[list[bytes]], kind: str
    ) -> None:
        """10,000 replays and more of each kind; each is an attack by itself."""
        random, attacks, most = Random(kind), 0, 0.0
        number = 0
        while attacks < 4 * ATTACKS:
            number += 1
            controls = random.choice([2, 3]) if kind == "controls" else 1
            pair = begun(random, f"{kind} {number}", controls)
            carousel = kind == "carousel" or (kind == "controls" and number % 2)
            recorded = self.carousel(sessions) if carousel else self.storm(sessions, pair, random)
            at = victim(number)
            replayed = self.attack(
                random,
                pair,
                recorded,
                rate=random.choice([5.0, 20.0, 50.0]),
                at=at,
                any_port=random.random() < 0.5,
                restarts=random.choice([0.0, 0.02, 0.2]),
            )
            attacks += len(replayed)
            assert verdict(pair, at.host, replayed) == [], f"{kind} {number}"
            most = max(most, most_in(pair.to_victims[at.host], LONG_RUN) / LONG_RUN)
            told = [e for events in pair.events.values() for e in events]
            assert len([e for e in told if isinstance(e, Introduced)]) <= 16
        TALLY.runs += attacks
        print(f"{kind}: {attacks} replays, a victim gets {most:.1f} a second")


class TestHeldLinks:
    """Nothing that was ever heard, and nobody who races the ends, ends a held link."""

    def held(self, seed: object, restarts: int, end: EndName) -> tuple[Pair, list[bytes]]:
        """A link whose partner was started so many times before, and what was said until then."""
        other: EndName = "b" if end == "a" else "a"
        pair = Pair(seed)
        pair.start(end, holds=True)
        for _ in range(restarts):
            pair.start(other, holds=True)
            pair.run(Random(f"{seed} {restarts}").choice([0.03, 0.05, 0.07]))
            pair.kill(other)
            pair.run(0.3)
        pair.start(other, holds=True)
        pair.run(20.0)
        return pair, list(pair.recorded)

    def lost(self, pair: Pair) -> list[object]:
        told = [e for at in HOMES.values() for e in pair.events[at]]
        return [e for e in told if isinstance(e, Lost | PartnerReturned | Finished)]

    @pytest.mark.parametrize("end", ["a", "b"])
    def test_ten_thousand_replays_end_none(self, end: EndName) -> None:
        random, attacks = Random(end), 0
        for restarts in range(21):
            pair, recorded = self.held(f"held {end} {restarts}", restarts, end)
            if self.lost(pair) or len(self.links(pair)) != 2:
                continue  # one of the earlier ones was linked already, and is missed
            for _ in range(ATTACKS // 10):
                data = random.choice(recorded if random.random() < 0.7 else pair.recorded)
                target = random.choice(pair.targets(data))
                source = random.choice([*HOMES.values(), control_address(0), victim(1)])
                pair.deliver(data, source, target)
                pair.run(random.choice([0.0, 0.01, 1.0]))
                attacks += 1
            pair.run(120.0)
            assert self.lost(pair) == [], f"{restarts} restarts"
        TALLY.runs += attacks
        assert attacks >= ATTACKS

    def links(self, pair: Pair) -> list[Linked]:
        return [e for at in HOMES.values() for e in pair.events[at] if isinstance(e, Linked)]

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0])
    def test_a_tap_that_races_ends_none(self, share: float) -> None:
        random = Random(str(share))
        for seed in range(20):
            pair, _ = self.held(f"race {seed}", 0, "a")
            tap = victim(seed)

            def race(
                data: bytes,
                _source: Address,
                target: Address,
                pair: Pair = pair,
                tap: Address = tap,
            ) -> None:
                if random.random() < share:
                    pair.call_at(pair.now + 0.019, pair.deliver, data, tap, target)

            pair.on_send = race
            pair.run(600.0)
            assert self.lost(pair) == []
            TALLY.runs += 1

    def test_nor_does_it_keep_ends_from_linking(self) -> None:
        """Every datagram arrives from the tap's address first, in the midst of punching, too."""
        for seed in range(100):
            pair = Pair(f"punch {seed}")

            def race(data: bytes, _source: Address, target: Address, pair: Pair = pair) -> None:
                pair.call_at(pair.now + 0.019, pair.deliver, data, victim(1), target)

            pair.on_send = race
            pair.start("a")
            pair.run(Random(seed).uniform(0.0, 1.0))
            pair.start("b")
            pair.run(5.0)
            links = self.links(pair)
            assert {link.remote for link in links} == set(HOMES.values())
            TALLY.runs += 1
