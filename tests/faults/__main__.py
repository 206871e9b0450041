"""Provokes one fault and prints all that the processes say: `python -m tests.faults NAME`."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.faults.bench import FIRST_COMPLAINT, provoke
from tests.faults.loopback import PROVOKED, LoopbackScene
from tests.faults.table import WITHIN

with ExitStack() as cleanup:
    scenes = {}
    for name in sys.argv[1:] or PROVOKED:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        scenes[name] = LoopbackScene(folder, cleanup)
    provoke(scenes, PROVOKED)
    time.sleep(WITHIN)
    for name, scene in scenes.items():
        print(f"\n== {name}")
        for (command, node), process in scene.processes.items():
            complaint = FIRST_COMPLAINT[command](process, 0.1)
            print(f"-- {command} at {node}: {complaint}\n{process.transcript}")
