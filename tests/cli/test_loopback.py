"""`control` and `peer` as real processes on loopback."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.programs import PATIENCE, line_with, netpunch, started

CLASSIC = ("--secret-file", "classic.secret")
V2 = ("--protocol", "v2", "--pair", "home-office", "--secret-file")
RESULT = re.compile(r"LADDR/LHOST/LPORT/RADDR/RHOST/RPORT: (\S+):(\d+) \1 \2 (\S+):(\d+) \3 \4\n")


@pytest.fixture
def classic_control(classic_secret: Path, folder: Path) -> Iterator[str]:
    """The address of a classic control."""
    with started("control", *CLASSIC, "--local", "127.0.0.1:0", cwd=folder) as process:
        yield line_with(process, "Listening on ").split()[-1]


@pytest.fixture
def v2_control(control_key: Path, folder: Path) -> Iterator[str]:
    """The address of a v2 control."""
    options = (*V2, "control.key", "--local", "127.0.0.1:0")
    with started("control", *options, cwd=folder) as process:
        yield line_with(process, "Listening on ").split()[-1]


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, output, errors


def check_the_hole(*outputs: str) -> None:
    """Each end's result is the other's, and both ports are free for what comes next."""
    results = [RESULT.fullmatch(output) for output in outputs]
    locals_ = []
    for result, partner in zip(results, reversed(results), strict=True):
        assert result is not None
        assert partner is not None
        assert result[4] == partner[2]
        locals_.append((result[1], int(result[2])))
    for address in locals_:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(address)


def test_two_peers_and_a_control_link_in_classic(classic_control: str, folder: Path) -> None:
    common = (*CLASSIC, "--remote", classic_control)
    with (
        started("peer", "a", *common, "--local", "127.0.0.1:0", cwd=folder) as a,
        started("peer", "b", *common, "--local", ":0", "--raw-logging", cwd=folder) as b,
    ):
        code_a, output_a, log_a = ended(a)
        code_b, output_b, log_b = ended(b)
    assert (code_a, code_b) == (0, 0)
    check_the_hole(output_a, output_b)
    assert output_b.split()[2] == "0.0.0.0"
    assert f'[a] [info] write: "a" -> {classic_control}\n' in log_a
    assert 'write: "x" -> 127.0.0.1:' in log_a
    assert log_a.endswith("[a] [info] close: ok\n")
    assert re.search(rf'\[info\] write: "\S{{40,}} b" -> {classic_control}\n', log_b)


def test_two_peers_and_a_control_link_in_v2(v2_control: str, pair_key: Path, folder: Path) -> None:
    common = (*V2, "pair.key", "--remote", v2_control, "--local", "127.0.0.1:0")
    with (
        started("peer", "a", *common, cwd=folder) as a,
        started("peer", "b", *common, "--silent", cwd=folder) as b,
    ):
        code_a, output_a, log_a = ended(a)
        code_b, output_b, log_b = ended(b)
    assert (code_a, code_b, log_b) == (0, 0, "")
    check_the_hole(output_a, output_b)
    assert 'write: "ANNOUNCE ' in log_a
    assert pair_key.read_text().strip() not in log_a


def test_the_command_of_a_peer_can_bind_the_port(classic_control: str, folder: Path) -> None:
    common = (*CLASSIC, "--remote", classic_control, "--local", "127.0.0.1:0", "--silent")
    bind = (
        "import signal, socket, sys; sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
        "sock.bind((sys.argv[1], int(sys.argv[2]))); print('bound', sys.argv[3:])"
    )
    command = ("--command", "python3", "-c", bind, "{lhost}", "{lport}", "--debug", "{end}")
    with (
        started("peer", "a", *common, cwd=folder) as a,
        started("peer", "b", *common, *command, cwd=folder) as b,
    ):
        assert ended(b) == (0, "bound ['--debug', 'b']\n", "")
        assert ended(a)[0] == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_peer_that_is_stopped_leaves_and_exits_as_by_the_signal(
    number: signal.Signals, code: int, v2_control: str, pair_key: Path, folder: Path
) -> None:
    options = (*V2, "pair.key", "--remote", v2_control, "--local", "127.0.0.1:0")
    with started("peer", "a", *options, cwd=folder) as process:
        line_with(process, "waiting: partner_absent")
        process.send_signal(number)
        ended_with, output, log = ended(process)
    assert (ended_with, output) == (code, "")
    assert 'write: "LEAVE ' in log
    assert log.endswith(f"[a] [info] Shut down by {number.name}\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_control_that_is_stopped_exits_with_0(
    number: signal.Signals, classic_secret: Path, folder: Path
) -> None:
    with started("control", *CLASSIC, "--local", "127.0.0.1:0", cwd=folder) as process:
        line_with(process, "Listening on ")
        process.send_signal(number)
        code, output, log = ended(process)
    assert (code, output) == (0, "")
    assert log.endswith("[info] Shut down\n")


def test_a_peer_whose_partner_does_not_come_exits_with_75(
    v2_control: str, pair_key: Path, folder: Path
) -> None:
    options = (*V2, "pair.key", "--remote", v2_control, "--local", "127.0.0.1:0", "--silent")
    result = netpunch("peer", "a", *options, "--deadline", "300ms", cwd=folder)
    assert (result.returncode, result.stdout) == (75, "")
    assert result.stderr.startswith("netpunch peer: control answers, but the partner ")
    assert result.stderr.count("\n") == 1


def test_a_control_whose_port_is_in_use_exits_with_75(classic_control: str, folder: Path) -> None:
    result = netpunch("control", *CLASSIC, "--local", classic_control, "--silent", cwd=folder)
    assert result.returncode == 75
    assert result.stderr.startswith(f"netpunch control: {classic_control} is in use ")


def test_a_wrong_secret_is_logged_by_control(classic_secret: Path, folder: Path) -> None:
    wrong = folder / "wrong.secret"
    wrong.write_bytes(b"wrong")
    wrong.chmod(0o600)
    with started("control", *CLASSIC, "--local", "127.0.0.1:0", cwd=folder) as control:
        address = line_with(control, "Listening on ").split()[-1]
        options = ("--secret-file", "wrong.secret", "--remote", address, "--local", "127.0.0.1:0")
        result = netpunch("peer", "a", *options, "--deadline", "300ms", "--silent", cwd=folder)
        assert result.returncode in (69, 75)
        logged = line_with(control, "[error] rejected: ")
        assert "1 x bad_mac, such as from 127.0.0.1:" in logged
