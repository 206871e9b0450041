"""`netpunch status --watch`: the table again and again, on a terminal in the same place."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from types import FrameType
from typing import NoReturn

from netpunch.cli.streams import write_line, write_output
from netpunch.errors import NetpunchError, NotLinkedError, PermissionsError
from netpunch.output.columns import printable_cell, wrapped
from netpunch.output.status_table import Answer, Rate, Rates, status_table
from netpunch.output.terminal import Screen, Style, is_terminal, screen_of

OPEN = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""The alternate screen, as of `top`, without the cursor: what was printed before comes back. Where
even the least columns are too wide, lines are cut, not continued."""
CLOSE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
HOME, END_OF_LINE, REST = "\x1b[H", "\x1b[K", "\x1b[J"
"""Each line is overwritten, then what is left of it erased: nothing flickers."""

Look = Callable[[], tuple[list[Answer], list[NetpunchError]]]
"""Asks the processes: their answers, and what went wrong with some."""

SIGNALLED = 128
"""Plus the signal's number: the exit code, as shells report it."""


class Traffic:
    """Bytes a second of each end that relays, from one look to the next."""

    def __init__(self) -> None:
        self._before: dict[tuple[int, str, str], tuple[float, int, int]] = {}

    def rates(self, answers: Sequence[Answer]) -> Rates:
        now: dict[tuple[int, str, str], tuple[float, int, int]] = {}
        for answer in answers:
            at = datetime.fromisoformat(str(answer.get("ts"))).timestamp()
            for end in answer["pairs"]:
                if "sent_bytes" in end:
                    key = (answer.get("pid", 0), end["pair"], end["end"])
                    now[key] = (at, end["sent_bytes"], end["received_bytes"])
        before, self._before = self._before, now
        return {
            key: Rate(max(0, sent - old[1]) / (at - old[0]), max(0, got - old[2]) / (at - old[0]))
            for key, (at, sent, got) in now.items()
            if (old := before.get(key)) and at > old[0]
        }


def watch(look: Look, seconds: float, *, as_json: bool = False) -> int:
    """Until SIGINT; then 0. In a pipe it prints one table, or one JSON object, after another."""
    traffic, last = Traffic(), ""
    in_place = is_terminal(sys.stdout) and not as_json
    try:
        with _place() if in_place else contextlib.nullcontext():
            while True:
                began = time.monotonic()
                answers, errors = _looked(look)
                if as_json:
                    for answer in answers:
                        write_line(json.dumps(answer))
                elif in_place:
                    last = _frame(answers, errors, screen_of(sys.stdout), traffic)
                    lines = last.removesuffix("\n").replace("\n", f"{END_OF_LINE}\n")
                    write_output(f"{HOME}{lines}{END_OF_LINE}{REST}")
                else:
                    write_output(_frame(answers, errors, screen_of(sys.stdout), traffic) + "\n")
                time.sleep(max(0.0, began + seconds - time.monotonic()))
    except KeyboardInterrupt:
        write_output(last)  # it stays on the screen
        return 0


def _looked(look: Look) -> tuple[list[Answer], list[NetpunchError]]:
    """A process that is not there may come, so that ends nothing. Raises what is wrong with FILE
    itself."""
    try:
        return look()
    except (NotLinkedError, PermissionsError) as error:
        return [], [error]


def _frame(
    answers: Sequence[Answer], errors: Sequence[NetpunchError], screen: Screen, traffic: Traffic
) -> str:
    at = time.strftime("%H:%M:%S")
    lines = [screen.paint(f"{at}, Ctrl-C ends this", Style.DIM)] if screen.height else []
    for error in errors:
        text = printable_cell(str(error).partition("\n")[0])
        lines += [screen.paint(line, Style.RED) for line in wrapped(text, screen)]
    if screen.height is not None:
        screen = screen._replace(height=max(1, screen.height - len(lines)))
    table = status_table(answers, screen, traffic.rates(answers))
    return "".join(f"{line}\n" for line in lines) + table


@contextlib.contextmanager
def _place() -> Iterator[None]:
    """A screen of its own; the former one comes back however this ends."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        sys.exit(SIGNALLED + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    write_output(OPEN)
    try:
        yield
    finally:
        write_output(CLOSE)
