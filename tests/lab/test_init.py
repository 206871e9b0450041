"""From three bare hosts to a ping through a VPN, by the commands that `netpunch init` and `join`
print, and no others."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.lab.namespace import Namespace
from tests.lab.network import Lab
from tests.lab.program import REPOSITORY
from tests.lab.vpn_site import UPLINK_SECONDS
from tests.lab.vpn_tunnels import WIREGUARD_SOCKETS, missing

pytestmark = pytest.mark.lab

CONTROL_NAME = "vps.example.net"
COMMAND_SECONDS = 20
RUN_SECONDS = 40
MACHINE_SECONDS = 10.0
"""For everything that people do not do: from the first command to the first answer."""
COMMAND = re.compile("^   (netpunch|ssh|wg-quick|ping) .+$", re.MULTILINE)
ETC = Path("/etc/netpunch")

NETPUNCH = f"""#!/bin/sh
PYTHONPATH={REPOSITORY} exec {sys.executable} -m netpunch "$@"
"""
SSH = """#!/bin/sh
host=$1
shift
exec nsenter --target "$(cat {folder}/$host/pid)" --mount --net --uts -- "$@"
"""
HOST = """
set -e
hostname {name}
mount --bind {folder}/etc {etc}
mount --bind {folder}/wireguard {sockets}
echo $$ >{folder}/pid.new
mv {folder}/pid.new {folder}/pid
exec sleep 60
"""
"""A host of its own, as far as netpunch and WireGuard see: a name, /etc/netpunch, and the folder of
wireguard-go's sockets, which lie outside of network namespaces."""


class BareHost:
    """A host with nothing of netpunch but the program."""

    def __init__(
        self, name: str, namespace: Namespace, folder: Path, tools: Path, cleanup: ExitStack
    ) -> None:
        self.name = name
        self.folder = folder / name
        self._path = f"{tools}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self._cleanup = cleanup
        for each in ("etc", "wireguard"):
            (self.folder / each).mkdir(parents=True)
        script = HOST.format(name=name, folder=self.folder, etc=ETC, sockets=WIREGUARD_SOCKETS)
        argv = namespace.command("unshare", "--mount", "--uts", "sh", "-c", script)
        holder = subprocess.Popen(argv)
        cleanup.callback(holder.wait)
        cleanup.callback(holder.kill)
        self._pid = self.folder / "pid"
        deadline = time.monotonic() + COMMAND_SECONDS
        while not self._pid.exists() and time.monotonic() < deadline:
            assert holder.poll() is None
            time.sleep(0.01)  # it is another program's, and has no event

    def run(self, command: str) -> list[str]:
        """Run a command to its end; returns the commands that it prints."""
        argv = self._argv(command)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_SECONDS)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return [found[0].strip() for found in COMMAND.finditer(done.stdout)]

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start a command that runs on, but not for ever."""
        with (self.folder / "stderr").open("a") as errors:
            process = subprocess.Popen(
                self._argv(f"timeout {RUN_SECONDS} {command}"),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._cleanup.enter_context(process)  # waits for it
        self._cleanup.callback(process.terminate)
        return process

    def said(self) -> str:
        errors = self.folder / "stderr"
        return f"-- {self.name}:\n{errors.read_text() if errors.exists() else ''}"

    def _argv(self, command: str) -> list[str]:
        enter = ["nsenter", "--target", self._pid.read_text().strip(), "--mount", "--net", "--uts"]
        return [*enter, "env", "-i", f"PATH={self._path}", "sh", "-c", f"exec {command}"]


@pytest.fixture
def hosts(lab: Lab, tmp_path: Path) -> Iterator[dict[str, BareHost]]:
    if lack := missing():
        pytest.skip(f"the VPNs need {lack}")
    with ExitStack() as cleanup:
        tools = tmp_path / "tools"
        tools.mkdir()
        for name, script in {"netpunch": NETPUNCH, "ssh": SSH.format(folder=tmp_path)}.items():
            (tools / name).write_text(script)
            (tools / name).chmod(0o755)
        if not ETC.exists():
            ETC.mkdir()
            cleanup.callback(remove_empty, ETC)
        WIREGUARD_SOCKETS.mkdir(exist_ok=True)
        members = {"vps": lab.server("vps")}
        for name in ("home", "office"):
            router = lab.router(f"{name}_router", latency=UPLINK_SECONDS)
            members[name] = lab.host(name, router)
        for member in members.values():
            line = f"{members['vps'].address} {CONTROL_NAME}"
            cleanup.enter_context(member.namespace.hosts_file(line))
        yield {
            name: BareHost(name, member.namespace, tmp_path, tools, cleanup)
            for name, member in members.items()
        }


def remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


@pytest.mark.skipif(shutil.which("nsenter") is None, reason="needs nsenter")
@pytest.mark.parametrize(
    ("vpn", "most_commands"), [("wireguard-share", 12), ("wireguard-forward", 15), ("openvpn", 12)]
)
def test_the_printed_commands_lead_from_bare_hosts_to_a_ping(
    hosts: dict[str, BareHost], vpn: str, most_commands: int
) -> None:
    began = time.monotonic()
    first = f"netpunch init home-office --control {CONTROL_NAME} --partner office --vpn {vpn}"
    by_init = hosts["home"].run(first)
    count = 1 + len(by_init)
    runs: dict[str, subprocess.Popen[str]] = {}
    to_do: dict[str, list[str]] = {"vps": [], "office": [], "home": []}
    for command in by_init:
        if command.startswith("ssh "):
            to_do[command.split()[1]] = hosts["home"].run(command)
        else:
            to_do["home"].append(command)
    for name in ("vps", "office", "home"):
        for command in to_do[name]:
            if command.startswith("netpunch run "):
                runs[name] = hosts[name].start(command)
            elif not command.startswith("ping "):
                hosts[name].run(command)
    await_line(runs["home"], '"pair.up"')
    count += len(to_do["vps"]) + len([each for each in to_do["office"] if "ping" not in each])
    ping = hosts["home"].start(next(each for each in to_do["home"] if each.startswith("ping ")))
    answered = await_line(ping, "bytes from")
    assert answered, "\n".join(host.said() for host in hosts.values())
    took = time.monotonic() - began
    print(f"{vpn}: {count} commands, {took:.1f} s")
    assert count <= most_commands
    assert took <= MACHINE_SECONDS


def await_line(process: subprocess.Popen[str], text: str) -> bool:
    """Whether it printed a line with this text; False if it ended before."""
    assert process.stdout is not None
    return any(text in line for line in process.stdout)
