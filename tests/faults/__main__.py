"""Provokes faults and prints all that the processes say: `python -m tests.faults [NAME...]`."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.faults import loopback, networks
from tests.faults.bench import FIRST_COMPLAINT, Scene, provoke
from tests.faults.table import WITHIN
from tests.lab.network import Lab

names = sys.argv[1:] or [*loopback.PROVOKED, *networks.PROVOKED]
scenes: dict[str, Scene] = {}
with ExitStack() as cleanup:
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
    for number, name in enumerate(name for name in names if name in loopback.PROVOKED):
        (folder / str(number)).mkdir()
        scenes[name] = loopback.LoopbackScene(folder / str(number), cleanup)
    of_network = [name for name in names if name in networks.PROVOKED]
    if of_network:
        lab = cleanup.enter_context(Lab(ipv6=True))
        scenes |= networks.scenes(lab, folder, cleanup, of_network)
    provoke(scenes, loopback.PROVOKED | networks.PROVOKED)
    time.sleep(WITHIN)
    for name, scene in scenes.items():
        print(f"\n== {name}")
        for (command, node), process in scene.processes.items():
            complaint = FIRST_COMPLAINT[command](process, 0.1)
            print(f"-- {command} at {node}: {complaint}\n{process.transcript}")
