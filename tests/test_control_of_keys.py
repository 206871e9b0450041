"""contrib/control_of_keys.py: a control with a folder of keys instead of a site file."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import netpunch

PROGRAM = Path(__file__).parent.parent / "contrib" / "control_of_keys.py"
NAMES = ("pair-0", "pair-1", "pair-2", "new")
SECRETS = {name: bytes([number]) * 32 for number, name in enumerate(NAMES)}
LOOPBACK = "127.0.0.1:0"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes of files are POSIX")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    for pair, secret in list(SECRETS.items())[:3]:
        (tmp_path / f"{pair}.key").write_text(netpunch.control_key(secret, pair) + "\n")
    return tmp_path


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Where a control with these keys listens."""
    with started(folder) as process:
        yield listening(process)


@contextmanager
def started(folder: Path) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, str(PROGRAM), str(folder), LOOPBACK]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def listening(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().split()[-1]


async def link(
    pair: str, controls: list[str], deadline: float | None = 60.0
) -> list[netpunch.Link]:
    ends = (
        netpunch.punch(
            pair=pair,
            end=end,
            secret=SECRETS[pair],
            control=controls,
            local=LOOPBACK,
            deadline=deadline,
        )
        for end in ("a", "b")
    )
    return await asyncio.gather(*ends)


def test_pairs_link_by_either_of_two_controls_of_keys(folder: Path) -> None:
    with serving(folder) as one:
        with serving(folder) as other:
            assert_linked("pair-1", [one, other])
        assert_linked("pair-2", [other, one])  # the first of them is dead


def assert_linked(pair: str, controls: list[str]) -> None:
    a, b = asyncio.run(link(pair, controls))
    assert (a.local, a.remote) == (b.remote, b.local)


def test_a_control_of_keys_follows_its_folder(folder: Path) -> None:
    with started(folder) as process:
        address = listening(process)
        (folder / "pair-0.key").unlink()
        (folder / "new.key").write_text("damaged")
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        assert "nothing has changed: " in process.stderr.readline()
        assert_linked("pair-0", [address])
        (folder / "new.key").write_text(netpunch.control_key(SECRETS["new"], "new"))
        process.send_signal(signal.SIGHUP)
        assert_linked("new", [address])
        with pytest.raises(netpunch.ControlUnreachableError):
            asyncio.run(link("pair-0", [address], deadline=0.3))


def refused(folder: Path) -> str:
    argv = [sys.executable, str(PROGRAM), str(folder), LOOPBACK]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    return done.stderr


def test_a_control_of_keys_refuses_the_key_of_a_pair(folder: Path) -> None:
    (folder / "other.key").write_text(netpunch.new_key())
    assert "other.key: a control must not have" in refused(folder)


def test_a_control_of_keys_names_a_damaged_key_and_does_not_show_it(folder: Path) -> None:
    text = (folder / "pair-0.key").read_text()
    (folder / "pair-0.key").write_text(text[:-9])
    told = refused(folder)
    assert "pairs['pair-0']: damaged key" in told
    assert text[:-9] not in told


def test_a_control_of_keys_refuses_a_folder_that_others_may_enter(folder: Path) -> None:
    folder.chmod(0o755)
    assert "chmod 700" in refused(folder)
