"""Keys of WireGuard, as its own tool makes them."""

from __future__ import annotations

import subprocess

COMMAND_SECONDS = 20


def private_key() -> str:
    return _wg("genkey")


def public_key(private: str) -> str:
    return _wg("pubkey", private)


def _wg(subcommand: str, text: str = "") -> str:
    done = subprocess.run(
        ["wg", subcommand],
        input=text,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=True,
    )
    return done.stdout.strip()
