"""Asks controls where they see some sockets, and registers nobody: for `netpunch doctor`.

Only OBSERVE is sent, from sockets of its own. What a control answers to a host that has not
proved itself is little (`core.allowances`), and the ends of this host need it, too: each question
is repeated only until it is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from netpunch.address import Address, is_pingable
from netpunch.core.describe import describe
from netpunch.core.events import Via
from netpunch.core.machine import NEVER, Machine, Random
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import NONCE_LENGTH, ControlChannel
from netpunch.wire.v2 import ECHO_LENGTH, Observe, Observed

RETRIES = (0.3, 0.5, 0.8)
"""Gaps after the first three times that a question is asked: at 20 % loss both ways one in 60
stays unanswered."""
PATIENCE = 1.0
"""Seconds after the last time: longer than any round trip but that of a congested uplink."""
TOKEN_LENGTH = 16
"""Bytes that a socket sends to another one's outside address; no message of netpunch is so short,
so that nobody takes it for one."""
TOKENS, TOKEN_GAP = 3, 0.12
"""So many times, with these seconds between and after: a router sends it back within one."""


class Question(NamedTuple):
    """Where does `control` see socket `via`?"""

    via: Via
    control: Address


class Answer(NamedTuple):
    """There; `rtt` in seconds, from the last time it was asked; `relay_port` is that of the
    control's relay, 0 if it has none."""

    observed: Address
    rtt: float
    relay_port: int


class Observing(Machine):
    """The questions of one end, in the order in which they are asked; `on_done` is called when all
    are answered or given up.

    A stream that connects is asked about, too: `streams` says how many there will be. With
    `loops_back`, sockets that a NAT maps to one address each send to one another there afterwards:
    whether the router turns such datagrams around (hairpinning)."""

    def __init__(
        self,
        channel: ControlChannel,
        questions: Sequence[Question],
        *,
        streams: int = 0,
        loops_back: bool = False,
        random: Random,
        now: float,
        on_done: Callable[[], None],
    ) -> None:
        super().__init__()
        self.answers: dict[Question, Answer] = {}
        self.looped_back: bool | None = None
        """Whether a router turns datagrams around; None: not tried."""
        self._channel = channel
        self._echoes = {question: random(ECHO_LENGTH) for question in questions}
        self._asked_at: dict[Question, float] = {}
        self._streams = streams
        self._loops_back = loops_back
        self._random = random
        self._on_done: Callable[[], None] | None = on_done
        self._token = b"\0" + random(TOKEN_LENGTH - 1)
        self._tokens_left = 0
        self._times = 0
        self._next = now

    # The contract.

    def next_timer(self) -> float:
        return self._next

    def handle_timer(self, now: float) -> None:
        if now < self._next:
            return
        if self.looped_back is not None:
            self._send_tokens(now)
        elif self._times <= len(RETRIES):
            self._ask(now)
        else:
            self._answered_or_given_up(now)

    def receive_datagram(self, data: bytes, source: Address, now: float, via: Via) -> None:
        if data == self._token:
            self.looped_back = True
            return self._finish()
        message = self._channel.from_control.open(data)
        if isinstance(message, Drop):
            return self._drop(message)
        question = Question(via, source)
        if not isinstance(message, Observed) or self._echoes.get(question) != message.echo:
            return self._drop(Drop.UNEXPECTED)
        if question not in self.answers:
            rtt = now - self._asked_at[question]
            self.answers[question] = Answer(message.observed, rtt, message.relay_port)
        if len(self.answers) == len(self._echoes) + self._streams:
            self._answered_or_given_up(now)
        return None

    def describe(self, data: bytes) -> str:
        return describe(data, [self._channel])

    def control_connected(self, via: Via, control: Address, local: Address, now: float) -> None:
        del local
        if self._streams:
            self._streams -= 1
            question = Question(via, control)
            self._echoes[question] = self._random(ECHO_LENGTH)
            self._ask_one(question, now)

    # Inside.

    def _ask(self, now: float) -> None:
        gap = RETRIES[self._times] if self._times < len(RETRIES) else PATIENCE
        self._times += 1
        self._next = now + gap
        for question in self._echoes:
            if question not in self.answers:
                self._ask_one(question, now)

    def _ask_one(self, question: Question, now: float) -> None:
        self._asked_at[question] = now
        observe = Observe(self._echoes[question])
        data = self._channel.to_control.seal(observe, self._random(NONCE_LENGTH))
        self._send(data, question.control, question.via)

    def _answered_or_given_up(self, now: float) -> None:
        if self._loops_back and len(self._outside()) > 1 and self._on_done is not None:
            self._loops_back, self.looped_back = False, False
            self._tokens_left = TOKENS
            self._send_tokens(now)
        elif self.looped_back is None:
            self._finish()

    def _outside(self) -> dict[Via, Address]:
        """The outside address of each socket that has only one."""
        seen: dict[Via, set[Address]] = {}
        for question, answer in self.answers.items():
            seen.setdefault(question.via, set()).add(answer.observed)
        return {
            via: address
            for via, addresses in seen.items()
            for address in addresses
            if len(addresses) == 1 and is_pingable(address, loopback=False)
        }

    def _send_tokens(self, now: float) -> None:
        """From each of two sockets to the other: one that its router filters by sender has sent
        there itself."""
        if not self._tokens_left:
            return self._finish()
        self._tokens_left -= 1
        self._next = now + TOKEN_GAP
        (one, address), (other, other_address), *_ = self._outside().items()
        self._send(self._token, other_address, one)
        self._send(self._token, address, other)
        return None

    def _finish(self) -> None:
        self._next = NEVER
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done()
