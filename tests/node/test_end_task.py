from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from netpunch.address import Address
from netpunch.config.model import EndConfig
from netpunch.core.events import Registered, Waiting
from netpunch.core.settings import ControlAt
from netpunch.errors import NotLinkedError, OutputError
from netpunch.net.punch import Punch
from netpunch.node import end_task as end_task_module
from netpunch.node.end_hooks import outlast
from netpunch.node.end_task import JITTER, EndTask, Loss, first
from netpunch.node.publish import Published
from netpunch.reasons import Reason
from tests.net.machines import client, port_is_free
from tests.net.nodes import SECRET, Watcher, control, spec
from tests.node.children import GATED, Run, needs_proc, nobody_left, on_both_loops, script
from tests.node.recorder import Recorder, end_with

pytestmark = on_both_loops

TIMEOUT = 20.0
STOPS = 25
"""Of the test that stops at random moments."""
LONGEST_LIFE = 0.06
"""Seconds that an end with hooks needs from its start to the end of `up`."""
LOG = 'echo "$NETPUNCH_EVENT" >> log'


def reaching(end: EndConfig, *controls: ControlAt) -> EndConfig:
    """With its secret, and controls elsewhere than the site file says."""
    settings = end.settings._replace(secret=SECRET, controls=controls)
    return end._replace(settings=settings)


def made(folder: Path, recorder: Recorder, address: Address, **settings: Any) -> EndTask:
    """End a of the pair that `control` serves."""
    end = end_with(folder, **settings)
    return EndTask(reaching(end, ControlAt(*address)), recorder.services)


def logging_hooks(folder: Path, **then: str) -> dict[str, list[str]]:
    """Hooks that write down their occasion; some do something else then."""
    for name in ("before", "up", "down", "fail"):
        script(folder / name, f"{LOG}\n{then.get(name, '')}\n")
    return {name: [f"./{name}"] for name in ("before", "up", "down", "fail")}


def log(folder: Path) -> list[str]:
    path = folder / "log"
    return path.read_text().split() if path.exists() else []


@contextlib.asynccontextmanager
async def partner(address: Address, **more: Any) -> AsyncIterator[Punch]:
    """End b, which links and frees its port."""
    attempt = Punch(spec("b", address, **more))
    try:
        await attempt.open()
        yield attempt
    finally:
        await attempt.close()


def dies(attempt: Punch) -> None:
    """At once and without a word, as a host does whose power fails."""
    assert attempt._driver is not None
    attempt._driver.close()


@contextlib.asynccontextmanager
async def running(end: EndTask) -> AsyncIterator[asyncio.Task[None]]:
    task = end.start()
    try:
        async with asyncio.timeout(TIMEOUT):
            yield task
    finally:
        await end.stop()


@contextlib.asynccontextmanager
async def partners_for_ever(address: Address) -> AsyncIterator[None]:
    """End b, which links again and again."""

    async def link_again() -> None:
        while True:
            async with partner(address) as attempt:
                await attempt.linked()
                await attempt.released()

    again = asyncio.create_task(link_again())
    try:
        yield
    finally:
        again.cancel()
        await asyncio.wait([again])


def test_an_end_in_once_links_and_runs_its_hooks(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with control() as address, partner(address):
            end = made(tmp_path, recorder, address, hooks=logging_hooks(tmp_path), env_file="a.env")
            assert end.exit_code == 75, "until it is linked"
            await asyncio.wait_for(end.start(), TIMEOUT)
        assert end.exit_code == 0
        assert log(tmp_path) == ["before", "up"]
        events = recorder.events()
        assert (
            events.index("pair.introduced") < events.index("pair.up") < events.index("env.written")
        )
        up = recorder.of("pair.up")[0]
        assert (up["pair"], up["end"], up["changed"], up["path"]) == ("p", "a", True, "host")
        before, *_, linked, hook = recorder.said
        assert before.startswith("p a: hook before: done after ")
        assert linked.startswith(f"p a: linked {up['laddr']} -> {up['raddr']} (host, ")
        assert hook.startswith("p a: hook up: done after ")
        assert port_is_free(up["lport"])

    run(main())


def test_pair_up_is_emitted_before_the_port_is_free(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the port is free and the files are written: that may take a second."""

    async def main() -> None:
        recorder, seen = Recorder(), list[list[str]]()
        release = Punch.released

        async def released(attempt: Punch) -> None:
            seen.append(recorder.events())
            await release(attempt)

        monkeypatch.setattr(Punch, "released", released)
        async with control() as address, partner(address):
            end = made(tmp_path, recorder, address, env_file="a.env")
            await asyncio.wait_for(end.start(), TIMEOUT)
        [before_the_release] = seen
        assert before_the_release[-1] == "pair.up"
        assert recorder.events()[-1] == "env.written"

    run(main())


def test_the_port_is_free_and_files_are_written_before_the_link_is_shown(
    run: Run[Any], tmp_path: Path
) -> None:
    """The port is free, and the files are there."""

    async def main() -> None:
        recorder = Recorder()
        async with control() as address, partner(address):
            end = made(tmp_path, recorder, address, env_file="a.env")
            seen: list[tuple[bool, bool]] = []
            show_link = recorder.services.journal.show_link

            def check(text: str, *, own_template: bool = False) -> None:
                port = int(text.split()[1].rpartition(":")[2])
                seen.append((port_is_free(port), (tmp_path / "a.env").exists()))
                show_link(text, own_template=own_template)

            recorder.services.journal.show_link = check  # type: ignore[method-assign]
            await asyncio.wait_for(end.start(), TIMEOUT)
        assert seen == [(True, True)]

    run(main())


@pytest.mark.parametrize(
    ("settings", "code", "reason"),
    [
        ({"deadline": "50ms"}, 75, "partner_absent"),
        ({"local": "192.0.2.1:5000"}, 75, "network_not_ready"),
        ({"interface": "nowhere0"}, 75, "network_not_ready"),
        ({"env_file": "missing/a.env"}, 73, "output"),
    ],
)
def test_an_end_in_once_that_fails_has_its_exit_code_and_reason(
    run: Run[Any], tmp_path: Path, settings: dict[str, Any], code: int, reason: str
) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with control() as address, contextlib.AsyncExitStack() as stack:
            if reason == "output":
                await stack.enter_async_context(partner(address))
            hooks = logging_hooks(tmp_path)
            end = made(tmp_path, recorder, address, hooks=hooks, **settings)
            await asyncio.wait_for(end.start(), TIMEOUT)
        assert end.exit_code == code
        [failed] = recorder.of("pair.failed")
        assert (failed["reason"], f"error: p a: {failed['err']}" in recorder.said) == (reason, True)
        assert log(tmp_path) == ["before", "fail"]

    run(main())


def test_an_end_without_an_answer_of_control_exits_with_69(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        with client() as silent:
            end = made(tmp_path, recorder, silent.address, deadline="50ms")
            await asyncio.wait_for(end.start(), TIMEOUT)
        assert end.exit_code == 69
        assert recorder.of("pair.failed")[0]["reason"] == "secret_rejected_or_silent"

    run(main())


def test_an_end_whose_check_passes_does_nothing(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder, watcher = Recorder(), Watcher()
        async with control(observer=watcher) as address:
            end = made(tmp_path, recorder, address, check=["true"], hooks=logging_hooks(tmp_path))
            await asyncio.wait_for(end.start(), TIMEOUT)
        assert end.exit_code == 0
        assert recorder.of("pair.alive") == [{"pair": "p", "end": "a"}]
        assert (watcher.datagrams, log(tmp_path)) == ([], [])

    run(main())


def test_a_failed_up_removes_the_env_file(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If that fails, it is reported, and the failure of the hook stays the reason."""

    def withdraw(published: object) -> None:
        raise OutputError("a.env: Read-only file system")

    monkeypatch.setattr(Published, "withdraw", withdraw)

    async def main() -> None:
        recorder = Recorder()
        async with control() as address, partner(address):
            hooks = logging_hooks(tmp_path, up="exit 3")
            end = made(tmp_path, recorder, address, hooks=hooks, env_file="a.env")
            await asyncio.wait_for(end.start(), TIMEOUT)
        assert end.exit_code == 1
        assert log(tmp_path) == ["before", "up"]
        assert "error: p a: a.env: Read-only file system" in recorder.said
        failed = recorder.of("pair.failed")[0]
        assert (failed["reason"], failed["err"]) == (
            "hook",
            f"hook up: {tmp_path}/./up: exit status 3",
        )
        assert f"error: p a: {failed['err']}" in recorder.said

    run(main())


def test_an_up_that_cannot_be_started_is_followed_by_fail(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with control() as address, partner(address):
            hooks = logging_hooks(tmp_path, before=f"rm {tmp_path}/up")
            end = made(tmp_path, recorder, address, hooks=hooks, env_file="a.env")
            await asyncio.wait_for(end.start(), TIMEOUT)
        assert end.exit_code == 1
        assert log(tmp_path) == ["before", "fail"]
        assert recorder.of("pair.failed")[0]["err"] == f"hook up: {tmp_path}/up: no such program"
        assert not (tmp_path / "a.env").exists()

    run(main())


@pytest.mark.parametrize("hook", ["before", "up"])
def test_a_hook_that_lacks_resources_exits_with_75(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    async def main() -> None:
        recorder = Recorder()
        script(tmp_path / hook, LOG)
        async with control() as address, partner(address):
            monkeypatch.setattr(subprocess, "Popen", refusing(errno.EMFILE))
            end = made(tmp_path, recorder, address, hooks={hook: [f"./{hook}"]})
            await asyncio.wait_for(end.start(), TIMEOUT)
        assert end.exit_code == 75
        failed = recorder.of("pair.failed")[0]
        assert failed["reason"] == "resources"
        assert failed["err"].startswith(f"hook {hook}: ")
        assert "LimitNOFILE=" in failed["err"]
        assert log(tmp_path) == []

    run(main())


@pytest.mark.parametrize("gently", [True, False])
def test_an_end_stopped_during_up(run: Run[Any], tmp_path: Path, gently: bool) -> None:
    """Gently, `up` finishes, and the env file stays: the link is in use."""

    async def main() -> None:
        recorder = Recorder()
        async with control() as address, partner(address):
            hooks = logging_hooks(tmp_path, up=GATED)
            end = made(tmp_path, recorder, address, hooks=hooks, env_file="a.env")
            async with running(end):
                await recorder.wait_for("hook.output")
                stopping = asyncio.create_task(end.stop(gently=gently))
                await asyncio.sleep(0.02)
                (tmp_path / "open").touch()
                await stopping
        assert (tmp_path / "a.env").exists() is gently
        assert log(tmp_path) == ["before", "up"]
        assert recorder.of("hook.end")[-1]["outcome"] == ("done" if gently else "stopped")

    run(main())


@pytest.mark.parametrize("fails", [True, False])
def test_an_end_stopped_while_files_are_written_withdraws_them(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """It waits until they are written."""
    begun, go_on = threading.Event(), threading.Event()

    write = Published.write

    def slow_write(published: Published) -> None:
        begun.set()
        go_on.wait(TIMEOUT)
        if fails:
            raise OutputError("disk full")
        write(published)

    monkeypatch.setattr(Published, "write", slow_write)

    async def main() -> None:
        recorder = Recorder()
        async with control() as address, partner(address):
            hooks = logging_hooks(tmp_path)
            end = made(tmp_path, recorder, address, hooks=hooks, env_file="a.env")
            async with running(end):
                await asyncio.to_thread(begun.wait, TIMEOUT)
                stopping = asyncio.create_task(end.stop())
                await asyncio.sleep(0.02)
                assert not stopping.done()
                go_on.set()
                await stopping
        assert not (tmp_path / "a.env").exists()
        assert log(tmp_path) == ["before", "fail"]
        assert recorder.of("pair.failed")[0]["reason"] == "stopped"

    run(main())


@pytest.mark.parametrize(("env_file", "code"), [("off", 0), ("a.env", 75)])
def test_a_link_needs_a_thread_only_to_write_files(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env_file: str, code: int
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        recorder = Recorder()
        async with control() as address, partner(address):
            end = made(tmp_path, recorder, address, env_file=env_file)
            monkeypatch.setattr(threading.Thread, "start", refuse)
            await asyncio.wait_for(end.start(), TIMEOUT)
        assert end.exit_code == code
        assert len(recorder.of("pair.up")) == 1
        assert [each["reason"] for each in recorder.of("pair.failed")] == ["resources"] * (
            code != 0
        )

    run(main())


def test_an_end_stopped_before_it_has_started(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        for mode, code in (("once", 75), ("keep", 0)):
            end = made(tmp_path, Recorder(), Address("127.0.0.1", 9), mode=mode)
            await end.stop()
            end.start()
            await end.stop()
            assert end.exit_code == code

    run(main())


def test_a_bug_in_an_end_does_not_raise_in_stop(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_: Published) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Published, "write", write)

    async def main() -> None:
        async with control() as address, partner(address):
            end = made(tmp_path, Recorder(), address, env_file="a.env")
            task = end.start()
            await asyncio.wait([task])
            await end.stop()
            assert isinstance(task.exception(), ZeroDivisionError)

    run(main())


@needs_proc
def test_an_end_stopped_at_any_moment_runs_up_or_fail_after_before(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = random.Random(7)
    own_path = f"{os.environ['PATH']}:{tmp_path}"  # tells its hooks from those of other tests
    monkeypatch.setenv("PATH", own_path)

    async def live_and_stop(folder: Path, address: Address) -> None:
        recorder = Recorder()
        end = made(folder, recorder, address, hooks=logging_hooks(folder), env_file="a.env")
        task = end.start()
        await asyncio.sleep(moments.uniform(0, LONGEST_LIFE))
        await end.stop(gently=moments.random() < 0.5)
        assert task.done()
        done = [record["hook"] for record in recorder.of("hook.end") if record["outcome"] == "done"]
        begun = [record["hook"] for record in recorder.of("hook.start")]
        answers = begun.count("up") + begun.count("fail")
        assert answers == done.count("before"), recorder.records
        assert (folder / "a.env").exists() is ("up" in done)

    async def main() -> None:
        async with control() as address, partners_for_ever(address):
            for number in range(STOPS):
                folder = tmp_path / str(number)
                folder.mkdir()
                await asyncio.wait_for(live_and_stop(folder, address), TIMEOUT)
        assert nobody_left("PATH", own_path)

    run(main())


def test_controls_that_do_not_resolve_are_warned_of(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with control() as address, partner(address):
            controls = (ControlAt("nowhere.invalid", 9), ControlAt(*address))
            end = EndTask(reaching(end_with(tmp_path), *controls), recorder.services)
            await asyncio.wait_for(end.start(), TIMEOUT)
        assert end.exit_code == 0
        assert recorder.said[0].startswith("warning: p a: cannot resolve 'nowhere.invalid'")

    run(main())


# keep


def test_an_end_pauses_after_a_failure(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spreads: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        spreads.append((low, high))
        return high

    monkeypatch.setattr(random, "uniform", uniform)

    async def main() -> None:
        recorder = Recorder()
        with client() as taken:
            local = str(taken.address)
            settings = {"mode": "keep", "retry_after": "20ms", "local": local}
            async with running(made(tmp_path, recorder, taken.address, **settings)) as task:
                await recorder.wait_for("pair.failed", 3)
                assert not task.done()
        assert {record["reason"] for record in recorder.of("pair.failed")} == {"port_in_use"}
        assert set(spreads) == {(1 - JITTER, 1 + JITTER)}
        assert "p a: the next attempt is in 0 s" in recorder.said

    run(main())


def test_an_end_whose_held_link_is_lost_links_again(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        settings = {"keepalive": "20ms", "hold_for": "300ms", "hooks": logging_hooks(tmp_path)}
        async with (
            control() as address,
            running(made(tmp_path, recorder, address, mode="keep", **settings)),
        ):
            async with partner(address, holds=True) as other:
                up = await recorder.wait_for("pair.up")
                assert not port_is_free(up["lport"], up["lhost"])
                dies(other)
            down = await recorder.wait_for("pair.down")
            assert (down["reason"], down["err"]) == ("silent", "no answer for 0.3 s")
            async with partner(address, holds=True):
                await recorder.wait_for("hook.end", 5)
        assert log(tmp_path)[:5] == ["before", "up", "down", "before", "up"]

    run(main())


def test_a_held_link_moves_when_its_partner_is_restarted(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with control() as address, running(made(tmp_path, recorder, address, mode="keep")):
            async with partner(address, holds=True) as other:
                await recorder.wait_for("pair.up")
                dies(other)
            async with partner(address, holds=True):
                moved = await recorder.wait_for("pair.moved")
                assert moved["reason"] == "partner_asked"

    run(main())


def test_a_link_that_moves_while_up_runs_is_told_afterwards_and_lost_as_it_is_then(
    run: Run[Any], tmp_path: Path
) -> None:
    """The partner is restarted. Each hook gets the path of its time, the last one of `moved`."""
    paths = 'echo "$NETPUNCH_EVENT $NETPUNCH_RADDR" >>paths'
    hooks = logging_hooks(tmp_path, up=f"{paths}; {GATED}", down=paths)

    async def main() -> None:
        recorder = Recorder()
        settings = {"mode": "keep", "hooks": hooks, "env_file": "a.env"}
        async with control() as address, running(made(tmp_path, recorder, address, **settings)):
            async with partner(address, holds=True) as other:
                up = await recorder.wait_for("pair.up")
                await recorder.wait_for("hook.output")
                dies(other)
            async with partner(address, holds=True):
                moved = await recorder.wait_for("pair.moved")
                assert (tmp_path / "paths").read_text() == f"up {up['raddr']}\n"
                (tmp_path / "open").touch()
                await recorder.wait_for("hook.end", 3)
            await recorder.wait_for("pair.down")
            await recorder.wait_for("hook.end", 4)
            assert (tmp_path / "paths").read_text().splitlines() == [
                *(f"up {up['raddr']}", f"moved {moved['raddr']}", f"down {moved['raddr']}")
            ]
            assert up["raddr"] != moved["raddr"]
        assert log(tmp_path)[:4] == ["before", "up", "moved", "down"]
        assert f"NETPUNCH_RADDR={moved['raddr']}" in (tmp_path / "a.env").read_text().split()

    run(main())


@pytest.mark.parametrize("gently", [True, False])
def test_an_end_stopped_during_the_hook_of_a_move(
    run: Run[Any], tmp_path: Path, gently: bool
) -> None:
    """Gently, it finishes. `fail` does not follow: the link was in use."""
    hooks = logging_hooks(tmp_path, up=f"[ $NETPUNCH_EVENT = up ] || {{ {GATED}; }}")

    async def main() -> None:
        recorder = Recorder()
        async with control() as address:
            end = made(tmp_path, recorder, address, mode="keep", hooks=hooks, env_file="a.env")
            async with running(end):
                async with partner(address, holds=True) as other:
                    await recorder.wait_for("hook.end", 2)
                    dies(other)
                async with partner(address, holds=True):
                    await recorder.wait_for("hook.output")
                    stopping = asyncio.create_task(end.stop(gently=gently))
                    await asyncio.sleep(0.02)
                    (tmp_path / "open").touch()
                    await stopping
        ended = recorder.of("hook.end")[-1]
        assert (ended["hook"], ended["outcome"]) == ("moved", "done" if gently else "stopped")
        assert log(tmp_path) == ["before", "up", "moved"]
        moved = recorder.of("pair.moved")[-1]
        assert f"NETPUNCH_RADDR={moved['raddr']}" in (tmp_path / "a.env").read_text().split()

    run(main())


def test_an_end_with_a_role_conflict_pauses_before_it_links_again(
    run: Run[Any], tmp_path: Path
) -> None:
    """Else the two would end each other's links as fast as these can be made."""

    async def main() -> None:
        recorder = Recorder()
        end = made(tmp_path, recorder, Address("192.0.2.1", 1), mode="keep", retry_after="1h")
        rounds = []

        async def link() -> Loss:
            rounds.append(1)
            end._observe(Waiting(Reason.ROLE_CONFLICT))
            return Loss(Reason.PARTNER_STOPPED, "the partner has ended it")

        end._link = link  # type: ignore[method-assign]
        async with running(end):
            await recorder.wait_for("pair.waiting")
            for _ in range(100):
                await asyncio.sleep(0)
        assert rounds == [1]
        assert any("the next attempt is in" in line for line in recorder.said)

    run(main())


def test_an_end_notices_that_the_partner_of_a_held_link_stops(
    run: Run[Any], tmp_path: Path
) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with control() as address, running(made(tmp_path, recorder, address, mode="keep")):
            async with partner(address, holds=True):
                await recorder.wait_for("pair.up")
            down = await recorder.wait_for("pair.down")
            assert (down["reason"], down["err"]) == ("partner_stopped", "the partner has ended it")

    run(main())


@pytest.mark.parametrize(
    "settings",
    [{"command": ["sleep", "60"]}, {"check": ["test", "-e", "alive"]}],
    ids=["command", "check"],
)
def test_an_end_on_standby_links_again_when_its_partner_returns(
    run: Run[Any], tmp_path: Path, settings: dict[str, Any]
) -> None:
    """It is heard on standby, and no check that passes keeps it waiting."""

    async def main() -> None:
        recorder, watcher = Recorder(), Watcher()
        hooks = logging_hooks(tmp_path, up="touch alive")
        end_settings = {"mode": "keep", "retry_after": "50ms", "hooks": hooks} | settings
        async with (
            control(observer=watcher) as address,
            running(made(tmp_path, recorder, address, **end_settings)),
        ):
            for count in (1, 2, 3):
                async with partner(address) as attempt:
                    await attempt.linked()
                    await recorder.wait_for("pair.up", count)
                await watcher.wait_for(Registered, 2 * count, end="a")  # to punch, to stand by
        assert [record["reason"] for record in recorder.of("pair.down")] == ["partner_returned"] * 2
        assert log(tmp_path) == ["before", "up", "down", "before", "up", "down", "before", "up"]
        assert not recorder.of("pair.alive")

    run(main())


def test_an_end_without_standby_does_not_disturb_the_program(run: Run[Any], tmp_path: Path) -> None:
    settings = {"mode": "keep", "command": ["sleep", "60"], "standby": False}

    async def main() -> None:
        recorder = Recorder()
        async with control() as address, running(made(tmp_path, recorder, address, **settings)):
            async with partner(address) as attempt:
                await attempt.linked()
                await recorder.wait_for("pair.up")
            async with partner(address, deadline=0.2) as again:
                with pytest.raises(NotLinkedError):
                    await again.linked()
        assert not recorder.of("pair.down")

    run(main())


@pytest.mark.parametrize("quick", [True, False])
def test_an_end_whose_command_ends_links_again(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    """One that ran for long is replaced at once."""
    monkeypatch.setattr(end_task_module, "QUICK_END", 10.0 if quick else 0.0)
    retry_after = "10ms" if quick else "60s"

    async def main() -> None:
        recorder = Recorder()
        async with control() as address, partners_for_ever(address):
            settings = {"mode": "keep", "retry_after": retry_after, "command": ["echo", "{raddr}"]}
            async with running(made(tmp_path, recorder, address, **settings)):
                up = await recorder.wait_for("pair.up")
                down = await recorder.wait_for("pair.down")
                assert (down["reason"], down["err"]) == ("command", "echo: exit status 0")
                assert recorder.of("hook.output")[0]["text"] == up["raddr"]
                await recorder.wait_for("pair.up", 2)
        assert any("next attempt" in line for line in recorder.said) is quick

    run(main())


def test_an_end_whose_command_is_missing_fails(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        settings = {"mode": "keep", "retry_after": "60s", "command": ["./vpn"]}
        async with (
            control() as address,
            partner(address),
            running(made(tmp_path, recorder, address, **settings)),
        ):
            down = await recorder.wait_for("pair.down")
        assert "vpn: no such program" in down["err"]

    run(main())


COUNTED_CHECK = ["sh", "-c", "echo >>checks; test -e alive"]
"""A check that passes is not reported, so it leaves a trace itself."""


POLL = 0.005
"""Seconds between looks at a file that checks write: nothing tells when it changes."""


async def checked(folder: Path, count: int) -> None:
    """Until COUNTED_CHECK has begun so often."""
    file = folder / "checks"
    while not file.exists() or len(file.read_text()) < count:  # noqa: ASYNC110
        await asyncio.sleep(POLL)


@needs_proc
def test_a_check_that_fails_twice_ends_the_command(run: Run[Any], tmp_path: Path) -> None:
    settings = {
        "mode": "keep",
        "retry_after": "60s",
        "command": ["sleep", "60"],
        "check": COUNTED_CHECK,
        "check_every": "20ms",
        "hooks": logging_hooks(tmp_path, up="touch alive"),
    }

    async def main() -> None:
        recorder = Recorder()
        async with (
            control() as address,
            partner(address),
            running(made(tmp_path, recorder, address, **settings)),
        ):
            up = await recorder.wait_for("pair.up")
            await checked(tmp_path, 4)
            assert not recorder.of("pair.down")
            (tmp_path / "alive").unlink()
            down = await recorder.wait_for("pair.down")
            assert down["reason"] == "check"
            assert nobody_left("NETPUNCH_RADDR", up["raddr"])
        outcomes = [r["outcome"] for r in recorder.of("hook.end") if r["hook"] == "check"]
        wanted = ["failed", "done", "failed", "failed"]
        assert outcomes == wanted, "one before punching, the first that passes, two that count"

    run(main())


def test_an_end_watches_the_link_of_an_earlier_process(run: Run[Any], tmp_path: Path) -> None:
    (tmp_path / "alive").touch()
    settings = {
        "mode": "keep",
        "check": COUNTED_CHECK,
        "check_every": "20ms",
        "hooks": logging_hooks(tmp_path),
    }

    async def main() -> None:
        recorder, watcher = Recorder(), Watcher()
        async with (
            control(observer=watcher) as address,
            running(made(tmp_path, recorder, address, **settings)),
        ):
            await recorder.wait_for("pair.alive")
            await checked(tmp_path, 3)
            await watcher.wait_for(Registered)
            assert not any("purpose=0" in seen.text for seen in watcher.datagrams), "on standby"
            (tmp_path / "alive").unlink()
            assert (await recorder.wait_for("pair.down"))["reason"] == "check"
            await watcher.wait_for(Registered, 2)
        assert log(tmp_path)[:2] == ["down", "before"]

    run(main())


def refusing(number: int) -> Callable[..., NoReturn]:
    """What `subprocess.Popen` is when the system has nothing left for a child."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN])
def test_a_check_that_cannot_be_run_says_nothing_about_the_link(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """People get one warning each time that it begins."""
    alive = tmp_path / "alive"
    alive.touch()
    argv = ["sh", "-c", f"test -e {alive} || {{ echo no route; exit 3; }}"]
    settings = {"mode": "keep", "check": argv, "check_every": "20ms"}

    async def main() -> None:
        recorder = Recorder()
        async with control() as address, running(made(tmp_path, recorder, address, **settings)):
            await recorder.wait_for("pair.alive")
            for _ in range(2):
                count = len(recorder.of("hook.end"))
                with monkeypatch.context() as patch:
                    patch.setattr(subprocess, "Popen", refusing(number))
                    await recorder.wait_for("hook.end", count + 5)
                await recorder.wait_for("hook.end", len(recorder.of("hook.end")) + 1)
                assert recorder.of("hook.end")[-1]["outcome"] == "done"
            assert not recorder.of("pair.down")
            warnings = [line for line in recorder.said if "cannot check the link" in line]
            assert len(warnings) == 2
            assert warnings[0].startswith("warning: p a: cannot check the link: /")
            alive.unlink()
            down = await recorder.wait_for("pair.down")
            assert down["reason"] == "check"
            failed = "exit status 3; it printed: no route"
            assert down["err"] == f"check failed 2 times: `{' '.join(argv)}`: {failed}"

    run(main())


@pytest.mark.parametrize("mode", ["once", "keep"])
def test_a_first_check_that_cannot_be_run_is_repeated_later(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """The link of an earlier process may be there: `before` must not end it."""
    settings = {"mode": mode, "check": ["true"], "retry_after": "20ms"}

    async def main() -> None:
        recorder = Recorder()
        hooks = logging_hooks(tmp_path)
        end = made(tmp_path, recorder, Address("127.0.0.1", 9), hooks=hooks, **settings)
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", refusing(errno.EAGAIN))
            async with running(end) as task:
                failed = await recorder.wait_for("pair.failed")
                patch.undo()
                assert failed["reason"] == "resources"
                if mode == "once":
                    await task
                    assert end.exit_code == 75
                else:
                    await recorder.wait_for("pair.alive")
        assert log(tmp_path) == []

    run(main())


def test_a_check_whose_program_is_gone_fails(run: Run[Any], tmp_path: Path) -> None:
    script(tmp_path / "check", "exit 0")
    settings = {"mode": "keep", "check": ["./check"], "check_every": "20ms"}

    async def main() -> None:
        recorder = Recorder()
        async with control() as address, running(made(tmp_path, recorder, address, **settings)):
            await recorder.wait_for("pair.alive")
            (tmp_path / "check").unlink()
            assert (await recorder.wait_for("pair.down"))["reason"] == "check"

    run(main())


def test_outlast_returns_the_result(run: Run[Any]) -> None:
    async def main() -> None:
        assert await outlast(asyncio.ensure_future(asyncio.sleep(0, "slept"))) == "slept"

    run(main())


@pytest.mark.parametrize("cancelled", [True, False])
def test_outlast_raises_what_the_future_raises(run: Run[Any], cancelled: bool) -> None:
    async def main() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        outlasting = asyncio.create_task(outlast(future))
        await asyncio.sleep(0)
        if cancelled:
            outlasting.cancel()
            await asyncio.sleep(0)
        future.set_exception(ZeroDivisionError())
        with pytest.raises(asyncio.CancelledError if cancelled else ZeroDivisionError):
            await outlasting
        assert isinstance(future.exception(), ZeroDivisionError)

    run(main())


def test_outlast_waits_on_however_often_it_is_cancelled(run: Run[Any]) -> None:
    async def main() -> None:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        outlasting = asyncio.create_task(outlast(future))
        for _ in range(3):
            await asyncio.sleep(0)
            outlasting.cancel()
            await asyncio.sleep(0)
            assert not outlasting.done()
        future.set_result("done")
        with pytest.raises(asyncio.CancelledError):
            await outlasting
        assert future.result() == "done"

    run(main())


def test_first_cancels_the_other_coroutines(run: Run[Any]) -> None:
    ended: list[str] = []

    async def for_ever() -> str:
        try:
            await asyncio.Event().wait()
            return "never"
        finally:
            ended.append("cancelled")

    async def main() -> None:
        assert await first([for_ever(), asyncio.sleep(0, "first"), for_ever()]) == "first"
        assert ended == ["cancelled"] * 2

    run(main())
