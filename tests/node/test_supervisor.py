from __future__ import annotations

import asyncio
import errno
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from netpunch.core.pacing import TokenBucket
from netpunch.errors import ConfigurationError, HookError, PermissionsError, PortInUseError
from netpunch.node import control_task as control_task_module
from netpunch.node import end_task as end_task_module
from netpunch.node import supervisor as supervisor_module
from netpunch.node.options import RunOptions
from netpunch.node.plan import Failure, Plan, Planner
from netpunch.node.supervisor import Supervisor
from tests.node.children import Run, on_both_loops
from tests.node.recorder import Recorder, site_with

pytestmark = on_both_loops

Life = Callable[["FakeEnd"], Any]


class FakeEnd:
    """An end whose life is what the test says. The real one has its own tests."""

    made: list[FakeEnd]
    life: Life

    def __init__(self, end: Any, services: object) -> None:
        self.end = end
        self.exit_code = 0
        self.stops: list[str] = []
        FakeEnd.made.append(self)

    def __str__(self) -> str:
        return f"{self.end.pair} {self.end.end}"

    def start(self) -> asyncio.Task[None]:
        self.task = asyncio.create_task(FakeEnd.life(self))
        return self.task

    def update(self, planned: Any) -> bool:
        return bool(planned == self.end)

    async def stop(self, *, gently: bool = False) -> None:
        self.stops.append("gently" if gently else "stopped")
        self.task.cancel()
        await asyncio.wait([self.task])


class FakeControl:
    """A control that only writes down what happens to it."""

    made: list[FakeControl]
    refusal: PortInUseError | None

    def __init__(self, plan: Any, services: object) -> None:
        self.plan = plan
        self.log: list[str] = []
        FakeControl.made.append(self)

    async def start(self) -> None:
        if FakeControl.refusal is not None:
            raise FakeControl.refusal
        self.log.append("started")

    def update(self, plan: Any) -> bool:
        self.log.append("updated")
        return bool(plan.control == self.plan.control)

    async def stop(self) -> None:
        self.log.append("stopped")


async def for_ever(end: FakeEnd) -> None:
    await asyncio.Event().wait()


async def at_once(end: FakeEnd) -> None:
    end.exit_code = 0


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(end_task_module, "EndTask", FakeEnd)
    monkeypatch.setattr(control_task_module, "ControlTask", FakeControl)
    FakeEnd.made, FakeEnd.life = [], for_ever
    FakeControl.made, FakeControl.refusal = [], None


class Site:
    """Plans of a file whose pairs change, and a supervisor that runs them."""

    def __init__(self, folder: Path, *pairs: str, node: str | None = None) -> None:
        self.recorder = Recorder()
        self.supervisor = Supervisor(self.recorder.services)
        self.pairs: dict[str, Any] = {name: {} for name in pairs}
        self.failures: tuple[Failure, ...] = ()
        self.error: ConfigurationError | None = None
        self.reading: asyncio.Event | None = None
        """Until it is set, the file is being read."""
        self._folder = folder
        self._planner = Planner(RunOptions())

    async def make_plan(self) -> Plan:
        if self.reading is not None:
            await self.reading.wait()
        return self.plan()

    def plan(self) -> Plan:
        if self.error is not None:
            raise self.error
        pairs = {
            name: {"secret": "generate", "a": {}, "b": {"enabled": False}} | settings
            for name, settings in self.pairs.items()
        }
        plan = self._planner.plan(*site_with(self._folder, pairs))
        return plan._replace(failures=self.failures)

    def start(self) -> asyncio.Task[int]:
        return asyncio.create_task(self.supervisor.run(self.make_plan))

    async def reload(self) -> str:
        """What became of it."""
        count = len(self.recorder.of("run.reload"))
        self.supervisor.reload()
        return str((await self.recorder.wait_for("run.reload", count + 1))["reason"])


def always(plan: Plan) -> Callable[[], Awaitable[Plan]]:
    async def make_plan() -> Plan:
        return plan

    return make_plan


def named(ends: list[FakeEnd]) -> list[str]:
    return [str(end) for end in ends]


def test_a_run_ends_when_all_ends_are_done(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        FakeEnd.life = at_once
        site = Site(tmp_path, "p", "q")
        assert await site.start() == 0
        assert named(FakeEnd.made) == ["p a", "q a"]
        assert [control.log for control in FakeControl.made] == [["started", "stopped"]]
        assert site.recorder.of("run.stop") == [{"reason": "done", "exit_code": 0}]
        assert site.recorder.events() == ["run.ready", "run.stop"]

    run(main())


def test_a_run_is_stopped_by_a_signal(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        site = Site(tmp_path, "p")
        running = site.start()
        await site.recorder.wait_for("run.ready")
        site.supervisor.stop("SIGTERM")
        site.supervisor.stop("SIGINT")
        assert await running == 0
        assert FakeEnd.made[0].stops == ["stopped"]
        assert site.recorder.of("run.stop")[0]["reason"] == "SIGTERM"
        assert site.recorder.said == ["SIGTERM: stopping"]

    run(main())


def test_an_end_that_descriptors_lack_for_is_tried_again_at_the_next_reload(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreadable(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise OSError(errno.EMFILE, "Too many open files")

    async def main() -> None:
        site = Site(tmp_path, "o")
        running = site.start()
        await site.recorder.wait_for("run.ready")
        site.pairs["p"] = {}
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, end_task_module.__name__, Unreadable("unreadable"))
            assert await site.reload() == "done"
        [failed] = site.recorder.of("pair.failed")
        assert (failed["pair"], failed["reason"]) == ("p", "resources")
        assert named(FakeEnd.made) == ["o a"]
        await site.reload()
        assert named(FakeEnd.made) == ["o a", "p a"]
        site.supervisor.stop("SIGTERM")
        await running

    run(main())


@pytest.mark.parametrize(
    ("codes", "failures", "expected"),
    [
        ([0, 75], [], 75),
        ([69, 75], [], 69),
        ([75, 0], [Failure(PermissionsError("x"), "r", "a")], 77),
        ([1, 0], [Failure(HookError("x"), "r", "a"), Failure(ConfigurationError("y"), "s")], 78),
    ],
)
def test_a_run_has_the_gravest_exit_code(
    run: Run[Any], tmp_path: Path, codes: list[int], failures: list[Failure], expected: int
) -> None:
    async def end(end: FakeEnd) -> None:
        end.exit_code = codes["pq".index(end.end.pair)]

    async def main() -> None:
        FakeEnd.life = end
        site = Site(tmp_path, "p", "q")
        site.failures = tuple(failures)
        assert await site.start() == expected

    run(main())


def test_an_error_of_several_parts_is_shown_once(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        FakeEnd.life = at_once
        site = Site(tmp_path, "p")
        missing = PermissionsError("others may read it")
        site.failures = (
            Failure(missing, "q", "a"),
            Failure(missing, "q", "b"),
            Failure(ConfigurationError("no key"), "r", control="vps"),
        )
        await site.start()
        assert site.recorder.said == [
            "error: q a, q b: others may read it",
            "error: control vps: r: no key",
        ]
        assert site.recorder.of("pair.failed") == [
            {"pair": "q", "end": "a", "reason": "permissions", "err": "others may read it"},
            {"pair": "q", "end": "b", "reason": "permissions", "err": "others may read it"},
        ]
        assert site.recorder.of("control.failed") == [
            {"pair": "r", "reason": "configuration", "err": "no key", "control": "vps"},
        ]

    run(main())


def test_a_reload_applies_only_what_has_changed(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        site = Site(tmp_path, "stays", "goes", "changes")
        running = site.start()
        await site.recorder.wait_for("run.ready")
        stays, goes, changes = FakeEnd.made
        del site.pairs["goes"]
        site.pairs |= {"changes": {"deadline": "1s"}, "comes": {}}
        assert await site.reload() == "done"
        changed = {"started": ["comes a"], "changed": ["changes a"], "stopped": ["goes a"]}
        assert site.recorder.of("run.reload") == [{"reason": "done"} | changed]
        assert site.recorder.said == [
            "reloaded: started comes a; changed changes a; stopped goes a"
        ]
        assert [stays.stops, goes.stops, changes.stops] == [[], ["gently"], ["gently"]]
        assert named(FakeEnd.made[3:]) == ["changes a", "comes a"]
        assert [control.log for control in FakeControl.made] == [["started", "updated"]]
        site.supervisor.stop("SIGTERM")
        await running
        assert stays.stops == ["stopped"]

    run(main())


def test_a_reload_changes_the_probe_rate_without_touching_ends(
    run: Run[Any], tmp_path: Path
) -> None:
    """In a second, a bucket gives as many as its rate."""

    def in_a_second(bucket: TokenBucket, begin: float) -> int:
        return sum(bucket.take(begin + moment / 1000) for moment in range(1000))

    async def main() -> None:
        site = Site(tmp_path, "p", "q")
        site.pairs["q"] = {"probe_rate": "40/s"}
        running = site.start()
        await site.recorder.wait_for("run.ready")
        bucket = site.recorder.services.turns.bucket
        assert in_a_second(bucket, 1e3) == pytest.approx(40, abs=1)
        site.pairs["q"] = {"probe_rate": "100/s"}
        assert await site.reload() == "done"
        assert in_a_second(bucket, 2e3) == pytest.approx(100, abs=1)
        assert named(FakeEnd.made) == ["p a", "q a"]
        assert not any(end.stops for end in FakeEnd.made)
        site.supervisor.stop("SIGTERM")
        await running

    run(main())


def test_a_reload_of_an_invalid_file_changes_nothing(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        site = Site(tmp_path, "p")
        running = site.start()
        await site.recorder.wait_for("run.ready")
        site.error = ConfigurationError("site.yaml:1:1: no")
        assert await site.reload() == "invalid"
        assert site.recorder.of("run.reload")[0]["err"] == "site.yaml:1:1: no"
        assert site.recorder.said == [
            "error: reload failed; keeping the running configuration: site.yaml:1:1: no"
        ]
        assert FakeEnd.made[0].stops == []
        site.supervisor.stop("SIGTERM")
        assert await running == 0

    run(main())


def test_an_invalid_file_at_the_start_is_raised(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        site = Site(tmp_path)
        site.error = ConfigurationError("no")
        with pytest.raises(ConfigurationError):
            await site.start()
        assert site.recorder.events() == []

    run(main())


def test_a_failure_that_a_reload_corrects_no_longer_counts(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        site = Site(tmp_path, "p")
        site.failures = (Failure(PermissionsError("x"), "q", "a"),)
        running = site.start()
        await site.recorder.wait_for("run.ready")
        site.failures = ()
        await site.reload()
        site.supervisor.stop("SIGTERM")
        assert await running == 0

    run(main())


def test_a_reload_does_not_restart_an_end_that_is_done(run: Run[Any], tmp_path: Path) -> None:
    async def life(end: FakeEnd) -> None:
        if end.end.pair == "lasts":
            await for_ever(end)

    async def main() -> None:
        FakeEnd.life = life
        site = Site(tmp_path, "lasts", "done")
        running = site.start()
        await site.recorder.wait_for("run.ready")
        await site.reload()
        assert named(FakeEnd.made) == ["lasts a", "done a"]
        site.supervisor.stop("SIGTERM")
        await running

    run(main())


def test_a_control_that_cannot_bind_is_tried_again_on_reload(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        FakeControl.refusal = PortInUseError("127.0.0.1:1 is in use")
        site = Site(tmp_path, "p")
        running = site.start()
        await site.recorder.wait_for("run.ready")
        assert site.recorder.said == ["error: control control: 127.0.0.1:1 is in use"]
        assert site.recorder.of("control.failed")[0]["reason"] == "port_in_use"
        assert not site.recorder.of("pair.failed")
        FakeControl.refusal = None
        await site.reload()
        assert FakeControl.made[-1].log == ["started"]
        site.supervisor.stop("SIGTERM")
        assert await running == 0

    run(main())


def test_a_control_without_ends_runs_until_it_is_stopped(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        FakeEnd.life = at_once
        site = Site(tmp_path, "p")
        plan = site.plan()
        endless = Plan(plan.ends, plan.controls, endless=True)
        running = asyncio.create_task(site.supervisor.run(always(endless)))
        await site.recorder.wait_for("run.ready")
        await asyncio.sleep(0.02)
        assert not running.done()
        site.supervisor.stop("SIGTERM")
        assert await running == 0

    run(main())


def test_a_run_ends_when_no_control_can_bind(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        FakeEnd.life = at_once
        FakeControl.refusal = PortInUseError("in use")
        site = Site(tmp_path, "p")
        plan = site.plan()
        endless = Plan(plan.ends, plan.controls, endless=True)
        assert await site.supervisor.run(always(endless)) == 75

    run(main())


def test_a_bug_in_one_end_leaves_the_others_running(run: Run[Any], tmp_path: Path) -> None:
    """The loop's exception handler gets it."""

    async def life(end: FakeEnd) -> None:
        if end.end.pair == "buggy":
            raise ZeroDivisionError

    async def main() -> None:
        FakeEnd.life = life
        bugs: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, bug: bugs.append(bug))
        site = Site(tmp_path, "buggy", "fine")
        assert await site.start() == 70
        assert [bug["message"] for bug in bugs] == ["buggy a was ended"]
        assert isinstance(bugs[0]["exception"], ZeroDivisionError)

    run(main())


class Stubborn:
    """A life that resists a number of cancellations."""

    def __init__(self, resists: int = 1) -> None:
        self.resists = resists
        self.resisting = asyncio.Event()

    async def __call__(self, end: FakeEnd) -> None:
        if end.end.pair != "stubborn":
            await for_ever(end)
        for _ in range(self.resists):
            try:
                await for_ever(end)
            except asyncio.CancelledError:
                self.resisting.set()
        await for_ever(end)


def test_an_end_that_does_not_stop_in_time_is_terminated(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "STOP_PATIENCE", 0.05)

    async def main() -> None:
        FakeEnd.life = Stubborn()
        site = Site(tmp_path, "stubborn", "polite")
        running = site.start()
        await site.recorder.wait_for("run.ready")
        site.supervisor.stop("SIGTERM")
        assert await running == 0
        stubborn, polite = FakeEnd.made
        assert stubborn.stops == ["stopped", "stopped"]
        assert polite.task.done()

    run(main())


def test_a_reload_that_waits_does_not_delay_a_stop(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        stubborn = FakeEnd.life = Stubborn()
        site = Site(tmp_path, "stubborn", "polite")
        running = site.start()
        await site.recorder.wait_for("run.ready")
        site.pairs = {"polite": {}, "comes": {}}
        site.supervisor.reload()
        await stubborn.resisting.wait()
        begun = time.monotonic()
        site.supervisor.stop("SIGTERM")
        assert await running == 0
        assert time.monotonic() - begun < supervisor_module.STOP_PATIENCE
        assert named(FakeEnd.made) == ["stubborn a", "polite a"], "nobody new is begun"
        assert FakeEnd.made[0].stops == ["gently", "stopped"]
        assert not site.recorder.of("run.reload")

    run(main())


def test_reading_the_file_for_a_reload_delays_neither_ends_nor_a_stop(
    run: Run[Any], tmp_path: Path
) -> None:
    async def main() -> None:
        FakeEnd.life = for_ever
        site = Site(tmp_path, "p")
        running = site.start()
        await site.recorder.wait_for("run.ready")
        site.reading = asyncio.Event()
        site.supervisor.reload()
        await asyncio.sleep(0.01)
        assert not FakeEnd.made[0].task.done()
        assert not site.recorder.of("run.reload")
        site.supervisor.stop("SIGTERM")
        assert await asyncio.wait_for(running, 10) == 0
        assert not site.recorder.of("run.reload")

    run(main())


def test_a_reload_during_a_reload_reads_the_file_once_more(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        FakeEnd.life = for_ever
        site = Site(tmp_path, "p")
        running = site.start()
        await site.recorder.wait_for("run.ready")
        site.reading = asyncio.Event()
        for _ in range(3):
            site.supervisor.reload()
            await asyncio.sleep(0)
        site.reading.set()
        await site.recorder.wait_for("run.reload", 2)
        site.supervisor.stop("SIGTERM")
        await running
        assert len(site.recorder.of("run.reload")) == 2

    run(main())
