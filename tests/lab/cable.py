"""A cable with a length: frames between two namespaces arrive later.

In user space, as the kernel's own delay (netem) is a module that many machines lack. Without any
delay, datagrams that cross in flight on the real internet never do so in a lab.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from threading import Thread

from tests.lab.namespace import Namespace

FRAME_BYTES = 65536 + 64
"""The longest that the kernel hands over, offloads included."""
SOL_PACKET = 263
PACKET_VNET_HDR = 15
"""packet(7): a header before each frame says how far its checksum is computed. Sent back as it
came, it makes the kernel go on where it stopped."""
PACKET_IGNORE_OUTGOING = 23
ETH_P_ALL = 3
STOP_SECONDS = 5.0


class Cable:
    """Carries every frame between two interfaces, `NEAR` and `FAR`, of a namespace of its own."""

    NEAR = "near"
    FAR = "far"

    def __init__(self, namespace: Namespace, seconds: float) -> None:
        """`seconds` is the delay of each direction."""
        self._seconds = seconds
        self._stop, self._stopped = socket.socketpair()
        near, far = (_tap(namespace, interface) for interface in (self.NEAR, self.FAR))
        self._other_end = {near: far, far: near}
        self._underway: deque[tuple[float, socket.socket, bytes]] = deque()
        self._thread = Thread(target=self._carry, name=f"cable {namespace.name}")
        self._thread.start()

    def close(self) -> None:
        """Cut it; frames underway are lost."""
        self._stop.close()
        self._thread.join(STOP_SECONDS)
        for sock in (self._stopped, *self._other_end):
            sock.close()

    def _carry(self) -> None:
        while True:
            readable, _, _ = select.select([self._stopped, *self._other_end], [], [], self._next())
            if self._stopped in readable:
                return
            for end in readable:
                due = time.monotonic() + self._seconds
                self._underway.append((due, self._other_end[end], end.recv(FRAME_BYTES)))
            self._deliver()

    def _next(self) -> float | None:
        """Seconds until the oldest frame arrives; None if none is underway."""
        return max(0.0, self._underway[0][0] - time.monotonic()) if self._underway else None

    def _deliver(self) -> None:
        while self._underway and self._underway[0][0] <= time.monotonic():
            _, end, frame = self._underway.popleft()
            end.send(frame)


def _tap(namespace: Namespace, interface: str) -> socket.socket:
    """A socket that reads and writes whole frames of an interface."""
    tap = namespace.open_socket(socket.AF_PACKET, socket.SOCK_RAW)
    tap.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    tap.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    tap.bind((interface, ETH_P_ALL))
    return tap
