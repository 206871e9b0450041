"""The files in contrib/ are accepted by the programs that will read them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from netpunch.address import Address
from netpunch.cli.run import parse
from netpunch.cli.status import USUAL_SOCKETS
from netpunch.errors import (
    ConfigurationError,
    MissingFileError,
    NotLinkedError,
    PermissionsError,
    UsageError,
)
from netpunch.output.envfile import MODE as ENV_FILE_MODE
from netpunch.output.envfile import link_variables, write_env_file
from netpunch.output.journal import rfc3339
from netpunch.output.status import SOCKET_NAME

CONTRIB = Path(__file__).parent.parent / "contrib"
WIREGUARD_RECIPES = [
    CONTRIB / "wireguard.conf",
    CONTRIB.parent / "README.md",
    CONTRIB.parent / "docs" / "recipes.md",
]
UNITS = sorted(
    path.name for path in CONTRIB.iterdir() if path.suffix in {".service", ".timer", ".path"}
)
SERVICE, CONTROL, ONCE = (f"netpunch{name}.service" for name in ("", "-control", "-once@"))
APPLY = "netpunch-apply@.service"
ENV_FILE_OF_ONCE = "/run/netpunch-once/{pair}/env"
CRON_LINE = re.compile(r"(?P<when>(\S+ ){5})(?P<user>\S+) (?P<command>.+)")
INSTALLED = "netpunch"
"""Found by systemd in /usr/local/bin or /usr/bin."""
INSTALLED_APPLY = "/usr/local/lib/netpunch/netpunch-apply"
STAND_IN = "/bin/true"
"""A program that exists where netpunch is not installed; systemd wants an executable file."""
COMMAND_SECONDS = 30
NOTIFY_RELOAD_SYSTEMD = 253
FIRST_SYSTEMD = 250
"""The first version that can check units without a running systemd."""


def systemd_version() -> int:
    """0 where there is no systemd-analyze."""
    if shutil.which("systemd-analyze") is None:
        return 0
    found = re.search(r"systemd (\d+)", run("systemd-analyze", "--version").stdout)
    return int(found[1]) if found else 0


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=COMMAND_SECONDS,
    )


def analyze(*arguments: str) -> str:
    """What systemd-analyze complains of, the exit code included."""
    done = run("systemd-analyze", "--no-pager", *arguments)
    complaints = "\n".join(filter(None, [done.stderr, f"exit {done.returncode}"]))
    return "" if complaints == "exit 0" else f"{done.stdout}\n{complaints}"


def verify(unit: Path) -> str:
    return analyze("verify", "--man=no", "--recursive-errors=no", str(unit))


def lines_of(name: str) -> list[str]:
    return (CONTRIB / name).read_text(encoding="utf-8").splitlines()


def settings(name: str, key: str) -> list[str]:
    """The values of a unit's lines `key=value`."""
    return [line.partition("=")[2] for line in lines_of(name) if line.startswith(f"{key}=")]


def cron_line() -> re.Match[str]:
    lines = [line for line in lines_of("netpunch.cron") if line and line[0] in "*0123456789@"]
    assert len(lines) == 1
    match = CRON_LINE.fullmatch(lines[0])
    assert match is not None
    return match


OWNER, OTHER = 64997, 64998
"""Ids of a user and a group that do not exist."""

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv"
)
needs_systemd = pytest.mark.skipif(
    systemd_version() < FIRST_SYSTEMD, reason=f"needs systemd-analyze >= {FIRST_SYSTEMD}"
)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with the units, their program replaced by one that exists."""
    for name in UNITS:
        text = (CONTRIB / name).read_text(encoding="utf-8")
        text = text.replace(INSTALLED_APPLY, STAND_IN)
        text = re.sub(rf"^(Exec\w+)={INSTALLED} ", rf"\1={STAND_IN} ", text, flags=re.MULTILINE)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_the_unit(units: Path, name: str) -> None:
    assert verify(units / name) == ""


@needs_systemd
@pytest.mark.parametrize("mistake", ["ProtectSytem=strict", "RestartSec=soon"])
def test_systemd_analyze_notices_a_mistake_in_a_unit(units: Path, mistake: str) -> None:
    unit = units / CONTROL
    unit.write_text(unit.read_text().replace("[Service]", f"[Service]\n{mistake}"))
    assert f"{unit}:" in verify(unit)


@needs_systemd
@pytest.mark.parametrize(
    ("name", "exposure"), [(CONTROL, 1.5), (SERVICE, 2.0), (ONCE, 2.0), (APPLY, 1.5)]
)
def test_the_service_is_hardened(units: Path, name: str, exposure: float) -> None:
    """`exposure` is systemd's own measure: 0 is a service that can do nothing, 10 is root."""
    threshold = f"--threshold={exposure * 10:.0f}"
    assert analyze("security", "--offline=yes", threshold, str(units / name)) == ""


@needs_systemd
def test_systemd_analyze_notices_a_service_that_is_not_hardened(units: Path) -> None:
    unit = units / CONTROL
    unit.write_text(unit.read_text().replace("CapabilityBoundingSet=\n", ""))
    assert analyze("security", "--offline=yes", "--threshold=15", str(unit)) != ""


@pytest.mark.parametrize(
    ("name", "only"),
    [(SERVICE, ["control", "keep"]), (CONTROL, ["control"]), (ONCE, ["once"])],
)
def test_each_service_runs_its_share_of_the_site_file(name: str, only: list[str]) -> None:
    """So those of `once` can run beside the others without taking over each other's ends."""
    (command,) = settings(name, "ExecStart")
    program, subcommand, *arguments = shlex.split(command)
    assert (program, subcommand) == (INSTALLED, "run")
    options = parse("netpunch run", arguments)
    assert options.file == "/etc/netpunch/site.yaml"
    assert (options.once, options.keep, options.only) == (False, False, only)


@pytest.mark.parametrize("name", [CONTROL, SERVICE])
def test_a_service_is_not_restarted_for_what_a_restart_does_not_fix(name: str) -> None:
    (codes,) = settings(name, "RestartPreventExitStatus")
    lasting = (UsageError, MissingFileError, PermissionsError, ConfigurationError)
    assert [int(code) for code in codes.split()] == [error.exit_code for error in lasting]


@pytest.mark.parametrize("name", [CONTROL, SERVICE])
def test_systemd_watches_the_services_that_keep_running(name: str) -> None:
    assert settings(name, "Type") == ["notify"]
    assert settings(name, "WatchdogSec") == ["30s"]
    *rights, signal, check = settings(name, "ExecReload")
    assert rights == settings(name, "ExecStartPre")
    assert signal == "/bin/kill -HUP $MAINPID"
    assert check == f"{INSTALLED} check /etc/netpunch/site.yaml"


@pytest.mark.parametrize("name", [CONTROL, SERVICE, ONCE])
def test_services_get_their_secrets_as_credentials(name: str) -> None:
    assert settings(name, "LoadCredential") == ["netpunch:/etc/netpunch/keys"]


@needs_root
@pytest.mark.parametrize("name", [CONTROL, SERVICE])
def test_the_service_may_read_what_root_wrote_and_no_more(name: str, tmp_path: Path) -> None:
    """Whatever rights the files came with: nobody but root may change one, or a program of root
    would be the service's."""
    etc = tmp_path / "etc"
    for path, mode in {"keys/p.key": 0o600, "site.yaml": 0o664, "apply": 0o775}.items():
        (etc / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (etc / path).touch()
        (etc / path).chmod(mode)
    outside = tmp_path / "outside"
    outside.touch(0o600)
    (etc / "hooks").symlink_to(outside)
    commands = settings(name, "ExecStartPre")
    assert all(command.startswith("+-") for command in commands), "as root, if there is a folder"
    for command in commands:
        group = command.replace(" netpunch ", f" {OWNER} ")
        assert run(*group[2:].replace("/etc/netpunch", str(etc)).split()).returncode == 0
    found = {
        path.relative_to(etc).as_posix(): (path.stat().st_gid, path.stat().st_mode & 0o777)
        for path in etc.rglob("*")
        if not path.is_symlink()
    }
    assert found == {
        "keys": (OWNER, 0o750),
        "keys/p.key": (OWNER, 0o640),
        "site.yaml": (OWNER, 0o644),
        "apply": (OWNER, 0o755),
    }
    assert (outside.stat().st_gid, outside.stat().st_mode & 0o777) == (os.getgid(), 0o600)
    (group,) = settings(SERVICE, "User")
    assert commands[-1].split()[2] == group
    assert settings(CONTROL, "SupplementaryGroups") == [group]


@pytest.mark.parametrize("name", [SERVICE, ONCE, APPLY])
def test_env_files_outlive_the_process(name: str) -> None:
    assert settings(name, "RuntimeDirectoryPreserve") == ["yes"]


@pytest.mark.parametrize("name", [CONTROL, SERVICE, ONCE])
def test_the_status_command_finds_the_socket(name: str) -> None:
    (folder,) = settings(name, "RuntimeDirectory")
    socket = Path(folder.replace("%i", "home-office"), SOCKET_NAME)
    assert any(socket.match(pattern) for pattern in USUAL_SOCKETS)


def test_no_two_services_share_a_folder() -> None:
    """systemd gives it to the user of whichever was started last."""
    folders = [folder for name in UNITS for folder in settings(name, "RuntimeDirectory")]
    assert sorted(folders) == [
        "netpunch",
        "netpunch-apply",
        "netpunch-control",
        "netpunch-once/%i",
    ]


@needs_systemd
def test_systemd_can_wait_for_a_reload(units: Path) -> None:
    drop_ins = units / f"{SERVICE}.d"
    drop_ins.mkdir()
    text = (CONTRIB / "notify-reload.conf").read_text(encoding="utf-8")
    text = text.replace(f"ExecReload={INSTALLED} ", f"ExecReload={STAND_IN} ")
    (drop_ins / "notify-reload.conf").write_text(text, encoding="utf-8")
    complaint = verify(units / SERVICE)
    if systemd_version() >= NOTIFY_RELOAD_SYSTEMD:
        assert complaint == ""
    else:
        assert re.search(r"Failed to parse (service type|Type=)", complaint), complaint
    assert settings("notify-reload.conf", "Type") == ["notify-reload"]
    signal, check = settings("notify-reload.conf", "ExecReload")
    assert signal == "", "systemd sends it itself"
    assert check == settings(SERVICE, "ExecReload")[-1] == settings(CONTROL, "ExecReload")[-1]


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="needs systemd-sysusers")
def test_systemd_sysusers_accepts_the_user(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    done = run("systemd-sysusers", f"--root={tmp_path}", str(CONTRIB / "netpunch.sysusers"))
    assert done.returncode == 0, done.stderr
    (user,) = settings(SERVICE, "User")
    assert (tmp_path / "etc" / "passwd").read_text().startswith(f"{user}:")


def test_an_absent_partner_does_not_fail_the_once_service() -> None:
    (code,) = settings(ONCE, "SuccessExitStatus")
    assert int(code) == NotLinkedError.exit_code


def test_the_timer_keeps_both_ends_in_step() -> None:
    name = "netpunch-once@.timer"
    assert settings(name, "OnUnitInactiveSec") == ["30s"]
    assert settings(name, "AccuracySec") == ["1s"]
    assert settings(name, "RandomizedDelaySec") == []


def test_the_cron_line_is_one_of_the_system_table() -> None:
    line = cron_line()
    assert line["when"].split() == ["*"] * 5
    assert line["user"] == "root"
    assert "%" not in line["command"]


@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock")
def test_the_cron_line_runs_one_netpunch_at_a_time(tmp_path: Path) -> None:
    lock, calls = tmp_path / "lock", tmp_path / "calls"
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in {"netpunch": f'echo "$*" >>{calls}', "logger": "cat >/dev/null"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    command = cron_line()["command"].replace("/run/netpunch.lock", str(lock))
    assert str(lock) in command
    line = f"PATH={programs}:$PATH; {command}"
    run("sh", "-c", line)
    run("flock", str(lock), "sh", "-c", line)  # somebody else holds the lock meanwhile
    (call,) = calls.read_text().splitlines()
    subcommand, *arguments = call.split()
    assert subcommand == "run"
    assert parse("netpunch run", arguments).only == ["once"]


# Root acts on what another user has written.

PRINT_ALL = ("sh", "-c", "env | grep -v ^PWD= | sort; echo $#", "name")


def apply(file: Path, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(CONTRIB / "netpunch-apply"), str(file), *argv],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=COMMAND_SECONDS,
        env={"PATH": os.environ["PATH"], "SECRET_OF_ROOT": "x"} | environ,
    )


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    path = tmp_path / "p.a.env"
    local, remote = Address("::", 5000), Address("2001:db8::7", 6000)
    write_env_file(path, link_variables("p", "a", local, remote, rfc3339(0.0)))
    return path


def test_the_path_unit_leads_to_the_action() -> None:
    (watched,) = settings("netpunch-apply@.path", "PathChanged")
    (folder,) = settings(SERVICE, "RuntimeDirectory")
    assert watched == f"/run/{folder}/%i.env"
    assert settings(APPLY, "ConditionPathExists") == [watched]
    assert settings(APPLY, "ExecStart") == [f"{INSTALLED_APPLY} {watched} /etc/netpunch/apply %i"]
    assert settings(APPLY, "User") == []
    assert settings(APPLY, "EnvironmentFile") == []


def test_the_action_gets_the_variables_and_nothing_else(env_file: Path) -> None:
    done = apply(env_file, *PRINT_ALL, "p.a", RUNTIME_DIRECTORY="/run/netpunch-apply")
    assert done.returncode == 0, done.stderr
    *variables, count = done.stdout.splitlines()
    assert sorted(
        [*env_file.read_text().splitlines(), "RUNTIME_DIRECTORY=/run/netpunch-apply"]
    ) == [line for line in sorted(variables) if not line.startswith(("PATH=", "SHLVL=", "_="))]
    assert count == "1"


@pytest.mark.parametrize(
    "line",
    [
        "LD_PRELOAD=/run/netpunch/evil.so",
        "PATH=/run/netpunch",
        "NETPUNCH_RADDR=$(reboot)",
        "NETPUNCH_RADDR=1 LD_PRELOAD=/x",
        "NETPUNCH_RADDR=1\tLD_PRELOAD=/x",
        "NETPUNCH_RADDR='1'",
        "NETPUNCH_RADDR=\xe4",
        "NETPUNCH_RADDR",
        "-u PATH",
        " ",
    ],
)
def test_the_action_refuses_an_env_file_with_any_other_line(env_file: Path, line: str) -> None:
    with env_file.open("a") as file:
        file.write(line + "\n")
    done = apply(env_file, "touch", str(env_file.parent / "done"))
    assert done.returncode == ConfigurationError.exit_code
    assert "expected lines NETPUNCH_NAME=VALUE only" in done.stderr
    assert not (env_file.parent / "done").exists()


def test_brackets_in_an_env_file_are_not_expanded_as_patterns(env_file: Path) -> None:
    (env_file.parent / "NETPUNCH_RADDR=a").touch()
    env_file.write_text("NETPUNCH_RADDR=[a]\n")
    done = subprocess.run(
        [str(CONTRIB / "netpunch-apply"), str(env_file), "env"],
        capture_output=True,
        text=True,
        check=True,
        cwd=env_file.parent,
        timeout=COMMAND_SECONDS,
    )
    assert "NETPUNCH_RADDR=[a]\n" in done.stdout


def test_the_action_reveals_nothing_of_a_secret_that_the_env_file_links_to(env_file: Path) -> None:
    secret = env_file.with_name("secret")
    secret.write_text("root:$6$salt$hash\n")
    env_file.unlink()
    env_file.symlink_to(secret)
    done = apply(env_file, "true")
    assert done.returncode == ConfigurationError.exit_code
    assert "hash" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "the file is empty"), ("NETPUNCH_A=" + 4096 * "x", "expected at most 4096 bytes")],
)
def test_the_action_refuses_an_env_file_of_the_wrong_size(
    env_file: Path, content: str, message: str
) -> None:
    env_file.write_text(content)
    done = apply(env_file, "true")
    assert done.returncode == ConfigurationError.exit_code
    assert message in done.stderr


def test_the_action_fails_without_an_env_file(tmp_path: Path) -> None:
    assert apply(tmp_path / "none.env", "true").returncode == MissingFileError.exit_code


def test_the_action_without_a_program_is_a_usage_error(env_file: Path) -> None:
    assert apply(env_file).returncode == UsageError.exit_code


def test_the_action_s_failure_is_the_service_s(env_file: Path) -> None:
    assert apply(env_file, "sh", "-c", "exit 3").returncode == 3


def test_the_action_runs_again_for_a_link_that_came_meanwhile(env_file: Path) -> None:
    """systemd misses the change: a path unit is not watched while its service runs."""
    script = """
        echo "$NETPUNCH_RADDR"
        [ "$NETPUNCH_RADDR" = new ] || echo NETPUNCH_RADDR=new >"$1"
    """
    env_file.write_text("NETPUNCH_RADDR=old\n")
    done = apply(env_file, "sh", "-c", script, "name", str(env_file))
    assert (done.returncode, done.stdout) == (0, "old\nnew\n"), done.stderr


def test_a_link_that_ended_meanwhile_does_not_fail_the_action(env_file: Path) -> None:
    assert apply(env_file, "rm", str(env_file)).returncode == 0


def as_service(name: str, groups: dict[str, int]) -> list[str]:
    """The beginning of a command line that gives a program the rights of a service of root:
    its bounding set and its groups."""
    (bound,) = settings(name, "CapabilityBoundingSet")
    kept = [f"+{capability.removeprefix('CAP_').lower()}" for capability in bound.split()]
    supplementary = [str(groups[name]) for name in settings(name, "SupplementaryGroups")]
    return [
        "setpriv",
        f"--bounding-set={','.join(['-all', *kept])}",
        f"--groups={','.join(supplementary)}" if supplementary else "--clear-groups",
        "--no-new-privs",
    ]


@needs_root
def test_the_action_s_service_can_read_the_env_file(tmp_path: Path) -> None:
    """Which belongs to another user, is closed to all others, and lies in that user's folder."""
    tmp_path.chmod(0o755)
    folder = tmp_path / "netpunch"
    folder.mkdir()
    env_file = folder / "p.a.env"
    env_file.write_text("NETPUNCH_PAIR=p\n")
    env_file.chmod(ENV_FILE_MODE)
    for path in (folder, env_file):
        os.chown(path, OWNER, OWNER)
    (group,) = settings(SERVICE, "User")
    stranger, member = (as_service(APPLY, {group: number}) for number in (OTHER, OWNER))
    assert run(*stranger, "cat", str(env_file)).returncode != 0, "the test is without capabilities"
    program = run("cat", str(CONTRIB / "netpunch-apply")).stdout
    done = run(*member, "sh", "-c", program, "netpunch-apply", str(env_file), "env")
    assert done.returncode == 0, done.stderr
    assert "NETPUNCH_PAIR=p" in done.stdout


def test_openvpn_reads_what_the_action_writes(tmp_path: Path) -> None:
    """After the `sed` of the set-up notes, because the action writes another file than the hook."""
    notes = "\n".join(line.removeprefix("#").strip() for line in lines_of("netpunch-apply@.path"))
    (script,) = re.findall(r"^sed -i (\S+) ", notes, re.MULTILINE)
    drop_in = "openvpn-client@.service.d/netpunch.conf"
    assert settings(drop_in, "EnvironmentFile") == [ENV_FILE_OF_ONCE.replace("{pair}", "%i")]
    changed = run("sed", script, str(CONTRIB / drop_in)).stdout
    (folder,) = settings(APPLY, "RuntimeDirectory")
    assert f"\nEnvironmentFile=/run/{folder}/%i.env\n" in changed
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text(f'#!/bin/sh\necho "$*" >{tmp_path}/calls\n')
    (programs / "systemctl").chmod(0o755)
    env_file = tmp_path / "p.a.env"
    env_file.write_text("NETPUNCH_PAIR=p\nNETPUNCH_RADDR=[2001:db8::7]:6000\n")
    action = str(CONTRIB / "apply-openvpn")
    done = apply(
        env_file,
        *(action, "p.a"),
        RUNTIME_DIRECTORY=str(tmp_path / "run"),
        PATH=f"{programs}:{os.environ['PATH']}",
    )
    assert done.returncode != 0, "it fails where it cannot write"
    (tmp_path / "run").mkdir()
    done = apply(
        env_file,
        *(action, "p.a"),
        RUNTIME_DIRECTORY=str(tmp_path / "run"),
        PATH=f"{programs}:{os.environ['PATH']}",
    )
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "run" / "p.env").read_text().splitlines()
    assert sorted(written) == sorted(env_file.read_text().splitlines())
    assert (tmp_path / "calls").read_text() == "--no-block restart openvpn-client@p.service\n"


# A control in a container.


def containerfile(instruction: str) -> list[str]:
    """The arguments of its lines."""
    lines = lines_of("Containerfile")
    return [line.removeprefix(f"{instruction} ") for line in lines if line.startswith(instruction)]


def test_the_container_runs_control_and_is_not_root() -> None:
    (program,), arguments = (
        json.loads(line) for each in ("ENTRYPOINT", "CMD") for line in containerfile(each)
    )
    assert [program, arguments[0]] == [INSTALLED, "run"]
    options = parse("netpunch run", arguments[1:])
    assert (options.file, options.only) == ("/etc/netpunch/site.yaml", ["control"])
    (user,) = containerfile("USER")
    assert int(user.split(":")[0]) > 0


def test_the_container_is_built_from_what_there_is() -> None:
    sources = [line.split()[:-1] for line in containerfile("COPY") if "--from" not in line]
    assert [
        source for each in sources for source in each if not (CONTRIB.parent / source).exists()
    ] == []
    build = "RUN /source/contrib/build-deb /"
    assert build in lines_of("Containerfile")


# What the set-up notes say.


@pytest.mark.parametrize(
    "name", [CONTROL, SERVICE, ONCE, "netpunch-apply@.path", "netpunch.sysusers"]
)
def test_the_install_notes_name_existing_files(name: str) -> None:
    notes = "\n".join(line for line in lines_of(name) if line.startswith("#"))
    named = re.findall(r"\bcontrib/[\w@./-]*\w", notes)
    assert named
    for path in named:
        assert (CONTRIB.parent / path).exists(), path


@pytest.mark.parametrize("name", ["netpunch-once@.service", "hooks/openvpn"])
def test_the_env_file_of_once_lies_in_its_own_folder(name: str) -> None:
    (folder,) = settings(ONCE, "RuntimeDirectory")
    assert ENV_FILE_OF_ONCE.startswith(f"/run/{folder.replace('%i', '{pair}')}/")
    assert f'env_file: "{ENV_FILE_OF_ONCE}"' in (CONTRIB / name).read_text(encoding="utf-8")


# The hook for WireGuard as a check: what `wg` and `ping` say is given.

WG = """#!/bin/sh
case $3 in
peers) echo KEY ;;
latest-handshakes) echo "KEY $(($(date +%s) - AGE))" ;;
allowed-ips) echo "KEY 10.9.0.2/32" ;;
esac
"""


@pytest.mark.parametrize(
    ("age", "pings", "alive"),
    [
        (0, False, True),
        (130, False, True),
        (200, False, False),
        (200, True, True),
        (-10, False, False),
        (-3600, False, False),
        (-3600, True, True),
    ],
)
def test_the_wireguard_check_passes_by_a_recent_handshake_or_a_ping(
    age: int, pings: bool, alive: bool, tmp_path: Path
) -> None:
    """A handshake in the future: the clock was set back, which says nothing of the tunnel."""
    for name, script in {"wg": WG, "ping": f"#!/bin/sh\nexit {int(not pings)}\n"}.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [str(CONTRIB / "hooks" / "wireguard"), "wg0"],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=COMMAND_SECONDS,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "AGE": str(age)},
    )
    assert (done.returncode == 0) is alive, done.stderr


# The same hook where WireGuard keeps its port: what it tells `wg` is recorded.

TOLD_WG = """#!/bin/sh
[ "$2" = wg0 ] || exit 1
case "$1 $3" in
"show peers") printf 'KEY=\\nOTHER=\\n' ;;
"show latest-handshakes") echo "KEY= $HANDSHAKE" ;;
"show preshared-keys") echo "KEY= (none)" ;;
"show allowed-ips") echo "KEY= 10.9.0.2/32 fd00::2/128" ;;
set*) cat >/dev/null; echo "$*" >>"$TOLD" ;;
esac
"""
POINTED = "set wg0 peer KEY= preshared-key /dev/stdin endpoint 192.0.2.7:51820"
MADE = (
    "set wg0 peer KEY= remove peer KEY= preshared-key /dev/stdin "
    "allowed-ips 10.9.0.2/32,fd00::2/128 persistent-keepalive 15"
)
STARTED = f"{MADE} endpoint 192.0.2.7:51820"


@pytest.mark.parametrize(
    ("event", "end", "is_live", "told"),
    [
        ("before", "a", False, []),
        ("up", "a", False, [STARTED]),
        ("up", "b", False, [MADE, STARTED]),
        ("up", "a", True, [POINTED]),
        ("up", "b", True, [POINTED]),
        ("moved", "a", False, [POINTED]),
        ("moved", "b", True, [POINTED]),
        ("down", "a", True, []),
        ("fail", "b", False, []),
    ],
)
def test_the_wireguard_hook_points_a_peer_at_its_partner(
    event: str, end: str, is_live: bool, told: list[str], tmp_path: Path
) -> None:
    """A live tunnel is not made anew: what is under way in it goes on."""
    done = share_hook(tmp_path, event, end, is_live, NETPUNCH_PARTNER_WIREGUARD_KEY="KEY=")
    assert done.returncode == 0, done.stderr
    calls = tmp_path / "told"
    assert (calls.read_text().splitlines() if calls.exists() else []) == told


def test_the_wireguard_hook_needs_no_interface_before_there_is_a_link(tmp_path: Path) -> None:
    """At boot netpunch may be there first."""
    assert share_hook(tmp_path, "before", "a", False, interface="wg1").returncode == 0
    assert share_hook(tmp_path, "up", "a", False, interface="wg1").returncode != 0


@pytest.mark.parametrize(
    ("key", "complaint"),
    [({}, "several peers"), ({"NETPUNCH_PARTNER_WIREGUARD_KEY": "NEW="}, "has no peer NEW=")],
)
def test_the_wireguard_hook_says_what_the_interface_lacks(
    key: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    done = share_hook(tmp_path, "up", "a", False, **key)
    assert done.returncode != 0
    assert complaint in done.stderr


def share_hook(
    folder: Path,
    event: str,
    end: str,
    is_live: bool,
    *,
    interface: str = "wg0",
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    (folder / "wg").write_text(TOLD_WG)
    (folder / "wg").chmod(0o755)
    return subprocess.run(
        [str(CONTRIB / "hooks" / "wireguard"), interface],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=COMMAND_SECONDS,
        env={
            "PATH": f"{folder}:{os.environ['PATH']}",
            "TOLD": str(folder / "told"),
            "HANDSHAKE": str(int(time.time()) if is_live else 0),
            "NETPUNCH_SHARE": "1",
            "NETPUNCH_EVENT": event,
            "NETPUNCH_END": end,
            "NETPUNCH_LPORT": "51820",
            "NETPUNCH_RADDR": "192.0.2.7:51820",
            **variables,
        },
    )


def test_the_service_that_keeps_links_may_share_ports() -> None:
    for key in ("AmbientCapabilities", "CapabilityBoundingSet"):
        (capabilities,) = settings(SERVICE, key)
        assert {"CAP_NET_RAW", "CAP_NET_ADMIN"} <= set(capabilities.split())


@pytest.mark.parametrize("file", WIREGUARD_RECIPES, ids=lambda file: file.name)
def test_every_recipe_of_wireguard_gives_the_mtu(file: Path) -> None:
    """wg-quick would take it from the route to the endpoint, which is loopback with `forward`."""
    assert "MTU = 1420" in file.read_text()
