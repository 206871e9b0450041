from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.node.hooks import (
    Hook,
    HookPool,
    HookResult,
    Outcome,
    end_variables,
    hook_variables,
    run_hook,
)
from netpunch.node.process import TRUNCATED, Exit
from netpunch.output.journal import MAX_LINE_BYTES
from tests.node.children import (
    GATED,
    Output,
    Run,
    needs_proc,
    nobody_left,
    on_both_loops,
    processes_with,
    script,
)

pytestmark = on_both_loops


def shell(text: str, folder: Path, *arguments: str, **rest: Any) -> Hook:
    """A hook that is a script in `folder`."""
    script(folder / "hook", text)
    return Hook(("./hook", *arguments), folder, rest.pop("timeout", 20.0), **rest)


async def run_quietly(hook: Hook) -> tuple[HookResult, Output]:
    output = Output()
    return await run_hook(hook, output), output


@pytest.mark.parametrize(
    ("text", "outcome", "ended"),
    [
        ("exit 0", Outcome.DONE, Exit(0)),
        ("exit 75", Outcome.RETRY, Exit(75)),
        ("exit 3", Outcome.FAILED, Exit(3)),
        ("kill -KILL $$", Outcome.FAILED, Exit(None, "SIGKILL")),
    ],
)
def test_the_exit_status_of_a_hook_is_its_outcome(
    run: Run[Any], tmp_path: Path, text: str, outcome: Outcome, ended: Exit
) -> None:
    result, _ = run(run_quietly(shell(text, tmp_path)))
    assert (result.outcome, result.exit, result.timed_out) == (outcome, ended, False)
    assert result.err == (f"./hook: {ended}" if outcome is Outcome.FAILED else None)
    assert 0 < result.duration < 10


def test_arguments_of_a_hook_are_never_interpreted(run: Run[Any], tmp_path: Path) -> None:
    hostile = [
        "$(touch pwned)",
        "; touch pwned",
        "`touch pwned`",
        "*",
        "a b",
        "",
        "-n",
        "caf\udce9",
    ]
    hook = shell('for argument; do printf "<%s>\\n" "$argument"; done', tmp_path, *hostile)
    _, output = run(run_quietly(hook))
    expected = [f"<{argument}>" for argument in hostile]
    assert output.of("stdout") == [text.replace("\udce9", "\ufffd") for text in expected]
    assert [entry.name for entry in tmp_path.iterdir()] == ["hook"]


def test_a_hook_has_only_the_environment_of_the_contract(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "leaked")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("HOME", "/nowhere")
    hook = Hook(("env",), tmp_path, 20, {"NETPUNCH_PAIR": "$(id)"})
    _, output = run(run_quietly(hook))
    assert sorted(output.of("stdout")) == sorted(
        ["HOME=/nowhere", "LANG=C.UTF-8", f"PATH={os.environ['PATH']}", "NETPUNCH_PAIR=$(id)"]
    )


def test_a_hook_runs_in_the_folder_of_the_site_file(run: Run[Any], tmp_path: Path) -> None:
    _, output = run(run_quietly(shell("pwd", tmp_path)))
    assert output.lines == [("stdout", str(tmp_path.resolve()))]


def test_a_hook_gets_the_event_on_standard_input(run: Run[Any], tmp_path: Path) -> None:
    event = b'{"v":1,"event":"pair.up","pair":"p\\n"}'
    _, output = run(run_quietly(shell("cat", tmp_path, event=event + b"\n")))
    assert output.of("stdout") == [event.decode()]


def test_a_hook_without_an_event_has_no_input(run: Run[Any], tmp_path: Path) -> None:
    result, output = run(run_quietly(shell("cat", tmp_path)))
    assert (result.outcome, output.lines) == (Outcome.DONE, [])


@pytest.mark.parametrize("text", ["exit 0", "exec <&-; exit 0"])
def test_a_hook_need_not_read_the_event(run: Run[Any], tmp_path: Path, text: str) -> None:
    event = b"x" * MAX_LINE_BYTES
    result, _ = run(run_quietly(shell(text, tmp_path, event=event)))
    assert result.outcome is Outcome.DONE


def test_output_of_a_hook_becomes_lines(run: Run[Any], tmp_path: Path) -> None:
    text = "printf 'one\\ntwo'; printf 'oops \\033[2J\\377\\n' >&2"
    _, output = run(run_quietly(shell(text, tmp_path)))
    assert output.of("stdout") == ["one", "two"]
    assert output.of("stderr") == ["oops \\x1b[2J\ufffd"]


def test_endless_output_of_a_hook_is_cut_and_never_blocks(run: Run[Any], tmp_path: Path) -> None:
    text = "head -c 3000000 /dev/zero; yes | head -c 3000000 >&2; exit 7"
    result, output = run(run_quietly(shell(text, tmp_path)))
    assert result.exit == Exit(7)
    assert [text for _, text in output.lines].count(TRUNCATED) == 1
    assert len(output.lines) <= 1026
    assert result.dropped_output > 5_000_000


@needs_proc
def test_a_timeout_terminates_all_processes_of_a_hook(run: Run[Any], tmp_path: Path) -> None:
    marked = {"NETPUNCH_TEST": str(tmp_path)}
    hook = shell("sleep 60 & echo begun; sleep 60", tmp_path, timeout=0.3, variables=marked)
    result, output = run(run_quietly(hook))
    assert (result.outcome, result.timed_out) == (Outcome.FAILED, True)
    assert result.exit == Exit(None, "SIGTERM")
    assert result.err == "./hook: timed out after 0.3 s and was terminated"
    assert output.of("stdout") == ["begun"]
    assert nobody_left("NETPUNCH_TEST", str(tmp_path))


def test_a_hook_may_clean_up_after_its_timeout(run: Run[Any], tmp_path: Path) -> None:
    text = "trap 'echo cleaned; exit 0' TERM; sleep 60 & wait"
    result, output = run(run_quietly(shell(text, tmp_path, timeout=0.3)))
    assert output.of("stdout") == ["cleaned"]
    assert (result.outcome, result.exit) == (Outcome.FAILED, Exit(0))


@needs_proc
@pytest.mark.parametrize(
    "text",
    [
        "trap '' TERM; sleep 60; sleep 60",
        "(trap '' TERM; sleep 60) & sleep 60",
    ],
    ids=["hook", "grandchild"],
)
def test_a_hook_that_ignores_sigterm_is_killed(run: Run[Any], tmp_path: Path, text: str) -> None:
    marked = {"NETPUNCH_TEST": str(tmp_path)}
    hook = shell(text, tmp_path, timeout=0.3, grace=0.3, variables=marked)
    started = time.monotonic()
    result, _ = run(run_quietly(hook))
    assert result.timed_out
    assert 0.6 <= time.monotonic() - started < 10
    assert nobody_left("NETPUNCH_TEST", str(tmp_path))


@needs_proc
def test_processes_of_a_hook_have_their_grace_when_it_ends_at_once(
    run: Run[Any], tmp_path: Path
) -> None:
    grandchild = "(trap 'sleep 0.2; echo cleaned; exit' TERM; sleep 60 & wait) &"
    hook = shell(f"{grandchild} sleep 60", tmp_path, timeout=0.3)
    _, output = run(run_quietly(hook))
    assert output.of("stdout") == ["cleaned"]


def test_a_process_that_a_hook_leaves_in_the_background_delays_nothing(
    run: Run[Any], tmp_path: Path
) -> None:
    marked = {"NETPUNCH_TEST": str(tmp_path)}
    hook = shell("echo begun; sleep 60 & echo ended", tmp_path, variables=marked)
    started = time.monotonic()
    result, output = run(run_quietly(hook))
    assert result.outcome is Outcome.DONE
    assert output.of("stdout") == ["begun", "ended"]
    assert time.monotonic() - started < 5
    daemons = processes_with("NETPUNCH_TEST", str(tmp_path))
    assert len(daemons) == 1, "a hook may start a daemon"
    os.kill(daemons[0], 9)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("./missing", "missing: no such program"), ("no-such-program", "no such program in PATH")],
)
def test_a_hook_whose_program_is_missing_fails(
    run: Run[Any], tmp_path: Path, name: str, complaint: str
) -> None:
    result, _ = run(run_quietly(Hook((name,), tmp_path, 1)))
    assert (result.outcome, result.exit) == (Outcome.FAILED, None)
    assert complaint in result.err


@needs_proc
def test_a_hook_cancelled_at_any_moment_leaves_no_process(run: Run[Any], tmp_path: Path) -> None:
    moments = random.Random(20)
    marked = {"NETPUNCH_TEST": str(tmp_path)}
    hook = shell("sleep 60 & sleep 60", tmp_path, variables=marked)

    async def cancel_after(seconds: float) -> None:
        task = asyncio.create_task(run_hook(hook, Output()))
        await asyncio.sleep(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def main() -> None:
        await asyncio.gather(*(cancel_after(moments.uniform(0, 0.1)) for _ in range(20)))
        assert nobody_left("NETPUNCH_TEST", str(tmp_path), within=0.5)

    run(main())


@needs_proc
def test_a_hook_cancelled_twice_is_killed_at_once(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netpunch.node.hooks.STOP_GRACE", 30.0)
    marked = {"NETPUNCH_TEST": str(tmp_path)}
    hook = shell("trap '' TERM; echo begun; sleep 60", tmp_path, grace=30, variables=marked)

    async def main() -> None:
        output = Output()
        task = asyncio.create_task(run_hook(hook, output))
        await output.came.wait()
        started = time.monotonic()
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - started < 20
        assert nobody_left("NETPUNCH_TEST", str(tmp_path))

    run(main())


def test_a_hook_inherits_no_descriptor_and_loses_none(run: Run[Any], tmp_path: Path) -> None:
    hooks = [
        shell("ls /proc/self/fd", tmp_path),
        Hook(("./missing",), tmp_path, 1),
        Hook(("sleep", "60"), tmp_path, 0.05),
    ]

    async def main() -> None:
        await run_quietly(hooks[0])
        before = open_descriptors()
        outputs = [(await run_quietly(hook))[1] for hook in hooks]
        assert open_descriptors() == before
        assert len(outputs[0].lines) == 4, "0, 1, 2 and the one that ls reads"

    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    run(main())
    os.close(reading)
    os.close(writing)


def open_descriptors() -> list[str]:
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


class Gate:
    """Hooks that say when they begin, and end when they are let."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.hook = shell(GATED, folder)

    def open(self) -> None:
        (self._folder / "open").touch()


async def begun(outputs: list[Output], count: int) -> None:
    """Wait until `count` hooks run, and a moment for those that should not."""
    while sum(bool(output.lines) for output in outputs) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert sum(bool(output.lines) for output in outputs) == count


async def run_in_turn(pool: HookPool, pair: str, hook: Hook, output: Output) -> HookResult:
    async with pool.turn(pair):
        return await run_hook(hook, output)


@pytest.mark.parametrize(
    ("pairs", "at_once"), [("aaa", 1), ("abcdef", 4), ("aaabbb", 2)], ids=["pair", "all", "mixed"]
)
def test_the_pool_limits_how_many_hooks_run_at_once(
    run: Run[Any], tmp_path: Path, pairs: str, at_once: int
) -> None:
    gate = Gate(tmp_path)

    async def main() -> None:
        pool = HookPool()
        outputs = [Output() for _ in pairs]
        runs = asyncio.gather(
            *(
                run_in_turn(pool, pair, gate.hook, output)
                for pair, output in zip(pairs, outputs, strict=True)
            )
        )
        await asyncio.wait_for(begun(outputs, at_once), 10)
        gate.open()
        results = await asyncio.wait_for(runs, 10)
        assert {result.outcome for result in results} == {Outcome.DONE}
        assert len(pool._pairs) == 0

    run(main())


def test_an_urgent_hook_waits_only_for_its_pair(run: Run[Any]) -> None:
    async def main() -> None:
        pool = HookPool(at_once=1)
        async with pool.turn("a"):
            async with pool.turn("b", urgent=True):
                pass
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), pool.turn("a", urgent=True):
                    pass

    run(main())


def test_the_variables_of_a_hook(run: Run[Any]) -> None:
    link = {"NETPUNCH_PAIR": "p", "NETPUNCH_END": "a"}
    assert hook_variables("before", link) == link | {"NETPUNCH_EVENT": "before"}
    assert hook_variables(
        "up", link, changed=True, previous_remote=Address("2001:db8::1", 1)
    ) == link | {
        "NETPUNCH_EVENT": "up",
        "NETPUNCH_CHANGED": "1",
        "NETPUNCH_PREV_RADDR": "[2001:db8::1]:1",
    }
    assert hook_variables("fail", {}, changed=False, reason="stopped") == {
        "NETPUNCH_EVENT": "fail",
        "NETPUNCH_CHANGED": "0",
        "NETPUNCH_REASON": "stopped",
    }


def test_an_end_of_a_mesh_knows_its_nodes_before_a_link(run: Run[Any]) -> None:
    assert end_variables("p", "a") == {"NETPUNCH_PAIR": "p", "NETPUNCH_END": "a"}
    assert end_variables("lan.home.office", "a") == {
        "NETPUNCH_PAIR": "lan.home.office",
        "NETPUNCH_END": "a",
        "NETPUNCH_MESH": "lan",
        "NETPUNCH_NODE": "home",
        "NETPUNCH_PARTNER_NODE": "office",
    }
