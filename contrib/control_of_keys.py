#!/usr/bin/env python3
"""A control node for more pairs than one site file holds: one key file a pair, no site file.

    control_of_keys.py FOLDER [LISTEN ...]

FOLDER has mode 0700 and holds PAIR.key for each pair, as `netpunch key control PAIR PAIRS_FILE -o
FOLDER/PAIR.key` makes it (npc1:). LISTEN defaults to :10001 and :10002; the second port shows how
NATs map. Restart the program after a change of the folder: meanwhile ends use another control, and
held links need none.
"""

import asyncio
import sys
from pathlib import Path

import netpunch


def control_keys(folder: Path) -> dict[str, str]:
    """The texts of the keys by pair. Raises ValueError, which names the file, for a pair's key."""
    if folder.stat().st_mode & 0o077:
        raise ValueError(f"others may enter {folder}: `chmod 700 {folder}`")
    keys = {path.stem: path.read_text(errors="replace") for path in folder.glob("*.key")}
    for pair, key in keys.items():
        if key.lstrip().startswith("npk1:"):
            path = folder / f"{pair}.key"
            raise ValueError(f"{path}: a control must not have a pair's own key (npk1:)")
    return keys


def announce(addresses: list[netpunch.Address]) -> None:
    sys.stdout.write(f"listening on {', '.join(map(str, dict.fromkeys(addresses)))}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    folder, *listen = sys.argv[1:]
    try:
        pairs = control_keys(Path(folder))
        listen = listen or [":10001", ":10002"]
        netpunch.run(netpunch.serve_control(listen=listen, pairs=pairs, on_ready=announce))
    except (ValueError, OSError, netpunch.NetpunchError) as error:
        sys.exit(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
