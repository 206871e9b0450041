"""A held link moves: its files and its `up` hook follow, one move at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time

from netpunch.config.model import EndConfig
from netpunch.core.events import Lost, Moved
from netpunch.errors import HookError, NetpunchError, resource_errors
from netpunch.net.punch import Punch
from netpunch.node.end_hooks import EndHooks
from netpunch.node.end_reports import EndReports
from netpunch.node.hooks import raise_for
from netpunch.node.publish import Published, describe, publish


class Follower:
    """Of one held link, from the end of its `up` hook on. Moves that come while a hook runs are
    folded into one: the hook then hears of the latest."""

    def __init__(
        self, end: EndConfig, hooks: EndHooks, reports: EndReports, published: Published
    ) -> None:
        self.published = published
        """The latest path that files and the hook were given."""
        self._taken = published
        """The latest one that they have taken."""
        self._end = end
        self._hooks = hooks
        self._reports = reports

    async def follow(self, attempt: Punch) -> Lost | None:
        """Until the link has ended; returns how, as `Punch.news` does."""
        again: Moved | None = None
        while isinstance(news := await self._news(attempt, again), Moved):
            again = None if await self._tell(news) else news
        return news

    async def _news(self, attempt: Punch, again: Moved | None) -> Moved | Lost | None:
        """What happens next to the link; or, if nothing does for a while, the move `again`."""
        try:
            async with asyncio.timeout(None if again is None else self._end.retry_after):
                return await attempt.news()
        except TimeoutError:
            return again

    async def _tell(self, moved: Moved) -> bool:
        """Writes the files and runs the hook; if that fails, the link goes on. Returns False if it
        may succeed later."""
        event, before = self._reports.latest_move, self.published
        described = describe(self._end, moved, time.time(), before.forward)
        self.published = published = self._compared(described)
        try:
            with resource_errors():
                await self._write(published)
                await self._run_hook(moved, published, event)
        except NetpunchError as error:
            self._reports.stale(error)
            return isinstance(error, HookError)
        self._taken = published
        return True

    def _compared(self, published: Published) -> Published:
        """With what programs have to be told: all, if they may not know the path before."""
        before = self._taken
        changed = before is not self.published or before.path != published.path
        return published._replace(changed=changed, previous_remote=before.remote)

    async def _write(self, published: Published) -> None:
        try:
            await publish(published)
        except NetpunchError:
            with contextlib.suppress(NetpunchError):
                published.withdraw()  # no env file is better than one with a path that is gone
            raise
        self._reports.handed_over(published)

    async def _run_hook(self, moved: Moved, published: Published, event: bytes) -> None:
        result = await self._hooks.moved(
            published.variables,
            event,
            changed=published.changed,
            previous_remote=published.previous_remote,
            reason=moved.reason,
            session_key=moved.session_key if self._end.session_key else None,
        )
        raise_for("moved", result)
