"""An attacker who records every datagram and sends it again, from anywhere and at any time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from random import Random

import pytest

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.allowances import TO_STRANGER
from netpunch.core.events import Linked, Lost, PartnerReturned, Reason
from netpunch.core.machine import Machine
from netpunch.wire.v2 import Kind
from tests.sim.held import Starts, Watch
from tests.sim.machines import V2, Classic
from tests.sim.movement import control_restart, nat_address, new_uplink, restart, suspend
from tests.sim.nat import FULL_CONE, RANDOM_CONE, RESTRICTED_CONE
from tests.sim.network import Datagram, Record
from tests.sim.promises import PROBE, TALLY, V2_PEER_LENGTH, one_path, promising, seeds
from tests.sim.scenarios import CONTROL, LOCAL_PORT, Scenario, Setup

ATTACKER = Address("192.0.2.66", 666)
OPEN_PAIR = Setup(nat_a=(FULL_CONE,), nat_b=(), delay=0.02, deadline=40.0)
"""Both ends can be reached by anybody."""
A_OUTSIDE = Address("203.0.113.1", LOCAL_PORT)
B_OUTSIDE = Address("203.0.113.2", LOCAL_PORT)


def recording(seed: int, setup: Setup) -> list[Datagram]:
    """Every datagram of a run, as it was on the internet."""
    run = Scenario(seed, setup)
    run.start().run_to_the_end()
    assert run.linked
    return distinct(run.network.received)


def distinct(records: Iterable[Record]) -> list[Datagram]:
    return list(dict.fromkeys(r.datagram for r in records if r.datagram.data != PROBE))


def sources(random: Random, datagram: Datagram) -> list[Address]:
    """From where to send it: as it was, from the attacker's own address, or as some other."""
    return [
        datagram.source,
        ATTACKER,
        random.choice([A_OUTSIDE, B_OUTSIDE, Address("127.0.0.1", 7)]),
    ]


def targets(run: Scenario) -> list[Address]:
    return [*run.control_addresses, A_OUTSIDE, B_OUTSIDE]


def replay(run: Scenario, datagrams: list[Datagram], seconds: float, random: Random) -> None:
    """Sends every datagram to everybody, from several addresses, at random times."""
    for datagram in datagrams:
        for target in targets(run):
            for source in sources(random, datagram):
                at = run.network.now + random.uniform(0.0, seconds)
                run.network.call_at(at, run.network.inject, datagram.data, source, target)


def sent_to(run: Scenario, address: Address) -> list[Datagram]:
    return [s.datagram for s in run.network.strays if s.datagram.destination == address]


def drops(machine: Machine | None) -> int:
    assert machine is not None
    return machine.drops.total()


@pytest.mark.parametrize("controls", [1, 2])
@pytest.mark.parametrize("skew", [0.0, 1.0, -1.0])
def test_recordings_of_earlier_runs_neither_prevent_nor_delay_a_link(
    skew: float, controls: int
) -> None:
    old = recording(1000, OPEN_PAIR)
    for seed in seeds(10):
        with promising(Scenario(seed, replace(OPEN_PAIR, skew=skew, controls=controls))) as run:
            run.start()
            replay(run, old, 1.5, Random(seed))
            run.run_to_the_end()
            assert run.linked
            # A ghost in an empty slot costs its partner's owner a challenge: a round trip.
            assert run.link_time < 0.5


@pytest.mark.parametrize("controls", [1, 2])
def test_what_is_recorded_of_a_run_and_sent_again_at_once_changes_nothing(controls: int) -> None:
    """The attacker is close to everybody, and a millisecond behind the original. What one
    control was told he tells the other as well."""
    for seed in seeds(30):
        with promising(Scenario(seed, replace(OPEN_PAIR, skew=0.3, controls=controls))) as run:
            random = Random(seed)

            def again(record: Record, run: Scenario = run, random: Random = random) -> None:
                datagram = record.datagram
                if datagram.data == PROBE:
                    return
                delay = run.setup.delay + random.uniform(0.001, 0.5)
                target = random.choice([datagram.destination, *targets(run)])
                source = random.choice(sources(random, datagram))
                at = record.time + delay
                run.network.call_at(at, run.network.inject, datagram.data, source, target)

            run.network.on_send.append(again)
            run.start().run_to_the_end()
            assert run.linked
            assert run.link_time < 0.5


def test_who_is_faster_than_the_original_wins_no_link() -> None:
    """Every datagram arrives from the attacker's address first. He may delay; he is no end."""
    for seed in seeds(30):
        with promising(Scenario(seed, replace(OPEN_PAIR, skew=0.3, deadline=10.0))) as run:

            def before(record: Record, run: Scenario = run) -> None:
                if record.datagram.data != PROBE:
                    original = record.datagram
                    run.network.inject(original.data, ATTACKER, original.destination)

            run.network.on_send.append(before)
            run.start().run_to_the_end()
            for side in run.sides:
                for _, link in side.host.told_of(Linked):
                    assert link.remote != ATTACKER


@pytest.mark.parametrize("settings", [{}, {"holds": True}])
def test_recordings_disturb_no_held_link(settings: dict[str, bool]) -> None:
    old = recording(1000, OPEN_PAIR)
    for seed in range(10):
        TALLY.runs += 1
        run = Scenario(seed, replace(OPEN_PAIR, settings={"holds": True}))
        assert run.start().run_until_linked(10.0)
        own = distinct(run.network.received)
        replay(run, old + own if settings else own, 100.0, Random(seed))
        run.run(200.0)
        for side in run.sides:
            assert len(side.links) == 1
            assert not list(side.host.told_of(Lost))
            assert not list(side.host.told_of(PartnerReturned))
        assert not list(one_path(run))
        assert len(sent_to(run, ATTACKER)) < 100


def test_recordings_wake_no_end_that_has_ended() -> None:
    for seed in range(10):
        with promising(Scenario(seed, OPEN_PAIR)) as run:
            run.start().run_to_the_end()
            run.run(3.0)
            before = Counter(record.host for record in run.network.sent)
            told = [len(side.host.told) for side in run.sides]
            replay(run, distinct(run.network.received), 5.0, Random(seed))
            run.run(10.0)
            after = Counter(record.host for record in run.network.sent)
            assert (before["a"], before["b"]) == (after["a"], after["b"])
            assert told == [len(side.host.told) for side in run.sides]


def test_a_control_without_registrations_sends_little_because_of_recordings() -> None:
    """One answer, and one push to the partner, which may be another ghost of the sender."""
    old = recording(1000, OPEN_PAIR)
    for seed in range(10):
        with promising(Scenario(seed, OPEN_PAIR)) as run:
            run.start_control()
            for _ in range(3):
                replay(run, old, 10.0, Random(seed))
                run.run(20.0)
            for question, answers in run.control.answers:
                assert len(answers) <= 2
                assert all(len(answer.data) <= len(question.data) for answer in answers)
            seconds = 60.0
            both_slots = 2 * (TO_STRANGER.burst + seconds / TO_STRANGER.interval)
            assert len(sent_to(run, ATTACKER)) <= both_slots


def test_a_ghost_in_an_empty_slot_gets_a_few_pings_and_no_link() -> None:
    """Control was restarted, and knows of a only what the attacker announces from his address."""
    old = [d for d in recording(1000, OPEN_PAIR) if d.data[1] == Kind.ANNOUNCE]
    patience = 10.0
    for seed in range(20):
        with promising(Scenario(seed, replace(OPEN_PAIR, skew=patience))) as run:
            run.start_control()
            run.network.inject(old[0].data, ATTACKER, run.control_addresses[0])
            run.run(0.1)
            began = run.network.now
            run.start_end(run.b)
            run.network.call_at(began + patience, run.start_end, run.a)
            run.run_to_the_end()
            assert run.linked
            pings = [d for d in sent_to(run, ATTACKER) if len(d.data) == V2_PEER_LENGTH]
            assert len(pings) == timing.KNOCK_PINGS


def test_a_way_back_that_only_the_attacker_knows_makes_no_path() -> None:
    """b's answers reach a, sent again by somebody else: a has no path to b, only from it."""
    mute = replace(FULL_CONE, only_to=frozenset({CONTROL[4].host}))
    with promising(Scenario(1, replace(OPEN_PAIR, nat_b=(mute,), deadline=10.0))) as run:

        def relay(record: Record) -> None:
            datagram = record.datagram
            if record.host == "b" and datagram.destination == A_OUTSIDE:
                run.network.inject(datagram.data, ATTACKER, A_OUTSIDE)

        run.network.on_send.append(relay)
        run.start().run_to_the_end()
        assert sent_to(run, ATTACKER)
        assert run.a.failure is not None
        assert run.a.failure.reason is Reason.BLOCKED


def test_damaged_datagrams_are_dropped_and_never_answered() -> None:
    old = recording(1000, OPEN_PAIR)
    for seed in range(10):
        random = Random(seed)
        with promising(Scenario(seed, replace(OPEN_PAIR, skew=1.0))) as run:
            run.start()
            for datagram in old:
                for target in targets(run):
                    at = random.uniform(0.0, 2.0)
                    data = damaged(datagram.data, random)
                    run.network.call_at(at, run.network.inject, data, ATTACKER, target)
            run.run_to_the_end()
            assert run.linked
            assert not sent_to(run, ATTACKER)
            assert drops(run.control.machine) > 0


def damaged(data: bytes, random: Random) -> bytes:
    """Cut, extended, or with one bit changed."""
    match random.randrange(3):
        case 0:
            return data[: random.randrange(len(data))]
        case 1:
            return data + random.randbytes(random.randrange(1, 100))
        case _:
            place = random.randrange(len(data))
            return (
                data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]
            )


def test_datagrams_of_another_pair_secret_are_strangers() -> None:
    other = recording(1000, replace(OPEN_PAIR, protocol=Classic()))
    for seed in range(5):
        with promising(Scenario(seed, replace(OPEN_PAIR, protocol=V2()))) as run:
            run.start()
            replay(run, other, 1.0, Random(seed))
            run.run_to_the_end()
            assert run.linked
            assert not sent_to(run, ATTACKER)


@pytest.mark.parametrize("nats", [(FULL_CONE,), (RESTRICTED_CONE,), (RANDOM_CONE,)])
def test_classic_promises_less_but_every_attempt_ends(nats: tuple[object, ...]) -> None:
    """A classic recording is as good as new: it can mislead, but neither crash nor multiply."""
    setup = replace(OPEN_PAIR, protocol=Classic(), deadline=20.0)
    old = recording(1000, setup)
    for seed in range(20):
        TALLY.runs += 1
        run = Scenario(seed, setup)
        run.start()
        replay(run, old, 5.0, Random(seed))
        run.run_to_the_end()
        for side in run.sides:
            assert side.ended, f"seed {seed}"
        misled = len(sent_to(run, ATTACKER))
        assert misled < 10 * len(old), f"seed {seed}"


# Held links that move.


HOLDS = {"holds": True, "deadline_from_start": False}
STARTS_A_MINUTE = 11
"""Ten, and the first attempt of a process."""


def moving(seed: int, setup: Setup = OPEN_PAIR) -> tuple[Scenario, Watch, Starts]:
    """A held link that is watched."""
    TALLY.runs += 1
    run = Scenario(seed, replace(setup, settings=HOLDS))
    watch, starts = Watch(run), Starts(run)
    run.start()
    assert run.run_until(lambda: watch.same, 10.0)
    return run, watch, starts


def again_later(run: Scenario, random: Random, seconds: float) -> None:
    """Everything that is said is sent again: to whom it was for, and to somebody, from anywhere."""

    def again(record: Record) -> None:
        datagram = record.datagram
        for target in (datagram.destination, random.choice(targets(run))):
            source = random.choice(sources(random, datagram))
            at = record.time + run.setup.delay + random.uniform(0.001, seconds)
            run.network.call_at(at, run.network.inject, datagram.data, source, target)

    run.network.on_send.append(again)


def test_recordings_of_moves_make_no_held_link_move() -> None:
    """Of those moves, too, that led to this very link."""
    for seed in range(4):
        run, watch, starts = moving(seed)
        for side in (run.a, run.b, run.a):
            run.restart_end(side)
            assert run.run_until(partial(getattr, watch, "same"), 10.0), f"seed {seed}"
            run.run(run.network.random.uniform(0.0, 15.0))
        told = [len(side.links) for side in run.sides]
        begun = starts.total
        replay(run, distinct(run.network.received), 100.0, Random(seed))
        run.run(150.0)
        assert [len(side.links) for side in run.sides] == told, f"seed {seed}"
        assert starts.total == begun, f"seed {seed}"
        assert not watch.lost
        assert watch.works()


@pytest.mark.parametrize("seconds", [0.5, 30.0], ids=["at once", "for long"])
def test_recordings_neither_prevent_moves_nor_cause_more_than_there_may_be(seconds: float) -> None:
    """The attacker hears everything, and sends it again while the link moves."""
    for seed in range(6):
        run, watch, starts = moving(seed)
        random = Random(seed)
        again_later(run, random, seconds)
        for _ in range(5):
            run.run(random.uniform(0.0, 10.0))
            happens = random.choice([new_uplink, restart, suspend, control_restart])
            over = happens(run, [random.choice(run.sides)], random)
            run.run(over)
        run.run(20.0)
        assert watch.works(), f"seed {seed}"
        assert not watch.lost, f"seed {seed}"
        assert starts.most_in(1.0) <= 2, f"seed {seed}"
        assert starts.most_in(60.0) <= STARTS_A_MINUTE, f"seed {seed}"


@pytest.mark.parametrize("pause", [0.3, 3.0, 20.0])
def test_changes_cause_no_more_starts_than_there_may_be(pause: float) -> None:
    """Both NATs get another address again and again, while programs send."""
    minutes = 10
    setup = replace(OPEN_PAIR, nat_a=(RANDOM_CONE,), nat_b=(RANDOM_CONE,))
    run, watch, starts = moving(1, setup)
    random, began = Random(1), run.network.now
    while run.network.now < began + 60.0 * minutes:
        for side in run.sides:
            side.host.ask(lambda end, now: end.send_payload(b"a program's", now))
        run.run(random.uniform(0.0, 2 * pause))
        nat_address(run, [random.choice(run.sides)], random)
    assert starts.most_in(1.0) <= 2
    assert starts.most_in(60.0) <= STARTS_A_MINUTE
    assert run.run_until(lambda: watch.same, 90.0)
