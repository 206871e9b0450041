#!/usr/bin/env python3
"""A control node for more pairs than one site file holds: one key file a pair, no site file.

    control_of_keys.py FOLDER [LISTEN ...]

FOLDER has mode 0700 and holds PAIR.key for each pair, as `netpunch key control PAIR PAIRS_FILE -o
FOLDER/PAIR.key` makes it (npc1:). It listens on :10001 and, to tell how NATs map, on :10002. After
a change of the folder it is restarted: ends have another control meanwhile, and held links need
none.
"""

import asyncio
import sys
from pathlib import Path

import netpunch
from netpunch.config.secrets import parse_key
from netpunch.net.loop import run


def control_keys(folder: Path) -> dict[str, bytes]:
    """The keys by pair. Raises ValueError, which names the file, for what is no control key."""
    if folder.stat().st_mode & 0o077:
        raise ValueError(f"others may enter {folder}: `chmod 700 {folder}`")
    keys = {}
    for path in folder.glob("*.key"):
        try:
            key = parse_key(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if key.kind != "control":
            raise ValueError(f"{path}: a control must not have a pair's own key (npk1:)")
        keys[path.stem] = key.value
    return keys


def tell(addresses: list[netpunch.Address]) -> None:
    sys.stdout.write(f"listening on {', '.join(map(str, dict.fromkeys(addresses)))}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    folder, *listen = sys.argv[1:]
    try:
        pairs = control_keys(Path(folder))
        run(
            netpunch.serve_control(
                listen=listen or [":10001", ":10002"], pairs=pairs, on_ready=tell
            )
        )
    except (ValueError, OSError, netpunch.NetpunchError) as error:
        sys.exit(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
