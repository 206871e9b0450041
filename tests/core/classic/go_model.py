"""What michurin/netpunch 0.2 (Go) does, with its timing, as machines for the virtual link."""

from __future__ import annotations

from enum import Enum

from netpunch.address import Address, parse_address
from netpunch.core.events import Via
from netpunch.core.machine import NEVER, Machine
from netpunch.wire import classic
from netpunch.wire.drop import Drop
from tests.core.classic.classic_link import VIA


class Mode(Enum):
    """Go's modes: how often, how far apart (seconds) and what each one sends."""

    DISCOVERING = (5, 0.1, None)
    PINGING = (10, 0.1, b"x")
    PONGING = (10, 0.1, b"y")
    CLOSING = (5, 0.02, b"z")
    SLEEPING = (1, 30.0, None)

    def __init__(self, tries: int, gap: float, message: bytes | None) -> None:
        self.tries = tries
        self.gap = gap
        self.message = message


class _GoProcess(Machine):
    """The parts of the machine contract that Go's processes share."""

    def __init__(self, secret: bytes) -> None:
        super().__init__()
        self._secret = secret

    def describe(self, data: bytes) -> str:
        return ""

    def _read(self, data: bytes) -> bytes:
        """Go hands a notice in brackets to its state machine in place of a bad datagram."""
        payload = classic.verify(self._secret, data)
        return b"[message skipped" if isinstance(payload, Drop) else payload

    def _write(self, payload: bytes, destination: Address) -> None:
        self._send(classic.sign(self._secret, payload), destination, VIA)


class GoControl(_GoProcess):
    """Answers, never pushes, never forgets."""

    def __init__(self, secret: bytes) -> None:
        super().__init__(secret)
        self._slots: dict[str, Address] = {}

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        letter = self._read(data).decode("latin-1")
        if len(letter) != 1 or letter not in classic.LETTERS:
            return
        self._slots[letter] = source
        partner = classic.partner_letter(letter)
        if partner in self._slots:
            payload = classic.introduction_payload(partner, self._slots[partner])
            self._write(payload, source)

    def next_timer(self) -> float:
        return NEVER

    def handle_timer(self, now: float) -> None:
        raise AssertionError("Go's control has no timer")


class GoEnd(_GoProcess):
    """`processor` of Go's client.go: after whatever arrives it sends its mode's message at once,
    then waits for the mode's gap."""

    def __init__(self, letter: str, secret: bytes, control: Address, now: float) -> None:
        super().__init__(secret)
        self._letter = letter.encode()
        self._control = control
        self.mode = Mode.DISCOVERING
        self.peer: Address | None = None
        self.done = False
        """Linked: the process has printed `peer` and is gone."""
        self.crashed = False
        """A datagram could not be written: the process has ended."""
        self._tries = 0
        self._due = now

    def next_timer(self) -> float:
        return NEVER if self._is_gone else self._due

    def handle_timer(self, now: float) -> None:
        if self._tries >= self.mode.tries:
            self._exhaust()
        self._send_mode(now)

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        if self._is_gone:
            return
        payload = self._read(data)
        fields = payload.split(b"|")
        match payload[:1]:
            case b"i" if len(fields) == 3:
                self.peer, self.mode = parse_address(fields[2].decode()), Mode.PINGING
            case b"x":
                self.peer, self.mode = source, Mode.PONGING
            case b"y":
                self.peer, self.mode = source, Mode.CLOSING
            case b"z":
                self.done = True
                return
        self._tries = 0
        self._send_mode(now)

    @property
    def _is_gone(self) -> bool:
        return self.done or self.crashed

    def _exhaust(self) -> None:
        self._tries = 0
        match self.mode:
            case Mode.CLOSING:
                self.done = True
            case Mode.SLEEPING:
                self.mode = Mode.DISCOVERING
            case _:
                self.mode = Mode.SLEEPING

    def _send_mode(self, now: float) -> None:
        if self._is_gone:
            return
        self._tries += 1
        self._due = now + self.mode.gap
        if self.mode is Mode.SLEEPING:
            return
        if self.mode.message is None:
            self._write(self._letter, self._control)
            return
        assert self.peer is not None
        if self.peer.port == 0 or self.peer.family != self._control.family:
            self.crashed = True
            return
        self._write(self.mode.message, self.peer)
