"""The streams of an end to its controls, such as TLS: wanted while UDP to all of them is silent.

    state      the end
    UNWANTED   announces itself on UDP only
    ANNOUNCING no control answers on UDP: announces itself over the streams, too
    IN_USE     a control answers on UDP again, but the held link still has its path over a stream
    ANSWERED   of an end that hands its port over: no control answers on UDP, one did over a stream

The driver opens streams while they are wanted and says which there are. An end that hands its port
over can't use them: it only asks over them whether its controls are there, so that it can say that
UDP is blocked.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.endpoints import NEVER_HEARD
from netpunch.core.events import Event, StreamsWanted, Via
from netpunch.core.machine import NEVER, next_state


class StreamsState(Enum):
    """What streams are good for."""

    UNWANTED = "unwanted"
    ANNOUNCING = "announcing"
    IN_USE = "in use"
    ANSWERED = "answered"


WANTED = {StreamsState.ANNOUNCING, StreamsState.IN_USE}
SILENT = {StreamsState.ANNOUNCING, StreamsState.ANSWERED}
"""UDP is."""


TRANSITIONS: dict[tuple[StreamsState, str], StreamsState] = {
    (StreamsState.UNWANTED, "UDP silent"): StreamsState.ANNOUNCING,
    (StreamsState.ANNOUNCING, "UDP heard"): StreamsState.UNWANTED,
    (StreamsState.ANNOUNCING, "UDP heard, link uses a stream"): StreamsState.IN_USE,
    (StreamsState.ANNOUNCING, "answered, of no use"): StreamsState.ANSWERED,
    (StreamsState.ANSWERED, "UDP heard"): StreamsState.UNWANTED,
    (StreamsState.IN_USE, "UDP silent"): StreamsState.ANNOUNCING,
    (StreamsState.IN_USE, "link has left"): StreamsState.UNWANTED,
}


class Streams:
    """Those of one end. `usable`: it may be linked over them."""

    def __init__(self, emit: Callable[[Event], None], *, usable: bool) -> None:
        self.state = StreamsState.UNWANTED
        self.controls: dict[Via, Address] = {}
        """The far end of each open stream."""
        self.local: dict[Via, Address] = {}
        """Its address at this host."""
        self._emit = emit
        self._usable = usable
        self._since = NEVER
        """When UDP fell silent."""

    @property
    def announced_on(self) -> dict[Via, Address]:
        """The streams over which the end announces itself, with their far ends."""
        announcing = self.state is StreamsState.ANNOUNCING and self._usable
        return self.controls if announcing else {}

    @property
    def are_left(self) -> bool:
        """Whether UDP has come back, and the held link should leave its stream for it."""
        return self.state is StreamsState.IN_USE

    def opened(self, via: Via, control: Address, local: Address) -> None:
        """The driver has opened one."""
        self.controls[via], self.local[via] = control, local

    def closed(self, via: Via) -> None:
        """It has ended."""
        self.controls.pop(via, None)
        self.local.pop(via, None)

    def ask_again(self) -> None:
        """The controls have moved: the driver looks where they are."""
        if self.state in WANTED:
            self._emit(StreamsWanted(True))

    def silent_at(self, silent_since: float, heard_at: float) -> float:
        """When UDP counts as silent, if all controls owe an answer since `silent_since` and one
        was heard at `heard_at` last."""
        if self.state in SILENT:
            return NEVER
        heard = heard_at != NEVER_HEARD
        return silent_since + (timing.STREAMS_AFTER if heard else timing.STREAMS_AFTER_FIRST)

    def watch(self, silent_since: float, heard_at: float, now: float, *, in_use: bool) -> bool:
        """Takes note of how UDP does: since when all controls owe an answer there (NEVER if one
        does not, or if there is no need for streams), and when one was heard last. `in_use`: a held
        link has its path over a stream. Returns whether UDP has fallen silent or has come back."""
        if now >= self.silent_at(silent_since, heard_at):
            self._since = now
            self._move("UDP silent")
            return True
        if self.state in SILENT and heard_at > self._since:
            self._move("UDP heard, link uses a stream" if in_use else "UDP heard")
            return True
        if self.state is StreamsState.IN_USE and not in_use:
            self._move("link has left")
        return False

    def answered(self) -> None:
        """A control has answered over one, for which there is no other use."""
        if self.state is StreamsState.ANNOUNCING:
            self._move("answered, of no use")

    def _move(self, event: str) -> None:
        before, self.state = self.state, next_state(TRANSITIONS, self.state, event)
        if (before in WANTED) != (self.state in WANTED):
            self._emit(StreamsWanted(self.state in WANTED))
