from __future__ import annotations

import pytest

from tests.sim.promises import TALLY


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY.runs:
        line = f"simulator: {TALLY.runs:,} runs, {TALLY.violations} violations"
        terminalreporter.write_line(line)
