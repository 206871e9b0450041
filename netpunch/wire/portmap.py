"""Asking a gateway for a port mapping: PCP (RFC 6887, MAP for UDP) and NAT-PMP (RFC 6886).

A message is a NamedTuple; the table LAYOUTS says how its fields become bytes. Both protocols
use the same port and begin with version and opcode, which tell them apart. Neither authenticates
anything: only the gateway's address and, in PCP, the nonce speak for an answer. Times are in
seconds; hosts are canonical IP literals.
"""

from __future__ import annotations

import ipaddress
from enum import IntEnum
from struct import Struct
from typing import Any, NamedTuple

from netpunch.address import canonical_host
from netpunch.wire.drop import Drop

SERVER_PORT = 5351
"""Where gateways listen for both (RFC 6886 section 3.1, RFC 6887 section 19.1)."""
PCP_VERSION = 2
NAT_PMP_VERSION = 0
NONCE_LENGTH = 12
MAX_PCP_LENGTH = 1100
"""RFC 6887 section 7: longer datagrams are ignored, as are those that are no multiple of 4."""
HEADER_LENGTH = 2
"""Version and opcode, in both protocols."""
SHORTEST_RESPONSE = 8
"""Of NAT-PMP, for a failure: version, opcode, result, epoch."""
IPV4_MAPPED = bytes(10) + b"\xff\xff"

RESPONSE = 0x80
"""The bit that makes an opcode a response's."""
ADDRESS = 0
"""NAT-PMP's opcode of the external address."""
ANNOUNCE = 0
"""PCP's opcode that only shows that the other side is there."""
MAP = 1
"""The opcode of a mapping: PCP's MAP, NAT-PMP's for UDP."""
UDP = 17


class PcpResult(IntEnum):
    """Result codes of PCP (RFC 6887 section 7.4)."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPP_OPCODE = 4
    UNSUPP_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPP_PROTOCOL = 9
    USER_EX_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


class NatPmpResult(IntEnum):
    """Result codes of NAT-PMP (RFC 6886 section 3.5)."""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    OUT_OF_RESOURCES = 4
    UNSUPPORTED_OPCODE = 5


class PcpRequest(NamedTuple):
    """Client to gateway: map `internal_port` of `client`, preferably to the suggested port of
    the suggested host ("0.0.0.0" or "::" for any).

    `client` is the address that the request is sent from. A lifetime of 0 ends the mapping."""

    lifetime: int
    client: str
    nonce: bytes
    protocol: int
    internal_port: int
    suggested_port: int
    suggested_host: str


class PcpResponse(NamedTuple):
    """Gateway to client. `lifetime` is how long the mapping lasts or, if `result` is a failure,
    how soon asking again makes sense; `epoch` is the age of the gateway's state."""

    result: int
    lifetime: int
    epoch: int
    nonce: bytes
    protocol: int
    internal_port: int
    external_port: int
    external_host: str


class PcpAnnounce(NamedTuple):
    """Client to gateway: do you speak PCP? `lifetime` is 0, `client` as in PcpRequest."""

    lifetime: int
    client: str


class PcpAnnounced(NamedTuple):
    """Gateway to client: yes, or why not. The fields are those of PcpResponse."""

    result: int
    lifetime: int
    epoch: int


class AddressRequest(NamedTuple):
    """NAT-PMP: what is your external address?"""


class AddressResponse(NamedTuple):
    """NAT-PMP: this. `host` means nothing if `result` is a failure."""

    result: int
    epoch: int
    host: str


class PortRequest(NamedTuple):
    """NAT-PMP: map `internal_port`, preferably to `suggested_port`. A lifetime of 0 ends the
    mapping."""

    internal_port: int
    suggested_port: int
    lifetime: int


class PortResponse(NamedTuple):
    """NAT-PMP: mapped. Only `result` and `epoch` mean something if `result` is a failure."""

    result: int
    epoch: int
    internal_port: int
    external_port: int
    lifetime: int


class VersionRefused(NamedTuple):
    """The gateway does not speak this version of PCP but, maybe, `version`. Carries no nonce."""

    version: int


Request = PcpRequest | PcpAnnounce | AddressRequest | PortRequest
Response = PcpResponse | PcpAnnounced | AddressResponse | PortResponse
Message = Request | Response | VersionRefused


class Layout(NamedTuple):
    """The fields of a message after version and opcode; `hosts` are the indexes of the IPs, each
    of `host_length` bytes."""

    version: int
    opcode: int
    struct: Struct
    hosts: tuple[int, ...] = ()
    host_length: int = 16


LAYOUTS: dict[type[Request | Response], Layout] = {
    PcpRequest: Layout(PCP_VERSION, MAP, Struct("!2xI16s12sB3xHH16s"), (1, 6)),
    PcpResponse: Layout(PCP_VERSION, MAP | RESPONSE, Struct("!xBII12x12sB3xHH16s"), (7,)),
    PcpAnnounce: Layout(PCP_VERSION, ANNOUNCE, Struct("!2xI16s"), (1,)),
    PcpAnnounced: Layout(PCP_VERSION, ANNOUNCE | RESPONSE, Struct("!xBII12x")),
    AddressRequest: Layout(NAT_PMP_VERSION, ADDRESS, Struct("!")),
    AddressResponse: Layout(NAT_PMP_VERSION, ADDRESS | RESPONSE, Struct("!HI4s"), (2,), 4),
    PortRequest: Layout(NAT_PMP_VERSION, MAP, Struct("!2xHHI")),
    PortResponse: Layout(NAT_PMP_VERSION, MAP | RESPONSE, Struct("!HIHHI")),
}
TYPES = {(layout.version, layout.opcode): cls for cls, layout in LAYOUTS.items()}


def pack(message: Request | Response) -> bytes:
    """The bytes of a message."""
    layout = LAYOUTS[type(message)]
    fields: list[Any] = list(message)
    for index in layout.hosts:
        fields[index] = _pack_host(fields[index], layout.host_length)
    return bytes([layout.version, layout.opcode]) + layout.struct.pack(*fields)


def parse(data: bytes) -> Message | Drop:
    """The message in a datagram, or Drop.MALFORMED. Bytes after the last field are ignored."""
    if len(data) < HEADER_LENGTH or not _has_sound_length(data):
        return Drop.MALFORMED
    if _refuses_version(data):
        return VersionRefused(data[0])
    message_type = TYPES.get((data[0], data[1]))
    if message_type is None:
        return Drop.MALFORMED
    layout = LAYOUTS[message_type]
    body = _body(data, layout.struct.size)
    if len(body) < layout.struct.size:
        return Drop.MALFORMED
    fields: list[Any] = list(layout.struct.unpack_from(body))
    for index in layout.hosts:
        fields[index] = _unpack_host(fields[index])
    return message_type(*fields)


def describe(data: bytes) -> str:
    """A datagram in words, for traces."""
    message = parse(data)
    if isinstance(message, Drop):
        return f"{len(data)} bytes: {message}"
    fields = [
        f"{name}={value.hex() if isinstance(value, bytes) else value}"
        for name, value in message._asdict().items()
    ]
    return " ".join([type(message).__name__, *fields])


def result_name(results: type[IntEnum], result: int) -> str:
    """A result code as its RFC calls it, or its number."""
    try:
        return results(result).name
    except ValueError:
        return f"result {result}"


def _has_sound_length(data: bytes) -> bool:
    return data[0] != PCP_VERSION or (len(data) <= MAX_PCP_LENGTH and len(data) % 4 == 0)


def _refuses_version(data: bytes) -> bool:
    """Whether a gateway that doesn't speak our PCP answers so, in its own format: version, opcode
    and result stand at the same place in all (RFC 6887 section 9, RFC 6886 section 3.5)."""
    if data[0] == PCP_VERSION or len(data) < SHORTEST_RESPONSE:
        return False
    return bool(data[1] & RESPONSE) and data[3] == PcpResult.UNSUPP_VERSION


def _body(data: bytes, size: int) -> bytes:
    """The bytes after the header. A NAT-PMP response of a failure may end after its epoch: the
    missing fields are zero."""
    version, opcode, body = data[0], data[1], data[HEADER_LENGTH:]
    if version == NAT_PMP_VERSION and opcode & RESPONSE and len(data) >= SHORTEST_RESPONSE:
        failed = body[:2] != bytes(2)
        return body.ljust(size, b"\0") if failed else body
    return body


def _pack_host(host: str, length: int) -> bytes:
    """4 bytes, or 16 with IPv4 as IPv4-mapped IPv6 (RFC 6887 section 5)."""
    packed = ipaddress.ip_address(host).packed
    return packed if len(packed) == length else IPV4_MAPPED + packed


def _unpack_host(packed: bytes) -> str:
    """The inverse of `_pack_host`."""
    return canonical_host(str(ipaddress.ip_address(packed)))
