"""A plain TLS client that speaks a control's framing, independent of the code under test."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import NamedTuple

from netpunch.address import Address
from netpunch.wire import v2
from tests.core.v2_pair import GIVES_COOKIES, Voice, read


def any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class TlsPeer(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    address: Address

    def send(self, *datagrams: bytes) -> None:
        self.writer.write(b"".join(len(each).to_bytes(2, "big") + each for each in datagrams))

    async def receive(self) -> bytes:
        length = int.from_bytes(await self.reader.readexactly(2), "big")
        return await self.reader.readexactly(length)

    async def register(self, voice: Voice) -> v2.Message:
        """Announces until control wants no cookie any more; its last answer."""
        while True:
            self.send(voice.announcement())
            answer = read(await self.receive())
            assert isinstance(answer, GIVES_COOKIES)
            if answer.cookie == v2.NO_COOKIE:
                return answer
            voice.cookie = answer.cookie

    async def is_closed(self) -> bytes:
        """Waits until the other side has closed; what it has sent until then."""
        data = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while chunk := await self.reader.read(4096):
                data += chunk
        return data


@contextlib.asynccontextmanager
async def tls_peer(control: Address) -> AsyncIterator[TlsPeer]:
    async with tcp_peer(control, any_certificate()) as peer:
        yield peer


@contextlib.asynccontextmanager
async def tcp_peer(
    control: Address, context: ssl.SSLContext | None = None
) -> AsyncIterator[TlsPeer]:
    """By default without TLS."""
    reader, writer = await asyncio.open_connection(*control, ssl=context)
    try:
        yield TlsPeer(reader, writer, Address(*writer.get_extra_info("sockname")[:2]))
    finally:
        await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()
