"""All that an examination has learnt, before it is judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from netpunch.config.model import EndConfig, Part
from netpunch.doctor import local
from netpunch.doctor.host import Unit
from netpunch.doctor.keys import Key
from netpunch.doctor.local import Process
from netpunch.doctor.measuring import Network


class Facts(NamedTuple):
    """`keys` by pair: one, or two while it is rotated. `processes` run the file; `units`: None if
    systemd told of none; `silent`: what did not answer in time."""

    keys: dict[str, tuple[Key, ...]]
    network: Network
    processes: Sequence[Process]
    units: Sequence[Unit] | None
    silent: tuple[str, ...] = ()

    def processes_of(self, part: Part) -> list[Process]:
        """Those that run some of it: another node's may run on this host, too."""
        return [
            process
            for process in self.processes
            if any(local.told_of(end, process) for end in part.ends)
            or any(local.runs_control(control.name, process) for control in part.controls)
        ]

    def process_of(self, end: EndConfig) -> Process | None:
        """The one that runs an end."""
        return next((each for each in self.processes if local.told_of(end, each)), None)

    def process_with(self, control: str) -> Process | None:
        """The one that runs a control."""
        return next((each for each in self.processes if local.runs_control(control, each)), None)
