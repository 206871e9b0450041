"""What is fuzzed: everything that reads bytes of others. Each target takes any bytes and lets
nothing out but what the reader promises; whatever else is raised is a bug."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from netpunch.address import Address
from netpunch.config.loading import load
from netpunch.config.secrets import decode
from netpunch.core.classic.control import ClassicControl
from netpunch.core.classic.end import ClassicEnd
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.core.end.end import End
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.machine import Machine
from netpunch.core.settings import EndSettings
from netpunch.errors import NetpunchError
from netpunch.wire import classic, sealed, v2
from netpunch.wire.card import CARD_LENGTH, NONCE_LENGTH, CardSeal
from netpunch.wire.envelope import END_B, ControlChannel, Direction, EndName, PeerChannel
from netpunch.wire.keys import control_key, derive, forward_epoch, peer_key
from netpunch.wire.sealed import Sealing
from tests.core.v2_pair import seeded

PAIR = "fuzz"
SECRET = bytes(range(32))
CLASSIC_SECRET = b"fuzz"
CONTROL_KEY, PEER_KEY = control_key(SECRET, PAIR), peer_key(SECRET, PAIR)
ENDS: tuple[EndName, EndName] = ("a", "b")
CONTROL = Address("192.0.2.1", 10001)
SOURCES = [Address("198.51.100.1", 5000), Address("2001:db8::1", 6000), CONTROL]
NONCE = bytes(NONCE_LENGTH)
MACHINE_LIFE = 1000
"""Datagrams to one machine: enough for deep states, few enough to reproduce a finding."""


class Target(NamedTuple):
    """`seeds` are a fuzzer's first inputs."""

    run: Callable[[bytes], None]
    seeds: list[bytes]


# v2


@cache
def directions() -> list[Direction]:
    controls = [ControlChannel(CONTROL_KEY, PAIR, end) for end in ENDS]
    return [
        *(channel.to_control for channel in controls),
        *(channel.from_control for channel in controls),
        *(PeerChannel(PEER_KEY, PAIR, end).outgoing for end in ENDS),
    ]


class Listeners:
    """The machines that get the input; all are replaced from time to time."""

    def __init__(self, make: Callable[[], list[Machine]]) -> None:
        self._make = make
        self._fed = 0
        self._machines: list[Machine] = []

    def feed(self, data: bytes, source: Address) -> None:
        if self._fed % MACHINE_LIFE == 0:
            self._machines = self._make()
        self._fed += 1
        now = 1000.0 + self._fed
        for machine in self._machines:
            machine.receive_datagram(data, source, now, 0)
            for _ in range(3):
                machine.datagrams_to_send()
                while machine.next_event() is not None:
                    pass
                if machine.next_timer() <= now:
                    machine.handle_timer(now)
            machine.describe(data)


def v2_machines() -> list[Machine]:
    random = seeded("fuzz")
    control = ControlNode(
        ControlV2({PAIR: CONTROL_KEY}, random=random), ClassicControl({"a": CLASSIC_SECRET})
    )
    ends = [
        End(
            EndSettings(
                PAIR, end, SECRET, deadline=None, candidates=frozenset({"observed", "host"})
            ),
            endpoints=ControlEndpoints((CONTROL,)),
            sockets={0: Address("0.0.0.0", 5000)},
            random=random,
            now=1000.0,
        )
        for end in ENDS
    ]
    return [control, *ends]


def v2_seeds() -> list[bytes]:
    kinds = [bytes([kind]) for kind in v2.Kind]
    return [b"", *(bytes([choice]) + kind + bytes(90) for choice in range(8) for kind in kinds)]


listeners_v2 = Listeners(v2_machines)


def v2_datagram(data: bytes) -> None:
    """Any datagram; and, as the first byte says, one that is sealed with the right key."""
    choice, rest = (data[0], data[1:]) if data else (0, data)
    source = SOURCES[choice % len(SOURCES)]
    listeners_v2.feed(data, source)
    if not rest:
        return
    for direction in directions():
        direction.open(data)
    direction = directions()[choice % len(directions())]
    kind, body = rest[0] & ~END_B, rest[1 : 1 + direction._room]
    padded = body.ljust(direction._room, b"\0")
    listeners_v2.feed(direction.seal_body(kind, padded, NONCE), source)
    seal = CardSeal(derive(PEER_KEY, "card a"), "a")
    card = rest[:CARD_LENGTH].ljust(CARD_LENGTH, b"\0")
    sealed_card = AESGCM(seal._key).encrypt(NONCE, card, b"aattempt1")
    seal.open(NONCE + sealed_card, b"attempt1")


# Sealed


@cache
def sealings() -> tuple[Sealing, Sealing]:
    """Both ends of a link."""
    a, b = Sealing("a", lambda _: None), Sealing("b", lambda _: None)
    a.rekey(SECRET)
    b.rekey(SECRET)
    return a, b


def sealed_datagram(data: bytes) -> None:
    """Nothing opens but what a program has sent, whatever that is."""
    a, b = sealings()
    header = bytes((sealed.VERSION, forward_epoch(SECRET)))
    assert b.open([data, header + data]) == []
    assert b.open(a.seal([data])) == [data]


# Classic


def classic_machines() -> list[Machine]:
    secrets = dict.fromkeys(classic.LETTERS, CLASSIC_SECRET)
    end = ClassicEnd(
        letter="a",
        secret=CLASSIC_SECRET,
        endpoints=ControlEndpoints((CONTROL,)),
        sockets={0: Address("0.0.0.0", 5000)},
        deadline=None,
        deadline_from_start=True,
        random=seeded("fuzz"),
        now=1000.0,
    )
    return [ClassicControl(secrets), end]


listeners_classic = Listeners(classic_machines)


def classic_datagram(data: bytes) -> None:
    """Any datagram, and any payload that is signed."""
    source = SOURCES[len(data) % len(SOURCES)]
    codec = classic.Codec(CLASSIC_SECRET, classic.LETTERS)
    listeners_classic.feed(data, source)
    with contextlib.suppress(classic.UnsignableError):
        listeners_classic.feed(codec.sign(data), source)
    codec.verify(data)
    classic.parse_introduction(data)
    classic.describe(data)


CLASSIC_SEEDS = [b"", b"a", b"x", b"y", b"z", b"i|b|192.0.2.1:5000", b"i|b|[2001:db8::1]:5000"]


# Files


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="netpunch-fuzz-"))


INCLUDING = b'version: 1\ncontrol: {address: "127.0.0.1:1"}\ninclude: included.yaml\n'


def site_file(data: bytes) -> None:
    """As the site file, and as one that it includes."""
    site, included = folder() / "site.yaml", folder() / "included.yaml"
    included.write_bytes(data)
    for text in (data, INCLUDING):
        site.write_bytes(text)
        with contextlib.suppress(NetpunchError):
            load(site)


def key_file(data: bytes) -> None:
    for protocol in ("v2", "classic"):
        for role in ("end", "control"):
            with contextlib.suppress(ValueError):
                decode(data, protocol, role)


EXAMPLES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))

TARGETS = {
    "v2": Target(v2_datagram, v2_seeds()),
    "sealed": Target(sealed_datagram, [b"", bytes(8), bytes(24), bytes(1280)]),
    "classic": Target(classic_datagram, CLASSIC_SEEDS),
    "site": Target(site_file, [path.read_bytes() for path in EXAMPLES]),
    "key": Target(key_file, [b"", b"npk1:" + b"A" * 48, b"npc1:" + b"A" * 48 + b"\n", b"word"]),
}
