"""`netpunch status [FILE]`: asks the running processes where everything stands."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netpunch.cli.console import put, put_line, tell
from netpunch.cli.parser import EXIT_CODES, Parser
from netpunch.errors import (
    NetpunchError,
    NotLinkedError,
    PermissionsError,
    combined_exit_code,
    lack_behind,
)

DESCRIPTION = """\
Show every pair of the running process: state, addresses, since when, and the
last error; for a control what it serves. Exit code 0 only if all pairs are up.
"""
EPILOG = f"""\
FILE is a site file with `status:`, or the socket itself. Without it, and where
the site file does not say, it is $RUNTIME_DIRECTORY/status.sock, or else every
/run/netpunch*/status.sock: where the units in contrib/ have theirs.

examples:
  netpunch status /etc/netpunch/site.yaml
  netpunch status
  netpunch status --json /run/netpunch/status.sock

{EXIT_CODES}"""

USUAL_FOLDER, USUAL_SOCKETS = Path("/run"), "netpunch*/status.sock"

SOCKET_SUFFIX = ".sock"

ANSWER_SECONDS = 5.0
"""A process answers at once; one that hangs must not hang a monitoring check."""

CHUNK_BYTES = 65536
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Some 40,000 ends."""


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    add = parser.add_argument
    add("file", metavar="FILE", nargs="?", help="a site file, or a status socket")
    add("--json", action="store_true", help="print one JSON object a process")
    return parser.parse_args(arguments)


def execute(options: argparse.Namespace) -> int:
    answers: list[Mapping[str, Any]] = []
    codes: list[int] = []
    for path in find_sockets(options.file, os.environ):
        try:
            answers.append(ask(path))
        except NetpunchError as error:
            tell(f"netpunch status: {error}")
            codes.append(error.exit_code)
    if options.json:
        for answer in answers:
            put_line(json.dumps(answer))
    elif answers:
        from netpunch.output.status_table import status_table

        put(status_table(answers))
    codes += [0 if answer.get("ok") is True else NotLinkedError.exit_code for answer in answers]
    return combined_exit_code(codes)


def find_sockets(file: str | None, environ: Mapping[str, str]) -> list[Path]:
    """Where to ask; never none. Raises what is wrong with the file, or NotLinkedError."""
    from netpunch.output.status import default_socket

    if file is not None and (found := named_socket(Path(file))) is not None:
        return [found]
    default = default_socket(environ)
    usual = [default] if default else sorted(USUAL_FOLDER.glob(USUAL_SOCKETS))
    if not usual:
        raise NotLinkedError(
            f"no process found: there is no {USUAL_FOLDER}/{USUAL_SOCKETS}, or only root may look; "
            "name the site file, with `status:` in it, or the socket"
        )
    return usual


def named_socket(file: Path) -> Path | None:
    """The socket that an argument means; None when the site file does not say."""
    try:
        if file.is_socket():
            return file
    except OSError as error:
        raise PermissionsError(f"{file}: {error.strerror}") from None
    if file.suffix == SOCKET_SUFFIX:
        raise not_running(file)  # no site file is missing
    from netpunch.config import load

    return load(file).status


def ask(path: Path) -> Mapping[str, Any]:
    """What the process behind a socket says. Raises NotLinkedError when there is none,
    PermissionsError when it may not be asked."""
    try:
        answer = json.loads(receive(path))
    except PermissionError:
        raise PermissionsError(
            f"{path}: this user may not ask; use sudo, or join the socket's group"
        ) from None
    except TimeoutError:
        raise NotLinkedError(f"{path}: the process does not answer; is it stopped?") from None
    except OSError as error:
        raise lack_behind(error) or not_running(path) from None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or "pairs" not in answer:
        raise NotLinkedError(f"{path}: the answer is not netpunch's, or was cut off")
    return answer


def receive(path: Path) -> bytes:
    """Everything that is sent, up to the bound. Raises OSError."""
    import socket
    import time

    give_up_at = time.monotonic() + ANSWER_SECONDS
    data = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(path))
        while len(data) < MAX_ANSWER_BYTES and (chunk := connection.recv(CHUNK_BYTES)):
            data += chunk
            connection.settimeout(max(0.001, give_up_at - time.monotonic()))
    return bytes(data)


def not_running(path: Path) -> NotLinkedError:
    return NotLinkedError(f"{path}: no netpunch answers there: it is not running, or not any more")
