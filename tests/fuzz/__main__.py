"""Fuzzes one target with atheris, until it is stopped or for so many seconds.

    python -m tests.fuzz v2|classic|site|key [--seconds N] [--corpus FOLDER]

What is interesting goes to the folder (a temporary one by default), what fails to `crash-*`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]

with atheris.instrument_imports(include=["netpunch"]):
    from tests.fuzz.targets import TARGETS

MAX_LENGTH = 4096
"""Bytes: more than a datagram, and room for a site file that breaks things."""
TIMEOUT = 10
"""Seconds for one input: a slower reader would let an attacker stall it."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=0, help="0: until it is stopped")
    parser.add_argument("--corpus", type=Path)
    arguments = parser.parse_args()
    target = TARGETS[arguments.target]
    corpus = arguments.corpus or Path(tempfile.mkdtemp(prefix="netpunch-corpus-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_len={MAX_LENGTH}", f"-timeout={TIMEOUT}"]
    if arguments.seconds:
        options.append(f"-max_total_time={arguments.seconds}")
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.run)
    atheris.Fuzz()


main()
