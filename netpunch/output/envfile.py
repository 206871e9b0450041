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
from netpunch.output.atomic import replace_file

MODE = 0o640

MAX_EARLIER_BYTES = 4096
"""Longest earlier file that is read for comparison; ours has some 400 bytes."""

_TIME = "NETPUNCH_AT"
_KEY = re.compile(r"NETPUNCH_[A-Z_]+")
_VALUE = re.compile(r"[A-Za-z0-9_.:/@%+,\-\[\]]*")
"""Characters that need no quoting in any of the three readers."""

_FAMILY = {4: "inet", 6: "inet6"}


class EnvFileChange(NamedTuple):
    """What a link's variables say that the env file does not."""

    changed: bool
    """Whether anything but the time differs; true where there was no earlier file."""
    previous_remote: Address | None
    """The earlier file's NETPUNCH_RADDR."""


def link_variables(pair: str, end: str, local: Address, remote: Address, at: str) -> dict[str, str]:
    """The variables of a link, for its env file and its hooks; `at` is RFC 3339."""
    return {
        "NETPUNCH_PAIR": pair,
        "NETPUNCH_END": end,
        "NETPUNCH_LADDR": str(local),
        "NETPUNCH_LHOST": local.host,
        "NETPUNCH_LPORT": str(local.port),
        "NETPUNCH_RADDR": str(remote),
        "NETPUNCH_RHOST": remote.host,
        "NETPUNCH_RPORT": str(remote.port),
        "NETPUNCH_RFAMILY": _FAMILY[remote.family],
        _TIME: at,
    }


def write_env_file(path: Path, variables: Mapping[str, str]) -> None:
    """Replace the env file atomically (see `replace_file`).

    Raises OutputError, also for a value that a shell would need quoted."""
    replace_file(path, _content(path, variables), MODE)


def compare_env_file(path: Path, variables: Mapping[str, str]) -> EnvFileChange:
    """What would change if these variables were written. It is one small read."""
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
    """The variables of the file that is there; none if it is missing, unreadable or not ours."""
    try:
        # Neither through a link nor waiting for the writer of a FIFO.
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
