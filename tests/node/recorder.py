"""Services that record in memory what parts of a process report."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from netpunch.config.loading import load, select
from netpunch.config.model import EndConfig, Part, Site
from netpunch.node.services import Services
from netpunch.output.console import Console
from netpunch.output.journal import Journal

Record = dict[str, Any]

CONTROL = {"address": "127.0.0.1:20001", "listen": "127.0.0.1:20001"}


class Recorder:
    """The events (as JSON objects) and the lines for people of `services`."""

    def __init__(self, *, trace: bool = False) -> None:
        self.records: list[Record] = []
        self.said: list[str] = []
        self._came = asyncio.Event()
        self.services = Services(Journal(self._take_record), Console(self._take_text), trace=trace)

    def of(self, event: str) -> list[Record]:
        """The records of one event, without their stamps."""
        stamp = ("v", "ts", "seq", "run", "event")
        return [
            {name: value for name, value in record.items() if name not in stamp}
            for record in self.records
            if record["event"] == event
        ]

    def events(self) -> list[str]:
        return [record["event"] for record in self.records]

    async def wait_for(self, event: str, count: int = 1) -> Record:
        """The `count`-th record of an event, once it is there."""
        while len(self.of(event)) < count:
            self._came.clear()
            await self._came.wait()
        return self.of(event)[count - 1]

    def _take_record(self, line: bytes) -> bool:
        self.records.append(json.loads(line))
        self._came.set()
        return True

    def _take_text(self, text: bytes) -> bool:
        self.said += text.decode().splitlines()
        return True


def site_with(folder: Path, pairs: Record, **rest: Any) -> tuple[Site, Part]:
    """A site file, loaded, and the part of it that `node` runs."""
    node = rest.pop("node", None)
    described = {"version": 1, "control": CONTROL, "pairs": pairs} | rest
    (folder / "site.yaml").write_text(json.dumps(described, indent=1))  # which is YAML, too
    site = load(folder / "site.yaml")
    return site, select(site, node, "nowhere", None)


def named(end: EndConfig, pair: str) -> EndConfig:
    """The end as one of another pair."""
    return end._replace(settings=end.settings._replace(pair=pair))


def end_with(folder: Path, **settings: Any) -> EndConfig:
    """End a of a pair `p` with such settings. What the ends must agree on, b has, too."""
    own = {"local": "127.0.0.1:0"} | settings
    shared = {name: own.pop(name) for name in ("mode", "check", "command") if name in own}
    pair = shared | {"secret": "generate", "a": own, "b": {"enabled": False}}
    _, part = site_with(folder, {"p": pair})
    return part.ends[0]
