from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.errors import OutputError
from netpunch.node.end_hooks import EndHooks, Phase
from netpunch.node.hooks import Outcome
from tests.node.children import (
    GATED,
    Run,
    needs_proc,
    nobody_left,
    on_both_loops,
    processes_with,
    script,
)
from tests.node.recorder import Recorder, end_with, named

pytestmark = on_both_loops

LINK = {"NETPUNCH_PAIR": "p", "NETPUNCH_END": "a", "NETPUNCH_RADDR": "192.0.2.1:1"}
EVENT = b'{"event":"pair.up"}\n'
KEY = bytes(range(32))


def made(folder: Path, recorder: Recorder, hook: str | None = "true", **settings: Any) -> EndHooks:
    """Hooks of an end, all of which are the same script; None: there are none."""
    if hook is not None:
        script(folder / "hook", hook)
        settings = {"hooks": ["./hook"]} | settings
    return EndHooks(end_with(folder, **settings), recorder.services)


def phase_of(hooks: EndHooks) -> Phase:
    return hooks.phase


def key_files(folder: Path) -> list[Path]:
    return list(folder.glob(".netpunch-*"))


async def up(hooks: EndHooks, key: bytes | None = None) -> Outcome | None:
    result = await hooks.up(LINK, EVENT, changed=True, previous_remote=None, session_key=key)
    return result.outcome if result else None


async def moved(hooks: EndHooks, key: bytes | None = None) -> Outcome | None:
    result = await hooks.moved(
        LINK, EVENT, changed=True, previous_remote=None, reason="silent", session_key=key
    )
    return result.outcome if result else None


def printed(recorder: Recorder) -> dict[str, str]:
    """What a hook that is `env` saw of us."""
    lines = [record["text"].partition("=") for record in recorder.of("hook.output")]
    return {name: value for name, _, value in lines if name.startswith("NETPUNCH_")}


def test_an_end_without_hooks_runs_nothing(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        hooks = made(tmp_path, recorder, None)
        assert await hooks.before() is None
        assert phase_of(hooks) is Phase.FREE
        assert await up(hooks, KEY) is None
        assert phase_of(hooks) is Phase.IN_USE
        assert await moved(hooks, KEY) is None
        await hooks.down(LINK, "silent", EVENT)
        await hooks.fail("blocked", EVENT)
        assert await hooks.is_alive() is False
        assert recorder.records == []

    run(main())


def test_the_phases_of_an_end(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        hooks = made(tmp_path, Recorder())
        for follows, phase in (
            (up(hooks), Phase.IN_USE),
            (hooks.fail("x", EVENT), Phase.ANSWERED),
        ):
            await hooks.before()
            assert phase_of(hooks) is Phase.CLAIMED
            await follows
            assert phase_of(hooks) is phase

    run(main())


@pytest.mark.parametrize("status", [0, 1, 75])
def test_a_link_stays_in_use_whatever_its_hook_says_of_a_move(
    run: Run[Any], tmp_path: Path, status: int
) -> None:
    async def main() -> None:
        recorder = Recorder()
        hooks = made(tmp_path, recorder, f'[ "$NETPUNCH_EVENT" = up ] || exit {status}')
        await up(hooks)
        await moved(hooks)
        assert phase_of(hooks) is Phase.IN_USE
        assert [record["hook"] for record in recorder.of("hook.end")] == ["up", "moved"]

    run(main())


@pytest.mark.parametrize("status", [1, 75])
def test_a_before_that_failed_took_nothing(run: Run[Any], tmp_path: Path, status: int) -> None:
    async def main() -> None:
        hooks = made(tmp_path, Recorder(), f"exit {status}")
        result = await hooks.before()
        assert result is not None
        assert result.outcome is not Outcome.DONE
        assert phase_of(hooks) is Phase.FREE
        assert await up(hooks) is not Outcome.DONE
        assert phase_of(hooks) is Phase.ANSWERED

    run(main())


def test_hooks_get_the_variables_of_the_contract(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        hooks = made(tmp_path, recorder, "env", local="127.0.0.1:5000")
        who = {"NETPUNCH_PAIR": "p", "NETPUNCH_END": "a", "NETPUNCH_LPORT": "5000"}
        expected = [
            (hooks.before(), who | {"NETPUNCH_EVENT": "before"}),
            (
                hooks.up(
                    LINK, EVENT, changed=False, previous_remote=Address("::1", 2), session_key=None
                ),
                LINK
                | {
                    "NETPUNCH_EVENT": "up",
                    "NETPUNCH_CHANGED": "0",
                    "NETPUNCH_PREV_RADDR": "[::1]:2",
                },
            ),
            (
                hooks.moved(
                    *(LINK, EVENT),
                    changed=True,
                    previous_remote=Address("::1", 2),
                    reason="woke",
                    session_key=None,
                ),
                LINK
                | {
                    "NETPUNCH_EVENT": "moved",
                    "NETPUNCH_CHANGED": "1",
                    "NETPUNCH_PREV_RADDR": "[::1]:2",
                    "NETPUNCH_REASON": "woke",
                },
            ),
            (
                hooks.down(LINK, "silent", EVENT),
                LINK | {"NETPUNCH_EVENT": "down", "NETPUNCH_REASON": "silent"},
            ),
            (
                hooks.down(None, "check", EVENT),
                who | {"NETPUNCH_EVENT": "down", "NETPUNCH_REASON": "check"},
            ),
            (
                hooks.fail("blocked", EVENT),
                who | {"NETPUNCH_EVENT": "fail", "NETPUNCH_REASON": "blocked"},
            ),
        ]
        for running, variables in expected:
            recorder.records.clear()
            await running
            assert printed(recorder) == variables

    run(main())


def test_hooks_get_no_port_while_it_is_unknown(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        await made(tmp_path, recorder, "env").before()
        assert "NETPUNCH_LPORT" not in printed(recorder)

    run(main())


def test_a_hook_has_events_for_its_start_output_and_end(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        hooks = made(tmp_path, recorder, "echo out; echo err >&2; exit 3")
        await up(hooks)
        of = {"pair": "p", "end": "a", "hook": "up"}
        assert recorder.of("hook.start") == [of | {"argv": [f"{tmp_path}/./hook"]}]
        outputs = {(record["stream"], record["text"]) for record in recorder.of("hook.output")}
        assert outputs == {("stdout", "out"), ("stderr", "err")}
        [end] = recorder.of("hook.end")
        assert 0 <= end.pop("duration_s") < 10
        err = f"{tmp_path}/./hook: exit status 3"
        assert end == of | {"outcome": "failed", "status": 3, "err": err}
        assert sorted(recorder.said) == ["p a: hook up says: err", "p a: hook up says: out"]

    run(main())


def test_a_failed_down_or_fail_hook_is_warned_of(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        hooks = made(tmp_path, recorder, "exit 3")
        await hooks.down(LINK, "silent", EVENT)
        await hooks.fail("blocked", EVENT)
        err = f"{tmp_path}/./hook: exit status 3"
        assert recorder.said == [f"warning: p a: hook {name}: {err}" for name in ("down", "fail")]

    run(main())


@pytest.mark.parametrize(("status", "alive"), [(0, True), (1, False), (75, False)])
def test_a_check_passes_or_fails(run: Run[Any], tmp_path: Path, status: int, alive: bool) -> None:
    async def main() -> None:
        recorder = Recorder()
        script(tmp_path / "check", f"echo pong; exit {status}")
        hooks = EndHooks(end_with(tmp_path, check=["./check"]), recorder.services)
        assert await hooks.is_alive() is alive
        failed = f"p a: check failed: `./check`: exit status {status}; it printed: pong"
        said = [line.replace(f"{tmp_path}/", "") for line in recorder.said]
        assert said == ([] if alive else [failed])
        assert phase_of(hooks) is Phase.FREE

    run(main())


def test_a_check_is_reported_when_it_fails_and_when_it_passes_again(
    run: Run[Any], tmp_path: Path
) -> None:
    """Else one that passes every few seconds fills the log."""

    async def main() -> None:
        recorder = Recorder()
        hooks = EndHooks(end_with(tmp_path, check=["./check"]), recorder.services)

        async def check(printed: str, status: int) -> list[str]:
            script(tmp_path / "check", f"echo {printed}; exit {status}")
            before = len(recorder.records)
            assert await hooks.is_alive() is (status == 0)
            return [
                str(record.get("text") or record["outcome"]) for record in recorder.records[before:]
            ]

        assert await check("12 ms", 0) == []
        assert await check("13 ms", 0) == []
        assert await check("no route", 1) == ["no route", "failed"]
        assert await check("no route", 1) == ["failed"], "it prints the same"
        assert await check("no answer", 1) == ["no answer", "failed"]
        assert await check("no answer", 2) == ["no answer", "failed"], "another exit status"
        assert await check("14 ms", 0) == ["14 ms", "done"]
        assert await check("15 ms", 0) == []
        numbers = [record["seq"] for record in recorder.records]
        assert numbers == list(range(1, len(numbers) + 1)), "none seems to be lost"

    run(main())


def test_a_check_gets_the_event_of_its_start(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        script(tmp_path / "check", "cat >event")
        hooks = EndHooks(end_with(tmp_path, check=["./check"]), recorder.services)
        assert await hooks.is_alive()
        event = json.loads((tmp_path / "event").read_text())
        assert (event["event"], event["hook"]) == ("hook.start", "check")
        assert (event["pair"], event["end"]) == ("p", "a")

    run(main())


def test_a_check_that_hangs_has_failed(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        end = end_with(tmp_path, check=["sleep", "60"], check_every="50ms")
        assert await EndHooks(end, recorder.services).is_alive() is False
        assert recorder.of("hook.end")[0]["outcome"] == "failed"

    run(main())


def test_the_session_key_is_in_a_file_for_as_long_as_the_hook(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{runtime}:/nowhere")

    async def main() -> None:
        recorder = Recorder()
        reveal = 'stat -c %a "$NETPUNCH_SESSION_KEY_FILE"; cat "$NETPUNCH_SESSION_KEY_FILE"'
        hooks = made(tmp_path, recorder, reveal)
        assert await up(hooks, KEY) is Outcome.DONE
        texts = [record["text"] for record in recorder.of("hook.output")]
        assert texts == ["600", base64.b64encode(KEY).decode()]
        assert await moved(hooks, KEY[::-1]) is Outcome.DONE
        texts = [record["text"] for record in recorder.of("hook.output")][2:]
        assert texts == ["600", base64.b64encode(KEY[::-1]).decode()]
        assert list(runtime.iterdir()) == []

    run(main())


def test_a_hook_may_delete_the_session_key_itself(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        hooks = made(tmp_path, Recorder(), 'rm "$NETPUNCH_SESSION_KEY_FILE"')
        assert await up(hooks, KEY) is Outcome.DONE

    run(main())


def test_a_session_key_without_a_folder_fails_up(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "missing"))

    async def main() -> None:
        hooks = made(tmp_path, Recorder())
        await hooks.before()
        with pytest.raises(OutputError, match="no file for the session key: No such file"):
            await up(hooks, KEY)
        assert phase_of(hooks) is Phase.CLAIMED, "the hook has not run"

    run(main())


def test_a_session_key_on_a_full_disk_fails_up(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))

    def full(descriptor: int, mode: str) -> None:
        os.close(descriptor)
        raise OSError(28, "No space left on device")

    async def main() -> None:
        hooks = made(tmp_path, Recorder())
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdopen", full)
            with pytest.raises(OutputError, match="No space left"):
                await up(hooks, KEY)
        assert key_files(tmp_path) == []

    run(main())


async def begun(recorder: Recorder) -> None:
    await recorder.wait_for("hook.output")


@needs_proc
def test_a_stop_terminates_a_hook(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        script(tmp_path / "hook", "echo begun; sleep 60")
        pair = f"cut-{os.getpid()}-{tmp_path.name}"  # what other runs left behind is not ours
        end = named(end_with(tmp_path, hooks=["./hook"]), pair)
        hooks = EndHooks(end, recorder.services)
        running = asyncio.create_task(hooks.before())
        await begun(recorder)
        assert processes_with("NETPUNCH_PAIR", pair)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert phase_of(hooks) is Phase.FREE
        assert recorder.of("hook.end")[0]["outcome"] == "stopped"
        assert nobody_left("NETPUNCH_PAIR", pair)

    run(main())


def test_a_gentle_stop_waits_for_a_hook(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        hooks = made(tmp_path, recorder, GATED)
        running = asyncio.create_task(hooks.before())
        await begun(recorder)
        hooks.stop(gently=True)
        running.cancel()
        await asyncio.sleep(0.05)
        assert not running.done()
        (tmp_path / "open").touch()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert recorder.of("hook.end")[0]["outcome"] == "done"
        assert phase_of(hooks) is Phase.CLAIMED, "so `fail` is due"

    run(main())


def test_a_hurried_stop_after_a_gentle_one_terminates_a_hook(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        hooks = made(tmp_path, recorder, GATED)
        hooks.stop(gently=True)
        running = asyncio.create_task(hooks.before())
        await begun(recorder)
        running.cancel()
        await asyncio.sleep(0)
        hooks.stop(gently=False)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert recorder.of("hook.end")[0]["outcome"] == "stopped"

    run(main())


def test_a_hook_stopped_before_its_turn_has_not_started(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        hooks = made(tmp_path, recorder)
        await hooks.before()
        recorder.records.clear()
        async with recorder.services.hooks.turn("p"):
            running = asyncio.create_task(up(hooks))
            await asyncio.sleep(0.01)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        assert phase_of(hooks) is Phase.CLAIMED
        assert recorder.records == []

    run(main())


def test_a_stop_does_not_terminate_fail(run: Run[Any], tmp_path: Path) -> None:
    """However often its end is stopped, and however: that is what gives back."""

    async def main() -> None:
        recorder = Recorder()
        hooks = made(tmp_path, recorder, GATED)
        running = asyncio.create_task(hooks.fail("blocked", EVENT))
        await begun(recorder)
        for gently in (True, False, False):
            hooks.stop(gently=gently)
            running.cancel()
            await asyncio.sleep(0.05)
            assert not running.done()
        (tmp_path / "open").touch()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert recorder.of("hook.end")[0]["outcome"] == "done"
        assert phase_of(hooks) is Phase.ANSWERED

    run(main())


def test_a_stop_does_not_cancel_a_fail_that_waits_for_its_turn(
    run: Run[Any], tmp_path: Path
) -> None:
    """Whether a stop comes before it waits, or while it does; then it needs no slot."""

    async def main() -> None:
        recorder = Recorder()
        pool = recorder.services.hooks
        early, late = made(tmp_path, recorder), made(tmp_path, recorder)
        async with contextlib.AsyncExitStack() as all_slots:
            for pair in "pqrs":
                await all_slots.enter_async_context(pool.turn(pair))
            waiting = [asyncio.create_task(late.fail("blocked", EVENT))]
            await asyncio.sleep(0.01)
            early.stop(gently=False)
            waiting.append(asyncio.create_task(early.fail("stopped", EVENT)))
            await asyncio.sleep(0.01)
            late.stop(gently=False)
            for each in waiting:
                each.cancel()
            await asyncio.sleep(0.05)
            assert not recorder.records, "it is the partner's turn"
        await asyncio.wait(waiting)
        assert [record["outcome"] for record in recorder.of("hook.end")] == ["done", "done"]

    run(main())


@pytest.mark.parametrize("early", [True, False])
def test_fail_of_a_stopped_end_does_not_wait_for_a_hook_that_hangs(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    monkeypatch.setattr("netpunch.node.end_hooks.STOPPED_TURN", 0.05)

    async def main() -> None:
        recorder = Recorder()
        hooks = made(tmp_path, recorder)
        async with recorder.services.hooks.turn("p"):
            if early:
                hooks.stop(gently=False)
            running = asyncio.create_task(hooks.fail("stopped", EVENT))
            await asyncio.sleep(0.01)
            hooks.stop(gently=False)
            await running
        assert recorder.of("hook.end")[0]["outcome"] == "done"

    run(main())


def test_fail_of_a_stopped_end_needs_no_slot_and_little_time(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netpunch.node.end_hooks.STOPPED_TIMEOUT", 0.05)

    async def main() -> None:
        recorder = Recorder()
        hooks = made(tmp_path, recorder, "sleep 60")
        hooks.stop(gently=False)
        async with contextlib.AsyncExitStack() as all_slots:
            for pair in "qrst":
                await all_slots.enter_async_context(recorder.services.hooks.turn(pair))
            await hooks.fail("stopped", EVENT)
        assert "timed out after 0.05 s" in recorder.of("hook.end")[0]["err"]
        assert phase_of(hooks) is Phase.ANSWERED

    run(main())


def test_fail_that_runs_during_a_stop_gets_little_more_time(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netpunch.node.end_hooks.STOPPED_TIMEOUT", 0.05)

    async def main() -> None:
        recorder = Recorder()
        hooks = made(tmp_path, recorder, "echo begun; sleep 60")
        running = asyncio.create_task(hooks.fail("blocked", EVENT))
        await begun(recorder)
        hooks.stop(gently=False)
        await asyncio.wait_for(running, 10)
        assert recorder.of("hook.end")[0]["outcome"] == "stopped"
        assert phase_of(hooks) is Phase.ANSWERED

    run(main())


def test_the_session_key_is_removed_even_if_the_hook_is_terminated(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))

    async def main() -> None:
        recorder = Recorder()
        running = asyncio.create_task(up(made(tmp_path, recorder, "echo begun; sleep 60"), KEY))
        await begun(recorder)
        [key_file] = key_files(tmp_path)
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not key_file.exists()

    run(main())
