"""Datagrams between plain sockets of the test's own: what gets through, and from where."""

from __future__ import annotations

import secrets
import socket
import time

from netpunch.address import Address, canonical_host

ARRIVAL_SECONDS = 5.0
"""A datagram takes microseconds; this is for a busy machine."""
SILENCE_SECONDS = 0.3
"""How long to listen before saying that a datagram was dropped."""


def local_address(sock: socket.socket) -> Address:
    """Where a socket is bound."""
    return _address(sock.getsockname())


def receive(sock: socket.socket, payload: bytes, seconds: float) -> Address | None:
    """The source of `payload`, or None if it does not arrive; anything else is skipped."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            data, source = sock.recvfrom(2048)
        except TimeoutError:
            break
        except ConnectionRefusedError:  # an ICMP error for something sent earlier
            continue
        if data == payload:
            return _address(source)
    return None


def passes(sender: socket.socket, destination: Address, receiver: socket.socket) -> Address:
    """Send a nonce that must arrive; returns the source that the receiver sees."""
    payload = _send_nonce(sender, destination)
    source = receive(receiver, payload, ARRIVAL_SECONDS)
    assert source is not None, f"nothing from {local_address(sender)} came by {destination}"
    return source


def is_dropped(sender: socket.socket, destination: Address, receiver: socket.socket) -> bool:
    """Send a nonce; returns whether it fails to arrive."""
    payload = _send_nonce(sender, destination)
    return receive(receiver, payload, SILENCE_SECONDS) is None


def observed(sender: socket.socket, server: socket.socket) -> Address:
    """The address that a public server sees `sender` at. It answers, so the flow is
    established in every NAT on the way."""
    source = passes(sender, local_address(server), server)
    passes(server, source, sender)
    return source


def punched(
    first: socket.socket, first_at: Address, second: socket.socket, second_at: Address
) -> bool:
    """Each sends to the other's observed address, the first one first; whether datagrams pass
    both ways from then on."""
    _send_nonce(first, second_at)
    if is_dropped(second, first_at, first):
        return False
    return not is_dropped(first, second_at, second)


def _send_nonce(sender: socket.socket, destination: Address) -> bytes:
    payload = secrets.token_bytes(16)
    sender.sendto(payload, destination)
    return payload


def _address(name: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    return Address(canonical_host(name[0]), name[1])
