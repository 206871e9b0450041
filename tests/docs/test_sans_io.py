"""docs/sans-io.md: its program runs and is typed, and it uses public names only."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import netpunch
from tests.docs.test_documents import ROOT, blocks

DOCUMENT = ROOT / "docs" / "sans-io.md"
PROGRAM = "\n\n".join(blocks(DOCUMENT, "python"))
PATIENCE = 120.0
"""Seconds: for mypy without a cache on a slow machine."""


def run(*command: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_program_of_the_sans_io_document_links_in_memory_and_over_sockets(
    tmp_path: Path,
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    run("-W", "error", tmp_path / "program.py")


def test_the_program_of_the_sans_io_document_is_typed(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    run("-m", "mypy", "--strict", tmp_path / "program.py")


def test_the_sans_io_document_imports_public_names_only() -> None:
    imports = [node for node in ast.walk(ast.parse(PROGRAM)) if isinstance(node, ast.ImportFrom)]
    modules = {node.module for node in imports if node.module and "netpunch" in node.module}
    names = {alias.name for node in imports if node.module == "netpunch" for alias in node.names}
    assert modules == {"netpunch"}
    assert names < set(netpunch.__all__)
    assert netpunch.__doc__
    assert "docs/sans-io.md" in netpunch.__doc__


def test_the_calls_that_the_sans_io_document_names_exist() -> None:
    named = set(re.findall(r"`(?:netpunch\.)?(\w+)\(", DOCUMENT.read_text(encoding="utf-8")))
    assert named
    assert not {
        name for name in named if not hasattr(netpunch.Machine, name) and name not in dir(netpunch)
    }
