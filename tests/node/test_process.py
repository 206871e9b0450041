from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from netpunch.errors import HookError, ResourcesError
from netpunch.node.output_lines import OutputLines
from netpunch.node.process import Exit, ProcessGroup, child_environment, find_program
from tests.node.children import Output, Run, nobody_left, on_both_loops, script


def test_exits_in_words() -> None:
    assert str(Exit.from_returncode(3)) == "exit status 3"
    assert str(Exit.from_returncode(-9)) == "ended by SIGKILL"
    assert str(Exit.from_returncode(-40)) == "ended by signal 40"
    assert Exit.from_returncode(-15) == Exit(None, "SIGTERM")


def test_the_environment_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        os, "environ", {"PATH": "/bin", "HOME": "/h", "LD_PRELOAD": "x", "NETPUNCH_NODE": "n"}
    )
    assert child_environment({"NETPUNCH_PAIR": "p"}) == {
        "PATH": "/bin",
        "HOME": "/h",
        "NETPUNCH_PAIR": "p",
    }


def test_finding_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        ("./folder", "folder: no program"),
        ("./plain/below", "Not a directory"),
        ("./nul\0", "NUL character"),
        ("nul\0", "no such program in PATH"),
        ("", "no such program in PATH"),
        ("./" + "x" * 300, "File name too long"),
    ],
)
def test_programs_that_cannot_run(tmp_path: Path, name: str, complaint: str) -> None:
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
def test_programs_that_the_kernel_refuses(
    run: Run[None], tmp_path: Path, first_line: bytes, complaint: str
) -> None:
    (tmp_path / "broken").write_bytes(first_line)
    (tmp_path / "broken").chmod(0o755)

    async def main() -> None:
        with pytest.raises(HookError, match=complaint):
            ProcessGroup(["./broken"], tmp_path, {}, OutputLines(Output()))

    run(main())


@on_both_loops
def test_a_folder_that_is_gone(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(HookError, match="gone: cannot run there: No such file"):
            ProcessGroup(["true"], tmp_path / "gone", {}, OutputLines(Output()))

    run(main())


@on_both_loops
def test_an_argument_with_a_nul_byte(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(HookError, match="true: embedded null byte"):
            ProcessGroup(["true", "a\0b"], tmp_path, {}, OutputLines(Output()))

    run(main())


@on_both_loops
def test_no_thread_left_to_wait_with(
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
def test_an_empty_group_is_never_signalled_again(
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
def test_a_group_of_another_user_is_left_alone(
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
