#!/usr/bin/env python3
"""A control node for more pairs than one site file holds: one key file a pair, no site file.

    control_of_keys.py FOLDER [LISTEN ...]

FOLDER has mode 0700 and holds PAIR.key for each pair, as `netpunch key control PAIR PAIRS_FILE -o
FOLDER/PAIR.key` makes it (npc1:). LISTEN defaults to :10001; the port after it shows how NATs map.
On SIGHUP the program reads the folder again: pairs come and go while the others go on.
"""

import asyncio
import signal
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


def follow(control: netpunch.Control, served: dict[str, str], keys: dict[str, str]) -> None:
    """Has a control that serves some keys serve others. Raises NetpunchError for a key that can't
    be used; then nothing has changed."""
    changed = [pair for pair, key in keys.items() if key != served.get(pair)]
    for pair in changed:
        netpunch.load_control_key(keys[pair], pair)
    for pair in served.keys() - keys.keys():
        control.remove_pair(pair)
    for pair in changed:
        change = control.rekey_pair if pair in served else control.add_pair
        change(pair, keys[pair])


async def serve(folder: Path, listen: list[str]) -> None:
    served = control_keys(folder)

    def read_again() -> None:
        nonlocal served
        try:
            keys = control_keys(folder)
            follow(control, served, keys)
            served = keys
        except (ValueError, OSError, netpunch.NetpunchError) as error:
            sys.stderr.write(f"nothing has changed: {error}\n")

    async with netpunch.start_control(listen=listen, pairs=served, max_pairs=10**6) as control:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, read_again)
        sys.stdout.write(f"listening on {', '.join(map(str, control.addresses))}\n")
        sys.stdout.flush()
        await control.wait_closed()


if __name__ == "__main__":
    folder, *listen = sys.argv[1:]
    try:
        netpunch.run(serve(Path(folder), listen or [":10001"]))
    except (ValueError, OSError, netpunch.NetpunchError) as error:
        sys.exit(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
