"""The status socket answers each client, and never waits for one."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from netpunch.errors import OutputError
from netpunch.output import status_socket as status_module
from netpunch.output.status_socket import MAX_CLIENTS, StatusServer, prepare_folder
from tests.node.children import Run, on_both_loops

ANSWER = b'{"pairs":[]}\n'
LARGE = b"x" * 4_000_000
"""More than any socket buffer takes."""
IMPATIENCE, PATIENCE = 1.0, 60.0
"""Seconds for clients that do not read, and for those that do, on a busy machine."""


async def ask(path: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    answer = await reader.read(-1)
    writer.close()
    await writer.wait_closed()
    return answer


async def serving(
    path: Path,
    use: Callable[[StatusServer], Coroutine[Any, Any, None]],
    answer: bytes = ANSWER,
) -> None:
    """Serves while it is used, and leaves no task behind."""
    server = StatusServer(path, lambda: [answer])
    server.open()
    try:
        await use(server)
    finally:
        server.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        _, pending = await asyncio.wait(left, timeout=1.0)
        assert not pending


@pytest.fixture(autouse=True)
def no_socket_is_left() -> Iterator[None]:
    before = open_sockets()
    yield
    assert open_sockets() == before


def open_sockets() -> set[str]:
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.add(str(descriptor.readlink()))
    return {target for target in found if target.startswith("socket:")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "status.sock"


@on_both_loops
@pytest.mark.parametrize("answer", [ANSWER, LARGE], ids=["small", "large"])
def test_each_client_gets_the_status(run: Run[None], path: Path, answer: bytes) -> None:
    async def use(_: StatusServer) -> None:
        assert await ask(path) == answer
        assert await asyncio.gather(*(ask(path) for _ in range(3))) == 3 * [answer]

    run(serving(path, use, answer))


@on_both_loops
def test_closing_removes_the_socket(run: Run[None], path: Path) -> None:
    async def use(server: StatusServer) -> None:
        assert server.path.is_socket()

    run(serving(path, use))
    assert list(path.parent.iterdir()) == []
    run(serving(path, use))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_owner_and_group_may_connect_and_no_other_user(path: Path, umask: int) -> None:
    async def use(server: StatusServer) -> None:
        assert stat.S_IMODE(server.path.stat().st_mode) == 0o660

    earlier = os.umask(umask)
    try:
        asyncio.run(serving(path, use))
    finally:
        os.umask(earlier)


@on_both_loops
def test_a_client_that_does_not_read_delays_no_other(
    run: Run[None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(server: StatusServer) -> None:
        monkeypatch.setattr(status_module, "CLIENT_TIMEOUT", IMPATIENCE)
        reader, writer = await asyncio.open_unix_connection(str(path), limit=1)
        await clients(server, 1)
        monkeypatch.setattr(status_module, "CLIENT_TIMEOUT", PATIENCE)
        assert await ask(path) == LARGE, "meanwhile"
        assert len(await reader.read(-1)) <= len(LARGE)
        writer.close()

    run(serving(path, use, LARGE))


@on_both_loops
def test_many_clients_are_served_in_turn(
    run: Run[None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that do not read take all places; they are thrown out, then the next get theirs."""

    async def use(server: StatusServer) -> None:
        monkeypatch.setattr(status_module, "CLIENT_TIMEOUT", IMPATIENCE)
        idle = [await connected(path) for _ in range(MAX_CLIENTS)]
        patient = asyncio.create_task(ask(path))
        await clients(server, MAX_CLIENTS)
        monkeypatch.setattr(status_module, "CLIENT_TIMEOUT", PATIENCE)
        assert await patient == LARGE
        for client in idle:
            client.close()

    run(serving(path, use, LARGE))


@on_both_loops
def test_a_busy_process_takes_its_time(
    run: Run[None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the pieces of an answer it does other work, which costs the client nothing."""
    monkeypatch.setattr(status_module, "CLIENT_TIMEOUT", 0.2)

    async def work() -> None:
        while True:
            time.sleep(0.05)  # noqa: ASYNC251 - it blocks the loop, as much work does
            await asyncio.sleep(0)

    async def main() -> None:
        server = StatusServer(path, lambda: 8 * [b"piece"])
        server.open()
        working = asyncio.create_task(work())
        try:
            assert await ask(path) == 8 * b"piece"
        finally:
            working.cancel()
            server.close()

    run(main())


async def clients(server: StatusServer, count: int) -> None:
    """Until so many are being served."""
    while len(server._clients) < count:  # noqa: ASYNC110 - nobody else wants to know
        await asyncio.sleep(0)


async def connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(path))
    await asyncio.sleep(0)
    return client


@on_both_loops
def test_a_client_that_goes_away_disturbs_no_other(run: Run[None], path: Path) -> None:
    async def use(_: StatusServer) -> None:
        (await connected(path)).close()
        assert await ask(path) == LARGE

    run(serving(path, use, LARGE))


@on_both_loops
def test_closing_disconnects_clients(run: Run[None], path: Path) -> None:
    """However slow they are."""

    async def use(server: StatusServer) -> None:
        client = await connected(path)
        await clients(server, 1)
        client.close()

    run(serving(path, use, LARGE))


@on_both_loops
def test_the_status_socket_recovers_when_descriptors_run_out(
    run: Run[None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_module, "RETRY_PAUSE", 0.02)
    tries = 0

    class Exhausted:
        """A listener that fails once."""

        def __init__(self, real: socket.socket) -> None:
            self._real = real

        def fileno(self) -> int:
            return self._real.fileno()

        def close(self) -> None:
            self._real.close()

        def accept(self) -> tuple[socket.socket, object]:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise OSError(errno.EMFILE, "Too many open files")
            return self._real.accept()

    listen = status_module._listen
    monkeypatch.setattr(status_module, "_listen", lambda path: Exhausted(listen(path)))

    async def use(_: StatusServer) -> None:
        assert await ask(path) == ANSWER
        assert tries == 2

    run(serving(path, use))


@on_both_loops
def test_the_socket_of_a_process_that_was_killed_is_replaced(run: Run[None], path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(str(path))
        stale.listen()
    path.with_name(".status.sock.tmp").touch()  # it was killed at the worst moment

    async def use(_: StatusServer) -> None:
        assert await ask(path) == ANSWER

    run(serving(path, use))
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("busy", [False, True])
def test_the_socket_of_a_running_process_is_not_replaced(path: Path, busy: bool) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as living,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client,
    ):
        living.bind(str(path))
        living.listen(0)
        if busy:
            client.connect(str(path))  # fills the queue
        assert "another process answers there; give each its own `status:`" in refusal(path)
    assert path.is_socket()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_closing_keeps_a_socket_of_another_process(path: Path) -> None:
    async def use(server: StatusServer) -> None:
        server.path.unlink()
        server.path.write_text("theirs")

    asyncio.run(serving(path, use))
    assert path.read_text() == "theirs"


def test_a_file_that_is_not_a_socket_is_never_replaced(path: Path, tmp_path: Path) -> None:
    path.write_text("precious")
    assert refusal(path).endswith(": not a socket; remove it or choose another path")
    assert path.read_text() == "precious"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert "not a socket" in refusal(path)


def test_a_status_socket_in_a_missing_folder_comes_with_advice(path: Path) -> None:
    missing = path.parent / "none" / path.name
    assert refusal(missing) == (
        f"{missing}: No such file or directory; create its folder "
        "(`mkdir`, or RuntimeDirectory= in a systemd unit)"
    )


def test_a_path_that_is_too_long_for_a_socket(tmp_path: Path) -> None:
    assert refusal(tmp_path / ("x" * 120)).endswith("path too long; choose a shorter one")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_status_socket_in_a_folder_without_permission_comes_with_advice(path: Path) -> None:
    path.parent.chmod(0o500)
    assert refusal(path) == f"{path}: give this user write permission on its folder"


def refusal(path: Path) -> str:
    """Why it cannot be opened."""

    async def main() -> str:
        server = StatusServer(path, lambda: [ANSWER])
        with pytest.raises(OutputError) as refused:
            server.open()
        server.close()
        return str(refused.value)

    return asyncio.run(main())


def test_no_mode_is_set_through_a_symbolic_link(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who may write in the folder replaces the new socket by a link to a file of ours."""
    victim = path.parent / "private.key"
    victim.write_text("secret")
    victim.chmod(0o600)

    class SwappedSocket(socket.socket):
        def bind(self, address: Any, /) -> None:
            super().bind(address)
            Path(address).unlink()
            Path(address).symlink_to(victim)

    async def use() -> None:
        server = StatusServer(path, lambda: [ANSWER])
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", SwappedSocket)
            with contextlib.suppress(OutputError):
                server.open()
        server.close()

    asyncio.run(use())
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600


def test_sockets_of_killed_processes_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "netpunch"
    prepare_folder(folder)
    prepare_folder(folder)
    (folder / "note-1.sock").touch()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as alive,
    ):
        dead.bind(str(folder / "a-1.sock"))
        dead.close()
        alive.bind(str(folder / "a-2.sock"))
        alive.listen()
        prepare_folder(folder)
        assert {path.name for path in folder.iterdir()} == {"a-2.sock", "note-1.sock"}


def test_a_folder_of_sockets_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        prepare_folder(tmp_path / "no" / "netpunch")
