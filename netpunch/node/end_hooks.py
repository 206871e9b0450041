"""The hooks and checks of one end: their variables, their events, and who waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from netpunch.address import Address
from netpunch.config.model import Argv, End
from netpunch.node.hooks import Hook, HookResult, Outcome, hook_variables
from netpunch.node.services import Services
from netpunch.output.record import EventName, Record, Value

CHECK_TIMEOUT = 30.0
"""Seconds; a check that takes longer is no check."""
STOPPED_TIMEOUT = 3.0
"""Seconds for the `fail` hook of a stopped end: the process must end within 10."""


class EndHooks:
    """Runs what the configuration of one end names. Nothing is run for an empty argv.

    A hook is not cut when its end is stopped `gently` (a reload): the stop waits for it."""

    def __init__(self, end: End, services: Services) -> None:
        self.gently = False
        self._end = end
        self._services = services
        self._who = {"NETPUNCH_PAIR": end.pair, "NETPUNCH_END": end.end}
        if end.local.port:
            self._who["NETPUNCH_LPORT"] = str(end.local.port)

    async def is_alive(self) -> bool:
        """Whether the check passes; never without one."""
        if not self._end.check:
            return False
        timeout = min(CHECK_TIMEOUT, self._end.check_every)
        result = await self._run("check", self._end.check, timeout, dict(self._who), None)
        return result.outcome is Outcome.DONE

    async def before(self) -> HookResult | None:
        """Lets whoever has the port release it. None: there is no such hook."""
        return await self._hook("before", self._end.hooks.before, self._who, None)

    async def up(
        self,
        link: Mapping[str, str],
        record: Record,
        *,
        changed: bool,
        previous_remote: Address | None,
        session_key: bytes | None,
    ) -> HookResult | None:
        """The link is there and the port is free."""
        variables = hook_variables("up", link, changed=changed, previous_remote=previous_remote)
        with _key_file(session_key) as key_file:
            if key_file is not None:
                variables["NETPUNCH_SESSION_KEY_FILE"] = str(key_file)
            return await self._hook("up", self._end.hooks.up, variables, record)

    async def down(self, link: Mapping[str, str], reason: str, record: Record) -> None:
        """The link was lost."""
        variables = hook_variables("down", link, reason=reason)
        await self._hook("down", self._end.hooks.down, variables, record)

    async def fail(self, reason: str, record: Record) -> None:
        """There is no link, for `reason`."""
        variables = hook_variables("fail", self._who, reason=reason)
        await self._hook("fail", self._end.hooks.fail, variables, record)

    async def fail_stopped(self, record: Record) -> None:
        """The end is being stopped after `before`: gives back what that took."""
        timeout = min(STOPPED_TIMEOUT, self._end.hooks.timeout)
        variables = hook_variables("fail", self._who, reason="stopped")
        await self._run("fail", self._end.hooks.fail, timeout, variables, record)

    def show_output(self, name: str, stream: str, text: str) -> None:
        """A line that a hook or the command printed."""
        self._emit(EventName.HOOK_OUTPUT, name, stream=stream, text=text)

    async def _hook(
        self, name: str, argv: Argv, variables: Mapping[str, str], record: Record | None
    ) -> HookResult | None:
        if not argv:
            return None
        timeout = self._end.hooks.timeout
        if name == "before":
            variables = hook_variables("before", variables)
        return await self._run(name, argv, timeout, variables, record)

    async def _run(
        self,
        name: str,
        argv: Argv,
        limit: float,
        variables: Mapping[str, str],
        record: Record | None,
    ) -> HookResult:
        started = self._emit(EventName.HOOK_START, name, argv=argv)
        hook = Hook(argv, self._end.directory, limit, variables, record or started)
        running = asyncio.ensure_future(
            self._services.hooks.run(
                self._end.pair, hook, lambda stream, text: self.show_output(name, stream, text)
            )
        )
        try:
            result = await asyncio.shield(running)
        except asyncio.CancelledError:
            if not self.gently:
                running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            raise
        self._tell_end(name, result)
        return result

    def _tell_end(self, name: str, result: HookResult) -> None:
        self._emit(
            EventName.HOOK_END,
            name,
            outcome=result.outcome,
            status=result.exit.status if result.exit else None,
            signal=result.exit.signal if result.exit else None,
            duration_s=result.duration,
            err=result.err,
        )
        if result.err and name != "check":
            self._services.console.warn(
                f"{self._end.pair} {self._end.end}: hook {name}: {result.err}"
            )

    def _emit(self, event: EventName, hook: str, **fields: Value) -> Record:
        return self._services.journal.emit(
            event, pair=self._end.pair, end=self._end.end, hook=hook, **fields
        )


@contextlib.contextmanager
def _key_file(key: bytes | None) -> Iterator[Path | None]:
    """The session key in base64, as WireGuard takes it, in a file of mode 0600 that lives as
    long as the hook; best in the unit's runtime directory, which is no disk."""
    if key is None:
        yield None
        return
    import base64

    descriptor, name = tempfile.mkstemp(
        prefix=".netpunch-", dir=os.environ.get("RUNTIME_DIRECTORY")
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(key) + b"\n")
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
