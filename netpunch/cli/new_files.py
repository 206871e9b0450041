"""Files that a command makes: never in place of one that exists, and all of them or none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from netpunch.errors import OutputError, lack_behind
from netpunch.redacted import redacted

SECRET_FILE_MODE = 0o600
SECRET_FOLDER_MODE = 0o700
FOLDER_MODE = 0o755


class NewFile(NamedTuple):
    """A file to be made. `path` is below the folder of them all, `about` says what it is."""

    path: str
    text: str
    mode: int
    about: str

    def __repr__(self) -> str:
        return redacted(self, "text")


def write_new_files(folder: Path, files: Iterable[NewFile]) -> None:
    """Make all of them, and the folders that lack. Raises OutputError, having left none of them
    behind and not touched any that existed."""
    files = list(files)
    for file in files:
        refuse_existing(folder / file.path)
    with contextlib.ExitStack() as undo:
        for file in files:
            path = folder / file.path
            is_secret = path.parent != folder and file.mode == SECRET_FILE_MODE
            _make_folder(path.parent, SECRET_FOLDER_MODE if is_secret else FOLDER_MODE, undo)
            write_new_file(path, file.text, file.mode)
            undo.callback(path.unlink)
        undo.pop_all()


def refuse_existing(path: Path) -> None:
    """Raises OutputError if there is something at that path."""
    if os.path.lexists(path):
        raise OutputError(
            f"{path}: the file exists, and nothing is ever overwritten: choose another folder with "
            "-o, or move it away"
        )


def write_new_file(file: str | Path, text: str, mode: int = SECRET_FILE_MODE) -> None:
    """Create `file`, with exactly this mode, and write to it. Raises OutputError, having left no
    file behind and not touched one that existed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        descriptor = os.open(file, flags, SECRET_FILE_MODE)
    except FileExistsError:
        raise OutputError(
            f"{file}: the file exists, and keys are never overwritten: "
            "choose another name, or move it away"
        ) from None
    except OSError as error:
        if lack := lack_behind(error, str(file)):
            raise lack from None
        raise OutputError(f"{file}: cannot be created: {error.strerror}") from None
    try:
        with open(descriptor, "w", encoding="ascii") as stream:  # noqa: PTH123 - a descriptor
            stream.write(text)
            stream.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(file)  # noqa: PTH108 - as it was opened
        raise OutputError(f"{file}: cannot be written: {error.strerror}") from None


def _make_folder(folder: Path, mode: int, undo: contextlib.ExitStack) -> None:
    """And those above it that lack."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make_folder(folder.parent, FOLDER_MODE, undo)
    try:
        folder.mkdir(mode)
        folder.chmod(mode)  # whatever the umask is
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created: {error.strerror}") from None
    undo.callback(folder.rmdir)
