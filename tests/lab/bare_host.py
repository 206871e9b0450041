"""A host of its own, as far as netpunch, WireGuard and their commands see."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.lab.namespace import Namespace
from tests.lab.program import REPOSITORY
from tests.lab.vpn_tunnels import WIREGUARD_SOCKETS

COMMAND_SECONDS = 20
RUN_SECONDS = 120
"""Nothing outlives a test that was killed for longer."""
COMMAND = re.compile("^   (netpunch (?!doctor)|ssh |wg-quick |ping ).+$", re.MULTILINE)
"""Not what `init` names for a pair that does not link."""
ETC = Path("/etc/netpunch")

NETPUNCH = f"""#!/bin/sh
PYTHONPATH={REPOSITORY} exec {sys.executable} -m netpunch "$@"
"""
HOST = """
set -e
hostname {name}
for each in {needed}; do
  [ ! -e "/etc/$each" ] || cp -a "/etc/$each" {folder}/system
done
mount --bind {folder}/system /etc
mount --bind {folder}/etc {etc}
mount --bind {folder}/wireguard {sockets}
echo $$ >{folder}/pid.new
mv {folder}/pid.new {folder}/pid
exec sleep 120
"""
"""A host of its own, as far as netpunch and WireGuard see: a name, an /etc, and the folder of
wireguard-go's sockets, which lie outside of network namespaces."""
NEEDED = "alternatives group hosts ld.so.cache nsswitch.conf passwd"
"""What programs need of /etc. A mount at the machine's own /etc/netpunch would end when another
test removes that."""


class BareHost:
    """A host with nothing of netpunch but the program."""

    def __init__(
        self,
        name: str,
        namespace: Namespace,
        folder: Path,
        cleanup: ExitStack,
        *,
        tools: Path,
    ) -> None:
        """`tools` is a folder of commands."""
        self.name = name
        self.folder = folder / name
        self._path = f"{tools}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self._cleanup = cleanup
        for each in ("etc", "wireguard", f"system/{ETC.name}"):
            (self.folder / each).mkdir(parents=True)
        script = HOST.format(
            name=name,
            folder=self.folder,
            etc=ETC,
            needed=NEEDED,
            sockets=WIREGUARD_SOCKETS,
        )
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


def await_line(process: subprocess.Popen[str], text: str) -> bool:
    """Whether it printed a line with this text; False if it ended before."""
    assert process.stdout is not None
    return any(text in line for line in process.stdout)
