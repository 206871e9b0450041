"""The env file: a link's addresses for sh, bash and systemd's EnvironmentFile= alike."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from netpunch.address import Address, parse_address
from netpunch.errors import OutputError
from netpunch.mesh import placeholders
from netpunch.output.atomic import replace_file
from netpunch.output.journal import address_fields
from netpunch.template import variable

MODE = 0o640

MAX_EARLIER_BYTES = 4096
"""Longest earlier file that is read for comparison; ours has some 400 bytes."""

_TIME = "NETPUNCH_AT"
_KEY = re.compile(r"NETPUNCH_[A-Z_]+")
_VALUE = re.compile(r"[A-Za-z0-9_.:/@%+,\-\[\]]*")
"""Characters that need no quoting in any of the three readers."""

_FAMILY = {4: "inet", 6: "inet6"}


class EnvFileChange(NamedTuple):
    """How a link differs from the one in its env file."""

    changed: bool
    """Whether anything except the time differs; true without an earlier file."""
    previous_remote: Address | None
    """The earlier file's NETPUNCH_RADDR."""


NEW_LINK = EnvFileChange(changed=True, previous_remote=None)


def link_values(
    pair: str, end: str, local: Address, remote: Address, *, forward: Address | None = None
) -> dict[str, str | int]:
    """The values of a link by their names: those of the placeholders in templates. `forward`: where
    the local program sends to."""
    own, other = address_fields("l", local), address_fields("r", remote)
    program = {} if forward is None else address_fields("f", forward)
    return {**placeholders(pair, end), **own, **other, **program}


def link_variables(
    pair: str,
    end: str,
    local: Address,
    remote: Address,
    at: str,
    *,
    forward: Address | None = None,
) -> dict[str, str]:
    """The variables of a link, for its env file and its hooks; `at` is RFC 3339."""
    values = link_values(pair, end, local, remote, forward=forward)
    variables = {variable(name): str(value) for name, value in values.items()}
    return variables | {"NETPUNCH_RFAMILY": _FAMILY[remote.family], _TIME: at}


def write_env_file(path: Path, variables: Mapping[str, str]) -> None:
    """Replace the env file atomically (see `replace_file`).

    Raises OutputError, also for a value that a shell would need quoted."""
    replace_file(path, _content(path, variables), MODE)


def compare_env_file(path: Path, variables: Mapping[str, str]) -> EnvFileChange:
    """What writing these variables would change."""
    earlier = _read_earlier(path)
    return EnvFileChange(
        changed=_timeless(earlier) != _timeless(variables),
        previous_remote=_address(earlier.get("NETPUNCH_RADDR", "")),
    )


def is_env_file(path: Path) -> bool:
    """Whether there is a file with the variables of a link and nothing else in it."""
    variables = _read_earlier(path)
    return "NETPUNCH_PAIR" in variables and all(map(_KEY.fullmatch, variables))


def _content(path: Path, variables: Mapping[str, str]) -> bytes:
    for key, value in variables.items():
        if not (_KEY.fullmatch(key) and _VALUE.fullmatch(value)):
            raise OutputError(
                f"{path}: {key} would need quoting: {value!r};"
                " only letters, digits and _.:/@%+,-[] are written"
            )
    return "".join(f"{key}={value}\n" for key, value in variables.items()).encode("ascii")


def _read_earlier(path: Path) -> dict[str, str]:
    """The variables of the existing file; none if it is missing, unreadable or not ours."""
    try:
        # Follows no link, and does not wait for the writer of a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return {}
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return {}
        text = os.read(descriptor, MAX_EARLIER_BYTES + 1)
    except OSError:
        return {}
    finally:
        os.close(descriptor)
    if len(text) > MAX_EARLIER_BYTES:
        return {}
    lines = text.decode("ascii", "replace").splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def _timeless(variables: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in variables.items() if key != _TIME}


def _address(text: str) -> Address | None:
    try:
        return parse_address(text)
    except ValueError:
        return None
