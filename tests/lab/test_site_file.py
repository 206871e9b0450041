"""configs/site.yaml as it stands: three hosts, with the keys made as its head says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netpunch.address import Address
from tests.lab.datagrams import passes
from tests.lab.network import Lab
from tests.lab.program import REPOSITORY, Program

pytestmark = pytest.mark.lab

SITE = REPOSITORY / "configs" / "site.yaml"
CONTROL_NAME = "vps.example.net"
COMMAND = re.compile(r"^#   ((?:netpunch key|ssh) .+)$", re.MULTILINE)
"""A command in the file's head that makes a key; all are run at home."""
UPLINK_SECONDS = 0.02
COMMAND_SECONDS = 30
PROGRAM_AT = Address("127.0.0.1", 51820)
"""Where a host's UDP program is, and its `forward` for it, by the file."""
FORWARD_AT = Address("127.0.0.1", 51821)

NETPUNCH = f"""#!/bin/sh
PYTHONPATH={REPOSITORY} exec {sys.executable} -m netpunch "$@"
"""
SSH = """#!/bin/sh
cd "../$1" && shift && exec sh -c "$*"
"""
"""A host's folder stands for the host."""


@pytest.fixture
def cleanup(lab: Lab) -> Iterator[ExitStack]:
    """Ends before the lab does."""
    with ExitStack() as cleanup:
        yield cleanup


def make_keys(folder: Path) -> None:
    """Run the commands of the file's head, in the folder of `home`."""
    tools = folder / "tools"
    tools.mkdir()
    for name, script in {"netpunch": NETPUNCH, "ssh": SSH}.items():
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    commands = COMMAND.findall(SITE.read_text())
    assert len(commands) == 3
    for command in commands:
        subprocess.run(
            ["sh", "-c", command],
            cwd=folder / "home",
            env={"PATH": f"{tools}:/usr/bin:/bin"},
            timeout=COMMAND_SECONDS,
            check=True,
        )


def test_the_site_file_as_it_stands_links_home_and_office_and_forwards(
    lab: Lab, tmp_path: Path, cleanup: ExitStack
) -> None:
    hosts = {"vps": lab.server("vps")}
    for node in ("home", "office"):
        router = lab.router(f"{node}_router", latency=UPLINK_SECONDS)
        hosts[node] = lab.host(node, router)
    for node, host in hosts.items():
        (tmp_path / node).mkdir()
        shutil.copy(SITE, tmp_path / node)
        names = f"{hosts['vps'].address} {CONTROL_NAME}"
        cleanup.enter_context(host.namespace.hosts_file(names))
    make_keys(tmp_path)

    def start(node: str) -> Program:
        program = Program(hosts[node].namespace, tmp_path / node / SITE.name, node)
        cleanup.callback(program.close)
        return program

    start("vps").wait_for("control.ready")
    ends = [start(node) for node in ("home", "office")]
    for end in ends:
        assert end.wait_for("pair.up")["path"] == "observed"
    at_home, in_office = (
        cleanup.enter_context(hosts[node].namespace.udp_socket(*PROGRAM_AT))
        for node in ("home", "office")
    )
    for sender, receiver in ((at_home, in_office), (in_office, at_home)):
        assert passes(sender, FORWARD_AT, receiver) == FORWARD_AT
    assert [end.terminate() for end in ends] == [0, 0]
