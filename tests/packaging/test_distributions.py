"""The sdist and the wheel, as hatchling builds them here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import netpunch
from tests.lab.program import REPOSITORY

SECONDS = 60
NOT_OURS = {"PKG-INFO"}
"""What an sdist has besides."""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    done = subprocess.run(
        build, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    return folder


def committed() -> set[str]:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("needs a clone, and git")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return {name for name in listed.stdout.split("\0") if name and (REPOSITORY / name).exists()}


def test_the_sdist_has_every_file_of_the_repository(distributions: Path) -> None:
    [path] = distributions.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        members = {member.name: member.mode for member in archive.getmembers()}
    inside = {"/".join(PurePosixPath(name).parts[1:]): mode for name, mode in members.items()}
    assert committed() <= inside.keys() - NOT_OURS
    assert all(inside[name] & 0o111 for name in ("contrib/build-deb", ".ci/run"))


@pytest.fixture(scope="module")
def installed(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in a folder of its own."""
    [path] = distributions.glob("*.whl")
    assert path.name == f"netpunch-{netpunch.__version__}-py3-none-any.whl"
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_has_the_program_and_contrib(installed: Path) -> None:
    sources = {"netpunch": REPOSITORY / "netpunch", "netpunch/contrib": REPOSITORY / "contrib"}
    for place, source in sources.items():
        for path in source.rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                assert (installed / place / path.relative_to(source)).is_file(), path
    [entry_points] = installed.glob("*.dist-info/entry_points.txt")
    assert "netpunch = netpunch.cli:main" in entry_points.read_text()
    assert list(installed.glob("*.dist-info/licenses/LICENSE"))


def test_the_wheel_s_init_writes_the_hook(installed: Path, tmp_path: Path) -> None:
    line = "init p --control vps.example.net --me home --partner office --vpn wireguard-share -o"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "netpunch", *line.split(), str(tmp_path / "etc")],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=SECONDS,
        env=os.environ | {"PYTHONPATH": str(installed)},
    )
    assert done.returncode == 0, done.stderr
    hook = tmp_path / "etc" / "hooks" / "wireguard"
    assert hook.read_text() == (REPOSITORY / "contrib" / "hooks" / "wireguard").read_text()
    assert os.access(hook, os.X_OK)
