"""The host's clock is set back and forth: only time stamps may follow it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

from tests.e2e.assertions import assert_same_path
from tests.e2e.harness import Netpunch, Record
from tests.e2e.site import Settings, Site

DAY = timedelta(days=1)
JUMPS = (timedelta(0), DAY, -DAY, timedelta(0))
"""The first only waits until the process has written all earlier events."""

CLOCK_THAT_IS_SET = """\
import time
true_time = time.time
def set_time():
    with open({offset!r}) as file:
        return true_time() + float(file.read())
time.time = set_time
"""
"""A sitecustomize.py, which Python runs before anything else."""


class Clock:
    """The clock of the processes that run with `env`."""

    def __init__(self, site: Site) -> None:
        self._offset = site.folder / "offset"
        self.set(timedelta(0))
        text = CLOCK_THAT_IS_SET.format(offset=str(self._offset))
        site.write_file("sitecustomize.py", text)
        self.env = {"PYTHONPATH": str(site.folder)}

    def set(self, offset: timedelta) -> None:
        """So many seconds off the true time. Replaced atomically: it is read at any moment."""
        new = Path(f"{self._offset}.new")
        new.write_text(str(offset.total_seconds()))
        new.rename(self._offset)


def test_links_and_timers_do_not_follow_the_clock(site: Site) -> None:
    """A held link stays, a deadline of a minute is not over in a day's jump, nobody expires; what
    begins before a jump and ends after it has the duration that was really waited."""
    clock = Clock(site)
    late: Settings = {"mode": "once", "env_file": "{pair}.{end}.env", "b": {"enabled": False}}
    write(site, late)
    program = site.run(env=clock.env)
    for end in "ab":
        program.wait_for("pair.up", pair="held", end=end)
    program.wait_for("pair.waiting", pair="late", end="a")
    for offset in JUMPS:
        clock.set(offset)
        site.reload(program)
        assert_is_off_by(offset, program.events("run.reload")[-1]["ts"])
        assert_status_is_sane(site, program, offset)
    clock.set(-DAY)
    del late["b"]
    write(site, late)
    site.reload(program)
    ups = [program.wait_for("pair.up", pair="late", end=end) for end in "ab"]
    program.wait_for("env.written", 2, pair="late")
    assert_same_path(*ups)
    assert_nothing_else_happened(program)
    assert program.stop() == 0
    records = program.events()
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    durations = [record["duration_s"] for record in records if "duration_s" in record]
    assert len(durations) == 4
    assert all(0.0 <= duration < 60.0 for duration in durations)


def write(site: Site, late: Settings) -> None:
    site.write(
        {"held": {"mode": "keep"}, "late": late},
        secret="generate",
        process={"status": "status.sock"},
        keepalive="100ms",
        deadline="60s",
    )


def assert_nothing_else_happened(program: Netpunch) -> None:
    for event in ("pair.down", "pair.failed", "auth.rejected", "role.conflict"):
        assert not program.events(event), event
    assert not program.events("control.expired", reason="silent")
    assert len(program.events("pair.up", pair="held")) == 2


def assert_is_off_by(offset: timedelta, stamp: str) -> None:
    off = datetime.fromisoformat(stamp) - datetime.now().astimezone()
    assert abs(off - offset) < timedelta(hours=1)


def assert_status_is_sane(site: Site, program: Netpunch, offset: timedelta) -> None:
    """The status has the clock's time; what has not changed since keeps its earlier time."""
    asked = site.start("status", str(site.file), "--json", text=True)
    asked.wait_exit()
    answer: Record = json.loads("".join(asked.lines))
    assert_is_off_by(offset, answer["ts"])
    held = next(each for each in answer["pairs"] if each["pair"] == "held" and each["end"] == "a")
    assert held["state"] == "up"
    assert_is_off_by(timedelta(0), held["since"])
    assert (held["losses"], held["failures"], held["links"]) == ({}, {}, 1)
