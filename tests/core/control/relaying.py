"""An end as a relay hears it: it registers, binds, and sends what its partner should get."""

from __future__ import annotations

from dataclasses import dataclass, field

from netpunch.address import Address
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.core.events import Via
from netpunch.core.machine import Transmit
from netpunch.wire import v2
from netpunch.wire.envelope import EndName
from tests.core.v2_pair import CONTROL_CHANNELS, Sent, Voice, make_control, say, seal

RELAY_VIA: Via = 9
RELAY_PORT = 10003

Control = ControlV2 | ControlNode


def make_relay(seed: object = "relay") -> ControlV2:
    """A control that relays at RELAY_VIA."""
    control = make_control(seed)
    control.relay.serve(RELAY_VIA)
    control.relay.port = RELAY_PORT
    return control


@dataclass
class Binder:
    """One attempt of an end, which binds from `source`."""

    end: EndName
    attempt: bytes
    source: Address
    via: Via = RELAY_VIA
    counter: int = 0
    cookie: bytes = v2.NO_COOKIE
    said: list[bytes] = field(default_factory=list)
    """Every BIND, in order."""

    def message(self, counter: int | None = None) -> bytes:
        """The next BIND, or one with this counter."""
        self.counter = self.counter + 1 if counter is None else counter
        bind = v2.Bind(self.attempt, self.counter, self.cookie)
        self.said.append(seal(CONTROL_CHANNELS[self.end].to_control, bind))
        return self.said[-1]

    def ask(self, control: Control, now: float, counter: int | None = None) -> list[Sent]:
        """One BIND; a cookie that comes back is kept."""
        answers = say(control, self.message(counter), self.source, now, self.via)
        for answer in answers:
            if isinstance(answer.message, v2.Challenge):
                self.cookie = answer.message.cookie
        return answers

    def bind(self, control: Control, now: float) -> v2.Bound:
        """With a cookie, got first if need be."""
        answers = self.ask(control, now)
        if answers and isinstance(answers[0].message, v2.Challenge):
            answers = self.ask(control, now)
        (answer,) = answers
        assert isinstance(answer.message, v2.Bound)
        assert (answer.destination, answer.via) == (self.source, self.via)
        return answer.message

    def send(self, control: Control, data: bytes, now: float) -> list[Transmit]:
        """Sends to the relay; what goes out because of it."""
        control.receive_datagram(data, self.source, now, self.via)
        return control.datagrams_to_send()


def registered(
    control: Control, end: EndName, source: Address, now: float, attempt: bytes = b""
) -> Binder:
    """An end that is registered and proved from now on, and may bind."""
    voice = Voice(end, source, attempt or b"attempt" + end.encode())
    voice.register(control, now)
    return Binder(end, voice.attempt, source)
