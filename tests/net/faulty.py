"""Sockets that fail as real ones do behind firewalls, full queues and ICMP errors."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
from collections.abc import Iterator
from typing import Any


class FaultySocket(socket.socket):
    """Replaces another socket. Its next calls fail with the error numbers in `reading` and
    `sending`, one each; all sends with `refusal` if that is set."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(fileno=sock.detach())
        self.reading: list[int] = []
        self.sending: list[int] = []
        self.refusal = 0
        self.reads = 0
        """How many times it was read."""

    def recvfrom(self, *arguments: Any) -> Any:
        self.reads += 1
        _fail_with(self.reading)
        return super().recvfrom(*arguments)

    def sendto(self, *arguments: Any) -> int:
        _fail_with([self.refusal] if self.refusal else self.sending)
        return super().sendto(*arguments)


def _fail_with(numbers: list[int]) -> None:
    if numbers:
        number = numbers.pop(0)
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """The process can open only so many more files and sockets, each with the lowest free
    number."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = [os.dup(0) for _ in range(count + 1)]
    for descriptor in free:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1], limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def by_name(numbers: list[int]) -> dict[str, int]:
    """Each error once, as drivers count them."""
    return {errno.errorcode[number]: 1 for number in numbers}
