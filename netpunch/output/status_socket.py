"""The status socket: sends the status as one JSON object to each client that connects."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from netpunch.errors import OutputError
from netpunch.output.atomic import os_errors
from netpunch.output.status import SOCKET_SUFFIX

MODE = 0o660
"""Its owner and group may connect, whatever the umask is."""

FOLDER_MODE = 0o755
"""Of the folder of sockets, each of which has its own mode."""

MAX_CLIENTS = 16
"""At once. Further clients wait in the system's queue, which is as long again."""

CLIENT_TIMEOUT = 2.0
"""Seconds that a client may take to read everything."""

RETRY_PAUSE = 1.0
"""Seconds until clients are served again when the system had no descriptor left."""


class StatusServer:
    """Serves `answer()` at `path` from `open` to `close`, both in a running loop."""

    def __init__(self, path: Path, answer: Callable[[], Iterable[bytes]]) -> None:
        """Other tasks get their turn after each piece of the answer."""
        self.path = path
        self._answer = answer
        self._listener: socket.socket | None = None
        self._identity: tuple[int, int] | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def open(self) -> None:
        """Raises OutputError when the path cannot be used, ResourcesError when there is no
        descriptor for it; then nothing is changed there.

        The socket of a process that has ended is replaced, never that of a running one."""
        with os_errors(self.path):
            _refuse_taken(self.path)
            self._listener = _listen(self.path)
            self._identity = _identity(self.path)
        self._watch()

    def close(self) -> None:
        """Serves no client any more, and removes the socket."""
        if self._retry is not None:
            self._retry.cancel()
        for client in self._clients:
            client.cancel()
        if self._listener is None:
            return
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._listener = None
        with contextlib.suppress(OSError):
            if _identity(self.path) == self._identity:
                self.path.unlink()

    def _watch(self) -> None:
        if self._listener is not None and len(self._clients) < MAX_CLIENTS:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # the client has gone
        except OSError:
            self._loop.remove_reader(self._listener)
            self._retry = self._loop.call_later(RETRY_PAUSE, self._watch)
            return
        client = self._loop.create_task(self._serve(connection))
        self._clients.add(client)
        client.add_done_callback(partial(self._served, connection))
        if len(self._clients) >= MAX_CLIENTS:
            self._loop.remove_reader(self._listener)

    async def _serve(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        patience = CLIENT_TIMEOUT
        with contextlib.suppress(OSError):  # a TimeoutError is one
            for piece in self._answer():
                began = self._loop.time()
                async with asyncio.timeout(patience):
                    await self._loop.sock_sendall(connection, piece)
                patience -= self._loop.time() - began
                await asyncio.sleep(0)  # a busy process takes its time, which is not the client's

    def _served(self, connection: socket.socket, client: asyncio.Task[None]) -> None:
        connection.close()
        self._clients.discard(client)
        self._watch()


def prepare_folder(folder: Path) -> None:
    """Makes the folder for the sockets of one user's processes, and removes the sockets of those
    that were killed. Raises OutputError or ResourcesError."""
    with os_errors(folder):
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        for path in folder.glob(f"*-*{SOCKET_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # its process has ended meanwhile
                if stat.S_ISSOCK(path.lstat().st_mode) and not _is_served(path):
                    path.unlink()


def _refuse_taken(path: Path) -> None:
    """Raises OutputError for anything but a socket, or for a socket on which a process listens."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OutputError(f"{path}: not a socket; remove it or choose another path")
        if _is_served(path):
            raise OutputError(f"{path}: another process answers there; give each its own `status:`")


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True  # its queue is full
        except ConnectionRefusedError:
            return False
    return True


def _listen(path: Path) -> socket.socket:
    """Under another name first: the path never exists without its mode, or without a listener."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        _bind(listener, temporary)
        listener.listen(MAX_CLIENTS)
        temporary.rename(path)
    except BaseException:
        listener.close()
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return listener


def _bind(listener: socket.socket, path: Path) -> None:
    """With its mode from the start: a later chmod follows symbolic links, so a user who may write
    in the folder could redirect it. No other thread makes files whose mode comes from the umask."""
    earlier = os.umask(0o777 & ~MODE)
    try:
        listener.bind(str(path))
    finally:
        os.umask(earlier)


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
