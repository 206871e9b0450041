"""Filters of sockets: programs for the kernel's classic packet filter (BPF). Linux only.

A datagram that the filter of a socket rejects takes no room in its queue, and wakes nobody.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Collection, Sequence
from typing import NamedTuple

from netpunch.address import Address
from netpunch.wire.envelope import CONTROL_DATAGRAM, PEER_DATAGRAM, TAG_SLICE, VERSION

SO_ATTACH_FILTER = 26
"""Linux's number, asm-generic/socket.h; Python's socket module has no name for it."""


class Instruction(NamedTuple):
    """struct sock_filter, linux/filter.h: a jump goes forward by so many instructions, beyond the
    next one."""

    code: int
    if_true: int = 0
    if_false: int = 0
    value: int = 0


INSTRUCTION = struct.Struct("@HBBI")

# Codes of classic BPF, linux/filter.h. Loads of network order; X is the index register.
LOAD_HALF_AT_X = 0x48
LOAD_BYTE_AT_X = 0x50
SET_X = 0x01
SET_X_TO_IP_HEADER_LENGTH = 0xB1
JUMP_IF_EQUAL = 0x15
RETURN = 0x06
WHOLE = 0xFFFF
"""What a program returns is how many bytes the socket may have of the datagram."""
LOAD_WORD, LOAD_HALF, LOAD_BYTE = 0x20, 0x28, 0x30
"""At a fixed place: of a UDP socket's datagrams, from the UDP header on."""
ALL = 0xFFFFFFFF
"""As WHOLE, also of segments that have come as one message."""
IP_HEADER = 0xFFF00000
"""SKF_NET_OFF: where the IP header begins."""
SOURCE_IP = {4: IP_HEADER + 12, 6: IP_HEADER + 8}
UDP_HEADER_LENGTH = 8
TAG_AT = UDP_HEADER_LENGTH + TAG_SLICE.start
UDP_LENGTH = 4
"""Where the UDP header has its own and the datagram's length."""


def attach(sock: socket.socket, program: Sequence[Instruction]) -> None:
    """In the place of the filter that the socket has. Raises OSError."""
    code = b"".join(INSTRUCTION.pack(*instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code)
    sock_fprog = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, sock_fprog)


def all_of(partners: Collection[Address], tag: bytes) -> list[Instruction]:
    """For a UDP socket: everything from these addresses, and from others what has the first byte of
    netpunch's own datagrams and the tag of this pair. (Their lengths are not known here, as those
    of a flow may have come as one message.)"""
    program = []
    for partner in partners:
        ip = socket.inet_pton(
            socket.AF_INET6 if partner.family == 6 else socket.AF_INET, partner.host
        )
        words = struct.unpack(f"!{len(ip) // 4}I", ip)
        left = 2 * len(words) + 3
        for number, word in enumerate(words):
            left -= 2
            program += [
                Instruction(LOAD_WORD, value=SOURCE_IP[partner.family] + 4 * number),
                Instruction(JUMP_IF_EQUAL, if_false=left, value=word),
            ]
        program += [
            Instruction(LOAD_HALF),
            Instruction(JUMP_IF_EQUAL, if_false=1, value=partner.port),
            Instruction(RETURN, value=ALL),
        ]
    first, second = struct.unpack("!II", tag)
    return [
        *program,
        Instruction(LOAD_BYTE, value=UDP_HEADER_LENGTH),
        Instruction(JUMP_IF_EQUAL, if_false=5, value=VERSION),
        Instruction(LOAD_WORD, value=TAG_AT),
        Instruction(JUMP_IF_EQUAL, if_false=3, value=first),
        Instruction(LOAD_WORD, value=TAG_AT + 4),
        Instruction(JUMP_IF_EQUAL, if_false=1, value=second),
        Instruction(RETURN, value=ALL),
        Instruction(RETURN),
    ]


def none_of_ours() -> list[Instruction]:
    """For a UDP socket: everything but what has the first byte and a length of netpunch's own
    datagrams."""
    ours = [UDP_HEADER_LENGTH + length for length in (PEER_DATAGRAM, CONTROL_DATAGRAM)]
    return [
        Instruction(LOAD_HALF, value=UDP_LENGTH),  # first: an empty datagram has no first byte
        Instruction(JUMP_IF_EQUAL, if_true=1, value=ours[0]),
        Instruction(JUMP_IF_EQUAL, if_false=3, value=ours[1]),
        Instruction(LOAD_BYTE, value=UDP_HEADER_LENGTH),
        Instruction(JUMP_IF_EQUAL, if_false=1, value=VERSION),
        Instruction(RETURN),
        Instruction(RETURN, value=ALL),
    ]
