"""What a TCP connection between two namespaces carries."""

from __future__ import annotations

import socket
import subprocess
import time

from tests.lab.namespace import Namespace

CHUNK = 256 * 1024
SENDER = """\
import socket, time
there, chunk, end = {there!r}, bytes({chunk}), time.monotonic() + {seconds}
sock = socket.create_connection(there)
while time.monotonic() < end: sock.sendall(chunk)
"""


def carried(
    source: Namespace, destination: Namespace, there: tuple[str, int], seconds: float
) -> float:
    """From one to the other, which listens `there`, in bytes a second."""
    code = SENDER.format(there=there, chunk=CHUNK, seconds=seconds)
    with destination.open_socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(there)
        listener.listen()
        with subprocess.Popen(source.command("python3", "-c", code)):
            connection, _ = listener.accept()
            with connection:
                begun, total, buffer = time.monotonic(), 0, bytearray(CHUNK)
                while got := connection.recv_into(buffer):
                    total += got
                return total / (time.monotonic() - begun)
