"""Hostile output of hooks becomes one event and one line each, whatever it is; hostile words of a
command stay the words they are. Real processes, real files for standard output and error."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from netpunch.errors import HookError
from netpunch.node.end_hooks import EndHooks
from netpunch.node.process import LINE_OVERHEAD, MAX_OUTPUT_BYTES, TRUNCATED, Command, Exit
from netpunch.node.services import Services
from netpunch.output.console import Console
from netpunch.output.journal import MAX_LINE_BYTES, Journal
from netpunch.output.sink import Sink
from netpunch.template import escape, render
from tests.hostile import TEXTS, is_shown_as_one_line, lines_of, nothing_ran, texts
from tests.node.children import Output, on_both_loops, run_on_uvloop, script
from tests.node.recorder import end_with

LONGEST_LINE = 7000
"""Bytes on standard error: a hook's line has a thousand, each escaped to four or so."""
WORDS_AT_ONCE = 500
"""A program takes 2 MiB of arguments."""

PRINT = 'cat "$(basename "$0").out"; cat "$(basename "$0").err" >&2; exit 3\n'


class Batch(NamedTuple):
    """What one hook prints: as much as is passed on."""

    out: bytes
    err: bytes
    texts: int

    @property
    def lines(self) -> int:
        return len(lines_of(self.out)) + len(lines_of(self.err))


def printed() -> Iterator[bytes]:
    """Among them bytes that are no text in any encoding."""
    random = Random("bytes")
    for text in texts("printed"):
        data = text.encode("utf-8", "surrogatepass")
        yield data if random.random() < 0.8 else data + random.randbytes(5)


def batches(printed: Iterable[bytes]) -> Iterator[Batch]:
    streams, count, size = [b"", b""], 0, 0
    for text in printed:
        line = text + b"\n"
        cost = len(line) + LINE_OVERHEAD * line.count(b"\n")
        if size + cost > MAX_OUTPUT_BYTES:
            yield Batch(streams[0], streams[1], count)
            streams, count, size = [b"", b""], 0, 0
        streams[count % 2] += line
        count, size = count + 1, size + cost
    yield Batch(streams[0], streams[1], count)


class Streams:
    """Standard output and error of a process, as files."""

    def __init__(self, folder: Path) -> None:
        self.paths = (folder / "stdout", folder / "stderr")

    @asynccontextmanager
    async def services(self) -> AsyncIterator[Services]:
        """Appends to them until the end of the context."""
        descriptors = [os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY) for path in self.paths]
        sinks = [Sink(descriptor) for descriptor in descriptors]
        journal = Journal(sinks[0].put)
        try:
            yield Services(journal, Console(sinks[1].put))
        finally:
            for sink, descriptor in zip(sinks, descriptors, strict=True):
                sink.close()
                os.close(descriptor)
        assert journal.dropped == 0

    def lines(self) -> list[list[bytes]]:
        return [lines_of(path.read_bytes()) for path in self.paths]


async def print_all(folder: Path, streams: Streams) -> tuple[int, int, int]:
    """Runs a hook for each batch; gives hooks, texts and lines."""
    hooks = count = lines = 0
    script(folder / "hook", PRINT)
    for batch in batches(printed()):
        (folder / "hook.out").write_bytes(batch.out)
        (folder / "hook.err").write_bytes(batch.err)
        async with streams.services() as services:
            end = EndHooks(end_with(folder, hooks=["./hook"]), services)
            await end.fail("blocked", b'{"event":"pair.failed"}\n')
        hooks, count, lines = hooks + 1, count + batch.texts, lines + batch.lines
    return hooks, count, lines


def test_output_of_hooks(tmp_path: Path) -> None:
    streams = Streams(tmp_path)
    hooks, count, printed_lines = run_on_uvloop(print_all(tmp_path, streams))
    assert count == TEXTS
    out, err = streams.lines()
    records = [assert_event(line) for line in out]
    for _, run in groupby(records, key=lambda record: record["run"]):
        seqs = [record["seq"] for record in run]
        assert seqs == list(range(1, len(seqs) + 1))
    assert Counter(record["event"] for record in records) == {
        "hook.start": hooks,
        "hook.output": printed_lines,
        "hook.end": hooks,
    }
    assert not [record for record in records if record.get("text") == TRUNCATED]
    said = [assert_said(line) for line in err]
    assert sum(said) == printed_lines
    assert len(said) == printed_lines + hooks, "a warning for each that failed"
    assert nothing_ran(tmp_path)
    print(
        f"{count} hostile texts printed by {hooks} hooks: {printed_lines} lines,"
        f" 0 broken events, 0 raw control characters, 0 forged lines"
    )


def assert_event(line: bytes) -> dict[str, Any]:
    assert len(line) < MAX_LINE_BYTES
    assert line.isascii()
    assert line.decode().isprintable(), line
    record: dict[str, Any] = json.loads(line)
    assert record["v"] == 1
    assert not record.get("cut")
    json.dumps(record, ensure_ascii=False).encode()  # no half characters for whoever parses it
    assert is_shown_as_one_line(record.get("text", "")), record
    return record


def assert_said(line: bytes) -> bool:
    """Whether it is a line of a hook's output."""
    assert len(line) < LONGEST_LINE
    text = line.decode()
    assert is_shown_as_one_line(text), line
    own = text.startswith("p a: hook fail says: ")
    assert own or text.startswith("warning: p a: hook fail: ")
    return own


@on_both_loops
def test_words_of_a_command(run: Any, tmp_path: Path) -> None:
    """Rendered from hostile templates with hostile values, they reach the program as they are."""
    script(tmp_path / "command", "printf '%s\\0' \"$@\" > words\n")
    words = [text.replace("\0", "") for text in texts("words")]

    async def passed_on(begin: int) -> list[str]:
        own = words[begin : begin + WORDS_AT_ONCE]
        argv = [render(f"{escape(word)}{{pair}}", {"pair": word}) for word in own if usable(word)]
        command = Command(["./command", *argv], tmp_path, {}, Output())
        assert await command.wait() == Exit(0)
        got = (tmp_path / "words").read_bytes().split(b"\0")[:-1]
        assert got == [os.fsencode(word * 2) for word in own if usable(word)]
        return argv

    async def main() -> int:
        return sum([len(await passed_on(begin)) for begin in range(0, TEXTS, WORDS_AT_ONCE)])

    count = run(main())
    assert count > TEXTS * 0.9
    assert nothing_ran(tmp_path)
    print(f"{count} hostile words given to commands, 0 split, 0 changed, 0 run")


def usable(word: str) -> bool:
    """Whether the system has a form of it as an argument."""
    try:
        os.fsencode(word)
    except UnicodeEncodeError:
        return False
    return True


@pytest.mark.parametrize("word", ["a\0b", "\ud800"])
def test_words_that_no_program_can_be_given(tmp_path: Path, word: str) -> None:
    script(tmp_path / "command", "exit 0\n")

    async def main() -> None:
        with pytest.raises(HookError) as caught:
            Command(["./command", word], tmp_path, {}, Output())
        assert is_shown_as_one_line(str(caught.value))

    run_on_uvloop(main())
