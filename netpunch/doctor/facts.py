"""All that an examination has learnt, before it is judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from netpunch.config.model import EndConfig
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

    @property
    def any_process(self) -> Process | None:
        return next(iter(self.processes), None)

    def process_of(self, end: EndConfig) -> Process | None:
        """The one that runs an end."""
        return next((each for each in self.processes if local.told_of(end, each)), None)

    def process_with(self, control: str) -> Process | None:
        """The one that runs a control."""
        return next((each for each in self.processes if local.runs_control(control, each)), None)
