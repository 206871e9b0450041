from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.errors import HookError, ResourcesError
from netpunch.node.process import (
    LINE_OVERHEAD,
    MAX_LINE_BYTES,
    MAX_OUTPUT_BYTES,
    TERM_GRACE,
    TRUNCATED,
    Command,
    Exit,
    OutputLines,
    ProcessGroup,
    child_environment,
    find_program,
)
from netpunch.output.console import printable
from tests.node.children import Output, Run, needs_proc, nobody_left, on_both_loops, script


def test_an_exit_as_text() -> None:
    assert str(Exit.from_returncode(3)) == "exit status 3"
    assert str(Exit.from_returncode(-9)) == "ended by SIGKILL"
    assert str(Exit.from_returncode(-40)) == "ended by signal 40"
    assert Exit.from_returncode(-15) == Exit(None, "SIGTERM")


def test_a_child_has_a_cleared_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        os, "environ", {"PATH": "/bin", "HOME": "/h", "LD_PRELOAD": "x", "NETPUNCH_NODE": "n"}
    )
    assert child_environment({"NETPUNCH_PAIR": "p"}) == {
        "PATH": "/bin",
        "HOME": "/h",
        "NETPUNCH_PAIR": "p",
    }


def test_programs_are_found_in_path_or_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hooks").mkdir()
    path = script(tmp_path / "hooks" / "up", "true")
    assert find_program("hooks/up", tmp_path) == path
    assert find_program(path, Path("/")) == path
    monkeypatch.setenv("PATH", str(tmp_path / "hooks"))
    assert find_program("up", Path("/")) == path
    # A name without a slash is never taken from the folder itself.
    script(tmp_path / "up2", "true")
    with pytest.raises(HookError, match=r"^up2: no such program in PATH$"):
        find_program("up2", tmp_path)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("./missing", "missing: no such program"),
        ("./plain", "plain: not executable; `chmod \\+x` it"),
        ("./folder", "folder: not a program"),
        ("./plain/below", "Not a directory"),
        ("./nul\0", "NUL character"),
        ("nul\0", "no such program in PATH"),
        ("", "no such program in PATH"),
        ("./" + "x" * 300, "File name too long"),
    ],
)
def test_programs_that_cannot_run_are_refused(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "plain").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(HookError, match=complaint):
        find_program(name, tmp_path)


@on_both_loops
@pytest.mark.parametrize(
    ("first_line", "complaint"),
    [
        (b"#!/nowhere/interpreter\n", "broken: the interpreter that its first line"),
        (b"\x7fnot an ELF", "broken: it is neither a binary for this machine nor a script"),
    ],
)
def test_programs_that_the_kernel_refuses_have_advice(
    run: Run[None], tmp_path: Path, first_line: bytes, complaint: str
) -> None:
    (tmp_path / "broken").write_bytes(first_line)
    (tmp_path / "broken").chmod(0o755)

    async def main() -> None:
        with pytest.raises(HookError, match=complaint):
            ProcessGroup(["./broken"], tmp_path, {}, OutputLines(Output()))

    run(main())


@on_both_loops
def test_a_child_in_a_folder_that_is_gone(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(HookError, match="gone: cannot run there: No such file"):
            ProcessGroup(["true"], tmp_path / "gone", {}, OutputLines(Output()))

    run(main())


@on_both_loops
def test_an_argument_with_a_nul_byte_is_refused(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(HookError, match="true: embedded null byte"):
            ProcessGroup(["true", "a\0b"], tmp_path, {}, OutputLines(Output()))

    run(main())


@on_both_loops
def test_a_child_without_a_thread_to_watch_it_is_killed(
    run: Run[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ResourcesError, match="cannot watch a child process: no thread"):
            ProcessGroup(["sleep", "60"], tmp_path, marked, OutputLines(Output()))

    marked = {"NETPUNCH_TEST": str(tmp_path)}
    run(main())
    assert nobody_left("NETPUNCH_TEST", str(tmp_path))


@on_both_loops
def test_an_empty_process_group_is_never_signalled_again(
    run: Run[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        process = ProcessGroup(["true"], tmp_path, {}, OutputLines(Output()))
        assert await process.exits_within(10)
        await process.terminate()
        monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("may be somebody else's"))
        await process.terminate()
        process.close()
        assert process.exit == Exit(0)
        assert process.duration == process.duration < 10

    run(main())


@on_both_loops
def test_a_process_group_of_another_user_is_left_alone(
    run: Run[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killpg = os.killpg

    def refuse(group: int, number: int) -> None:
        raise PermissionError

    async def main() -> None:
        process = ProcessGroup(["sleep", "60"], tmp_path, {}, OutputLines(Output()))
        monkeypatch.setattr(os, "killpg", refuse)
        monkeypatch.setattr("netpunch.node.process.KILL_WAIT", 0.01)
        await process.terminate()
        assert process.exit is None
        assert process.duration < 10
        killpg(process.pid, signal.SIGKILL)
        assert await process.exits_within(10)
        process.close()

    run(main())


@on_both_loops
def test_a_false_alarm_of_the_loop_does_not_block(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        output = Output()
        process = ProcessGroup(["sleep", "60"], tmp_path, {}, OutputLines(output))
        process._read("stdout")
        await process.terminate()
        await process.drain()
        assert output.lines == []

    run(main())


def start(folder: Path, text: str, output: Output) -> Command:
    script(folder / "command", text)
    return Command(["./command"], folder, {"NETPUNCH_TEST": str(folder)}, output)


@on_both_loops
def test_a_command_ends_by_itself(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        output = Output()
        command = start(tmp_path, "echo hello; echo $NETPUNCH_TEST >&2; cat; exit 4", output)
        assert await command.wait() == Exit(4)
        assert await command.wait() == await command.stop() == Exit(4)
        assert 0 < command.duration < 10
        assert output.of("stdout") == ["hello"]
        assert output.of("stderr") == [str(tmp_path)]

    run(main())


@on_both_loops
def test_a_command_is_stopped_while_a_task_waits_for_it(run: Run[Any], tmp_path: Path) -> None:
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
@on_both_loops
def test_a_command_that_ignores_sigterm_is_killed(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        output = Output()
        command = start(tmp_path, "trap '' TERM; echo begun; sleep 60", output)
        await output.came.wait()
        assert await command.stop(grace=0.1) == Exit(None, "SIGKILL")
        assert nobody_left("NETPUNCH_TEST", str(tmp_path))

    run(main())


@needs_proc
@on_both_loops
def test_processes_that_a_command_leaves_behind_are_ended(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        command = start(tmp_path, "sleep 60 & exit 0", Output())
        assert await command.wait() == Exit(0)
        assert nobody_left("NETPUNCH_TEST", str(tmp_path), within=0.5)

    run(main())


@on_both_loops
def test_cancelling_the_wait_leaves_a_command_running(run: Run[Any], tmp_path: Path) -> None:
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
@on_both_loops
def test_a_cancelled_stop_kills_a_command_at_once(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        output = Output()
        command = start(tmp_path, "trap '' TERM; echo begun; sleep 60", output)
        await output.came.wait()
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(command.stop(), 0.05)
        assert await command.wait() == Exit(None, "SIGKILL")
        assert time.monotonic() - started < TERM_GRACE
        assert nobody_left("NETPUNCH_TEST", str(tmp_path))

    run(main())


@on_both_loops
def test_a_command_that_cannot_be_started(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(HookError, match="missing: no such program"):
            Command(["./missing"], tmp_path, {}, Output())

    run(main())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Collected:
    def __init__(self, period: float = float("inf")) -> None:
        self.lines: list[tuple[str, str]] = []
        self.clock = Clock()
        self.output = OutputLines(
            lambda stream, text: self.lines.append((stream, text)), period=period, clock=self.clock
        )

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.lines]


@given(st.lists(st.binary(max_size=20)))
def test_output_lines_do_not_depend_on_how_bytes_arrive(pieces: list[bytes]) -> None:
    piecewise, whole = Collected(), Collected()
    for piece in pieces:
        piecewise.output.feed("stdout", piece)
    piecewise.output.finish()
    whole.output.feed("stdout", b"".join(pieces))
    whole.output.finish()
    assert piecewise.lines == whole.lines


def test_output_lines_keep_streams_apart() -> None:
    collected = Collected()
    collected.output.feed("stdout", b"one ")
    collected.output.feed("stderr", b"warn")
    collected.output.feed("stdout", b"line\r\n\nrest")
    collected.output.finish()
    assert collected.lines == [
        ("stdout", "one line"),
        ("stdout", ""),
        ("stdout", "rest"),
        ("stderr", "warn"),
    ]


def test_a_long_line_is_cut_and_its_end_is_dropped() -> None:
    collected = Collected()
    for _ in range(50):
        collected.output.feed("stdout", b"x" * 1000)
    assert max(map(len, collected.output._partial.values())) <= MAX_LINE_BYTES + 1
    collected.output.feed("stdout", b"\nnext\n")
    assert collected.texts == ["x" * MAX_LINE_BYTES + "…", "next"]
    assert collected.output.dropped == 50 * 1000 - MAX_LINE_BYTES


@pytest.mark.parametrize("line", [b"", b"y", b"z" * 900])
def test_truncation_of_output_is_reported_once(line: bytes) -> None:
    collected = Collected()
    for _ in range(MAX_OUTPUT_BYTES // LINE_OVERHEAD * 3):
        collected.output.feed("stdout", line + b"\n")
        collected.output.feed("stderr", line + b"\n")
    collected.output.feed("stdout", b"unfinished")
    collected.output.finish()
    assert collected.texts.count(TRUNCATED) == 1
    assert collected.texts[-1] == TRUNCATED
    assert len(collected.texts) == MAX_OUTPUT_BYTES // (LINE_OVERHEAD + len(line)) + 1
    assert collected.output.dropped > 0


def test_the_rest_of_output_without_a_newline_is_limited_too() -> None:
    collected = Collected()
    collected.output.feed("stdout", b"\n" * (MAX_OUTPUT_BYTES // LINE_OVERHEAD) + b"last")
    collected.output.feed("stderr", b"error")
    collected.output.finish()
    assert collected.texts[-1] == TRUNCATED
    assert collected.texts.count(TRUNCATED) == 1
    assert collected.output.dropped == len("last") + len("error")


def test_a_new_period_lets_output_through_again() -> None:
    collected = Collected(period=60)
    flood = b"\n" * MAX_OUTPUT_BYTES
    collected.output.feed("stdout", flood + b"cut off")
    collected.clock.now = 59.9
    collected.output.feed("stdout", b"too early\n")
    collected.clock.now = 60
    collected.output.feed("stdout", b"heard\n")
    assert collected.texts[-2:] == [TRUNCATED, "heard"]
    collected.output.feed("stdout", flood)
    collected.clock.now = 119
    collected.output.feed("stdout", b"again too early\n")
    assert collected.texts[-1] == TRUNCATED
    assert collected.texts.count(TRUNCATED) == 2


def test_binary_output_becomes_replacement_characters() -> None:
    collected = Collected()
    collected.output.feed("stdout", b"\xff\xfe caf\xc3\xa9\n")
    assert collected.texts == ["\ufffd\ufffd café"]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain \\ é \N{SNOWMAN}", "plain \\ é \N{SNOWMAN}"),
        ("a\tb", "a\tb"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\rb\x00\x7f\x9b", "a\\rb\\x00\\x7f\\x9b"),
        ("\u202eevil\u2028", "\\u202eevil\\u2028"),
    ],
)
def test_output_that_could_steer_a_terminal_is_escaped(text: str, escaped: str) -> None:
    assert printable(text) == escaped
