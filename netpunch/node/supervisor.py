"""Starts, reloads and stops the ends and controls of one process; gives its exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from netpunch.errors import (
    BUG_EXIT_CODE,
    NetpunchError,
    ResourcesError,
    bug_text,
    combined_exit_code,
    lack_behind,
    resource_errors,
)
from netpunch.node.plan import Failure, Plan
from netpunch.node.services import Services
from netpunch.output.events import ControlFailed, PairFailed, RunReady, RunReload, RunStop

if TYPE_CHECKING:
    from netpunch.config.model import EndConfig
    from netpunch.node.control_task import ControlTask
    from netpunch.node.end_task import EndTask

MakePlan = Callable[[], Awaitable[Plan]]

MAX_NAMES = 20
"""Parts that a message lists by name: a node of a mesh may have hundreds of ends."""

STOP_PATIENCE = 4.5
"""Seconds that ends get to stop; then all hooks that still run are terminated, except `fail`, which
ends 6.5 s after the stop at the latest (STOPPED_TURN, STOPPED_TIMEOUT, STOP_GRACE). With 3 s for
stalled readers of standard output and error, a stop takes at most 10 s."""


class Supervisor:
    """Runs one plan after the other."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._controls: dict[str, ControlTask] = {}
        self._ends: dict[tuple[str, str], EndTask] = {}
        self._tasks: dict[asyncio.Task[None], EndTask] = {}
        self._leaving: Collection[EndTask] = ()
        """Ends that a reload is stopping."""
        self._endless = False
        self._failures: list[Failure] = []
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stop_reason: str | None = None
        self._reload_wanted = False

    # Called by signal handlers.

    def stop(self, reason: str) -> None:
        """Ends everything cleanly."""
        self._stop_reason = self._stop_reason or reason
        self._stopping.set()
        self._wake.set()

    def reload(self) -> None:
        """Reads the site file again and applies what has changed."""
        self._reload_wanted = True
        self._wake.set()

    async def run(self, make_plan: MakePlan) -> int:
        """Runs until all is done or `stop` is called; returns the exit code.

        `make_plan` reads the site file, again for each reload, and must not block the loop then:
        links are held and datagrams answered meanwhile. A stop does not wait for it. Raises what
        its first call raises, and ResourcesError when a control lacks resources to start."""
        try:
            await self._apply(await make_plan())
            await asyncio.sleep(0)  # ends that have neither a check nor `before` bind now
            self._services.journal.emit(RunReady())
            self._services.notifier.ready()
            while self._stop_reason is None and not self._is_done():
                await self._wake.wait()
                self._wake.clear()
                if self._reload_wanted and self._stop_reason is None:
                    self._reload_wanted = False
                    self._services.notifier.reloading()
                    await self._reload(make_plan)
                    self._services.notifier.ready()
        finally:
            self._services.notifier.stopping()
            if self._stop_reason is not None:
                self._services.console.say(f"{self._stop_reason}: stopping")
            await self._stop_all()
        codes = [failure.error.exit_code for failure in self._failures]
        code = combined_exit_code(codes + [end.exit_code for end in self._ends.values()])
        self._services.journal.emit(RunStop(self._stop_reason or "done", code))
        return code

    def _is_done(self) -> bool:
        if self._tasks:
            return False
        return not (self._endless and self._controls)

    async def _apply(self, plan: Plan) -> None:
        """Stops what is gone or changed, then starts what is new or changed. Unchanged ends and
        controls are not touched, and links go on while their keys are rotated."""
        self._endless = plan.endless
        self._services.turns.allow(plan.probe_rate)
        gone = [key for key, end in self._ends.items() if not end.update(plan.ends.get(key))]
        leaving = [self._ends.pop(key) for key in gone]
        await self._stop_gently(leaving)
        if self._stop_reason is not None:
            return
        self._remove_env_files([end.end for end in leaving], plan.ends.values())
        self._failures = []
        self._services.status.keep(self._ends)
        self._report(plan.failures)
        await self._apply_controls(plan)
        for key, planned in plan.ends.items():
            if key not in self._ends:
                self._start(key, planned)

    def _remove_env_files(self, left: Collection[EndConfig], kept: Collection[EndConfig]) -> None:
        """Of ends that a reload has removed, or given another one: their links are not watched any
        more."""
        if not any(end.env_file for end in left):
            return
        from netpunch.node.publish import env_file_of  # with what writes files
        from netpunch.output.atomic import remove_file

        kept_files = {env_file_of(end) for end in kept}
        for path in sorted({path for end in left if (path := env_file_of(end))} - kept_files):
            try:
                remove_file(path)
            except NetpunchError as error:
                self._services.console.error(str(error))

    async def _stop_gently(self, ends: Collection[EndTask]) -> None:
        """Lets their hooks finish first, unless the process is stopped meanwhile."""
        if not ends:
            return
        self._leaving = ends
        ended = asyncio.gather(*(end.stop(gently=True) for end in ends))
        if await self._is_done_before_stop(ended):
            self._leaving = ()

    async def _is_done_before_stop(self, work: asyncio.Future[Any]) -> bool:
        """Waits for `work`, or until the process is stopped."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        return work.done()

    def _report(self, failures: Iterable[Failure]) -> None:
        """Reports what cannot run. People see the same error of several parts once."""
        parts: dict[str, list[str]] = {}
        for failure in failures:
            self._failures.append(failure)
            parts.setdefault(str(failure.error), []).append(str(failure))
            error, pair, end, control = failure
            reason, err = error.reason, str(error)
            if control:
                self._services.journal.emit(ControlFailed(pair, reason, err, control))
            elif pair and end:
                self._services.journal.emit(PairFailed(pair, end, None, reason, err))
        for text, names in parts.items():
            self._services.console.error(f"{some(names)}: {text}")

    async def _apply_controls(self, plan: Plan) -> None:
        for name, running in list(self._controls.items()):
            planned = plan.controls.get(name)
            if planned is None or not running.update(planned):
                await self._controls.pop(name).stop()
        for name, planned in plan.controls.items():
            if name not in self._controls:
                try:
                    planned.refuse_if_keyless()
                    with resource_errors():
                        from netpunch.node.control_task import ControlTask  # ends alone do without

                        control = ControlTask(planned, self._services)
                        await control.start()
                except NetpunchError as error:
                    if isinstance(error, ResourcesError) and not self._ends:
                        raise  # the service manager starts the process again
                    self._report([Failure(error, control=name)])
                else:
                    self._controls[name] = control

    def _start(self, key: tuple[str, str], planned: EndConfig) -> None:
        """Raises ResourcesError if a process without ends lacks what it takes to have one."""
        try:
            with resource_errors():
                from netpunch.node.end_task import EndTask  # controls alone do without
        except ResourcesError as error:
            if not self._controls:
                raise  # the service manager starts the process again
            self._report([Failure(error, *key)])
            return
        end = EndTask(planned, self._services)
        self._ends[key] = end
        self._services.status.add_end(*key)
        task = end.start()
        self._tasks[task] = end
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        end = self._tasks.pop(task)
        self._wake.set()
        if task.cancelled():
            self._services.status.end_stopped(end.end.pair, end.end.end)
            return
        if (error := task.exception()) is None:
            return
        lack = lack_behind(error)
        err = str(lack) if lack else f"bug: {bug_text(error)}"
        self._services.status.end_stopped(end.end.pair, end.end.end, bug=err)
        end.exit_code = lack.exit_code if lack else BUG_EXIT_CODE
        context = {"message": f"{end.end.pair} {end.end.end} was ended", "exception": error}
        task.get_loop().call_exception_handler(context)

    async def _reload(self, make_plan: MakePlan) -> None:
        making = asyncio.ensure_future(make_plan())
        try:
            if not await self._is_done_before_stop(making):
                return
            with resource_errors():
                plan = making.result()
        except NetpunchError as error:
            self._services.status.reloaded(refused=str(error))
            self._services.journal.emit(RunReload(None, "invalid", str(error)))
            self._services.console.error(
                f"reload failed; keeping the running configuration: {error}"
            )
            return
        finally:
            making.cancel()
        self._services.status.reloaded()
        before = self._running()
        await self._apply(plan)
        if self._stop_reason is None:
            event = changes(before, self._running())
            self._services.journal.emit(event)
            lists = [
                f"{what} {some(names)}"
                for what in ("started", "changed", "stopped")
                if (names := getattr(event, what))
            ]
            self._services.console.say(f"reloaded: {'; '.join(lists) or 'nothing has changed'}")

    def _running(self) -> dict[str, object]:
        """What runs, by its name for people. Values are equal while a part is unchanged."""
        ends = {
            f"{pair} {end}": (task, task.end.settings.secrets)
            for (pair, end), task in self._ends.items()
        }
        return ends | {f"control {name}": task.plan for name, task in self._controls.items()}

    async def _stop_all(self) -> None:
        ends = [*self._ends.values(), *self._leaving]
        if ends:
            stops = [asyncio.ensure_future(end.stop()) for end in ends]
            _, late = await asyncio.wait(stops, timeout=STOP_PATIENCE)
            if late:
                await asyncio.gather(*(end.stop() for end in ends))
        for control in self._controls.values():
            await control.stop()


def some(names: Sequence[str], most: int = MAX_NAMES) -> str:
    """A few of them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def changes(before: Mapping[str, object], after: Mapping[str, object]) -> RunReload:
    """What a reload has changed, by the names of what ran before and runs after it."""
    kept = before.keys() & after.keys()
    return RunReload(
        sorted(name for name in kept if before[name] != after[name]) or None,
        "done",
        started=sorted(after.keys() - before.keys()) or None,
        stopped=sorted(before.keys() - after.keys()) or None,
    )
