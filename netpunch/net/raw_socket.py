"""Raw sockets that send and receive netpunch's datagrams at a UDP port that another program owns.

The kernel hands a raw socket a copy of what arrives, after the socket's filter: a program for its
classic packet filter (BPF), which lets nothing pass but what may be netpunch's. The other program's
datagrams stay with it alone. It gets copies of netpunch's, too. Linux only; needs CAP_NET_RAW.
"""

from __future__ import annotations

import socket
import struct
import sys

from netpunch.address import Address
from netpunch.errors import ConfigurationError, PermissionsError
from netpunch.net.packet_filter import (
    JUMP_IF_EQUAL,
    LOAD_BYTE_AT_X,
    LOAD_HALF_AT_X,
    RETURN,
    SET_X,
    SET_X_TO_IP_HEADER_LENGTH,
    WHOLE,
    Instruction,
    attach,
)
from netpunch.net.routes import source_towards
from netpunch.net.sockets import (
    WILDCARDS,
    Ancillary,
    SocketOptions,
    allow_fragments,
    apply_options,
    explained,
    literal,
    send_from,
)
from netpunch.wire.envelope import CONTROL_DATAGRAM, PEER_DATAGRAM, VERSION

UDP_HEADER = struct.Struct("!HHHH")
"""RFC 768: ports of source and destination, length with this header, checksum."""
CHECKSUM_AT = 6
PSEUDO_HEADER = struct.Struct("!4s4sBBH")
"""What the checksum covers besides, RFC 768: addresses of source and destination, a zero, the
protocol, the length."""
NO_CHECKSUM = 0
"""As the checksum: IPv4 allows datagrams without one."""

MAX_DATAGRAM = 2048
"""Bytes to read: more than the longest that passes the filter, with the longest IP header."""
RECEIVE_BUFFER = 1024 * 1024
"""Bytes to ask the system for: it may have datagrams of hundreds of pairs at once."""

HOPS = {
    True: (socket.IPPROTO_IP, socket.IP_TTL),
    False: (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT),
}
"""How sendmsg() takes the hop limit of one datagram, in IPv4 and in IPv6."""

CURE = (
    "add `AmbientCapabilities=CAP_NET_RAW` to the systemd unit, run it as root, or give it to the "
    "program (`setcap cap_net_raw+ep` on the Python that runs it); without it use `forward`"
)


REJECT_ALL = (Instruction(RETURN),)


def filter_program(family: int, port: int) -> tuple[Instruction, ...]:
    """The filter of a socket: datagrams to our port with a length and the first byte of ours. In
    IPv4 it is shown the IP header, too; in IPv6 it begins at the UDP header."""
    own, control = (UDP_HEADER.size + length for length in (PEER_DATAGRAM, CONTROL_DATAGRAM))
    ipv4 = family == socket.AF_INET
    return (
        Instruction(SET_X_TO_IP_HEADER_LENGTH) if ipv4 else Instruction(SET_X),
        Instruction(LOAD_HALF_AT_X, value=2),
        Instruction(JUMP_IF_EQUAL, if_false=6, value=port),
        Instruction(LOAD_HALF_AT_X, value=4),
        Instruction(JUMP_IF_EQUAL, if_true=1, value=own),
        Instruction(JUMP_IF_EQUAL, if_false=3, value=control),
        Instruction(LOAD_BYTE_AT_X, value=UDP_HEADER.size),
        Instruction(JUMP_IF_EQUAL, if_false=1, value=VERSION),
        Instruction(RETURN, value=WHOLE),
        Instruction(RETURN),
    )


class RawSocket:
    """Non-blocking; at a port of one address of this host, or of all if that is a wildcard."""

    def __init__(self, host: str, port: int, options: SocketOptions) -> None:
        """Raises PermissionsError without CAP_NET_RAW, ConfigurationError on other systems than
        Linux, and else what `net.sockets.bind` raises."""
        family, sockaddr = literal(host, port)
        self.local = Address(host, port)
        try:
            self.socket = _open(family)
        except OSError as error:  # there are none left, or this host has no IPv6
            raise explained(error, host, port) from error
        self._options = options
        self._is_ipv4 = family == socket.AF_INET
        try:
            self._prepare(family, sockaddr[0])
        except OSError as error:
            self.socket.close()
            raise explained(error, host, port) from error
        except BaseException:
            self.socket.close()
            raise

    def receive(self) -> tuple[bytes, Address]:
        """The payload of a datagram, and where it comes from. Raises OSError, which is
        BlockingIOError if there is none."""
        packet, (host, *_) = self.socket.recvfrom(MAX_DATAGRAM)
        start = (packet[0] & 0x0F) * 4 if self._is_ipv4 else 0
        port, _, length, _ = UDP_HEADER.unpack_from(packet, start)
        return packet[start + UDP_HEADER.size : start + length], Address(host, port)

    def send(self, payload: bytes, destination: Address, ttl: int = 0) -> None:
        """Sends at once or not at all; `ttl` is in hops, 0 for the system's default. Raises
        OSError."""
        ancillary: Ancillary = []
        length = UDP_HEADER.size + len(payload)
        header = UDP_HEADER.pack(self.local.port, destination.port, length, NO_CHECKSUM)
        if self._is_ipv4 and (source := self._source_towards(destination)):
            checksum = udp_checksum(source, destination.host, header + payload)
            header = UDP_HEADER.pack(self.local.port, destination.port, length, checksum)
            ancillary = send_from(source)  # or the system might choose another one by now
        if ttl:
            ancillary = [*ancillary, (*HOPS[self._is_ipv4], struct.pack("@i", ttl))]
        self.socket.sendmsg((header, payload), ancillary, 0, (destination.host, 0))

    def close(self) -> None:
        self.socket.close()

    def _prepare(self, family: int, host: str) -> None:
        sock = self.socket
        sock.setblocking(False)
        # Until it has a filter, it receives what comes to any port.
        attach(sock, REJECT_ALL)
        _discard_all(sock)
        attach(sock, filter_program(family, self.local.port))
        allow_fragments(sock)
        if not self._is_ipv4:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_CHECKSUM, CHECKSUM_AT)
        apply_options(self._options._replace(receive_buffer=RECEIVE_BUFFER), sock)
        sock.bind((host, 0))

    def _source_towards(self, destination: Address) -> str:
        """Empty if the system does not tell, as without descriptors; IPv4 does without a
        checksum."""
        if self.local.host != WILDCARDS[socket.AF_INET]:
            return self.local.host
        return source_towards(destination, self._options)


def udp_checksum(source: str, destination: str, datagram: bytes) -> int:
    """That of a UDP datagram with its header, whose own checksum is zero, in IPv4. Never zero."""
    ends = (socket.inet_aton(host) for host in (source, destination))
    covered = PSEUDO_HEADER.pack(*ends, 0, socket.IPPROTO_UDP, len(datagram)) + datagram
    covered += bytes(len(covered) % 2)
    # A sum of 16-bit words with end-around carry is the remainder by 0xFFFF.
    return 0xFFFF - int.from_bytes(covered, "big") % 0xFFFF


def _open(family: int) -> socket.socket:
    if sys.platform != "linux":
        raise ConfigurationError("`share` works on Linux only: use `forward` instead")
    try:
        return socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_UDP)
    except PermissionError as error:
        raise PermissionsError(f"`share` needs CAP_NET_RAW for its raw sockets: {CURE}") from error


def refuse_if_not_permitted() -> None:
    """Raises PermissionsError if this process may not open raw sockets."""
    _open(socket.AF_INET).close()


def _discard_all(sock: socket.socket) -> None:
    """What was received before; the filter lets nothing new in."""
    while True:
        try:
            sock.recv(1)
        except BlockingIOError:
            return
