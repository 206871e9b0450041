"""The Debian package, as contrib/build-deb makes it here. Installed by apt on Debian 13, run by its
systemd and removed again: `python -m tests.packaging.debian13`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import netpunch
from tests.lab.program import REPOSITORY

BUILD_SECONDS = 60
CONTRIB = REPOSITORY / "contrib"
BUILD = CONTRIB / "build-deb"
LIB = "usr/lib/netpunch"

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")


def run(*argv: str | Path, **environment: str) -> str:
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=BUILD_SECONDS,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(folder: Path) -> Path:
    return Path(run(BUILD, folder, PYTHON=sys.executable, SOURCE_DATE_EPOCH="1700000000").strip())


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def tree(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What it puts on a host, and its maintainer scripts in DEBIAN."""
    folder = tmp_path_factory.mktemp("tree")
    run("dpkg-deb", "--raw-extract", package, folder)
    return folder


def test_the_same_tree_makes_the_same_package(package: Path, tmp_path: Path) -> None:
    again = build(tmp_path)
    digests = {hashlib.sha256(each.read_bytes()).hexdigest() for each in (package, again)}
    assert len(digests) == 1


def test_the_package_depends_on_what_the_program_needs(package: Path) -> None:
    fields = run("dpkg-deb", "--field", package, "Version", "Architecture", "Depends")
    assert f"Version: {netpunch.__version__}\n" in fields
    assert "Architecture: all\n" in fields
    for needed in ("python3 (>= 3.11)", "python3-cryptography", "python3-uvloop", "python3-yaml"):
        assert needed in fields


def test_the_package_leaves_usr_local_to_the_host_s_owner(tree: Path) -> None:
    assert not (tree / "usr" / "local").exists()
    units = tree / "usr" / "lib" / "systemd" / "system"
    assert not [unit for unit in units.iterdir() if "=/usr/local/" in unit.read_text()]


def test_units_are_those_of_contrib(tree: Path) -> None:
    units = tree / "usr" / "lib" / "systemd" / "system"
    shipped = {unit.name: unit.read_text() for unit in units.iterdir()}
    assert shipped == {
        unit.name: unit.read_text().replace("/usr/local/lib/netpunch/", f"/{LIB}/")
        for kind in ("service", "timer", "path")
        for unit in CONTRIB.glob(f"netpunch*.{kind}")
    }
    sysusers = tree / "usr" / "lib" / "sysusers.d" / "netpunch.conf"
    assert sysusers.read_text() == (CONTRIB / "netpunch.sysusers").read_text()


@pytest.mark.parametrize("hook", sorted(path.name for path in (CONTRIB / "hooks").iterdir()))
def test_a_hook_is_where_site_files_name_it(tree: Path, hook: str) -> None:
    """Beside the site file: `hooks: [hooks/wireguard, wg0]`."""
    link = tree / "etc" / "netpunch" / "hooks" / hook
    target = tree / str(link.readlink()).removeprefix("/")
    assert target.read_text() == (CONTRIB / "hooks" / hook).read_text()
    assert os.access(target, os.X_OK)


def test_nothing_in_etc_is_a_file_that_would_outlive_the_package(tree: Path) -> None:
    found = [path for path in (tree / "etc").rglob("*") if not path.is_dir()]
    assert found
    assert all(path.is_symlink() for path in found)
    assert (tree / "etc" / "netpunch" / "keys").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "path",
    [
        "usr/bin/netpunch",
        "usr/share/bash-completion/completions/netpunch",
        "usr/share/zsh/vendor-completions/_netpunch",
        "usr/share/fish/vendor_completions.d/netpunch.fish",
        "usr/share/man/man1/netpunch.1.gz",
        "usr/share/doc/netpunch/README.md",
        "usr/share/doc/netpunch/docs/install.md",
        "usr/share/doc/netpunch/docs/protocol.md",
        "usr/share/doc/netpunch/examples/example.yaml",
        "usr/share/doc/netpunch/copyright",
        "usr/share/doc/netpunch/changelog.gz",
    ],
)
def test_the_package_has(tree: Path, path: str) -> None:
    assert (tree / path).stat().st_size


def test_every_module_of_the_program_is_in_the_package(tree: Path) -> None:
    source = Path(netpunch.__file__).parent
    shipped = tree / "usr" / "lib" / "python3" / "dist-packages" / "netpunch"
    assert {path.relative_to(source) for path in source.rglob("*.py")} == {
        path.relative_to(shipped) for path in shipped.rglob("*.py")
    }
    assert (shipped / "py.typed").exists()


def test_the_packaged_program_links_the_example(tree: Path) -> None:
    """With this interpreter and its modules, but none of this checkout."""
    modules = tree / "usr" / "lib" / "python3" / "dist-packages"
    example = tree / "usr" / "share" / "doc" / "netpunch" / "examples" / "example.yaml"
    command: list[str | Path] = [sys.executable, tree / "usr" / "bin" / "netpunch"]
    text = example.read_text().replace(":10001", ":10871")
    example.write_text(text)
    printed = run(*command, "run", "--format", "text", example, PYTHONPATH=str(modules))
    assert [line.partition(": ")[0] for line in sorted(printed.splitlines())] == [
        f"{pair}.{end}" for pair in ("classic-hello", "hello") for end in "ab"
    ]
    where = "import netpunch.cli.new_site as m; print(m.__file__); print(m.contrib())"
    module, contrib = run(sys.executable, "-P", "-c", where, PYTHONPATH=str(modules)).split()
    assert Path(module).is_relative_to(tree)
    assert Path(contrib, "hooks", "wireguard").resolve() == tree / LIB / "hooks" / "wireguard"


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_shellcheck_accepts_the_maintainer_script(tree: Path, script: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck")
    run("shellcheck", tree / "DEBIAN" / script)
