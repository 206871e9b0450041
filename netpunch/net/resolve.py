"""Names to addresses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

from netpunch.address import Address, canonical_host
from netpunch.errors import ControlUnreachableError, lack_behind

ADVICE = "check the spelling, this host's DNS, or give the IP address instead"


def is_literal(host: str) -> bool:
    """Whether this is an IP address, not a name."""
    try:
        canonical_host(host)
    except ValueError:
        return False
    return True


async def resolve(host: str, port: int) -> list[Address]:
    """All addresses of a name, IPv4 first, at least one; a literal is never looked up.

    Raises ControlUnreachableError or ResourcesError."""
    if is_literal(host):
        return [Address(canonical_host(host), port)]
    try:
        found = await _look_up(host)
    except (OSError, UnicodeError, RuntimeError) as error:  # RuntimeError: no thread to be had
        if lack := lack_behind(error, f"cannot resolve {host!r}"):
            raise lack from error
        cause = (error.strerror if isinstance(error, OSError) else None) or error
        raise ControlUnreachableError(f"cannot resolve {host!r}: {cause}; {ADVICE}") from error
    if not found:
        raise ControlUnreachableError(f"cannot resolve {host!r}: no address; {ADVICE}")
    addresses = {Address(canonical_host(each), port): None for each in found}
    return sorted(addresses, key=lambda address: address.family)


async def _look_up(host: str) -> list[str]:
    """getaddrinfo(3) in a thread that nothing waits for.

    A lookup can't be interrupted, and goes on for half a minute when no server answers. The
    loop's own threads (asyncio's and uvloop's getaddrinfo) would hold up the end of the process
    for that long."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[str]] = loop.create_future()

    def settle(hosts: list[str], error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(hosts)
        else:
            future.set_exception(error)

    def look_up() -> None:
        hosts: list[str] = []
        failure: Exception | None = None
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
            hosts = [str(sockaddr[0]) for *_, sockaddr in found]
        except Exception as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, hosts, failure)

    threading.Thread(target=look_up, name="netpunch-resolve", daemon=True).start()
    return await future
