"""`netpunch status [FILE]`: asks the running processes where everything stands."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from netpunch.cli.console import put, put_line, tell
from netpunch.cli.parser import EXIT_CODES, Parser
from netpunch.errors import (
    ConfigurationError,
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
FILE is a site file, or the socket itself. A site file without `status:` means
all processes that run it; without FILE, all of this host that are found. They
are asked at their sockets in /run/netpunch* (units, and root's) and in
$XDG_RUNTIME_DIR/netpunch; within a unit only at $RUNTIME_DIRECTORY/status.sock.

examples:
  netpunch status /etc/netpunch/site.yaml
  netpunch status
  netpunch status --json /run/netpunch/status.sock

{EXIT_CODES}"""

USUAL_FOLDER = Path("/run")
USUAL_SOCKETS = ("netpunch*/*.sock", "netpunch-once/*/*.sock")
"""Below the usual folder: of the units in contrib/, and of root's other processes."""

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
    errors: list[NetpunchError] = []
    paths, site, wrong = find_sockets(options.file, os.environ)
    for path in paths:
        try:
            answer = ask(path)
        except NetpunchError as error:
            errors.append(error)
        else:
            if site is None or answer.get("file", site) == site:
                answers.append(answer)
    if site is not None and answers:  # sockets that this user may not ask are other files'
        errors = [error for error in errors if not isinstance(error, PermissionsError)]
    if wrong is not None:
        if not answers:
            raise wrong
        errors.append(wrong)
    for each in errors:
        tell(f"netpunch status: {each}")
    if not answers and not errors:
        raise not_found(options.file)
    if options.json:
        for answer in answers:
            put_line(json.dumps(answer))
    elif answers:
        from netpunch.output.status_table import status_table

        put(status_table(answers))
    codes = [each.exit_code for each in errors]
    codes += [0 if answer.get("ok") is True else NotLinkedError.exit_code for answer in answers]
    return combined_exit_code(codes)


class Found(NamedTuple):
    """Where to ask."""

    paths: list[Path]
    """At least one."""
    site: str | None = None
    """The site file (an absolute path) whose processes alone are meant, where others may answer,
    too."""
    wrong: ConfigurationError | None = None
    """With that file: what runs was started before, and goes on as it was."""


def find_sockets(file: str | None, environ: Mapping[str, str]) -> Found:
    """Raises NotLinkedError for nowhere, and what prevents the file from being opened."""
    from netpunch.output.status import SOCKET_NAME, default_socket, socket_prefix

    wrong = None
    try:
        if file is not None and (found := named_socket(Path(file))) is not None:
            return Found([found])
    except ConfigurationError as error:
        wrong = error
    if (default := default_socket(environ)) is not None:
        return Found([default], wrong=wrong)
    usual = usual_sockets(environ)
    if file is not None:
        prefix = socket_prefix(Path(file))
        usual = [path for path in usual if path.name == SOCKET_NAME or path.name.startswith(prefix)]
    if not usual:
        raise wrong or not_found(file)
    return Found(usual, None if file is None else str(Path(file).resolve()), wrong)


def usual_sockets(environ: Mapping[str, str]) -> list[Path]:
    """Of the processes that nobody has given another one."""
    from netpunch.output.status import SOCKET_SUFFIX, USER_FOLDER

    found = {path for pattern in USUAL_SOCKETS for path in USUAL_FOLDER.glob(pattern)}
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        found.update(Path(runtime, USER_FOLDER).glob(f"*{SOCKET_SUFFIX}"))
    return sorted(found)


def not_found(file: str | None) -> NotLinkedError:
    whose = f" runs {file}" if file else " found"
    return NotLinkedError(
        f"no process{whose}: looked for sockets in {USUAL_FOLDER}/netpunch* and "
        "$XDG_RUNTIME_DIR/netpunch; those of other users are seen by root only, and one elsewhere "
        "has to be named, by `status:` in the site file or as FILE"
    )


def named_socket(file: Path) -> Path | None:
    """The socket that an argument means; None when the site file does not say."""
    try:
        if file.is_socket():
            return file
    except OSError as error:
        raise PermissionsError(f"{file}: {error.strerror}") from None
    from netpunch.output.status import SOCKET_SUFFIX

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
