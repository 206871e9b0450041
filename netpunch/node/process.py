"""A child process with everything that it starts: its own session and process group, a cleared
environment, its output as bounded lines that are safe to log.

Plain `subprocess` with the loop's readers, and a thread that waits: asyncio's own subprocesses
differ between loops and Python versions in when they consider a child ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Literal, NamedTuple

from netpunch.errors import HookError, lack_behind, resource_errors
from netpunch.output.console import printable

Stream = Literal["stdout", "stderr"]
OnOutput = Callable[[Stream, str], None]
"""Called with each line, without its newline."""

MAX_LINE_BYTES = 1000
"""Longer lines are cut, so that an event stays one short line."""

MAX_OUTPUT_BYTES = 64 * 1024
"""Of both streams together, per period."""

LINE_OVERHEAD = 64
"""Counted for each line, as empty ones fill a log, too: at most 1,024 lines a period."""

TRUNCATED = "[output truncated]"

INHERITED = ("PATH", "LANG", "HOME")

TERM_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

KILL_WAIT = 2.0
"""Seconds to wait for the kernel to end a killed child (it may hang in a dead file system)."""

DRAIN_TIMEOUT = 0.5
"""Seconds to read on once the child has ended: a process that it left in the background may hold
the pipes open for ever."""

GROUP_POLL = 0.05
"""Seconds between checks whether a group is empty: the kernel does not notify of it."""

READ_BYTES = 64 * 1024
"""A pipe's buffer."""

OUTPUT_PERIOD = 60.0
"""Seconds in which a command may print as much as a hook in all: it runs for days."""

_SPAWN_ADVICE = {
    errno.ENOENT: "the interpreter that its first line (#!) names does not exist",
    errno.ENOEXEC: "it is neither a binary for this machine nor a script with a first line #!",
}


class Exit(NamedTuple):
    """How a process ended: its exit status, or the name of the signal that ended it."""

    status: int | None
    signal: str | None = None

    @classmethod
    def from_returncode(cls, code: int) -> Exit:
        """From subprocess' convention, where a signal is a negative number."""
        if code >= 0:
            return cls(code)
        try:
            return cls(None, signal.Signals(-code).name)
        except ValueError:  # a real-time signal
            return cls(None, f"signal {-code}")

    def __str__(self) -> str:
        return f"ended by {self.signal}" if self.signal else f"exit status {self.status}"


def child_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """All that a child sees: PATH, LANG and HOME of this process, and `variables`."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return inherited | dict(variables)


def find_program(name: str, directory: Path) -> str:
    """The path of a program: relative to `directory` if the name has a slash, else from PATH.

    Raises HookError if it is missing or not executable."""
    if "/" not in name:
        with resource_errors(name):
            import shutil  # only now: it loads compression libraries

        found = shutil.which(name)
        if found is None:
            raise HookError(f"{name}: no such program in PATH")
        return str(Path(found).absolute())
    path = directory / name
    try:
        found_mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise HookError(f"{path}: no such program") from error
    except OSError as error:
        raise HookError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise HookError(f"{str(path)!r}: a path cannot hold a NUL character") from error
    if not stat.S_ISREG(found_mode):
        raise HookError(f"{path}: not a program")
    if not os.access(path, os.X_OK):
        raise HookError(f"{path}: not executable; `chmod +x` it")
    return str(path)


class OutputLines:
    """Splits the output of one child into lines and passes on at most MAX_OUTPUT_BYTES per
    `period` seconds (default: in all), then TRUNCATED once. `dropped` counts the other bytes."""

    def __init__(
        self,
        on_output: OnOutput,
        *,
        period: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        self._on_output = on_output
        self._partial: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}
        self._clock = clock
        self._period = period
        self._period_end = clock() + period
        self._left = MAX_OUTPUT_BYTES

    def feed(self, stream: Stream, data: bytes) -> None:
        """Takes bytes, split at any place."""
        if self._exhausted():
            self.dropped += len(self._partial[stream]) + len(data)
            self._partial[stream] = b""
            return
        *lines, rest = (self._partial[stream] + data).split(b"\n")
        for line in lines:
            self._pass_on(stream, line)
        # One byte above the limit is enough to remember that the line was longer.
        self._partial[stream] = rest[: MAX_LINE_BYTES + 1]
        self.dropped += len(rest) - len(self._partial[stream])

    def finish(self) -> None:
        """The streams have ended: a rest without a newline is a line, too."""
        for stream, partial in self._partial.items():
            if partial:
                self._pass_on(stream, partial)
            self._partial[stream] = b""

    def _pass_on(self, stream: Stream, line: bytes) -> None:
        if self._exhausted():
            self.dropped += len(line)
            return
        self._left -= len(line) + LINE_OVERHEAD
        if self._left < 0:
            self.dropped += len(line)
            self._on_output(stream, TRUNCATED)
            return
        text = printable(line[:MAX_LINE_BYTES].rstrip(b"\r").decode("utf-8", "replace"))
        if len(line) > MAX_LINE_BYTES:
            self.dropped += len(line) - MAX_LINE_BYTES
            text += "…"
        self._on_output(stream, text)

    def _exhausted(self) -> bool:
        if self._left < 0 and self._clock() >= self._period_end:
            self._left = MAX_OUTPUT_BYTES
            self._period_end = self._clock() + self._period
        return self._left < 0


class ProcessGroup:
    """Starts a program at once (in a running loop) and watches it.

    The caller must await `exits_within` or `terminate`, and finally `close` it."""

    def __init__(
        self,
        argv: Sequence[str],
        directory: Path,
        variables: Mapping[str, str],
        output: OutputLines,
        *,
        standard_input: bytes | None = None,
    ) -> None:
        """`standard_input`: at most 4096 bytes; None is /dev/null. Raises HookError when the
        program cannot be started, ResourcesError for lack of resources."""
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        self._ended_streams = asyncio.Event()
        self._group_is_empty = False
        self._ended_at: float | None = None
        program = find_program(argv[0], directory)
        environment = child_environment(variables)
        self._process = _spawn([program, *argv[1:]], directory, environment, standard_input)
        self._started_at = time.monotonic()
        self.pid = self._process.pid
        self._streams: dict[Stream, IO[bytes]] = {}
        self._watch("stdout", self._process.stdout)
        self._watch("stderr", self._process.stderr)
        self._start_waiting()

    @property
    def exit(self) -> Exit | None:
        """How the child ended, or None while it runs. Its group may outlive it."""
        return Exit.from_returncode(self._process.returncode) if self._exited.is_set() else None

    @property
    def duration(self) -> float:
        """Seconds that the child ran, or runs so far."""
        return (self._ended_at or time.monotonic()) - self._started_at

    async def exits_within(self, seconds: float | None) -> bool:
        """Whether the child ends in time (None: waits as long as it takes)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._exited.wait()
        return self._exited.is_set()

    async def terminate(self, grace: float = TERM_GRACE) -> None:
        """Sends SIGTERM to the whole group, SIGKILL after `grace` seconds to what is left of it.

        Cancelled, it kills at once."""
        try:
            if self._signal_group(signal.SIGTERM):
                await self._group_empties_within(grace)
        finally:
            self._signal_group(signal.SIGKILL)
        await self.exits_within(KILL_WAIT)

    async def drain(self) -> None:
        """Reads what the ended child has printed, and passes it on as lines."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_TIMEOUT):
                await self._ended_streams.wait()
        self._output.finish()

    def close(self) -> None:
        """Stops reading the output."""
        for stream in list(self._streams):
            self._unwatch(stream)

    def _start_waiting(self) -> None:
        waiter = threading.Thread(target=self._wait, name=f"netpunch-wait-{self.pid}", daemon=True)
        try:
            waiter.start()
        except RuntimeError as error:  # a limit on threads
            self._signal_group(signal.SIGKILL)
            self._process.wait()
            self.close()
            raise lack_behind(error, "cannot watch a child process") or error from error

    def _wait(self) -> None:
        self._process.wait()
        self._ended_at = time.monotonic()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._exited.set)

    async def _group_empties_within(self, seconds: float) -> None:
        deadline = self._loop.time() + seconds
        await self.exits_within(seconds)
        while self._group_lives() and self._loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(GROUP_POLL)

    def _group_lives(self) -> bool:
        if not self._signal_group(0):
            return False
        # Zombies hold no pipes, so /proc need be read only once all pipes are closed.
        return not (self._ended_streams.is_set() and _has_only_zombies(self.pid))

    def _signal_group(self, number: int) -> bool:
        """Whether the group has a process. An empty group is never signalled again: its number may
        belong to another one by then."""
        if self._group_is_empty:
            return False
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            self._group_is_empty = True
        except PermissionError:  # only processes of other users are left
            return False
        return not self._group_is_empty

    def _watch(self, stream: Stream, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        os.set_blocking(pipe.fileno(), False)
        self._streams[stream] = pipe
        self._loop.add_reader(pipe.fileno(), self._read, stream)

    def _unwatch(self, stream: Stream) -> None:
        pipe = self._streams.pop(stream)
        self._loop.remove_reader(pipe.fileno())
        pipe.close()
        if not self._streams:
            self._ended_streams.set()

    def _read(self, stream: Stream) -> None:
        try:
            data = os.read(self._streams[stream].fileno(), READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._output.feed(stream, data)
        else:
            self._unwatch(stream)


class Command:
    """The program that uses the port after a link (`command:`), in the foreground. Starts `argv` at
    once, in a running loop, with a hook's environment.

    The caller must await `stop`, or `wait` to its end: then no process is left behind."""

    def __init__(
        self,
        argv: Sequence[str],
        directory: Path,
        variables: Mapping[str, str],
        on_output: OnOutput,
    ) -> None:
        """Raises HookError when the program cannot be started, ResourcesError for lack of
        resources."""
        output = OutputLines(on_output, period=OUTPUT_PERIOD)
        self._process = ProcessGroup(argv, directory, variables, output)
        self._ending = asyncio.Lock()
        self._ended = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def duration(self) -> float:
        """Seconds that it ran, or runs so far."""
        return self._process.duration

    async def wait(self) -> Exit | None:
        """Waits for its end, also by `stop`, and ends what it left in its group, which may hold the
        port. Cancelling this leaves the command running, and `stop` due."""
        await self._process.exits_within(None)
        return await self.stop()

    async def stop(self, grace: float = TERM_GRACE) -> Exit | None:
        """Sends SIGTERM to its group, SIGKILL after `grace` seconds; may be repeated.

        Cancelled, it kills at once. None: the kernel could not end it."""
        async with self._ending:
            if not self._ended:
                await self._end(grace)
        return self._process.exit

    async def _end(self, grace: float) -> None:
        try:
            await self._process.terminate(grace)
            await self._process.drain()
        finally:
            self._process.close()
        self._ended = True


def _spawn(
    argv: list[str], directory: Path, environment: dict[str, str], standard_input: bytes | None
) -> subprocess.Popen[bytes]:
    try:
        stdin = subprocess.DEVNULL if standard_input is None else _filled_pipe(standard_input)
        try:
            return subprocess.Popen(  # noqa: S603 - an argv of the configuration, no shell
                argv,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=str(directory),
                env=environment,
                start_new_session=True,
            )
        finally:
            if stdin >= 0:
                os.close(stdin)
    except OSError as error:
        if error.filename == str(directory):
            raise HookError(f"{directory}: cannot run there: {error.strerror}") from error
        if lack := lack_behind(error, argv[0], starting_process=True):
            raise lack from error
        advice = _SPAWN_ADVICE.get(error.errno or 0, error.strerror)
        raise HookError(f"{argv[0]}: {advice}") from error
    except ValueError as error:  # a NUL byte in an argument
        raise HookError(f"{argv[0]}: {error}") from error


def _has_only_zombies(group: int) -> bool:
    """Whether all processes of a group are dead, but not reaped: in many containers process 1 reaps
    them late or never. False where there is no /proc."""
    states = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # gone meanwhile
            # Only what follows the name, which may hold anything: state, parent, group.
            state, _, its_group = entry.read_bytes().rpartition(b")")[2].split()[:3]
            if int(its_group) == group:
                states.add(state)
    return states == {b"Z"}


def _filled_pipe(data: bytes) -> int:
    """The reading end of a pipe that holds `data` and is closed behind it, so a child that does not
    read it blocks nothing. Any pipe takes 4096 bytes (PIPE_BUF) without waiting."""
    reading, writing = os.pipe()
    try:
        os.write(writing, data)
    finally:
        os.close(writing)
    return reading
