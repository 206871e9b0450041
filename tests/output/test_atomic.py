from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from netpunch.errors import OutputError
from netpunch.output.atomic import remove_file, replace_file
from tests.output.kills import kills_while_writing


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_new_file_has_content_and_exact_mode(tmp_path: Path) -> None:
    earlier = os.umask(0o077)
    try:
        replace_file(tmp_path / "file", b"content", 0o664)
    finally:
        os.umask(earlier)
    assert (tmp_path / "file").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o664
    assert names(tmp_path) == ["file"]


def test_an_earlier_file_is_replaced_not_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("earlier")
    with path.open() as still_open:
        replace_file(path, b"later", 0o600)
        assert still_open.read() == "earlier"
    assert path.read_text() == "later"


def test_a_stale_temporary_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".file.tmp").write_text("half of somethi")
    replace_file(tmp_path / "file", b"content", 0o600)
    assert names(tmp_path) == ["file"]


def test_a_prepared_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".file.tmp").symlink_to(victim)
    replace_file(tmp_path / "file", b"content", 0o600)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "file").is_symlink()


@pytest.mark.parametrize("kind", ["folder", "fifo", "link", "dangling link"])
def test_only_a_regular_file_is_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    match kind:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case _:
            path.symlink_to("/dev/null" if kind == "link" else "/nowhere")
    before = path.lstat()
    with pytest.raises(OutputError, match=f"^{path}: not a regular file; remove it"):
        replace_file(path, b"content", 0o600)
    assert path.lstat().st_ino == before.st_ino
    assert names(tmp_path) == ["file"]


def test_a_missing_folder_comes_with_advice(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"No such file or directory; create its folder"):
        replace_file(tmp_path / "missing" / "file", b"", 0o600)


def test_a_folder_that_is_a_file_comes_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/below: Not a directory"):
        replace_file(tmp_path / "file" / "below", b"", 0o600)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_comes_with_advice(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied; give this user write permission"):
        replace_file(tmp_path / "file", b"", 0o600)


def test_a_temporary_name_that_cannot_be_freed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".file.tmp").mkdir()
    with pytest.raises(OutputError, match=r"^.*/file: "):
        replace_file(tmp_path / "file", b"", 0o600)
    assert names(tmp_path) == [".file.tmp"]


def test_a_broken_disk_leaves_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    path = tmp_path / "file"
    path.write_text("earlier")
    monkeypatch.setattr("netpunch.output.atomic.os.fsync", broken)
    with pytest.raises(OutputError, match=f"^{path}: Input/output error$"):
        replace_file(path, b"content", 0o600)
    assert path.read_text() == "earlier"
    assert names(tmp_path) == ["file"]


def test_a_second_writer_never_gets_its_half_file_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, temporary = tmp_path / "file", tmp_path / ".file.tmp"
    path.write_text("earlier")
    fsync = os.fsync

    def another_process_begins(descriptor: int) -> None:
        fsync(descriptor)
        temporary.unlink()
        temporary.write_text("half")

    monkeypatch.setattr("netpunch.output.atomic.os.fsync", another_process_begins)
    with pytest.raises(OutputError, match="another process writes this file at the same time"):
        replace_file(path, b"content", 0o600)
    assert path.read_text() == "earlier"
    assert temporary.read_text() == "half"


def test_a_second_writer_that_has_finished_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, temporary = tmp_path / "file", tmp_path / ".file.tmp"
    monkeypatch.setattr("netpunch.output.atomic.os.fsync", lambda _: temporary.rename(path))
    with pytest.raises(OutputError, match="another process writes this file"):
        replace_file(path, b"content", 0o600)
    assert names(tmp_path) == ["file"]


TOO_LARGE = """
import resource, sys
from pathlib import Path
from netpunch.errors import OutputError
from netpunch.output.atomic import replace_file
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    replace_file(Path(sys.argv[1]), b"x" * 5000, 0o600)
except OutputError as error:
    print(error)
"""

DISK_FULL = """
import sys
from pathlib import Path
from netpunch.errors import OutputError
from netpunch.output.atomic import replace_file
path = Path(sys.argv[1])
replace_file(path, b"earlier", 0o600)
try:
    replace_file(path, b"x" * 500_000, 0o600)
except OutputError as error:
    print(error)
print(path.read_text(), [entry.name for entry in path.parent.iterdir()])
"""


def test_a_limit_on_file_size_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("earlier")
    done = subprocess.run(
        [sys.executable, "-c", TOO_LARGE, path], capture_output=True, text=True, timeout=20
    )
    assert (done.stdout, done.stderr) == (f"{path}: File too large\n", "")
    assert path.read_text() == "earlier"
    assert names(tmp_path) == ["file"]


def _can_mount() -> bool:
    unshare = shutil.which("unshare")
    if os.getuid() != 0 or unshare is None:
        return False
    return subprocess.run([unshare, "-m", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not _can_mount(), reason="needs root to mount a tiny disk")
def test_a_full_disk_leaves_the_earlier_file(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=64k none "$1" && exec "$2" -c "$3" "$1/file"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", tmp_path, sys.executable, DISK_FULL],
        capture_output=True,
        text=True,
        timeout=20,
    )
    expected = f"{tmp_path}/file: No space left on device; free some space\nearlier ['file']\n"
    assert (done.stdout, done.stderr) == (expected, "")


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    kills = kills_while_writing("files", tmp_path / "file")
    print(f"files of 1 to 70,000 bytes: {kills}")
    assert kills.interrupted > 0
    assert kills.contents > 1


def test_removing_a_file_may_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    remove_file(tmp_path / "file")
    remove_file(tmp_path / "file")
    assert names(tmp_path) == []
    with pytest.raises(OutputError, match=f"^{tmp_path}: "):
        remove_file(tmp_path)
