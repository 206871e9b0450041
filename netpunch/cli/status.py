"""`netpunch status [FILE]`: asks the running processes for the state of their pairs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from netpunch.cli.arguments import Parser, duration
from netpunch.cli.streams import write_error, write_line, write_output
from netpunch.errors import (
    ConfigurationError,
    NetpunchError,
    NotLinkedError,
    PermissionsError,
    combined_exit_code,
    lack_behind,
)
from netpunch.mesh import mesh_pair

DESCRIPTION = """\
Show every pair of the running processes, what is down first: its state, since
when, path, round trip and addresses, and the last error; of a control, what it
serves. A narrow terminal gets fewer columns. For monitoring: the exit code is 0
only if all pairs are up.
"""
EPILOG = """\
FILE is a site file or a status socket. A site file that sets no `status:` means
all processes that run it; no FILE means all processes of this host.
Their sockets are in /run/netpunch* (systemd units, and root's) and in
$XDG_RUNTIME_DIR/netpunch; within a unit, only $RUNTIME_DIRECTORY/status.sock.

examples:
  netpunch status /etc/netpunch/site.yaml
  netpunch status
  netpunch status --watch
  netpunch status --pair lan
  netpunch status --json /run/netpunch/status.sock
"""

USUAL_FOLDER = Path("/run")
USUAL_SOCKETS = ("netpunch*/*.sock", "netpunch-once/*/*.sock")
"""In that folder: sockets of the units in contrib/, and of root's other processes."""

WATCH_EVERY = "1s"
LEAST_WATCH_SECONDS = 0.2
"""A process with 500 pairs works some milliseconds for each answer."""

ANSWER_SECONDS = 5.0
"""A process answers at once. One that hangs must not block a monitoring check."""

Answer = Mapping[str, Any]
"""Of a process: `ProcessStatus.as_record()`."""

CHUNK_BYTES = 65536
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Some 40,000 ends."""


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    add = parser.add_argument
    add("file", metavar="FILE", nargs="?", help="a site file or a status socket")
    add("--pair", metavar="P", help="only pair P, or the pairs of mesh P")
    add("--node", metavar="N", help="of node N, where `status:` has {node}; default: this host's")
    add("--json", action="store_true", help="print a JSON object for each process")
    add(
        "--watch",
        metavar="TIME",
        nargs="?",
        const=WATCH_EVERY,
        help=f"show it again each TIME ({WATCH_EVERY} if left out), until Ctrl-C",
    )
    options = parser.parse_args(arguments)
    if options.watch is not None:
        options.watch = watch_time(parser, options)
    return options


def watch_time(parser: Parser, options: argparse.Namespace) -> float:
    """Seconds. In `--watch FILE` the word is no time: it is taken for the file."""
    try:
        seconds = duration(options.watch)
    except argparse.ArgumentTypeError as error:
        if options.file is not None or options.watch[:1].isdigit():
            parser.error(f"argument --watch: {error}")
        options.file, seconds = options.watch, duration(WATCH_EVERY)
    if seconds < LEAST_WATCH_SECONDS:
        parser.error(
            f"argument --watch: expected {LEAST_WATCH_SECONDS:g}s or more, or every look "
            "costs the processes that are asked too much"
        )
    return seconds


def execute(options: argparse.Namespace) -> int:
    if options.watch is not None:
        from netpunch.cli.status_watch import watch

        return watch(
            partial(ask_all, options.file, options.pair, options.node),
            options.watch,
            as_json=options.json,
        )
    answers, errors = ask_all(options.file, options.pair, options.node)
    for each in errors:
        write_error(f"netpunch status: {each}")
    if options.json:
        for answer in answers:
            write_line(json.dumps(answer))
    elif answers:
        from netpunch.output.status_table import status_table
        from netpunch.output.terminal import screen_of

        screen = screen_of(sys.stdout)._replace(height=None)
        write_output(status_table(answers, screen))
    return exit_code(answers, errors)


def ask_all(
    file: str | None, pair: str | None = None, node: str | None = None
) -> tuple[list[Answer], list[NetpunchError]]:
    """The answers of the processes that FILE means, of `pair` alone if that is given, and what went
    wrong with others. `node`: see `find_sockets`. Raises an error if no process can be asked."""
    answers: list[Answer] = []
    errors: list[NetpunchError] = []
    paths, site, wrong = find_sockets(file, os.environ, node)
    for path in paths:
        try:
            answer = ask(path)
        except NetpunchError as error:
            errors.append(error)
        else:
            if site is None or answer.get("file", site) == site:
                answers.append(answer)
    if site is not None and answers:  # sockets that this user may not ask belong to other files
        errors = [error for error in errors if not isinstance(error, PermissionsError)]
    if wrong is not None:
        if not answers:
            raise wrong
        errors.append(wrong)
    if not answers and not errors:
        raise not_found(file)
    return (answers if pair is None else only(pair, answers)), errors


def exit_code(answers: Sequence[Answer], errors: Sequence[NetpunchError]) -> int:
    codes = [each.exit_code for each in errors]
    codes += [0 if answer.get("ok") is True else NotLinkedError.exit_code for answer in answers]
    return combined_exit_code(codes)


def only(name: str, answers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What is said of a pair, or of the pairs of a mesh. Raises NotLinkedError if nothing is."""
    found: list[Mapping[str, Any]] = []
    for answer in answers:
        ends = [end for end in answer["pairs"] if name in _names(str(end["pair"]))]
        up = sum(end.get("state") == "up" for end in ends)
        summary = f"{up} of {len(ends)} ends of {name} up"
        if ends:
            ok = up == len(ends)
            found.append({**answer, "pairs": ends, "controls": [], "ok": ok, "summary": summary})
    if answers and not found:
        raise NotLinkedError(f"no running process has an end of a pair or mesh {name!r}")
    return found


def _names(pair: str) -> tuple[str, ...]:
    """By which it may be asked for."""
    mesh = mesh_pair(pair)
    return (pair,) if mesh is None else (pair, mesh.mesh)


class Found(NamedTuple):
    """The sockets to ask."""

    paths: list[Path]
    """At least one."""
    site: str | None = None
    """Absolute path of a site file: only answers of processes that run it count."""
    wrong: ConfigurationError | None = None
    """What is wrong with that file now: the processes that run it read it before."""


def find_sockets(file: str | None, environ: Mapping[str, str], node: str | None = None) -> Found:
    """`node` is that of the command line: the path that `file` sets may depend on it. Raises
    NotLinkedError if there is no socket, and an error if `file` cannot be opened."""
    from netpunch.output.status import SOCKET_NAME, default_socket, socket_prefix

    wrong = None
    try:
        if file is not None and (found := named_socket(Path(file), environ, node)) is not None:
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
    """The sockets of processes whose site files do not set `status:`."""
    from netpunch.output.status import SOCKET_SUFFIX, USER_FOLDER

    found = {path for pattern in USUAL_SOCKETS for path in USUAL_FOLDER.glob(pattern)}
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        found.update(Path(runtime, USER_FOLDER).glob(f"*{SOCKET_SUFFIX}"))
    return sorted(found)


def not_found(file: str | None) -> NotLinkedError:
    which = f" runs {file}" if file else " found"
    return NotLinkedError(
        f"no process{which}: looked for sockets in {USUAL_FOLDER}/netpunch* and "
        "$XDG_RUNTIME_DIR/netpunch; only root sees those of other users; name a socket elsewhere "
        "by `status:` in the site file or as FILE"
    )


def named_socket(file: Path, environ: Mapping[str, str], node: str | None) -> Path | None:
    """The socket that FILE is or sets; None for a site file that sets none."""
    try:
        if file.is_socket():
            return file
    except OSError as error:
        raise PermissionsError(f"{file}: {error.strerror}") from None
    from netpunch.output.status import SOCKET_SUFFIX

    if file.suffix == SOCKET_SUFFIX:
        raise not_running(file)  # rather than: no such site file
    return _socket_set_by(file, _version(file), node, environ.get("NETPUNCH_NODE"))


@lru_cache(maxsize=1)
def _socket_set_by(file: Path, version: object, node: str | None, named: str | None) -> Path | None:
    """Of a site file, which is read anew only in another `version`: `--watch` asks each second, and
    a file of 500 pairs takes 200 ms. A file that is included sets no socket."""
    from socket import gethostname

    from netpunch.config.loading import load, status_socket

    del version
    return status_socket(load(file), node, gethostname(), named)


def _version(file: Path) -> object:
    try:
        found = file.stat()
    except OSError:  # reading it says what is wrong
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def ask(path: Path) -> Answer:
    """The answer of the process behind a socket. Raises NotLinkedError if there is none, and
    PermissionsError if this user may not ask it."""
    try:
        answer = json.loads(receive(path))
    except PermissionError:
        raise PermissionsError(
            f"{path}: permission denied: use sudo, or join the socket's group"
        ) from None
    except TimeoutError:
        raise NotLinkedError(f"{path}: the process does not answer; is it suspended?") from None
    except OSError as error:
        raise lack_behind(error) or not_running(path) from None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or "pairs" not in answer:
        raise NotLinkedError(f"{path}: invalid answer: not netpunch's, or cut off")
    return answer


def receive(path: Path) -> bytes:
    """All that it sends, up to MAX_ANSWER_BYTES. Raises OSError."""
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
    return NotLinkedError(f"{path}: no netpunch process answers there; it is not running")
