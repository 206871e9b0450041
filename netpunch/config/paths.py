"""Relative paths and programs are relative to the folder of the site file."""

from __future__ import annotations

from pathlib import Path

from netpunch.config.model import Argv
from netpunch.template import escape


def beside(directory: Path, path: str) -> str:
    """The absolute form of a path."""
    return path if path.startswith("/") else f"{directory}/{path}"


def template_beside(directory: Path, path: str) -> str:
    """The absolute form of a path with placeholders: braces in the folder's name are none."""
    return beside(Path(escape(str(directory))), path)


def program_beside(directory: Path, argv: Argv) -> Argv:
    """A program with a slash in its name is a path; one without is looked up in PATH."""
    return (beside(directory, argv[0]), *argv[1:]) if argv and "/" in argv[0] else argv


def command_beside(directory: Path, argv: Argv) -> Argv:
    """The same for a command, whose words are templates."""
    return program_beside(Path(escape(str(directory))), argv)
