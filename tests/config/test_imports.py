"""What needs no site file must not pay for one."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("yaml", "cryptography", "asyncio", "socket", "logging", "difflib")


def test_reading_values_and_the_schema_imports_nothing_heavy() -> None:
    program = f"import sys, netpunch.config.schema; print([m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"
