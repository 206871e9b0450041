"""The life of one end in a process: check, before, punch, files, up, command; again in `keep`.

    check passes ───────────────────────────────> alive: nothing is done
    before ── punch ──> port freed ── files ── up ──> held, watched or commanded (keep)
       └────────┴── fail                                └── lost: down, and again

Every successful `before` is followed by exactly one `up` or `fail`, also when the end is stopped.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from netpunch.config.auto_ports import SPARE_PORTS
from netpunch.config.model import EndConfig
from netpunch.config.values import Chosen
from netpunch.core.events import Event, Linked, Lost, Waiting
from netpunch.errors import (
    HookError,
    NetpunchError,
    NotLinkedError,
    ResourcesError,
    lack_behind,
    resource_errors,
)
from netpunch.net.driver import Datagram
from netpunch.net.preload import CARRYING, HOLDING, PAUSE, preload
from netpunch.net.punch import Punch
from netpunch.node.end_hooks import COMMAND, EndHooks, Phase
from netpunch.node.end_reports import EndReports, figures_of
from netpunch.node.hooks import raise_for
from netpunch.node.process import Command
from netpunch.node.services import Services
from netpunch.reasons import Reason
from netpunch.template import render

if TYPE_CHECKING:
    from netpunch.net.forward import Forwarder
    from netpunch.node.end_moves import Follower
    from netpunch.node.publish import Published
    from netpunch.output.status import Figures

JITTER = 0.2
"""Part of a pause by which retries are spread: the ends of a fleet must not retry together."""
DOUBLED_FOR = 60.0
"""Seconds after a control has reported that another machine announces this end, too: the two end
each other's links, so neither starts again at once. Control repeats it while both are there."""
QUICK_END = 10.0
"""Seconds. A command that ended sooner has failed, and is not started again at once."""
FAILED_CHECKS = 2
"""Failures in a row that end a link: a single one may be a lost ping."""
LATER = (
    "netpunch.net.standby",
    "netpunch.node.end_moves",
    "netpunch.node.publish",
    "textwrap",  # of lines for terminals
)
"""Modules that an end needs once it is linked."""
PARTNER_RETURNED = "the partner was restarted, or has lost the link, and punches anew"

T = TypeVar("T")


class Loss(NamedTuple):
    """Why a link in `keep` is over; `quick`: so soon that it counts as a failed attempt."""

    reason: str
    detail: str
    quick: bool = False


class EndTask:
    """One end, with its secret."""

    def __init__(self, end: EndConfig, services: Services) -> None:
        self.end = end
        self.exit_code = NotLinkedError.exit_code if end.mode == "once" else 0
        """What this end adds to the process's exit code: in `once` 75 until it is linked."""
        self._services = services
        self._hooks = EndHooks(end, services)
        self._reports = EndReports(end, services)
        self._console = services.console.named(f"{end.pair} {end.end}", gathered=True)
        self._task: asyncio.Task[None] | None = None
        self._standby_pause = 0.0
        self._doubled_until = 0.0
        self._partner_wants = False
        """The partner wants to punch anew: no check may keep it waiting."""
        self._forwarder: Forwarder | None = None
        self._drops_told: Counter[str] = Counter()
        """By the forwarder, over former links."""
        self._attempt: Punch | None = None
        """That finds or holds the link."""
        self._is_handed_over = False
        """Another program uses the port."""
        self._rekeyed = asyncio.Event()

    # For the supervisor.

    def start(self) -> asyncio.Task[None]:
        """Starts the task, which ends when the end is done (`once`) or cancelled."""
        self._task = asyncio.create_task(self._run(), name=f"netpunch {self.end.pair}")
        return self._task

    def update(self, planned: EndConfig | None) -> bool:
        """Takes over a new plan; False if this end has to stop instead. A link goes on if only the
        keys differ and one of them stays; if none does, the partner under the old ones is not
        wanted any more."""
        if planned is None or planned == self.end:
            return planned is not None
        secrets = planned.settings.secrets
        settings = self.end.settings.with_secrets(secrets)
        if planned != self.end._replace(settings=settings, secret=planned.secret):
            return False
        if not set(secrets) & set(self.end.settings.secrets):
            return False
        is_held = self._attempt is not None and self._attempt.rekey(secrets)
        if not (is_held or self._is_handed_over):
            return False
        self.end = self._reports.end = planned
        self._rekeyed.set()
        return True

    async def stop(self, *, gently: bool = False) -> None:
        """Ends the task cleanly; `gently` lets a running hook finish first. Called again, it ends
        everything that still runs except `fail`. What the task raises is for the caller of
        `start`."""
        if self._task is None:
            return
        self._hooks.stop(gently=gently)
        self._task.cancel()
        await asyncio.wait([self._task])

    # Its life.

    async def _run(self) -> None:
        try:
            if self.end.mode == "once":
                await self._once()
            while self.end.mode == "keep":
                await self._keep()
        finally:
            self._reports.closed()
            if self._forwarder is not None:
                self._forwarder.close()

    async def _once(self) -> None:
        try:
            await self._round()
        except NetpunchError as error:
            self.exit_code = error.exit_code
        else:
            self.exit_code = 0

    async def _keep(self) -> None:
        """One link from start to loss, and the pause after a failure."""
        failed: str | None = None
        try:
            loss = await self._round()
        except NetpunchError as error:
            failed = error.reason
        else:
            if loss is not None and loss.quick:
                failed = loss.reason
            elif asyncio.get_running_loop().time() < self._doubled_until:
                failed = Reason.ROLE_CONFLICT
        if failed is not None:
            spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
            pause = self.end.retry_after * spread
            self._reports.retries_in(pause, failed)
            await asyncio.sleep(pause)

    def _observe(self, seen: Datagram | Event) -> None:
        if isinstance(seen, Waiting) and seen.reason is Reason.ROLE_CONFLICT:
            self._doubled_until = asyncio.get_running_loop().time() + DOUBLED_FOR
        self._reports.observe(seen)

    async def _round(self) -> Loss | None:
        """One link. Raises what went wrong, after it is reported and the `fail` hook has run."""
        try:
            return await self._link()
        except NetpunchError:
            raise
        except Exception as error:
            if (lack := lack_behind(error)) is None:
                raise
            self._reports.failed(lack.reason, str(lack))
            raise lack from error

    async def _link(self) -> Loss | None:
        """Checks, punches, hands over, and in `keep` stays until the link is lost."""
        self._reports.waits("its check or `before` hook has been running")
        wanted, self._partner_wants = self._partner_wants, False
        if not wanted and await self._is_alive():
            return await self._leave_alone()
        services = self._services
        self._forwarder = forwarder = self._forwarder or self._make_forwarder()
        attempt = self._attempt = Punch(
            self.end.settings,
            self._observe,
            trace=services.trace,
            turns=services.turns,
            program=forwarder,
            on_unresolved=self._console.warn,
        )
        try:
            published = await self._hand_over(attempt)
            if self.end.mode == "once":
                await attempt.close(keep_mapping=True)
                return None
            loss, published = await self._stay(attempt, published)
        finally:
            if forwarder is not None:
                forwarder.detach()
            self._attempt, self._is_handed_over = None, False
            await attempt.close()
        await self._down(loss, published.variables)
        return loss

    def _make_forwarder(self) -> Forwarder | None:
        forward = self.end.forward
        if forward is None:
            return None
        from netpunch.net.forward import Forwarder  # few ends relay

        listen, to, sealed = forward
        spare = SPARE_PORTS if isinstance(listen, Chosen) else ()
        return Forwarder(listen, to, self._console.warn, sealed=sealed, spare_ports=spare)

    async def _is_alive(self) -> bool:
        """Reports and raises ResourcesError when the check could not be run: a new attempt could
        end a link that works."""
        try:
            return await self._hooks.is_alive()
        except ResourcesError as error:
            self._reports.failed(error.reason, str(error))
            raise

    async def _leave_alone(self) -> Loss | None:
        """A link of an earlier process works. In `keep`, waits until it is lost."""
        if self.end.mode == "keep":
            preload(HOLDING + LATER)
        self._reports.alive()
        if self.end.mode == "once":
            return None
        self._is_handed_over = True
        try:
            loss = await self._until_lost_or_wanted(self._watch_checks())
        finally:
            self._is_handed_over = False
        await self._down(loss)
        return loss

    async def _hand_over(self, attempt: Punch) -> Published:
        """From `before` until `up` is done. If anything goes wrong, the link is not used, and
        `fail` gives back what `before` took."""
        published: Published | None = None
        try:
            with resource_errors():
                raise_for("before", await self._hooks.before())
                if self._forwarder is not None:
                    await self._forwarder.open()
                    self._reports.forwards(self._forwarder.local)
                self._reports.waits("looking up the names of its controls")
                await attempt.open()
                later = LATER if self._forwarder is None else LATER + CARRYING
                loading = partial(preload, HOLDING + later, attempt.give_up)
                asyncio.get_running_loop().call_later(PAUSE, loading)
                linked = await attempt.linked()
                self._is_handed_over = not self.end.holds
                if self._forwarder is not None:
                    self._forwarder.attach(attempt)
                from netpunch.node.publish import describe, publish  # preloaded

                forward = None if self._forwarder is None else self._forwarder.local
                described = describe(self.end, linked, time.time(), forward)
                event = self._reports.up(linked, described)
                if not self.end.holds:
                    await attempt.released()
                published = described
                await publish(published)  # now that the port is free: who waits for them binds it
                self._reports.handed_over(published)
                await self._up(linked, published, event)
        except NetpunchError as error:
            self._withdraw(published)
            event = self._reports.failed(error.reason, str(error), attempt.failure)
            if self._hooks.phase is not Phase.ANSWERED:  # else it was `up` that failed
                await self._fail(attempt, error.reason, event)
            raise
        except asyncio.CancelledError:
            if self._hooks.phase is not Phase.IN_USE:
                self._withdraw(published)
            if self._hooks.phase is Phase.CLAIMED:
                await self._fail(attempt, Reason.STOPPED, self._reports.stopped())
            raise
        return published

    async def _up(self, linked: Linked, published: Published, event: bytes) -> None:
        result = await self._hooks.up(
            published.variables,
            event,
            changed=published.changed,
            previous_remote=published.previous_remote,
            session_key=linked.session_key if self.end.session_key else None,
        )
        raise_for("up", result)

    async def _down(self, loss: Loss, link: Mapping[str, str] | None = None) -> None:
        event = self._reports.down(loss.reason, loss.detail)
        await self._hooks.down(link, loss.reason, event)

    async def _fail(self, attempt: Punch, reason: str, event: bytes) -> None:
        try:
            await attempt.close()
        finally:
            await self._hooks.fail(reason, event)

    def _withdraw(self, published: Published | None) -> None:
        if published is None:
            return
        try:
            published.withdraw()
        except NetpunchError as error:
            self._console.error(str(error))

    # Once linked (keep).

    async def _stay(self, attempt: Punch, published: Published) -> tuple[Loss, Published]:
        """Until the link is lost. Also returns the path that programs were told of last."""
        if self.end.holds:
            return await self._hold(attempt, published)
        working = self._command(published) if self.end.command else self._watch_checks()
        try:
            with resource_errors():
                return await self._until_lost_or_wanted(working), published
        except ResourcesError as error:
            return Loss(Reason.RESOURCES, str(error), quick=True), published

    async def _until_lost_or_wanted(self, working: Coroutine[Any, Any, Loss]) -> Loss:
        """While another program uses the port."""
        watched = [working]
        if self.end.standby and self.end.protocol == "v2":
            watched.append(self._stand_by())
        return await first(watched)

    async def _stand_by(self) -> Loss:
        """Until the partner wants to punch anew; at most once in `retry_after`, or a partner that
        never gets through would interrupt this end again and again."""
        earliest = asyncio.get_running_loop().time() + self._standby_pause
        while not await first([self._partner_returned(), self._keys_changed()]):
            pass  # on standby again, under the new keys
        await asyncio.sleep(max(0.0, earliest - asyncio.get_running_loop().time()))
        self._standby_pause = self.end.retry_after
        self._partner_wants = True
        return Loss(Reason.PARTNER_RETURNED, PARTNER_RETURNED)

    async def _partner_returned(self) -> bool:
        from netpunch.net.standby import StandbyWatch

        watch = StandbyWatch(self.end.settings, self._observe, trace=self._services.trace)
        try:
            await watch.returned()
        finally:
            await watch.close()
        return True

    async def _keys_changed(self) -> bool:
        self._rekeyed.clear()
        await self._rekeyed.wait()
        return False

    async def _hold(self, attempt: Punch, published: Published) -> tuple[Loss, Published]:
        from netpunch.node.end_moves import Follower  # preloaded

        follower = Follower(self.end, self._hooks, self._reports, published)
        status, end, forwarder = self._services.status, self.end, self._forwarder

        def figures() -> Figures | None:
            drops = None if forwarder is None else forwarder.drops - self._drops_told
            return figures_of(attempt.figures, drops)

        with status.measuring(end.pair, end.end, figures):
            watched = [_end_of(follower, attempt)]
            if end.settings.share:
                watched.append(self._program_gone())
            loss = await first(watched)
        if forwarder is not None:
            self._drops_told = Counter(forwarder.drops)
        return loss, follower.published

    async def _program_gone(self) -> Loss:
        from netpunch.net.share import until_unowned

        port = self.end.settings.local[1]
        if await until_unowned(self.end.settings):
            return Loss(Reason.NO_PROGRAM, f"the program with UDP port {port} was restarted")
        return Loss(Reason.NO_PROGRAM, f"no program of this host has UDP port {port} any more")

    async def _command(self, published: Published) -> Loss:
        """Runs the command until it ends, or the check says that the link is dead."""
        argv = [render(word, published.values) for word in self.end.command]
        try:
            command = Command(
                argv,
                self.end.directory,
                published.variables,
                lambda stream, text: self._hooks.show_output(COMMAND, stream, text),
            )
        except HookError as error:
            return Loss(Reason.COMMAND, str(error), quick=True)
        try:
            watched = [self._command_end(command)]
            if self.end.check:
                watched.append(self._watch_checks())
            return await first(watched)
        finally:
            await command.stop()

    async def _command_end(self, command: Command) -> Loss:
        ended = await command.wait()
        detail = f"{self.end.command[0]}: {ended}"
        return Loss(Reason.COMMAND, detail, quick=command.duration < QUICK_END)

    async def _watch_checks(self) -> Loss:
        failed, lacking = 0, False
        while failed < FAILED_CHECKS:
            await asyncio.sleep(self.end.check_every)
            try:
                failed = 0 if await self._hooks.is_alive() else failed + 1
            except ResourcesError as error:  # it says nothing about the link
                if not lacking:
                    self._console.warn(str(error))
                lacking = True
            else:
                lacking = False
        return Loss(Reason.CHECK, f"check failed {FAILED_CHECKS} times: {self._hooks.complaint}")


async def _end_of(follower: Follower, attempt: Punch) -> Loss:
    """Of a held link."""
    match await follower.follow(attempt):
        case Lost(detail, ended=True):
            return Loss(Reason.PARTNER_STOPPED, detail)
        case Lost(detail):
            return Loss(Reason.SILENT, detail)
        case None:
            return Loss(Reason.STOPPED, "the link was closed")


async def first(coroutines: Sequence[Coroutine[Any, Any, T]]) -> T:
    """The first result; the others are cancelled and awaited."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
