"""Sites to run: a folder with a file, its keys and its hooks."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from netpunch.config.secrets import Secret, format_key
from tests.e2e.harness import EVENT_SECONDS, Netpunch, free_port

Settings = dict[str, Any]

PROTOCOLS: dict[str, Settings] = {"v2": {}, "classic": {"protocol": "classic", "slots": "c-d"}}

POLL_SECONDS = 0.01
"""Between reads of a file that hooks write, whose changes cannot be awaited."""

OCCASIONS = ("before", "up", "down", "fail")
LOGGING_HOOK = """#!/bin/sh
echo "$NETPUNCH_EVENT $NETPUNCH_PAIR $NETPUNCH_END $NETPUNCH_REASON" >> hooks.log
"""
"""A hook that logs which hook it is; the test adds what follows."""


class Site:
    """A site file in a folder of its own, and the processes that run it.

    Its control is on loopback at `port`. By default nothing names a node."""

    def __init__(self, folder: Path, programs: ExitStack) -> None:
        self.folder = folder
        self.file = folder / "site.yaml"
        self.port = free_port()
        self.runtime = {"RUNTIME_DIRECTORY": str(folder)}
        """The environment of the one process whose status is asked for."""
        self._programs = programs

    def write(
        self,
        pairs: Settings,
        *,
        control: Settings | list[Settings] | None = None,
        process: Settings | None = None,
        **defaults: Any,
    ) -> None:
        """The whole file; `control` and `defaults` replace what is set here, pairs without `a` or
        `b` get empty ones. `process`: keys of the file itself."""
        address = f"127.0.0.1:{self.port}"
        if not isinstance(control, list):
            control = {"address": address, "listen": address} | (control or {})
        site = {
            "version": 1,
            "control": control,
            "defaults": {"local": "127.0.0.1:0", "deadline": "20s"} | defaults,
            "pairs": {name: {"a": {}, "b": {}} | pair for name, pair in pairs.items()},
            **(process or {}),
        }
        self.file.write_text(json.dumps(site, indent=1))  # which is YAML, too

    def write_nodes(
        self, pair: Settings | None = None, *, control: Settings | None = None, **defaults: Any
    ) -> None:
        """A pair `p` between the nodes `home` and `office`, with its control on `vps`."""
        pair = pair or {}
        ends = {
            "a": {"node": "home"} | pair.get("a", {}),
            "b": {"node": "office"} | pair.get("b", {}),
        }
        if not (self.folder / "p.key").exists():
            self.write_key("p.key")
        pairs = {"p": {"secret_file": "p.key"} | pair | ends}
        self.write(pairs, control={"node": "vps"} | (control or {}), **defaults)

    def write_key(self, name: str) -> str:
        """Write a new pair key to a file; returns its text."""
        text = format_key(Secret("pair", os.urandom(32)))
        self.write_file(name, text + "\n", 0o600)
        return text

    def write_file(self, name: str, text: str | bytes, mode: int = 0o644) -> None:
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)

    def write_hook(self, name: str = "hook", then: str = "") -> list[str]:
        """A hook that logs which hook it is, then runs `then`; returns its argv."""
        self.write_file(name, LOGGING_HOOK + then + "\n", 0o755)
        return [f"./{name}"]

    def hooks(self, **then: str) -> dict[str, list[str]]:
        """All hooks; `then` of some of them."""
        return {name: self.write_hook(f"hook-{name}", then.get(name, "")) for name in OCCASIONS}

    def hook_log(self) -> list[str]:
        """The hooks that ran, one a line."""
        path = self.folder / "hooks.log"
        return path.read_text().splitlines() if path.exists() else []

    def wait_for_hooks(self, *wanted: str, count: int = 1) -> None:
        """Wait until the log has all of these lines, each so many times."""
        deadline = time.monotonic() + EVENT_SECONDS
        while any(self.hook_log().count(line) < count for line in wanted):
            assert time.monotonic() < deadline, f"no {wanted}, but {self.hook_log()}"
            time.sleep(POLL_SECONDS)

    def run(self, *options: str, **how: Any) -> Netpunch:
        """Start `netpunch run` with the file; it is ended with the test."""
        return self.start("run", str(self.file), *options, **how)

    def run_node(self, node: str, *options: str, **how: Any) -> Netpunch:
        return self.run("--node", node, *options, **how)

    def start(self, *arguments: str, **how: Any) -> Netpunch:
        """Run any command of netpunch."""
        program = Netpunch(*arguments, **how)
        self._programs.callback(program.close)
        return program

    def status(self) -> dict[str, Any]:
        """Of the process that has `runtime` as its environment, as JSON."""
        asked = self.start("status", "--json", str(self.folder / "status.sock"), text=True)
        asked.wait_exit()
        record: dict[str, Any] = json.loads(asked.lines[0])
        return record

    def reload(self, program: Netpunch) -> None:
        """Send SIGHUP and wait until the reload is done."""
        count = len(program.events("run.reload"))
        program.signal(signal.SIGHUP)
        program.wait_for("run.reload", count + 1)
