"""The promises of v2, attacked ten thousand times each; `pytest -s` prints the counts.

A whole site in one process: a control, both ends, no network between them. The attacker sees
every datagram and puts his own to any of the three, as if from any address, at any time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from netpunch.address import Address
from netpunch.core.control.control import ControlV2
from netpunch.core.end.end import End
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import Event, Failed, Linked, OpenSockets, Registered
from netpunch.core.machine import Machine, Transmit
from netpunch.core.settings import EndSettings
from netpunch.wire import v2
from netpunch.wire.card import CARD_LENGTH
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import (
    CONTROL_DATAGRAM,
    END_B,
    NONCE_LENGTH,
    PEER_DATAGRAM,
    Direction,
    EndName,
    PeerChannel,
)
from netpunch.wire.keys import derive, pair_tag
from tests.core.v2_pair import (
    CONTROL,
    CONTROL_CHANNELS,
    CONTROL_KEY,
    ELSEWHERE,
    ENDS,
    PAIR,
    SECRET,
    VIA,
    A,
    B,
    Voice,
    make_control,
    say,
    seeded,
    told_by,
)

ATTACKS = 10_000
HOMES: dict[EndName, Address] = {"a": A, "b": B}
PARTNERS: dict[EndName, Address] = {"a": B, "b": A}
SOURCES = [A, B, CONTROL, ELSEWHERE, Address(A.host, 5001), Address("2001:db8::66", 666)]
SECONDS = 2.0
"""More than a link takes here: the later end announces itself, and all is said at once."""
UNTIL_SILENCE = 1000
"""Rounds of datagrams: many more than are ever said."""
BY_CONTROL = {
    v2.Kind.WAITING,
    v2.Kind.INTRODUCE,
    v2.Kind.KNOCK,
    v2.Kind.CHALLENGE,
    v2.Kind.OBSERVED,
}
ROUNDS = 8
"""In which a link is made: an attack comes after some of them."""


class Attack(NamedTuple):
    target: Address
    data: bytes
    source: Address


class Site:
    """Each machine has a clock of its own, as far from the others' as can be."""

    def __init__(self, seed: object) -> None:
        random = Random(f"clocks {seed}")
        self.clocks = {at: random.uniform(-1e6, 1e9) for at in (CONTROL, A, B)}
        self.control = make_control(f"control {seed}")
        self.ends = {end: self._make_end(end, seed) for end in ENDS}
        self.machines: dict[Address, Machine] = {
            CONTROL: self.control,
            A: self.ends["a"],
            B: self.ends["b"],
        }
        self.now = 0.0
        self.recorded: list[bytes] = []
        self.meddle: Callable[[], Iterable[Attack]] = tuple
        self.events: dict[Address, list[Event]] = {at: [] for at in self.machines}
        for end in ENDS:
            self.ends[end].handle_timer(self.clocks[HOMES[end]])

    def _make_end(self, end: EndName, seed: object) -> End:
        return End(
            EndSettings(
                PAIR, end, SECRET, candidates=frozenset({"observed", "host"}), deadline=None
            ),
            endpoints=ControlEndpoints((CONTROL,)),
            sockets={VIA: Address("0.0.0.0", HOMES[end].port)},
            random=seeded(f"{end} {seed}"),
            now=self.clocks[HOMES[end]],
        )

    def restart_control(self, seed: object) -> None:
        """It forgets everything, and its clock begins anew."""
        self.clocks[CONTROL] = Random(f"restart {seed}").uniform(-1e6, 1e9)
        self.control = self.machines[CONTROL] = make_control(f"restarted {seed}")

    def run(self, seconds: float) -> None:
        """Lets time pass; what the machines say arrives at once."""
        until = self.now + seconds
        while True:
            self.deliver()
            due, at = min((m.next_timer() - self.clocks[at], at) for at, m in self.machines.items())
            if due > until:
                break
            self.now = max(self.now, due)
            # Adding a clock's offset rounds: a microsecond more is never too early.
            self.machines[at].handle_timer(self.now + self.clocks[at] + 1e-6)
        self.now = until

    def deliver(self, rounds: int = UNTIL_SILENCE) -> None:
        """Everybody's datagrams, then those said because of them; the attacker meddles with each
        one."""
        while rounds and (said := [each for at in self.machines for each in self._said_by(at)]):
            rounds -= 1
            for source, transmit in said:
                self.recorded.append(transmit.data)
                for attack in self.meddle():
                    self.put(attack)
                self.put(Attack(transmit.destination, transmit.data, source))

    def put(self, attack: Attack) -> None:
        machine = self.machines.get(attack.target)
        if machine is not None:
            now = self.now + self.clocks[attack.target]
            machine.receive_datagram(attack.data, attack.source, now, VIA)

    def answers(self, attack: Attack) -> list[Transmit]:
        """What a datagram makes its target say; what it had to say before is lost."""
        machine = self.machines[attack.target]
        machine.datagrams_to_send()
        self.put(attack)
        return machine.datagrams_to_send()

    def _said_by(self, at: Address) -> Iterator[tuple[Address, Transmit]]:
        machine = self.machines[at]
        for transmit in machine.datagrams_to_send():
            yield at, transmit
        self.events[at] += told_by(machine)

    def links(self) -> list[tuple[EndName, Address]]:
        return [
            (end, event.remote)
            for end in ENDS
            for event in self.events[HOMES[end]]
            if isinstance(event, Linked)
        ]

    def harm(self) -> list[str]:
        """Whatever must not have happened."""
        told = [event for events in self.events.values() for event in events]
        return [
            *(f"{end} linked to {to}" for end, to in self.links() if to != PARTNERS[end]),
            *(str(each) for each in told if isinstance(each, OpenSockets | Failed)),
        ]


def recordings(count: int) -> list[bytes]:
    """Of whole links of this pair in the past."""
    recorded: list[bytes] = []
    for seed in range(count):
        site = Site(f"past {seed}")
        site.run(SECONDS)
        assert len(site.links()) == 2
        recorded += site.recorded
    return recorded


def report(promise: str, attacks: Counter[str]) -> None:
    assert attacks.total() >= ATTACKS
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(attacks.items()))
    print(f"{promise}: {attacks.total()} attacks ({kinds}), 0 successes")


@pytest.fixture(scope="module")
def past() -> list[bytes]:
    return recordings(8)


class TestPromise1:
    """No recording displaces a live registration, or opens, changes or sprays a path."""

    def test_before_and_during_a_link(self, past: list[bytes]) -> None:
        random, attacks, seed = Random(1), Counter[str](), 0
        while attacks.total() < ATTACKS:
            seed += 1
            site = Site(f"replay {seed}")

            def replays(site: Site = site) -> Iterator[Attack]:
                for _ in range(5):
                    own = random.random() < 0.5
                    data = random.choice(site.recorded if own else past)
                    target = random.choice([CONTROL, A, B])
                    attacks["of this link" if own else "of earlier ones"] += 1
                    yield Attack(target, data, random.choice(SOURCES))

            site.meddle = replays
            site.run(SECONDS)
            assert site.harm() == []
            assert sorted(site.links()) == [("a", B), ("b", A)]
        report("promise 1, links", attacks)

    def test_live_registrations(self, past: list[bytes]) -> None:
        random, attacks = Random(2), Counter[str]()
        control, now = make_control("live"), 1000.0
        voices = [Voice("a", A, b"attempt1"), Voice("b", B, b"attempt2")]
        for voice in voices:
            voice.register(control, now)
        said: list[bytes] = []
        told_by(control)
        while attacks.total() < ATTACKS:
            now += 1.0
            for voice in voices:
                said.append(voice.announcement())
                assert say(control, said[-1], voice.source, now)
            for _ in range(20):
                own = random.random() < 0.5
                data = random.choice(said if own else past)
                say(control, data, random.choice(SOURCES), now)
                attacks["of these ends" if own else "of earlier links"] += 1
            control.handle_timer(now)
            assert [e for e in told_by(control) if isinstance(e, Registered)] == []
        report("promise 1, registrations", attacks)


class TestPromise2:
    """Who holds the control key alone can say nothing as if he were an end."""

    def forge(self, random: Random, site: Site, end: EndName) -> tuple[str, bytes]:
        """For `end`, with every key that can be derived from the control key."""
        kind = random.choice(["peer message", "card", "moved card", "re-sealed"])
        other: EndName = "b" if end == "a" else "a"
        names = [f"{other}>{end}", f"{end}>{other}", f"card {other}", f"peer|{PAIR}", "control"]
        key = random.choice([CONTROL_KEY, *(derive(CONTROL_KEY, name) for name in names)])
        nonce = random.randbytes(NONCE_LENGTH)
        own = self.attempts(site)[end]
        forged = random.randbytes(v2.ATTEMPT_LENGTH)
        if kind == "peer message":
            sequence = random.randbytes(8)
            messages: list[v2.PeerMessage] = [
                v2.Ping(forged, own, sequence, 0),
                v2.Pong(forged, own, sequence, HOMES[end]),
                v2.Nominate(forged, own, sequence, 3),
                v2.Accept(forged, own, sequence),
                v2.Done(forged, own, sequence),
            ]
            direction = Direction(key, pair_tag(PAIR), other, PEER_DATAGRAM)
            return kind, direction.seal(random.choice(messages), nonce)
        if kind == "re-sealed":  # peer keys derived as an end derives them, from what he has
            channel = PeerChannel(key, PAIR, other)
            return kind, channel.outgoing.seal(v2.Ping(forged, own, bytes(8), 0), nonce)
        if kind == "card":
            aead = AESGCM(key)
            card = nonce + aead.encrypt(nonce, bytes(CARD_LENGTH), other.encode() + forged)
        else:  # an authentic one, of the attempt that it doesn't belong to
            card = random.choice(self.cards(site, other))
        introduce = v2.Introduce(own, 0, HOMES[end], forged, ELSEWHERE, card)
        return kind, CONTROL_CHANNELS[end].from_control.seal(introduce, nonce)

    def announcements(self, site: Site) -> list[tuple[EndName, v2.Announce]]:
        opened = [(e, CONTROL_CHANNELS[e].to_control.open(d)) for d in site.recorded for e in ENDS]
        return [(end, message) for end, message in opened if isinstance(message, v2.Announce)]

    def attempts(self, site: Site) -> dict[EndName, bytes]:
        return {end: message.attempt for end, message in self.announcements(site)}

    def cards(self, site: Site, of: EndName) -> list[bytes]:
        return [message.card for end, message in self.announcements(site) if end == of]

    def test_a_seized_control(self) -> None:
        random, attacks = Random(3), Counter[str]()
        site = Site("seized")
        site.deliver(rounds=1)
        del site.machines[CONTROL]  # it keeps what it heard, and lets nobody meet
        site.recorded = list(dict.fromkeys(site.recorded))
        before = {end: site.ends[end].drops.copy() for end in ENDS}
        tried: Counter[EndName] = Counter()
        while attacks.total() < ATTACKS:
            end = random.choice(ENDS)
            kind, data = self.forge(random, site, end)
            source = CONTROL if len(data) == CONTROL_DATAGRAM else random.choice(SOURCES)
            assert site.ends[end].datagrams_to_send() == []
            site.put(Attack(HOMES[end], data, source))
            assert site.ends[end].datagrams_to_send() == []
            attacks[kind] += 1
            tried[end] += 1
        for end in ENDS:
            refused = site.ends[end].drops - before[end]
            assert set(refused) <= {Drop.BAD_MAC, Drop.MALFORMED}
            assert refused.total() == tried[end]
        site.deliver()
        assert site.links() == []
        assert site.harm() == []
        report("promise 2", attacks)


class TestPromise3:
    """Nothing that fails authentication is answered; no answer is longer than its question."""

    def half_linked(self, random: Random, attacks: Counter[str]) -> Site:
        """Ends that wait, ping, agree, or are about to be done."""
        site = Site(f"promise 3 {attacks.total()}")
        site.deliver(rounds=random.randrange(1, ROUNDS))
        return site

    def departs(self, said: Transmit) -> bool:
        """b is linked, and takes whatever comes on the path for the beginning of what the hole is
        for: then it leaves control, a little earlier than it would have."""
        return said.destination == CONTROL and said.data[1] == v2.Kind.LEAVE | END_B

    def damage(self, random: Random, data: bytes, past: list[bytes]) -> tuple[str, bytes]:
        position = random.randrange(len(data))
        other = random.choice(past)
        kinds = {
            "flipped": data[:position]
            + bytes([data[position] ^ 1 << random.randrange(8)])
            + data[position + 1 :],
            "truncated": data[:position],
            "extended": data + random.randbytes(random.randrange(1, 300)),
            "as the other end's": data[:1] + bytes([data[1] ^ END_B]) + data[2:],
            "noise": random.randbytes(random.choice([128, 384])),
            "noise under a good header": data[:10] + random.randbytes(len(data) - 10),
            "of two attempts": data[:22] + other[22:] if other[22:] != data[22:] else b"",
        }
        kind = random.choice(list(kinds))
        return kind, kinds[kind]

    def test_forgeries(self, past: list[bytes]) -> None:
        random, attacks = Random(4), Counter[str]()
        while attacks.total() < ATTACKS:
            site = self.half_linked(random, attacks)
            for _ in range(250):
                data = random.choice(site.recorded if random.random() < 0.5 else past)
                kind, forged = self.damage(random, data, past)
                target = random.choice([CONTROL, A, B])
                answers = site.answers(Attack(target, forged, random.choice(SOURCES)))
                assert [each for each in answers if not self.departs(each)] == [], kind
                attacks[kind] += 1
            assert site.harm() == []
        report("promise 3, forged", attacks)

    def test_reflected(self, past: list[bytes]) -> None:
        """Back to who said it: of a and b each, of control as if an end had said it."""
        random, attacks = Random(5), Counter[str]()
        keys = {
            (CONTROL_DATAGRAM, False): "an end's, back to it",
            (CONTROL_DATAGRAM, True): "control's, back to it",
            (PEER_DATAGRAM, False): "between ends, to the sender",
        }
        while attacks.total() < ATTACKS:
            site = self.half_linked(random, attacks)
            for _ in range(250):
                data = random.choice(site.recorded)
                by_control = data[1] & ~END_B in BY_CONTROL
                target = CONTROL if by_control else HOMES["b" if data[1] & END_B else "a"]
                assert site.answers(Attack(target, data, random.choice(SOURCES))) == []
                attacks[keys[len(data), by_control]] += 1
            assert site.harm() == []
        report("promise 3, reflected", attacks)

    def test_amplification(self, past: list[bytes]) -> None:
        """Authentic ones, replayed: whatever is said because of them is as short as they are."""
        random, attacks, answered = Random(6), Counter[str](), 0
        while attacks.total() < ATTACKS:
            site = self.half_linked(random, attacks)
            for _ in range(250):
                data = random.choice(site.recorded + past)
                target = random.choice([CONTROL, A, B])
                answers = site.answers(Attack(target, data, random.choice(SOURCES)))
                # An introduction makes an end ping, and announce itself: it is as long as that.
                assert all(len(each.data) <= len(data) for each in answers)
                answered += len(answers)
                attacks["replayed"] += 1
        assert answered
        report("promise 3, amplified", attacks)


class TestPromise4:
    """No clock agrees with another, and nothing survives a restart."""

    def test_a_control_is_restarted_again_and_again(self) -> None:
        for seed in range(50):
            site = Site(f"restarts {seed}")
            for restart in range(3):
                site.run(Random(seed).choice([0.0, 0.01, 0.1]))
                site.restart_control(f"{seed} {restart}")
            site.run(2 * SECONDS)
            assert sorted(site.links()) == [("a", B), ("b", A)]

    def test_cookies_of_other_boots_and_times(self) -> None:
        random, attacks = Random(7), Counter[str]()
        thief = Voice("a", ELSEWHERE, b"attempt9")
        cookies = [self.cookie(make_control(f"boot {n}"), thief, n * 7.0) for n in range(1000)]
        while attacks.total() < ATTACKS:
            control = make_control(f"boot after {attacks.total()}")
            now = random.uniform(-1e6, 1e9)
            Voice("a", A, b"attempt1").announce(control, now)
            own = self.cookie(control, thief, now)
            told_by(control)
            for _ in range(100):
                later = random.choice([0.0, 1.0, 3600.0, 1e6])
                outdated = later > 60.0 and random.random() < 0.5
                thief.cookie = own if outdated else random.choice(cookies)
                say(control, thief.announcement(), ELSEWHERE, now + later)
                assert told_by(control) == []
                attacks["outdated" if outdated else "of another boot"] += 1
        report("promise 4", attacks)

    def cookie(self, control: ControlV2, thief: Voice, now: float) -> bytes:
        Voice("a", A, b"attempt1").announce(control, now, counter=1)
        thief.cookie = v2.NO_COOKIE
        thief.announce(control, now)
        assert thief.cookie != v2.NO_COOKIE
        return thief.cookie
