"""The hooks and checks of one end: when they run, what they get, what is reported."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TypeVar

from netpunch.address import Address
from netpunch.config.model import Argv, EndConfig
from netpunch.errors import OutputError, ResourcesError, lack_behind
from netpunch.node.hooks import (
    STOP_GRACE,
    Hook,
    HookResult,
    Outcome,
    end_variables,
    hook_variables,
    run_hook,
)
from netpunch.node.process import TERM_GRACE, Stream
from netpunch.node.services import Services
from netpunch.output.events import HookEnd, HookOutput, HookStart

CHECK_TIMEOUT = 30.0
"""Seconds; a check that takes longer has failed."""
STOPPED_TURN = 2.0
"""Seconds after a stop within which `fail` starts: by then a hook of the pair's other end in this
process is terminated (STOP_GRACE, and a moment to reap it). One that hangs on is not waited for."""
STOPPED_TIMEOUT = 3.0
"""Seconds for the `fail` hook of a stopped end: the process must end within 10."""
WARNED_OF = ("down", "fail")
"""Hooks whose failure is reported only by `hook.end`, so people get a warning."""
COMMAND = "command"
"""Goes by the name of a hook in what it prints, and is none."""
CUT = "stopped"
"""The `outcome` of a hook that was terminated because its end was stopped."""


class Phase(Enum):
    """How far an end is between `before` and `up`, and so which hook must still run."""

    FREE = "free"
    """`before` took nothing, or it was given back."""
    CLAIMED = "claimed"
    """`before` has succeeded: `up` or `fail` must follow."""
    ANSWERED = "answered"
    """`up` or `fail` has begun."""
    IN_USE = "in use"
    """`up` has succeeded, or there is none."""


BEGUN = {"up": Phase.ANSWERED, "fail": Phase.ANSWERED}
SUCCEEDED = {"before": Phase.CLAIMED, "up": Phase.IN_USE}
"""The phases that a hook's start and its success lead to."""

T = TypeVar("T")


class EndHooks:
    """Runs what the configuration of one end names. Nothing is run for an empty argv.

    When its end is stopped gently (a reload), the stop waits for a running hook. Otherwise the hook
    is terminated, except `fail`, which gives back what `before` took: it gets less time."""

    def __init__(self, end: EndConfig, services: Services) -> None:
        self.phase = Phase.FREE
        self.complaint = ""
        """Why the check last failed."""
        self._check_lines: list[tuple[Stream, str]] = []
        """What the latest check has printed: stream and text."""
        self._check_failure: object = None
        """How the check before failed; None: it did not, or there was none."""
        self._gently = False
        self._hurried_at: float | None = None
        """When the end was stopped, and not gently."""
        self._limit: tuple[asyncio.Timeout, float] | None = None
        """Of the hook that runs or waits now, and its seconds from the stop on."""
        self._end = end
        self._key = (end.pair, end.end)
        self._services = services
        self._console = services.console.named(f"{end.pair} {end.end}", gathered=True)
        self._who = end_variables(end.pair, end.end)
        _, port = end.settings.local
        if port:
            self._who["NETPUNCH_LPORT"] = str(port)
        self._configured = _configured(end)

    def stop(self, *, gently: bool) -> None:
        """Call it before the end is cancelled. May be repeated: a gentle stop becomes a hurried one
        when the process is to end."""
        self._gently = gently
        if gently or self._hurried_at is not None:
            return
        self._hurried_at = asyncio.get_running_loop().time()
        if self._limit is not None:
            timeout, seconds = self._limit
            timeout.reschedule(self._hurried_at + seconds)

    async def is_alive(self) -> bool:
        """Whether the check passes; False without one. Raises ResourcesError when it could not be
        run for the moment: then the answer is unknown."""
        result = await self._run("check", self._end.check, self._who)
        if result is None:
            return False
        if result.lacked:
            raise ResourcesError(f"cannot check the link: {result.err}")
        return result.outcome is Outcome.DONE

    async def before(self) -> HookResult | None:
        """Makes the port free, before it is bound. None: there is no such hook."""
        self.phase = Phase.FREE
        variables = hook_variables("before", self._who)
        return await self._run("before", self._end.hooks.before, variables)

    async def up(
        self,
        link: Mapping[str, str],
        event: bytes,
        *,
        changed: bool,
        previous_remote: Address | None,
        session_key: bytes | None,
    ) -> HookResult | None:
        """The end is linked and the port is free. Raises OutputError when the file of the session
        key cannot be written, ResourcesError for lack of a descriptor."""
        if not self._end.hooks.up:
            self.phase = Phase.IN_USE
            return None
        variables = hook_variables("up", link, changed=changed, previous_remote=previous_remote)
        return await self._run_up("up", variables, event, session_key)

    async def moved(
        self,
        link: Mapping[str, str],
        event: bytes,
        *,
        changed: bool,
        previous_remote: Address | None,
        reason: str,
        session_key: bytes | None,
    ) -> HookResult | None:
        """The held link has another path: `up` runs again. Raises what `up` raises."""
        if not self._end.hooks.up:
            return None
        variables = hook_variables(
            "moved", link, changed=changed, previous_remote=previous_remote, reason=reason
        )
        return await self._run_up("moved", variables, event, session_key)

    async def down(self, link: Mapping[str, str] | None, reason: str, event: bytes) -> None:
        """The link was lost. `link` is None for one of an earlier process, whose addresses are not
        known."""
        variables = hook_variables("down", link or self._who, reason=reason)
        await self._run("down", self._end.hooks.down, variables, event)

    async def fail(self, reason: str, event: bytes) -> None:
        """There is no link, for `reason`. Cancelled, it still runs to its end."""
        if self._end.hooks.fail:
            variables = hook_variables("fail", self._who, reason=reason)
            running = self._run_in_turn("fail", self._end.hooks.fail, variables, event)
            await outlast(asyncio.ensure_future(running))

    def show_output(self, name: str, stream: Stream, text: str) -> None:
        """A line that a hook or the command has printed. That of a check is kept until it fails."""
        if name == "check":
            self._check_lines.append((stream, text))
            return
        self._services.journal.emit(HookOutput(*self._key, name, stream, text))
        who = name if name == COMMAND else f"hook {name}"
        self._console.say(f"{who} says: {text}")

    async def _run_up(
        self, name: str, variables: dict[str, str], event: bytes, session_key: bytes | None
    ) -> HookResult | None:
        with _key_file(session_key) as key_file:
            if key_file is not None:
                variables["NETPUNCH_SESSION_KEY_FILE"] = str(key_file)
            return await self._run(name, self._end.hooks.up, variables, event)

    async def _run(
        self, name: str, argv: Argv, variables: Mapping[str, str], event: bytes | None = None
    ) -> HookResult | None:
        if not argv:
            return None
        running = asyncio.ensure_future(self._run_in_turn(name, argv, variables, event))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if not self._gently:
                running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running  # a second cancellation gets through to it
            raise

    async def _run_in_turn(
        self, name: str, argv: Argv, variables: Mapping[str, str], event: bytes | None
    ) -> HookResult | None:
        """The hook gets `event`, by default that of its own start. None: it was terminated, as it
        took too long after a stop."""
        async with contextlib.AsyncExitStack() as turn:
            await self._take(turn)
            previous, self.phase = self.phase, BEGUN.get(name, self.phase)
            started = self._start(name, argv)
            hook = Hook(
                argv,
                self._end.directory,
                self._timeout(name),
                {**variables, **self._configured},
                event or started,
                TERM_GRACE if self._hurried_at is None else STOP_GRACE,
            )
            result = None
            try:
                result = await self._run_hurrying(name, hook)
            finally:
                if name != "check":
                    self._report_end(name, result)
                elif result is not None:
                    self._report_check(result)
            if result is not None and not result.was_run:
                self.phase = previous  # an `up` that could not be started answers no `before`
            elif result is not None and result.outcome is Outcome.DONE:
                self.phase = SUCCEEDED.get(name, self.phase)
            return result

    async def _take(self, turn: contextlib.AsyncExitStack) -> None:
        """Waits for this hook's turn; after a stop not for a slot, and only STOPPED_TURN."""
        hurried_at = self._hurried_at
        until = None if hurried_at is None else hurried_at + STOPPED_TURN
        waiting = self._services.hooks.turn(self._end.pair, urgent=hurried_at is not None)
        with contextlib.suppress(TimeoutError):  # then it goes without
            async with self._limited(STOPPED_TURN, until):
                await turn.enter_async_context(waiting)

    async def _run_hurrying(self, name: str, hook: Hook) -> HookResult | None:
        """A hook that runs when the stop comes still gets the time of one that starts after it."""
        with contextlib.suppress(TimeoutError):  # `hook.end` says so
            async with self._limited(STOPPED_TIMEOUT):
                return await run_hook(hook, partial(self.show_output, name))
        return None

    @contextlib.asynccontextmanager
    async def _limited(self, seconds: float, until: float | None = None) -> AsyncIterator[None]:
        """Raises TimeoutError `seconds` after a stop that comes meanwhile, or at `until`."""
        async with asyncio.timeout_at(until) as timeout:
            self._limit = timeout, seconds
            try:
                yield
            finally:
                self._limit = None

    def _timeout(self, name: str) -> float:
        if name == "check":
            return min(CHECK_TIMEOUT, self._end.check_every)
        limit = self._end.hooks.timeout
        return limit if self._hurried_at is None else min(STOPPED_TIMEOUT, limit)

    def _start(self, name: str, argv: Argv) -> bytes:
        """The event's line. A check's is only for itself: its end shows whether there is anything
        to report."""
        event = HookStart(*self._key, name, argv)
        if name != "check":
            return self._services.journal.emit(event)
        self._check_lines = []
        return self._services.journal.draft(event)

    def _report_check(self, result: HookResult) -> None:
        """Only that it fails, and that it passes again, or a log would get the same every few
        seconds. What it printed, when that differs from the time before."""
        failure = None
        if result.outcome is not Outcome.DONE:
            failure = (result.exit, result.err, self._check_lines)
        before, self._check_failure = self._check_failure, failure
        if failure is None and before is None:
            return
        if failure != before:
            for stream, text in self._check_lines:
                self._services.journal.emit(HookOutput(*self._key, "check", stream, text))
            if failure is None:
                self._console.remark("the check passes again")
            elif not result.lacked:  # its caller says so
                self._complain(result)
        self._report_end("check", result)

    def _report_end(self, name: str, result: HookResult | None) -> None:
        if result is None:
            self._services.journal.emit(HookEnd(*self._key, None, None, name, CUT))
            return
        outcome, duration, ended, err = result.outcome, result.duration, result.exit, result.err
        status, signal = (None, None) if ended is None else ended
        self._services.journal.emit(
            HookEnd(*self._key, duration, err, name, outcome, status, signal)
        )
        if err and name in WARNED_OF:
            self._console.warn(f"hook {name}: {err}")
        elif outcome is Outcome.DONE and name != "check":
            self._console.remark(f"hook {name}: done after {duration:.1f} s")

    def _complain(self, result: HookResult) -> None:
        """Says how the check has failed, with the last line that it printed."""
        text = next((text for _, text in reversed(self._check_lines) if text.strip()), "")
        printed = f"; it printed: {text.strip()}" if text else ""
        err = (result.err or str(result.exit)).removeprefix(f"{self._end.check[0]}: ")
        self.complaint = f"`{' '.join(self._end.check)}`: {err}{printed}"
        self._console.remark(f"check failed: {self.complaint}")


def _configured(end: EndConfig) -> dict[str, str]:
    """What hooks have to know besides, of how the site file tells programs and netpunch to work
    together."""
    key = end.partner_wireguard_key
    variables = {"NETPUNCH_SHARE": "1"} if end.settings.share else {}
    return variables | ({"NETPUNCH_PARTNER_WIREGUARD_KEY": key} if key else {})


async def outlast(future: asyncio.Future[T]) -> T:
    """The future's result, or what it raises. Cancelled, however often, it waits on and raises
    CancelledError only when the future is done."""
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return future.result()


@contextlib.contextmanager
def _key_file(key: bytes | None) -> Iterator[Path | None]:
    """The session key in base64, as WireGuard takes it, in a file of mode 0600 that exists as long
    as the hook runs: in the unit's runtime directory, which is in memory, if there is one."""
    if key is None:
        yield None
        return
    folder = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # systemd joins several
    with contextlib.ExitStack() as cleanup:
        try:
            # Imported here: that opens files, too, for which descriptors may be lacking.
            import base64
            import tempfile

            descriptor, name = tempfile.mkstemp(prefix=".netpunch-", dir=folder or None)
            cleanup.callback(Path(name).unlink, missing_ok=True)
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.b64encode(key) + b"\n")
        except OSError as error:
            if lack := lack_behind(error, "no file for the session key"):
                raise lack from error
            raise OutputError(f"no file for the session key: {error.strerror}") from error
        yield Path(name)
