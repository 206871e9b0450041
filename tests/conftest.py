"""All tests: what hypothesis takes for slow, and the summary of the runs of the simulator, from
whichever process they were in (pytest-xdist)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.sim.promises import TALLY

SIMULATOR = "simulator"

# It measures wall-clock time, which says nothing on a machine that does other things, too.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker's counts go to the process that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[SIMULATOR] = (TALLY.runs, TALLY.violations)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """One that has crashed has sent nothing."""
    runs, violations = getattr(node, "workeroutput", {}).get(SIMULATOR, (0, 0))
    TALLY.runs += runs
    TALLY.violations += violations


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY.runs:
        line = f"{SIMULATOR}: {TALLY.runs:,} runs, {TALLY.violations} violations"
        terminalreporter.write_line(line)
