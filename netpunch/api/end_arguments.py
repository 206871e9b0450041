"""The arguments that every call for an end of a pair has, as the settings of that end."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from netpunch import arguments
from netpunch.config.values import FEWEST_KEEPALIVES
from netpunch.core.settings import CandidateKind, EndName, EndSettings
from netpunch.errors import UsageError
from netpunch.keys import read_key, read_secret_file
from netpunch.wire.classic import LETTERS

ADDRESSES = ("observed", "host", "mapped")
"""Candidates that are addresses, of which at least one is needed."""
CANDIDATES = (*ADDRESSES, "any-port", "relay")


def end_settings(
    *,
    pair: object,
    end: object,
    secret: object,
    control: object,
    local: object,
    candidates: object,
    deadline: object,
    protocol: object = "v2",
) -> EndSettings:
    """Checks what a caller passed by these names. Reads the key's file, if it is one.

    Raises UsageError, and for a file what `keys.read_secret_file` raises."""
    if arguments.word("protocol", protocol, ("v2", "classic")) == "classic":
        if pair != "":
            raise arguments.wrong("pair", pair, "'' with protocol='classic': its ends are letters")
        name, slot = "", classic_slot("end", end)
        role = "ab"[LETTERS.index(slot) % 2]
        value = classic_secret("secret", secret)
    else:
        name, slot = arguments.pair_name("pair", pair), ""
        role = arguments.word("end", end, ("a", "b"))
        value = read_key("secret", secret, "end").value
    return EndSettings(
        pair=name,
        end=cast(EndName, role),
        secret=value,
        controls=arguments.controls("control", control),
        protocol="classic" if slot else "v2",
        slot=slot,
        local=arguments.local_address("local", local),
        candidates=_candidates(candidates),
        deadline=None if deadline is None else arguments.seconds("deadline", deadline),
    )


def held_end_settings(
    *, sealed: object, keepalive: object, hold_for: object, **those_of_every_end: object
) -> EndSettings:
    """The same for an end that holds its link."""
    settings = end_settings(**those_of_every_end)
    interval = arguments.seconds("keepalive", keepalive)
    patience = arguments.seconds("hold_for", hold_for)
    if patience < FEWEST_KEEPALIVES * interval:
        raise UsageError(
            f"hold_for: expected the time of {FEWEST_KEEPALIVES} keepalives or more, "
            f"{FEWEST_KEEPALIVES * interval:g}, got {patience:g}: raise this, or lower `keepalive`"
        )
    return settings._replace(
        holds=True,
        sealed=arguments.switch("sealed", sealed),
        keepalive=interval,
        hold_for=patience,
    )


def _candidates(value: object) -> frozenset[CandidateKind]:
    """With at least one kind of address."""
    chosen = arguments.words("candidates", value, CANDIDATES)
    if chosen.isdisjoint(ADDRESSES):
        allowed = arguments.listed(ADDRESSES)
        raise UsageError(f"candidates: no address is left to try: add {allowed}")
    return cast(frozenset[CandidateKind], chosen)


def classic_slot(name: str, value: object) -> str:
    """A letter."""
    if isinstance(value, str) and len(value) == 1 and value in LETTERS:
        return value
    raise arguments.wrong(name, value, "a classic slot, a letter from 'a' to 'z'")


def classic_secret(name: str, value: object) -> bytes:
    """Bytes, or what is in a file."""
    if isinstance(value, Path):
        return read_secret_file(value, "classic", "end").value
    if isinstance(value, bytes) and value:
        return value
    wanted = "a classic secret: bytes, at least one, or the pathlib.Path of its file"
    got = "a text: encode it" if isinstance(value, str) else type(value).__name__
    raise UsageError(f"{name}: expected {wanted}, got {'none' if value == b'' else got}")
