from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from netpunch.errors import HookError
from netpunch.node.command import Command
from netpunch.node.process import Exit
from tests.node.children import Output, Run, needs_proc, nobody_left, on_both_loops, script

pytestmark = on_both_loops


def start(folder: Path, text: str, output: Output) -> Command:
    script(folder / "command", text)
    return Command(["./command"], folder, {"NETPUNCH_TEST": str(folder)}, output)


def test_it_ends_by_itself(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        output = Output()
        command = start(tmp_path, "echo hello; echo $NETPUNCH_TEST >&2; cat; exit 4", output)
        assert await command.wait() == Exit(4)
        assert await command.wait() == await command.stop() == Exit(4)
        assert 0 < command.duration < 10
        assert output.of("stdout") == ["hello"]
        assert output.of("stderr") == [str(tmp_path)]

    run(main())


def test_it_is_stopped_while_somebody_waits(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        output = Output()
        command = start(
            tmp_path,
            "trap 'echo bye; exit 9' TERM; echo begun; while :; do sleep 0.05; done",
            output,
        )
        waiting = asyncio.create_task(command.wait())
        await output.came.wait()
        assert await command.stop() == Exit(9)
        assert await waiting == Exit(9)
        assert output.of("stdout") == ["begun", "bye"]
        assert nobody_left("NETPUNCH_TEST", str(tmp_path))

    run(main())


@needs_proc
def test_who_ignores_sigterm_is_killed(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        output = Output()
        command = start(tmp_path, "trap '' TERM; echo begun; sleep 60", output)
        await output.came.wait()
        assert await command.stop(grace=0.1) == Exit(None, "SIGKILL")
        assert nobody_left("NETPUNCH_TEST", str(tmp_path))

    run(main())


@needs_proc
def test_what_it_leaves_behind_is_ended_too(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        command = start(tmp_path, "sleep 60 & exit 0", Output())
        assert await command.wait() == Exit(0)
        assert nobody_left("NETPUNCH_TEST", str(tmp_path), within=0.5)

    run(main())


def test_waiting_can_be_given_up(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        output = Output()
        command = start(tmp_path, "echo begun; exec sleep 60", output)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(command.wait(), 0.1)
        await output.came.wait()
        assert command.pid > 1
        assert await command.stop() == Exit(None, "SIGTERM")

    run(main())


@needs_proc
def test_a_cancelled_stop_kills_at_once(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        output = Output()
        command = start(tmp_path, "trap '' TERM; echo begun; sleep 60", output)
        await output.came.wait()
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(command.stop(), 0.05)
        assert await command.wait() == Exit(None, "SIGKILL")
        assert time.monotonic() - started < 2
        assert nobody_left("NETPUNCH_TEST", str(tmp_path))

    run(main())


def test_what_cannot_be_started(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(HookError, match="missing: no such program"):
            Command(["./missing"], tmp_path, {}, Output())

    run(main())
