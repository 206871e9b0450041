"""One end under test. The test plays everybody else: its controls, its partner, the attackers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from struct import pack
from typing import Any, NamedTuple, TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from netpunch.address import Address
from netpunch.core.end.end import End, EndState
from netpunch.core.end.resources import Resources
from netpunch.core.endpoints import NO_NAMES, ControlEndpoints, Names, Reflectors
from netpunch.core.events import Event, OpenSockets, TurnWanted, Via
from netpunch.core.nat64 import Nat64
from netpunch.core.settings import EndSettings
from netpunch.core.traversal.budget import OPEN_PORTS
from netpunch.wire import v2
from netpunch.wire.card import NONCE_LENGTH, Card
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import OTHER, EndName
from tests.core.v2_pair import (
    CONTROL,
    CONTROL_CHANNELS,
    PAIR,
    PEER_CHANNELS,
    SECRET,
    VIA,
    A,
    B,
    Sent,
    nonces,
    seal,
    seeded,
    sent_by,
    told_by,
)

M = TypeVar("M", bound=v2.Message)
E = TypeVar("E", bound=Event)

LOCAL = Address("0.0.0.0", 5000)


class Timed(NamedTuple):
    """What the end sent, and when."""

    time: float
    sent: Sent


@dataclass
class Puppet:
    """An attempt of the partner, spoken for by the test. `number` is its last ping's."""

    end: EndName
    attempt: bytes = b"partner1"
    at: Address = B
    holds: bool = False
    sealed: bool = False
    hosts: tuple[Address, ...] = ()
    observed: tuple[Address, ...] = ()
    private: X25519PrivateKey = field(
        default_factory=lambda: X25519PrivateKey.from_private_bytes(b"p" * 32)
    )
    number: int = 0

    def card(self, named: bytes = v2.NO_ATTEMPT) -> Card:
        public = self.private.public_key().public_bytes_raw()
        return Card(
            public,
            named,
            self.holds,
            hosts=self.hosts,
            observed=self.observed,
            sealed=self.sealed,
        )

    def seal_card(self, card: Card) -> bytes:
        nonce = nonces.randbytes(NONCE_LENGTH)
        return PEER_CHANNELS[self.end].own_card.seal(card, self.attempt, nonce)

    def says(self, message: v2.PeerMessage) -> bytes:
        return seal(PEER_CHANNELS[self.end].outgoing, message)

    def new_sequence(self) -> bytes:
        self.number += 1
        return pack("!I4s", self.number, b"rand")


OWN_PORT = frozenset({"observed", "host"})
"""Candidates of an end for which no other local port may win."""


def make_resources(
    end: EndName,
    send: Callable[[bytes, Address, Via, int], None] = lambda *_: None,
    *,
    controls: Sequence[Address] = (),
    sockets: Mapping[Via, Address] | None = None,
    emit: Callable[[Event], None] = lambda _: None,
    seed: object = "end",
    now: float = 100.0,
) -> Resources:
    """What an attempt under test has of its end."""
    return Resources(
        EndSettings(PAIR, end, SECRET),
        endpoints=ControlEndpoints(tuple(controls)),
        sockets=sockets or {VIA: LOCAL},
        send=send,
        emit=emit,
        random=seeded(seed),
        now=now,
    )


class Bench:
    """An end, its clock, and all that it sent and told. With `drives` the bench gives it what it
    asks its driver for: the turn to spray, and sockets, at most `most_sockets` at a time."""

    def __init__(
        self,
        end: EndName = "a",
        *,
        controls: Sequence[Address] = (CONTROL,),
        sockets: dict[Via, Address] | None = None,
        host_addresses: Sequence[str] = (),
        reflectors: Sequence[Reflectors] = (),
        names: Names = NO_NAMES,
        other_family: Sequence[Address] = (),
        nat64: Nat64 | None = None,
        seed: object = "end",
        drives: bool = False,
        most_sockets: int = 1000,
        **settings: Any,
    ) -> None:
        self.now = 1000.0
        self.name = end
        self.sent: list[Timed] = []
        self.received: list[tuple[bytes, Address]] = []
        """What an attacker who listens to everything has recorded."""
        self.told: list[Event] = []
        self._drives = drives
        self._most_sockets = most_sockets
        self._next_via = 100
        self._questions_answered = 0
        self.end = End(
            EndSettings(PAIR, end, SECRET, **{"candidates": OWN_PORT, **settings}),
            endpoints=ControlEndpoints(
                tuple(controls), tuple(reflectors), names, tuple(other_family), nat64
            ),
            sockets=sockets or {VIA: LOCAL},
            host_addresses=host_addresses,
            random=seeded(seed),
            now=self.now,
        )
        self.run(0.0)

    # Reading.

    @property
    def attempt(self) -> bytes:
        """The attempt in which the end last punched."""
        return [each for each in self.all(v2.Announce) if each.purpose == v2.Purpose.PUNCH][
            -1
        ].attempt

    @property
    def registered(self) -> bytes:
        """The attempt that the end last announced: on standby it has another one."""
        return self.all(v2.Announce)[-1].attempt

    def all(self, kind: type[M]) -> list[M]:
        return [each.sent.message for each in self.sent if isinstance(each.sent.message, kind)]

    def events(self, kind: type[E]) -> list[E]:
        return [event for event in self.told if isinstance(event, kind)]

    def event(self, kind: type[E]) -> E:
        """The only one of its kind."""
        (event,) = self.events(kind)
        return event

    def drops(self, drop: Drop) -> int:
        return self.end.drops[drop]

    @property
    def finished(self) -> bool:
        return self.end.state is EndState.FINISHED

    def own_card(self) -> Card:
        """The card of the last announcement."""
        announce = self.all(v2.Announce)[-1]
        card = PEER_CHANNELS[self.name].own_card.open(announce.card, announce.attempt)
        assert isinstance(card, Card)
        return card

    # Time.

    def run(self, seconds: float) -> list[Timed]:
        """Lets time pass; what is sent meanwhile."""
        before, until = len(self.sent), self.now + seconds
        self._collect()
        rings = 0
        while self.end.next_timer() <= until:
            rings = rings + 1 if self.end.next_timer() <= self.now else 0
            assert rings < 100, "handle_timer does not move next_timer past now"
            self.now = max(self.now, self.end.next_timer())
            self.end.handle_timer(self.now)
            self._collect()
        self.now = until
        return self.sent[before:]

    def run_until(self, condition: Callable[[], object], *, step: float = 0.05) -> None:
        """Lets time pass until something holds; a minute is too long."""
        latest = self.now + 60.0
        while not condition():
            assert self.now < latest, "it never comes to that"
            self.run(step)

    def _collect(self) -> list[Sent]:
        sent = sent_by(self.end)
        self.sent += [Timed(self.now, each) for each in sent]
        told = told_by(self.end)
        self.told += told
        if self._drives and told:
            for event in told:
                self._drive(event)
            return sent + self._collect()
        return sent

    def _drive(self, event: Event) -> None:
        if isinstance(event, OpenSockets):
            count = min(event.count, self._most_sockets)
            vias = range(self._next_via, self._next_via + count)
            self._next_via += count
            wildcard = "::" if event.family == 6 else "0.0.0.0"
            opened = {via: Address(wildcard, 20000 + via) for via in vias}
            self.end.sockets_opened(event.request, opened, self.now)
        elif isinstance(event, TurnWanted) and event.ready:
            self.grant_turn()

    def open_sockets(self, opened: dict[Via, Address]) -> None:
        """Answers the last request for sockets."""
        self._collect()
        self.end.sockets_opened(self.events(OpenSockets)[-1].request, opened, self.now)

    def grant_turn(self) -> None:
        self.end.turn_granted(OPEN_PORTS, self.now)

    # Playing the others.

    def receive(self, data: bytes, source: Address, via: Via = VIA) -> list[Sent]:
        """What the end sends at once because of a datagram."""
        self.received.append((data, source))
        self.end.receive_datagram(data, source, self.now, via)
        return self._collect()

    def close(self) -> list[Sent]:
        self.end.close(self.now)
        return self._collect()

    def control_says(self, message: v2.FromControl, source: Address = CONTROL) -> list[Sent]:
        return self.receive(seal(CONTROL_CHANNELS[self.name].from_control, message), source)

    def wait(self, *, standby: bytes = v2.NO_ATTEMPT, control: Address = CONTROL) -> list[Sent]:
        """Control answers the last announcement: there is nobody."""
        counter = self.counter(control)
        return self.control_says(v2.Waiting(self.registered, counter, A, 0, standby), control)

    def counter(self, control: Address = CONTROL) -> int:
        """That of the last announcement to a control."""
        return [
            each.sent.message.counter
            for each in self.sent
            if isinstance(each.sent.message, v2.Announce) and each.sent.destination == control
        ][-1]

    def puppet(self, attempt: bytes = b"partner1", **fields: Any) -> Puppet:
        return Puppet(OTHER[self.name], attempt, **fields)

    def reflectors_see(self, *seen: Address) -> None:
        """Reflectors answer what they were asked since they last did, in the order of asking."""
        questions = [sent for _, sent in self.sent if isinstance(sent.message, v2.Observe)]
        answers = zip(questions[self._questions_answered :], cycle(seen), strict=False)
        self._questions_answered = len(questions)
        for question, address in answers:
            assert isinstance(question.message, v2.Observe)
            observed = v2.Observed(question.message.echo, address)
            self.control_says(observed, question.destination)

    def introduction(
        self, puppet: Puppet, *, proof: bool = True, counter: int = 0, card: Card | None = None
    ) -> v2.Introduce:
        named = self.registered if proof else v2.NO_ATTEMPT
        sealed = puppet.seal_card(card or puppet.card(named))
        return v2.Introduce(self.registered, counter, A, puppet.attempt, puppet.at, sealed)

    def introduce(self, puppet: Puppet, *, proof: bool = True) -> list[Sent]:
        """Control pushes an introduction; with `proof` the card names our attempt."""
        return self.control_says(self.introduction(puppet, proof=proof))

    def ping(self, puppet: Puppet, source: Address | None = None, via: Via = VIA) -> list[Sent]:
        ping = v2.Ping(puppet.attempt, self.attempt, puppet.new_sequence(), 0)
        return self.receive(puppet.says(ping), source or puppet.at, via)

    def pong(self, puppet: Puppet, ping: Sent) -> list[Sent]:
        """The partner answers a ping, from where it was sent to."""
        assert isinstance(ping.message, v2.Ping)
        pong = v2.Pong(puppet.attempt, self.attempt, ping.message.sequence, A)
        return self.receive(puppet.says(pong), ping.destination, ping.via)

    def pong_all(self, puppet: Puppet, sent: Iterable[Sent]) -> list[Sent]:
        """The partner answers all pings to it."""
        return [
            answer
            for each in sent
            if isinstance(each.message, v2.Ping) and each.message.receiver == puppet.attempt
            for answer in self.pong(puppet, each)
        ]

    def validate(self, puppet: Puppet) -> list[Sent]:
        """Ping and pong both ways on the puppet's address; what the end sends last."""
        pinged_back = self.ping(puppet)
        return self.pong_all(puppet, pinged_back)

    def nominate(
        self, puppet: Puppet, path: int = 3, sequence: bytes | None = None, age: int = 0
    ) -> list[Sent]:
        """a, played, nominates the path of its last ping, or of another; `age` of that in ms."""
        last = sequence or pack("!I4s", puppet.number, b"rand")
        nominate = v2.Nominate(puppet.attempt, self.attempt, last, path, age)
        return self.receive(puppet.says(nominate), puppet.at)

    def accept(self, puppet: Puppet) -> list[Sent]:
        """b, played, accepts the last nomination."""
        nominate = self.all(v2.Nominate)[-1]
        accept = v2.Accept(puppet.attempt, self.attempt, nominate.sequence)
        return self.receive(puppet.says(accept), puppet.at)

    def done(self, puppet: Puppet) -> list[Sent]:
        """a, played, has heard of b's acceptance."""
        done = v2.Done(puppet.attempt, self.attempt, pack("!I4s", puppet.number, b"rand"))
        return self.receive(puppet.says(done), puppet.at)


def linked(end: EndName, **settings: Any) -> tuple[Bench, Puppet]:
    """An end that has just been linked with a puppet."""
    bench = Bench(end, **settings)
    holds, sealed = (bool(settings.get(name, False)) for name in ("holds", "sealed"))
    puppet = bench.puppet(holds=holds, sealed=sealed)
    bench.introduce(puppet)
    bench.validate(puppet)
    if end == "a":
        bench.accept(puppet)
    else:
        bench.nominate(puppet)
    return bench, puppet
