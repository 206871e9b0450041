"""Runs the program of a hook or check; its exit status decides.

The contract with a hook's author: no shell, a cleared environment, the event as JSON on standard
input; exit status 0 means done, 75 (EX_TEMPFAIL) retry later, anything else a failure.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from weakref import WeakValueDictionary

from netpunch.address import Address
from netpunch.errors import HookError, NotLinkedError, ResourcesError
from netpunch.mesh import placeholders
from netpunch.node.process import TERM_GRACE, Exit, OnOutput, OutputLines, ProcessGroup
from netpunch.reasons import Reason
from netpunch.template import variable

AT_ONCE = 4
"""Hooks that run at the same time in this process."""

STOP_GRACE = 1.5
"""Seconds between SIGTERM and SIGKILL when the run is cancelled: a stop must end within 10."""


class Outcome(StrEnum):
    """What a hook's end means."""

    DONE = "done"
    RETRY = "retry"
    """It asks to be called again later."""
    FAILED = "failed"


class Hook(NamedTuple):
    """One run of a program. `variables` are all NETPUNCH_*; `timeout` is in seconds."""

    argv: tuple[str, ...]
    directory: Path
    """The folder of the configuration file: it runs there."""
    timeout: float
    variables: Mapping[str, str] = MappingProxyType({})
    event: bytes | None = None
    """The event's line, given on standard input; None: nothing is."""
    grace: float = TERM_GRACE
    """Seconds between SIGTERM, at the timeout, and SIGKILL."""


class HookResult(NamedTuple):
    """How a hook ended. `duration` is in seconds."""

    outcome: Outcome
    duration: float
    exit: Exit | None = None
    """None: it could not be started."""
    timed_out: bool = False
    dropped_output: int = 0
    """Bytes of output that were not passed on."""
    err: str | None = None
    """What is wrong, when it failed."""
    lacked: bool = False
    """It was not run, for lack of resources that the system may have again later."""

    @property
    def was_run(self) -> bool:
        return self.exit is not None or self.timed_out


def end_variables(pair: str, end: str) -> dict[str, str]:
    """The variables of an end that has no link."""
    return {variable(name): value for name, value in placeholders(pair, end).items()}


def hook_variables(
    event: str,
    link: Mapping[str, str],
    *,
    changed: bool | None = None,
    previous_remote: Address | None = None,
    reason: str | None = None,
) -> dict[str, str]:
    """The NETPUNCH_* variables of a hook: those of the link (`link_variables`; without one at
    least pair and end) and what happened. `event` is before, up, moved, down or fail; what does
    not apply is left out; NETPUNCH_CHANGED is 1 or 0."""
    happened = {
        "NETPUNCH_EVENT": event,
        "NETPUNCH_CHANGED": None if changed is None else str(int(changed)),
        "NETPUNCH_PREV_RADDR": None if previous_remote is None else str(previous_remote),
        "NETPUNCH_REASON": reason,
    }
    return dict(link) | {name: value for name, value in happened.items() if value is not None}


async def run_hook(hook: Hook, on_output: OnOutput) -> HookResult:
    """Run a hook to its end, or to its timeout. Never raises for what the program does.

    Cancelled, it ends the whole process group (politely, unless cancelled again) first."""
    output = OutputLines(on_output)
    try:
        process = ProcessGroup(
            hook.argv, hook.directory, hook.variables, output, standard_input=hook.event
        )
    except (HookError, ResourcesError) as error:
        lacked = isinstance(error, ResourcesError)
        return HookResult(Outcome.FAILED, 0.0, err=str(error), lacked=lacked)
    try:
        timed_out = not await process.exits_within(hook.timeout)
        if timed_out:
            await process.terminate(hook.grace)
        await process.drain()
    except asyncio.CancelledError:
        await process.terminate(min(hook.grace, STOP_GRACE))
        raise
    finally:
        process.close()
    return HookResult(
        Outcome.FAILED if timed_out else _outcome(process.exit),
        process.duration,
        process.exit,
        timed_out,
        output.dropped,
        _complaint(hook, process.exit, timed_out),
    )


def raise_for(name: str, result: HookResult | None) -> None:
    """Raises HookError for a hook that failed, NotLinkedError for one that asks to be called later,
    ResourcesError for one that could not be run for the moment."""
    if result is None or result.outcome is Outcome.DONE:
        return
    if result.lacked:
        raise ResourcesError(f"hook {name}: {result.err}")
    if result.outcome is Outcome.RETRY:
        raise NotLinkedError(
            f"hook {name}: asks to be called again later (exit status 75)", Reason.HOOK
        )
    raise HookError(f"hook {name}: {result.err}")


class HookPool:
    """Limits hooks: one per pair at a time, a few in all."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._pairs: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def turn(self, pair: str, *, urgent: bool = False) -> AsyncIterator[None]:
        """Waits for this pair's turn, and holds it. An `urgent` hook needs no slot."""
        own = self._pairs.setdefault(pair, asyncio.Lock())
        # The pair first: while it waits for its own hook it must not hold a slot.
        async with own, contextlib.nullcontext() if urgent else self._slots:
            yield


def _outcome(ended: Exit | None) -> Outcome:
    match ended:
        case Exit(status=0):
            return Outcome.DONE
        case Exit(status=os.EX_TEMPFAIL):
            return Outcome.RETRY
        case _:
            return Outcome.FAILED


def _complaint(hook: Hook, ended: Exit | None, timed_out: bool) -> str | None:
    if timed_out:
        return f"{hook.argv[0]}: timed out after {hook.timeout:g} s and was terminated"
    return f"{hook.argv[0]}: {ended}" if _outcome(ended) is Outcome.FAILED else None
