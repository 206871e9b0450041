"""docs/library.md: its programs run as they are written, and are typed as their users have them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import netpunch
from tests.docs.test_documents import ROOT, blocks

PROGRAMS = blocks(ROOT / "docs" / "library.md", "python")
PATIENCE = 120.0
"""Seconds: for mypy without a cache on a slow machine."""
LOCAL = "127.0.0.1:0"


def program(named: str) -> str:
    (found,) = [each for each in PROGRAMS if named in each]
    return found


def test_the_control_of_the_library_document_is_typed(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program("class PairServer"))
    command = [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "program.py")]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, int]]:
    """Where the control listens, and the port for HTTP."""
    (folder / "program.py").write_text(program("class PairServer"))
    argv = [sys.executable, "-W", "error", str(folder / "program.py"), LOCAL, "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            control, port = process.stdout.readline().split()
            yield control, int(port)
        finally:
            process.terminate()


async def ask(port: int, method: str, path: str, body: str = "") -> tuple[int, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(f"{head}{body}".encode())
    answered, _, text = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(answered.split()[1]), json.loads(text)


async def link(control: str, key: str) -> None:
    ends = (
        netpunch.punch(pair="chat", end=end, secret=key, control=control, local=LOCAL, deadline=5.0)
        for end in "ab"
    )
    a, b = await asyncio.gather(*ends)
    assert (a.local, a.remote) == (b.remote, b.local)


def test_the_control_of_the_library_document_serves_pairs_by_http(tmp_path: Path) -> None:
    key = netpunch.new_key()
    control_key = netpunch.control_key(key, "chat")

    async def main(control: str, port: int) -> None:
        assert await ask(port, "GET", "/pairs") == (200, {"pairs": [], "here": []})
        assert await ask(port, "PUT", "/pairs/chat", control_key) == (201, {"added": "chat"})
        await link(control, key)
        assert (await ask(port, "GET", "/pairs"))[1]["pairs"] == ["chat"]
        assert (await ask(port, "PUT", "/pairs/chat", control_key))[0] == 200
        status, wrong = await ask(port, "PUT", "/pairs/Chat", control_key)
        assert (status, "did you mean 'chat'" in wrong["error"]) == (400, True)
        assert (await ask(port, "PUT", "/pairs/new", control_key[:-1]))[0] == 400
        assert await ask(port, "DELETE", "/pairs/chat") == (200, {"removed": "chat"})
        assert (await ask(port, "DELETE", "/pairs/chat"))[0] == 404
        assert (await ask(port, "POST", "/pairs/chat"))[0] == 404

    with serving(tmp_path) as (control, port):
        asyncio.run(main(control, port))
