"""The states of a classic end: how they follow each other, what each repeats, how long it lasts.

Theory of operation. The end announces its slot to every control until one introduces the partner
(`i`), pings (`x`) the address it was told, answers the partner's pings with pongs (`y`) and its
pongs with closes (`z`). A pong proves to its receiver that datagrams pass in both directions, a
close proves it to the sender of the pong. So one pong or close links this end; what it sends
afterwards is for the partner.

    WAITING ──introduction──> PINGING ──pong──> CLOSING ──close, or five sent──┐
     │   ^                       │                 ^                           v
     │   │                      ping              pong                     LINGERING ──> FINISHED
     │   │                       v                 │                           ^   1.2 s
     │   └─1 s without a ping─ PONGING ────────────┴──────────close────────────┘
     └──────────ping─────────────^

A Go end that is closing goes back to ponging on an `x` and to pinging on an `i`, and 100 ms after
its first close it is gone. Hence: an end that has ponged pings no more and takes no introduction,
and one that is linked lingers, so that a partner that lost every close isn't stranded.

Classic messages carry no nonce: a recorded ping, replayed, looks like a new one. What it can do
is bounded: few addresses are talked to, each gets few datagrams for one (`core.classic_paths`), and
an end whose pongs lead nowhere starts over.
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto

# Times in seconds.
REPEAT_GAP = 0.1
"""Between pings and between pongs: Go's pace."""
CLOSE_GAP = 0.02
CLOSE_COUNT = 5
"""Five closes, 20 ms apart: what Go sends."""
PONGING_PATIENCE = 1.0
"""After the last ping: time for ten pongs, as many as Go sends."""
LINGER = 1.2
"""Longer than a partner's PONGING_PATIENCE, so that each of its pongs gets a close."""


class State(Enum):
    """Where an end is in its life."""

    WAITING = auto()
    """Announcing; nothing is known of the partner."""
    PINGING = auto()
    """Introduced: pinging, and still announcing, since the partner may move."""
    PONGING = auto()
    """The partner's ping has arrived: waiting for its pong or close."""
    CLOSING = auto()
    """Linked by a pong; the partner is being told."""
    LINGERING = auto()
    """Linked; the partner may still need an answer."""
    FINISHED = auto()


class Cause(StrEnum):
    """What changes the state of an end: the messages, and time."""

    INTRODUCTION = "introduction"
    PING = "ping"
    PONG = "pong"
    CLOSE = "close"
    TIMEOUT = "timeout"
    """The state has lasted long enough."""


TRANSITIONS: dict[tuple[State, Cause], State] = {
    (State.WAITING, Cause.INTRODUCTION): State.PINGING,
    (State.WAITING, Cause.PING): State.PONGING,
    (State.PINGING, Cause.INTRODUCTION): State.PINGING,
    (State.PINGING, Cause.PING): State.PONGING,
    (State.PINGING, Cause.PONG): State.CLOSING,
    (State.PONGING, Cause.PING): State.PONGING,
    (State.PONGING, Cause.PONG): State.CLOSING,
    (State.PONGING, Cause.CLOSE): State.LINGERING,
    (State.PONGING, Cause.TIMEOUT): State.WAITING,
    (State.CLOSING, Cause.PONG): State.CLOSING,
    (State.CLOSING, Cause.CLOSE): State.LINGERING,
    (State.CLOSING, Cause.TIMEOUT): State.LINGERING,
    (State.LINGERING, Cause.PONG): State.LINGERING,
    (State.LINGERING, Cause.CLOSE): State.LINGERING,
    (State.LINGERING, Cause.TIMEOUT): State.FINISHED,
}
"""A message that isn't here is dropped as unexpected."""

UNLINKED = frozenset({State.WAITING, State.PINGING, State.PONGING})
REPEATS = {State.PINGING: REPEAT_GAP, State.PONGING: REPEAT_GAP, State.CLOSING: CLOSE_GAP}
LASTS = {State.PONGING: PONGING_PATIENCE, State.LINGERING: LINGER}
