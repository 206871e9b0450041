from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netpunch.output.events import EnvWritten, RunReady
from netpunch.output.journal import Journal
from netpunch.output.sink import Sink

LINE = b"x" * 199 + b"\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        with contextlib.suppress(OSError):  # some tests close them
            os.close(descriptor)


def read_all(descriptor: int) -> bytes:
    """Until the last writer has closed."""
    chunks = []
    while chunk := os.read(descriptor, 65536):
        chunks.append(chunk)
    return b"".join(chunks)


def wait_until_stalled(sink: Sink) -> None:
    """Until the pipe and the queue are full."""
    while sink.put(LINE):
        time.sleep(0)


def test_lines_arrive_whole_and_in_order(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    sink = Sink(writing)
    os.close(writing)
    lines = [b"%d " % number * (number % 50) + b"\n" for number in range(2000)]
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read_all(reading)))
    reader.start()
    assert all(sink.put(line) for line in lines)
    sink.close()
    reader.join(5)
    assert received == [b"".join(lines)]
    assert sink.failure is None


def test_a_line_longer_than_the_pipe_arrives_whole(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    sink = Sink(writing)
    os.close(writing)
    line = b"y" * 300_000 + b"\n"
    assert sink.put(line)
    closer = threading.Thread(target=sink.close)
    closer.start()
    assert read_all(reading) == line
    closer.join(5)
    assert sink.failure is None


def test_a_stalled_reader_blocks_nothing_and_tears_no_line(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    sink = Sink(writing, max_lines=50)
    os.close(writing)
    journal = Journal(sink.put)
    started = time.monotonic()
    while journal.dropped < 100:
        journal.emit(EnvWritten("p", "a", "é" * 100))
    assert time.monotonic() - started < 5

    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read_all(reading)))
    reader.start()
    for _ in range(1000):  # until the reader has made room
        dropped = journal.dropped
        journal.emit(RunReady())
        if journal.dropped == dropped:
            break
        time.sleep(0.001)
    sink.close()
    reader.join(5)

    records = [json.loads(line) for line in received[0].splitlines()]
    sequence = [record["seq"] for record in records]
    assert sequence == sorted(set(sequence))
    assert records[-1]["event"] == "run.ready"
    told = sum(record.get("dropped", 0) for record in records)
    assert told == journal.dropped == sequence[-1] - len(records)


def test_the_queue_of_a_sink_is_bounded_in_bytes(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1], max_bytes=1000)
    assert not sink.put(b"z" * 1001)
    wait_until_stalled(sink)
    assert sink._queued_bytes <= 1000
    os.close(pipe[0])
    sink.close()


def test_closing_a_sink_does_not_wait_for_ever(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1], "events.pipe", max_lines=50)
    wait_until_stalled(sink)
    started = time.monotonic()
    sink.close(timeout=0.1)
    assert time.monotonic() - started < 10
    assert str(sink.failure) == (
        "cannot write to events.pipe: its reader stalls; the last lines are lost"
    )
    os.close(pipe[0])  # ends the writing thread
    sink._thread.join(5)
    assert not sink._thread.is_alive()


def test_a_reader_that_is_gone_is_a_failure_at_the_end(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.close(reading)
    sink = Sink(writing)
    assert sink.put(LINE)
    sink._thread.join(5)
    assert not sink.put(LINE)
    sink.close()
    assert str(sink.failure) == "cannot write to standard output: Broken pipe"
    assert sink.failure is not None
    assert sink.failure.exit_code == 73


def test_the_descriptor_of_the_caller_stays_open(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1])
    sink.close()
    os.write(pipe[1], b"still open")
    assert not sink.put(LINE)


def test_a_closed_descriptor_is_an_error_at_once(pipe: tuple[int, int]) -> None:
    os.close(pipe[1])
    with pytest.raises(Exception, match="standard output is closed; to discard it"):
        Sink(pipe[1])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_a_failure_at_the_end() -> None:
    with Path("/dev/full").open("wb") as full:
        sink = Sink(full.fileno())
        assert sink.put(LINE)
        sink.close(timeout=0.3)
    sink._thread.join(5)
    assert "cannot write to standard output" in str(sink.failure)


def test_a_disk_that_was_full_for_a_while_gets_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    refusals = [3, errno.ENOSPC, errno.EAGAIN]  # a piece of the line first, then trouble

    def scarce_write(descriptor: int, data: bytes) -> int:
        if not refusals:
            return write(descriptor, data)
        refusal = refusals.pop(0)
        if refusal == 3:
            return write(descriptor, data[:3])
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr("netpunch.output.sink.os.write", scarce_write)
    monkeypatch.setattr("netpunch.output.sink.RETRY_PAUSE", 0.001)
    with (tmp_path / "events").open("wb") as file:
        sink = Sink(file.fileno())
        sink.put(b"first line\n")
        sink.put(b"second line\n")
        sink.close()
    assert refusals == []
    assert (tmp_path / "events").read_text() == "first line\nsecond line\n"
    assert sink.failure is None


def test_a_non_blocking_descriptor_works_the_same(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)
    sink = Sink(writing)
    os.close(writing)
    lines = [b"%d\n" % number * 100 for number in range(500)]
    assert all(sink.put(line) for line in lines)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read_all(reading)))
    reader.start()
    sink.close(5)
    reader.join(5)
    assert received == [b"".join(lines)]


KILLED = """
import os, signal, time
from netpunch.output.events import EnvWritten, RunReady
from netpunch.output.journal import Journal
from netpunch.output.sink import Sink
sink = Sink(1, max_lines=100)
journal = Journal(sink.put)
number = 0
while journal.dropped < 100:
    number += 1
    if number % 100 == 0:
        time.sleep(0.001)  # lets the writer fill the pipe, many lines at once
    journal.emit(EnvWritten("p", "a", "e" * (number * 37 % 900)))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_line_is_torn_even_when_the_process_is_killed() -> None:
    killed = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE)
    assert killed.stdout is not None
    assert killed.wait(20) == -9
    with killed.stdout as stdout:
        received = stdout.read()
    assert received.endswith(b"\n")
    assert [json.loads(line)["seq"] for line in received.splitlines()][:3] == [1, 2, 3]
