"""A NAT64 for UDP over a TUN device, as one process in a router's namespace.

    python -m tests.lab.nat64 ADDRESS PREFIX

What comes for PREFIX::/96 leaves from the IPv4 ADDRESS, from one port for each inside address and
port; only whom the inside has sent to may answer (RFC 6146, endpoint-independent mapping,
address- and port-dependent filtering). It says `ready` once it carries packets.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import struct
import subprocess
import sys

from netpunch.address import Address
from tests.lab import ipv4
from tests.lab.tun_nat import IFF_NO_PI, IFF_TUN, INTERFACE_REQUEST, TUN_DEVICE, TUNSETIFF
from tests.sim.network import Datagram

DEVICE = "nat64"
FIRST_PORT = 40000
UDP = 17
IPV6_HEADER = struct.Struct("!IHBB16s16s")
UDP_HEADER = struct.Struct("!HHHH")


class Nat64:
    """`prefix`: the first twelve bytes of the addresses that it translates."""

    def __init__(self, address: str, prefix: bytes) -> None:
        self._address = address
        self._prefix = prefix
        self._ports: dict[tuple[bytes, int], int] = {}
        self._inside: dict[int, tuple[bytes, int]] = {}
        self._sent_to: set[tuple[int, Address]] = set()

    def translate(self, packet: bytes) -> bytes | None:
        """The packet of the other family, if there is to be one."""
        return self._outwards(packet) if packet[0] >> 4 == 6 else self._inwards(packet)

    def _outwards(self, packet: bytes) -> bytes | None:
        *_, protocol, hops, source, destination = IPV6_HEADER.unpack_from(packet)
        if protocol != UDP or not destination.startswith(self._prefix):
            return None
        inside_port, port, *_ = UDP_HEADER.unpack_from(packet, IPV6_HEADER.size)
        outside = self._ports.setdefault((source, inside_port), FIRST_PORT + len(self._ports))
        self._inside[outside] = source, inside_port
        remote = Address(socket.inet_ntoa(destination[12:]), port)
        self._sent_to.add((outside, remote))
        data = packet[IPV6_HEADER.size + UDP_HEADER.size :]
        return ipv4.build(Datagram(data, Address(self._address, outside), remote, hops - 1))

    def _inwards(self, packet: bytes) -> bytes | None:
        datagram = ipv4.parse(packet)
        if datagram is None or (datagram.destination.port, datagram.source) not in self._sent_to:
            return None
        host, port = self._inside[datagram.destination.port]
        source = self._prefix + socket.inet_aton(datagram.source.host)
        length = UDP_HEADER.size + len(datagram.data)
        pseudo = source + host + struct.pack("!II", length, UDP)
        bare = UDP_HEADER.pack(datagram.source.port, port, length, 0) + datagram.data
        checksum = ipv4.checksum(pseudo + bare) or 0xFFFF
        udp = UDP_HEADER.pack(datagram.source.port, port, length, checksum) + datagram.data
        return IPV6_HEADER.pack(6 << 28, length, UDP, datagram.ttl - 1, source, host) + udp


def main(address: str, prefix: str) -> None:
    descriptor = os.open(TUN_DEVICE, os.O_RDWR)
    fcntl.ioctl(descriptor, TUNSETIFF, INTERFACE_REQUEST.pack(DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    commands = (
        f"link set {DEVICE} up",
        f"-6 route add {prefix}/96 dev {DEVICE}",
        f"route add {address}/32 dev {DEVICE}",
    )
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)
    nat64 = Nat64(address, ipaddress.IPv6Address(prefix).packed[:12])
    print("ready", flush=True)
    while True:
        translated = nat64.translate(os.read(descriptor, 65536))
        if translated is not None:
            os.write(descriptor, translated)


if __name__ == "__main__":
    main(*sys.argv[1:])
