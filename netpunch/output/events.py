"""Every event that a run reports, as a value: JSON lines, hooks and the status read its fields.

An event is called after its class: RunStart is `run.start`. The JSON line has the fields in the
order given here; there `local` and `remote` become three each (`laddr`, `lhost`, `lport`), and None
is left out. docs/events.md is generated from this file (`python -m tests.docs`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Literal, dataclass_transform

from netpunch.address import Address

PairName = str
"""Name of the pair."""
End = str
"""`a` or `b`."""
ControlName = str
"""Name of the control."""
Sentence = str
"""What is wrong and what to do, for people."""
ReasonName = str
"""A [reason](#reasons)."""


@dataclass_transform(frozen_default=True)
class Event:
    """Made like a dataclass: a type checker sees that all fields are given. (Named tuples or real
    dataclasses would delay each start by 3 ms.)"""

    event: ClassVar[str]
    """The event's name in JSON."""
    __match_args__: ClassVar[tuple[str, ...]] = ()
    """The names of all fields, in order."""

    def __init_subclass__(cls) -> None:
        subject, *rest = re.findall("[A-Z][a-z]+", cls.__name__)
        cls.event = ".".join(filter(None, (subject, "_".join(rest)))).lower()
        cls.__match_args__ = (  # type: ignore[misc] # mypy thinks of dataclasses
            *cls.__match_args__,
            *cls.__annotations__,
        )

    def __init__(self, *values: object, **named: object) -> None:
        vars(self).update(zip(self.__match_args__, values, strict=False), **named)


class EndEvent(Event):
    """An event about one end of a pair."""

    pair: PairName
    end: End


# A process.


class RunStart(Event):
    """The process begins."""

    file: str
    """The site file, as the command line names it."""
    pid: int
    """Process ID."""


class RunReady(Event):
    """Controls listen, and ends have bound their ports, unless their check or `before` still
    runs."""


class RunReload(Event):
    """The site file was read again (SIGHUP)."""

    changed: Sequence[str] | None
    """Ends and controls that were restarted with new settings. Absent if there are none."""
    reason: Literal["done", "invalid"]
    """`done`, or `invalid`: the running configuration is kept."""
    err: Sentence | None = None
    """What is wrong with the file. Absent unless `invalid`."""
    started: Sequence[str] | None = None
    """Ends and controls that are new. Absent if there are none."""
    stopped: Sequence[str] | None = None
    """Ends and controls that are gone. Absent if there are none."""


class RunStop(Event):
    """The process ends."""

    reason: str
    """The signal's name, or `done`: nothing is left to do."""
    exit_code: int
    """The process's exit code."""


# An end.


class PairWaiting(EndEvent):
    """The end waits for control or for its partner. Repeated after 15 s, 60 s and then every
    5 minutes."""

    reason: ReasonName
    err: Sentence | None = None
    """What to look at. Absent if there is nothing to add."""
    observed: Address | None = None
    """This end's address as control sees it. Absent while unknown, and in repetitions."""
    waited_s: float | None = None
    """Seconds that it has waited. Absent the first time."""


class PairSeenInside(EndEvent):
    """A control with a public address sees this end at a private one."""

    observed: Address
    """This end's address as that control sees it."""
    control: str
    """Address of the control."""


class PairMapped(EndEvent):
    """A gateway was asked for a port mapping (`candidates: [mapped, ...]`)."""

    err: Sentence | None
    """Why partners elsewhere cannot use the mapping. Absent if they can."""
    external: Address | None
    """The address that the gateway forwards to this end. Absent if it grants none."""


class PairIntroduced(EndEvent):
    """Control has introduced the partner: punching begins."""

    remote: Address
    """The partner's address as control sees it."""


class PairUp(EndEvent):
    """The path is agreed. The port is freed some 40 ms later (classic: 1.2 s); then files are
    written and `up` runs."""

    local: Address
    """This end's side of the path."""
    remote: Address
    """The partner's side of the path."""
    path: str
    """Kind of candidate: `host`, `ipv6`, `observed`, `predicted`, `spray`, `mapped` or `relay`."""
    rtt_ms: float | None
    """Round trip in milliseconds. Absent if it was not measured."""
    duration_s: float
    """Seconds from the first datagram to the link."""
    changed: bool
    """Whether the env file said something else before; true without an env file."""
    datagrams: int
    """How many were sent to the partner."""
    forward: Address | None = None
    """Where the local program sends to. Absent without `forward`."""


class PairMoved(EndEvent):
    """A held link has another path, and was not lost meanwhile. Then files are written and `up`
    runs again."""

    local: Address
    """This end's side of the new path."""
    remote: Address
    """The partner's side of the new path."""
    path: str
    """Kind of candidate, as in `pair.up`."""
    rtt_ms: float | None
    """Round trip in milliseconds. Absent if it was not measured."""
    duration_s: float
    """Seconds since this end began to look for another path."""
    changed: bool
    """Whether the local port or the partner's address is another one."""
    datagrams: int
    """How many were sent to the partner meanwhile."""
    reason: str
    """`network_changed`: this host's addresses or routes; `woke`: this host was suspended;
    `silent`: nothing came from the partner; `address_changed`: a control sees this end at another
    address; `better_path`: the link was relayed; `key_changed`: the pair's key is rotated;
    `partner_asked`: the partner moves, or was restarted."""
    prev_raddr: Address
    """The partner's address until now."""


class PairStale(EndEvent):
    """A link has moved, but its files could not be written or its `up` hook failed: programs may
    still use the former path. The link stays. Where that may help, it is tried again after
    `retry_after`."""

    reason: ReasonName
    err: Sentence


class PairAlive(EndEvent):
    """The check passes: an earlier link still works, nothing is done."""


class PairDown(EndEvent):
    """A link in `mode: keep` is lost; the end tries again. A held link that finds another path is
    not lost: see `pair.moved`."""

    reason: ReasonName
    err: Sentence
    """How it was lost."""


class PairFailed(EndEvent):
    """There is no link: an attempt failed, or the end cannot run or was stopped. Once more for the
    same reason, the event has no details."""

    duration_s: float | None
    """Seconds from the first datagram to the failure. Absent without an attempt."""
    reason: ReasonName
    err: Sentence | None = None
    """What is wrong and what to do, for people. Absent if the end was stopped."""
    nat: str | None = None
    """Class of this end's NAT: `unknown`, `open`, `easy`, `hard_step` or `hard_random`.
    Absent without an attempt."""
    partner_nat: str | None = None
    """Class of the partner's NAT; also `blocked`: its UDP reaches no control. Absent without an
    attempt."""
    datagrams: int | None = None
    """How many were sent to the partner. Absent without an attempt."""
    candidates: Sequence[str] | None = None
    """Each address tried, with its kind and `sent=N received=N`, or `unsendable`: this host has no
    way to it. Absent without an attempt."""


# Hooks and files of an end.


class HookStart(EndEvent):
    """A hook is started. Of a check only failures are reported, and that it passes again."""

    hook: str
    """`before`, `up`, `moved` (`up` once more), `down`, `fail` or `check`."""
    argv: Sequence[str]
    """The program and its arguments."""


class HookOutput(EndEvent):
    """A hook, check or command has printed a line."""

    hook: str
    """`before`, `up`, `moved`, `down`, `fail`, `check` or `command`."""
    stream: Literal["stdout", "stderr"]
    """Where it was printed."""
    text: str
    """The line, with control characters escaped; longer ones are cut."""


class HookEnd(EndEvent):
    """A hook or check has ended."""

    duration_s: float | None
    """Seconds that it ran. Absent if `stopped`."""
    err: Sentence | None
    """What is wrong. Absent if it succeeded or was stopped."""
    hook: str
    """`before`, `up`, `moved` (`up` once more), `down`, `fail` or `check`."""
    outcome: str
    """`done`; `retry`: it asks to be called later (exit status 75); `failed`; `stopped`: it was
    terminated because its end was stopped."""
    status: int | None = None
    """Exit status. Absent if it was not started, or a signal ended it."""
    signal: str | None = None
    """Name of the signal that ended it. Absent if none did."""


class EnvWritten(EndEvent):
    """The env file and the rendered files of a link are written."""

    file: str
    """Path of the env file."""


# A control.


class ControlReady(Event):
    """A control listens."""

    control: ControlName
    addresses: Sequence[str]
    """What it listens on."""
    tls: Address | None = None
    """Where it takes TLS connections. Absent without `tls`."""
    relay: Sequence[str] | None = None
    """Where it relays; with several ports as `0.0.0.0:10003-10018`. Absent without `relay`."""


class ControlRegistered(EndEvent):
    """An end is registered: newly, again, or from another host."""

    remote: Address
    """The end's address as this control sees it."""
    control: ControlName


class ControlExpired(EndEvent):
    """An end is no longer registered."""

    reason: str
    """`silent`, `left` or `removed`."""
    control: ControlName


class ControlEndInside(EndEvent):
    """An end comes from this control's own network, or from its gateway."""

    remote: Address
    """The end's address as this control sees it."""
    public: str | None
    """The host that partners elsewhere are given instead. Absent while unknown."""
    from_gateway: bool
    """Whether the address is this host's own gateway: something there hides the sender."""
    control: ControlName


class ControlFailed(Event):
    """A control cannot serve: not at all, or not one of its pairs."""

    pair: PairName | None
    """Name of the pair. Absent if it cannot serve at all."""
    reason: ReasonName
    err: Sentence
    control: ControlName


class AuthRejected(Event):
    """Datagrams that do not authenticate: the first at once, then a sum per minute."""

    pair: PairName | None
    """Name of the pair. Absent unless `bad_mac`."""
    remote: Address
    """Sender of the last of them."""
    reason: str
    """`bad_mac`: the keys differ, or somebody tries to forge; `unknown_pair`: none here has that
    name and protocol; `other_version`: perhaps of another version of netpunch; `malformed`: not a
    netpunch datagram."""
    control: ControlName
    count: int
    """How many."""


class RoleConflict(EndEvent):
    """Two machines announce the same end and displace each other."""

    control: ControlName
    addresses: Sequence[Address]
    """Both."""


class Datagram(Event):
    """A datagram, only with `--trace`."""

    pair: PairName | None
    """Name of the pair. Absent at a control."""
    end: End | None
    """`a` or `b`. Absent at a control."""
    local: Address
    """This side."""
    remote: Address
    """The other side."""
    direction: Literal["sent", "received"]
    """Which way it went."""
    bytes: int
    """Length of its payload."""
    text: str
    """What it says, without secrets."""
    control: ControlName | None
    """Name of the control. Absent at an end."""
