"""The summary of all runs of the simulator, from whichever process they were in (pytest-xdist)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.promises import TALLY

SIMULATOR = "simulator"


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
