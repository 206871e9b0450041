from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from netpunch.address import Address
from netpunch.errors import OutputError
from netpunch.output.envfile import (
    EnvFileChange,
    compare_env_file,
    link_variables,
    write_env_file,
)
from tests.output.kills import kills_while_writing

LOCAL = Address("0.0.0.0", 5000)
REMOTE = Address("198.51.100.7", 40000)
AT = "2026-01-01T00:00:00.250000Z"


def variables(remote: Address = REMOTE, at: str = AT) -> dict[str, str]:
    return link_variables("home-office", "a", LOCAL, remote, at)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pair.env"


def replaced(path: Path, told: dict[str, str]) -> EnvFileChange:
    """Written, and what that has changed."""
    change = compare_env_file(path, told)
    write_env_file(path, told)
    return change


def test_the_content_of_an_env_file(path: Path) -> None:
    write_env_file(path, variables())
    assert path.read_text() == (
        "NETPUNCH_PAIR=home-office\n"
        "NETPUNCH_END=a\n"
        "NETPUNCH_LADDR=0.0.0.0:5000\n"
        "NETPUNCH_LHOST=0.0.0.0\n"
        "NETPUNCH_LPORT=5000\n"
        "NETPUNCH_RADDR=198.51.100.7:40000\n"
        "NETPUNCH_RHOST=198.51.100.7\n"
        "NETPUNCH_RPORT=40000\n"
        "NETPUNCH_RFAMILY=inet\n"
        "NETPUNCH_AT=2026-01-01T00:00:00.250000Z\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_an_env_file_brackets_ipv6_only_in_addresses() -> None:
    told = variables(Address("2001:db8::1", 1))
    assert told["NETPUNCH_RADDR"] == "[2001:db8::1]:1"
    assert told["NETPUNCH_RHOST"] == "2001:db8::1"
    assert told["NETPUNCH_RFAMILY"] == "inet6"


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_shells_read_an_env_file_back(path: Path, shell: str) -> None:
    written = variables(Address("2001:db8::1", 1))
    write_env_file(path, written)
    script = f'set -eu; cd /; . "{path}"; ' + "; ".join(f'echo "${name}"' for name in written)
    read = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True)
    assert read.stdout.splitlines() == list(written.values())


@pytest.mark.parametrize(
    "value", ["a b", "$(id)", "`id`", "a\nB=c", 'a"', "a'", "é", "a\\", "#", ""]
)
def test_an_env_file_has_only_values_that_need_no_quoting(path: Path, value: str) -> None:
    told = variables() | {"NETPUNCH_PAIR": value}
    if value == "":
        write_env_file(path, told)
        return
    with pytest.raises(OutputError, match="NETPUNCH_PAIR would need quoting"):
        write_env_file(path, told)
    assert not path.exists()


def test_an_env_file_has_only_names_of_netpunch(path: Path) -> None:
    with pytest.raises(OutputError, match="PATH would need quoting"):
        write_env_file(path, {"PATH": "x"})


def test_an_env_file_is_compared_except_its_time(path: Path) -> None:
    moved = Address("198.51.100.7", 40001)
    later = "2026-01-02T00:00:00.000000Z"
    assert replaced(path, variables()) == EnvFileChange(True, None)
    assert replaced(path, variables(at=later)) == EnvFileChange(False, REMOTE)
    assert f"NETPUNCH_AT={later}" in path.read_text()
    assert replaced(path, variables(moved)) == EnvFileChange(True, REMOTE)
    assert replaced(path, variables(moved)) == EnvFileChange(False, moved)


@pytest.mark.parametrize(
    "earlier",
    [
        b"",
        b"\xff\x00",
        b"NETPUNCH_RADDR=$(id)\n",
        b"NETPUNCH_RADDR=" + b"9" * 3000,
        b"NETPUNCH_RADDR=198.51.100.7:1\n" * 1_000_000,
    ],
    ids=["empty", "binary", "hostile", "long", "huge"],
)
def test_an_earlier_env_file_that_is_not_ours(path: Path, earlier: bytes) -> None:
    path.write_bytes(earlier)
    assert replaced(path, variables()) == EnvFileChange(True, None)


def test_an_earlier_env_file_that_is_not_a_regular_file(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(OutputError, match="not a regular file"):
        write_env_file(path, variables())
    path.unlink()
    path.mkdir()
    with pytest.raises(OutputError, match="not a regular file"):
        write_env_file(path, variables())


def test_an_earlier_env_file_that_cannot_be_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int, size: int) -> bytes:
        raise OSError(5, "Input/output error")

    path.touch()
    monkeypatch.setattr("netpunch.output.envfile.os.read", broken)
    assert replaced(path, variables()).changed


def test_a_kill_at_any_moment_leaves_the_whole_file_of_some_link(path: Path) -> None:
    kills = kills_while_writing("env", path)
    print(f"env files: {kills}")
    assert kills.interrupted > 0
    assert kills.contents > 1


def test_a_link_of_a_mesh_names_the_mesh_and_both_nodes() -> None:
    variables = link_variables("lan.home.office", "b", LOCAL, LOCAL, "2026-01-01T00:00:00Z")
    assert list(variables)[:5] == [
        "NETPUNCH_PAIR",
        "NETPUNCH_END",
        "NETPUNCH_MESH",
        "NETPUNCH_NODE",
        "NETPUNCH_PARTNER_NODE",
    ]
    assert list(variables.values())[:5] == ["lan.home.office", "b", "lan", "office", "home"]
