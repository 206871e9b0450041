"""Invitations: one line of text with which another host joins a new site.

`npi1:` and base64url, without padding, of: length of all that follows (2 bytes), role, VPN,
control's port, the names (each with its length before it), the tunnel's network, port and two
public keys or fingerprints, the key of this role, what the VPN of an end needs, and a checksum (4
bytes). Numbers are big-endian. A part that a role or a VPN does not need is left out.

It carries values, not a site file: nothing in it can make a host run a program.
"""

import base64
import hashlib
import hmac
import ipaddress
import re
import struct
from typing import Literal, NamedTuple, get_args

from netpunch.config import values
from netpunch.config.blueprint import TUNNEL_BITS, TUNNELS, VPNS, Blueprint, Identity
from netpunch.config.secrets import KEY_PREFIXES, KEY_SIZE
from netpunch.config.values import HostPort
from netpunch.redacted import redacted

Role = Literal["control", "a", "b"]
ROLES: tuple[Role, ...] = get_args(Role)

PREFIX = "npi1:"
"""The number is the version of the form."""
MAX_TEXT = 4096
"""Characters; the longest names and a certificate need some 2,200. A terminal passes on no longer
line."""

_OTHER_VERSION = re.compile(r"npi[0-9]+:")
_DIGITS = re.compile(r"[A-Za-z0-9_-]*")
_CHECKSUM_SIZE = 4
"""Bytes, as of keys: one mistake in four billion goes unnoticed."""
_HEAD = struct.Struct("!BBH")
_LENGTH = struct.Struct("!H")
_TUNNEL = struct.Struct(f"!4sH{KEY_SIZE}s{KEY_SIZE}s")
COPY_AGAIN = "copy the whole line again"


class Invitation(NamedTuple):
    """What one more host of a site needs. `key` is the pair's key for an end, and control's for a
    control; `identity` is for an end with a VPN."""

    role: Role
    site: Blueprint
    key: bytes
    identity: Identity | None = None

    @property
    def node(self) -> str:
        """The host that it is for."""
        return self.site.node if self.role == "control" else self.site.node_of(self.role)

    def __repr__(self) -> str:
        return redacted(self, "key")


def format_invitation(invitation: Invitation) -> str:
    """Its text, without a newline."""
    site, identity = invitation.site, invitation.identity
    body = _HEAD.pack(ROLES.index(invitation.role), VPNS.index(site.vpn), site.control.port)
    for name in (site.pair, site.control.host, site.node, site.a, site.b):
        encoded = name.encode("ascii")
        body += bytes((len(encoded),)) + encoded
    if site.network is not None and site.known_by is not None:
        body += _TUNNEL.pack(site.network.network_address.packed, site.port, *site.known_by)
    body += invitation.key
    if identity is not None:
        body += identity.private_key + identity.certificate
    body = _LENGTH.pack(len(body) + _CHECKSUM_SIZE) + body
    encoded = base64.urlsafe_b64encode(body + _checksum(body))
    return PREFIX + encoded.rstrip(b"=").decode("ascii")


def parse_invitation(text: str) -> Invitation:
    """The invitation in a text; whitespace around it is ignored.

    Raises ValueError with the reason, without repeating any of the text."""
    text = text.strip()
    if not text.startswith(PREFIX):
        raise ValueError(_other_kind(text))
    encoded = text.removeprefix(PREFIX)
    if not _DIGITS.fullmatch(encoded):
        raise ValueError(f"damaged invitation: it has other characters in it; {COPY_AGAIN}")
    if len(text) > MAX_TEXT:
        raise ValueError(f"damaged invitation: it is too long; {COPY_AGAIN}")
    data = _decoded(encoded)
    try:
        return _Reader(data).invitation()
    except ValueError:  # its checksum is right, so it was made like this
        raise ValueError(
            "this invitation has values that netpunch does not accept: make a new one"
        ) from None


def _other_kind(text: str) -> str:
    if not text:
        return f"expected an invitation ({PREFIX}...), got nothing"
    if text.startswith(KEY_PREFIXES):
        return (
            "this is a key, not an invitation: `netpunch init` prints invitations, and keys go "
            "where the site file names them"
        )
    if _OTHER_VERSION.match(text):
        return "a newer netpunch made this invitation: install the same version here"
    return f"expected an invitation, which begins with {PREFIX}; {COPY_AGAIN}"


def _decoded(encoded: str) -> bytes:
    """What is between length and checksum."""
    cut = f"damaged invitation: its end is missing; {COPY_AGAIN}"
    if len(encoded) % 4 == 1:
        raise ValueError(cut)
    data = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    if len(data) < _LENGTH.size or len(data) - _LENGTH.size < _LENGTH.unpack_from(data)[0]:
        raise ValueError(cut)
    body, checksum = data[:-_CHECKSUM_SIZE], data[-_CHECKSUM_SIZE:]
    canonical = base64.urlsafe_b64encode(data).rstrip(b"=") == encoded.encode("ascii")
    if not canonical or not hmac.compare_digest(checksum, _checksum(body)):
        raise ValueError(f"damaged invitation: wrong checksum; {COPY_AGAIN}")
    return body[_LENGTH.size :]


class _Reader:
    """Takes one part after the other. Raises ValueError."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def invitation(self) -> Invitation:
        role_number, vpn_number, port = _HEAD.unpack(self._take(_HEAD.size))
        if role_number >= len(ROLES) or vpn_number >= len(VPNS):
            raise ValueError
        role, vpn = ROLES[role_number], VPNS[vpn_number]
        pair, control = values.pair_name(self._text()), HostPort(self._text(), port)
        node, a, b = (values.node_name(self._text()) for _ in range(3))
        site = Blueprint(pair, values.reachable_host_port(str(control)), node, a, b, vpn)
        check_names(site)
        if vpn != "none":
            network, port, one, other = _TUNNEL.unpack(self._take(_TUNNEL.size))
            tunnel = ipaddress.IPv4Network((network, TUNNEL_BITS))
            if not tunnel.subnet_of(TUNNELS) or not 0 < port < values.HIGHEST_PORT:
                raise ValueError
            site = site._replace(network=tunnel, port=port, known_by=(one, other))
        key = self._take(KEY_SIZE)
        identity = None
        if role != "control" and vpn != "none":
            private_key = self._take(KEY_SIZE)
            certificate = self._take(len(self._rest) if vpn == "openvpn" else 0)
            identity = Identity(private_key, certificate)
        if self._rest:
            raise ValueError
        return Invitation(role, site, key, identity)

    def _take(self, size: int) -> bytes:
        if len(self._rest) < size:
            raise ValueError
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def _text(self) -> str:
        return self._take(self._take(1)[0]).decode("ascii")


def check_names(site: Blueprint) -> None:
    """Raises ValueError unless the names of pair and hosts can be those of a new site."""
    if "." in site.pair:
        raise ValueError("a pair of its own has a name without dots: the others are of a mesh")
    if site.a == site.b:
        raise ValueError(f"both ends are named {site.a}: name one of the hosts differently")
    if site.node in (site.a, site.b):
        raise ValueError(f"{site.node} is the name of an end and of control: they are two hosts")


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(PREFIX.encode("ascii") + body).digest()[:_CHECKSUM_SIZE]
