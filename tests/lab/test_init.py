"""From three bare hosts to a ping through a VPN, by the commands that `netpunch init` and `join`
print, and no others."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.bare_host import NETPUNCH, BareHost, await_line
from tests.lab.network import Lab
from tests.lab.program import REPOSITORY
from tests.lab.vpn_site import UPLINK_SECONDS
from tests.lab.vpn_tunnels import WIREGUARD_SOCKETS, missing

pytestmark = pytest.mark.lab

CONTROL_NAME = "vps.example.net"
BESIDE_CONTROL = "end b beside control"
INSTALLS = 3
"""Commands that install netpunch, one a host."""
MACHINE_SECONDS = 10.0
"""For everything that people do not do: from the first command to the first answer."""

SSH = """#!/bin/sh
host=${{1%%.*}}
shift
exec nsenter --target "$(cat {folder}/$host/pid)" --mount --net --uts -- "$@"
"""


@pytest.fixture
def hosts(
    lab: Lab, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[dict[str, BareHost]]:
    """`home` is behind a router, and `office`, too, unless the parameter says that it has the
    network of `vps`."""
    if lack := missing():
        pytest.skip(f"the VPNs need {lack}")
    with ExitStack() as cleanup:
        tools = tmp_path / "tools"
        tools.mkdir()
        for name, script in {"netpunch": NETPUNCH, "ssh": SSH.format(folder=tmp_path)}.items():
            (tools / name).write_text(script)
            (tools / name).chmod(0o755)
        WIREGUARD_SOCKETS.mkdir(exist_ok=True)
        members = {"vps": lab.server("vps")}
        if beside_control := getattr(request, "param", None) == BESIDE_CONTROL:
            members["office"] = members["vps"]
        for name in ("home",) if beside_control else ("home", "office"):
            router = lab.router(f"{name}_router", latency=UPLINK_SECONDS)
            members[name] = lab.host(name, router)
        for member in set(members.values()):
            line = f"{members['vps'].address} {CONTROL_NAME}"
            cleanup.enter_context(member.namespace.hosts_file(line))
        yield {
            name: BareHost(name, member.namespace, tmp_path, cleanup, tools=tools)
            for name, member in members.items()
        }


def first_command() -> str:
    """What the README says to run on one of the ends."""
    lines = (REPOSITORY / "README.md").read_text().splitlines()
    [found] = [line for line in lines if line.startswith("netpunch init ")]
    return found


@pytest.mark.skipif(shutil.which("nsenter") is None, reason="needs nsenter")
@pytest.mark.parametrize("end", ["a", "b"])
@pytest.mark.parametrize(
    ("vpn", "most_commands"), [("wireguard-share", 12), ("wireguard-forward", 15), ("openvpn", 12)]
)
def test_the_printed_commands_lead_from_bare_hosts_to_a_ping(
    hosts: dict[str, BareHost], vpn: str, most_commands: int, end: str
) -> None:
    """End a is `init`'s, as the README has it, or the partner's."""
    began = time.monotonic()
    first = re.sub(r"--vpn \S+", f"--vpn {vpn}", first_command())
    assert f"--control {CONTROL_NAME}" in first
    if end == "b":
        first += " --end b"
    count = commands_to_a_ping(hosts, first)
    took = time.monotonic() - began
    print(f"{vpn}: {count} commands, {took:.1f} s")
    assert count <= most_commands
    assert took <= MACHINE_SECONDS


@pytest.mark.skipif(shutil.which("nsenter") is None, reason="needs nsenter")
@pytest.mark.parametrize("hosts", [BESIDE_CONTROL], indirect=True)
@pytest.mark.parametrize("option", ["", " --end b"], ids=["a", "b"])
def test_control_and_an_end_may_be_on_one_host(hosts: dict[str, BareHost], option: str) -> None:
    """Each in a folder of its own."""
    commands_to_a_ping(hosts, first_command() + option)


def commands_to_a_ping(hosts: dict[str, BareHost], first: str) -> int:
    """Does what is printed, until the partner answers. Returns how many commands it took."""
    by_init = hosts["home"].run(first)
    count = INSTALLS + 1 + len(by_init)
    runs: dict[str, subprocess.Popen[str]] = {}
    to_do: dict[str, list[str]] = {"vps": [], "office": [], "home": []}
    for command in by_init:
        if command.startswith("ssh "):
            to_do[command.split()[1].partition(".")[0]] = hosts["home"].run(command)
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
    return count
