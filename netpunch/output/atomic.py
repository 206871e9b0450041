"""Files that are replaced as a whole: a reader, a crash or a full disk never sees half a file."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from netpunch.errors import OutputError, lack_behind

_ADVICE = {
    None: "choose a shorter one",  # Python's own error: a socket's path has at most 107 bytes
    errno.ENOENT: "create its folder (`mkdir`, or RuntimeDirectory= in a systemd unit)",
    errno.ENOTDIR: "create its folder (`mkdir`, or RuntimeDirectory= in a systemd unit)",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or raise the quota",
    errno.EACCES: "give this user write permission on its folder",
    errno.EPERM: "give this user write permission on its folder",
    errno.EROFS: "choose a writable place, such as below /run",
}


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Write a file through a temporary one beside it, then rename; `mode` is exact, whatever the
    umask is. Waits for the disk (fsync), so call it from a thread where waiting matters.

    Raises OutputError or ResourcesError; then the earlier file, if any, is untouched and no
    temporary one is left.
    Only a regular file is ever replaced, never a device, a folder or a symbolic link."""
    with os_errors(path), _open_folder(path) as folder:
        _refuse_other_than_regular(path, folder)
        # One fixed name: a crash leaves at most one file behind, and the next write removes it.
        temporary = f".{path.name}.tmp"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        descriptor = _create(temporary, folder)
        try:
            _fill(descriptor, content, mode)
            if not _is_ours(temporary, descriptor, folder):
                raise OutputError(f"{path}: another process writes this file at the same time")
            os.rename(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                if _is_ours(temporary, descriptor, folder):
                    os.unlink(temporary, dir_fd=folder)
            raise
        finally:
            os.close(descriptor)
        _sync_folder(folder)


def remove_file(path: Path) -> None:
    """Remove a file; fine when there is none. Raises OutputError or ResourcesError."""
    with os_errors(path), contextlib.suppress(FileNotFoundError):
        path.unlink()


@contextlib.contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Raises OutputError, with advice, or ResourcesError for an OSError within that concerns
    `path`."""
    try:
        yield
    except OSError as error:
        if lack := lack_behind(error, str(path)):
            raise lack from error
        advice = _ADVICE.get(error.errno)
        hint = f"; {advice}" if advice else ""
        raise OutputError(f"{path}: {error.strerror or error}{hint}") from error


@contextlib.contextmanager
def _open_folder(path: Path) -> Iterator[int]:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        os.close(folder)


def _refuse_other_than_regular(path: Path, folder: int) -> None:
    """As root, renaming onto /dev/null or a well-known link would do harm beyond netpunch."""
    try:
        found = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise OutputError(f"{path}: not a regular file; remove it or choose another path")


def _create(name: str, folder: int) -> int:
    """A new file, never one that somebody has prepared, and private until its mode is set."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.open(name, flags, 0o600, dir_fd=folder)


def _fill(descriptor: int, content: bytes, mode: int) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fchmod(descriptor, mode)
    os.fsync(descriptor)


def _is_ours(temporary: str, descriptor: int, folder: int) -> bool:
    """Whether the temporary name is still our file: a second process that writes the same path
    removes ours as a stale one, and we must not publish its half-written one."""
    try:
        found = os.stat(temporary, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def _sync_folder(folder: int) -> None:
    """Makes the rename durable. Some file systems cannot; the file is whole nevertheless."""
    with contextlib.suppress(OSError):
        os.fsync(folder)
