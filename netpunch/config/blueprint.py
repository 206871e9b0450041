"""What `init` knows of a new site, an invitation carries and `join` learns: one pair, its control
and its VPN. The site file follows from it, so that all hosts write the same one, and so that an
invitation cannot bring along a program to run."""

import ipaddress
import re
from typing import Literal, NamedTuple, get_args

from netpunch.config.values import HostPort
from netpunch.core.settings import EndName
from netpunch.redacted import redacted

Vpn = Literal["wireguard-share", "wireguard-forward", "openvpn", "none"]
VPNS: tuple[Vpn, ...] = get_args(Vpn)

CONTROL_PORT = 10001
"""Where a control listens unless another port is given."""
KEYS = "keys"
"""The folder of the keys, beside the site file: LoadCredential= of the units in contrib/."""
HOOK = "hooks/wireguard"
"""The hook that tells WireGuard where its partner is: its place in contrib/ and beside the site
file."""
TUNNELS = ipaddress.IPv4Network("10.192.0.0/10")
"""Where tunnels have their addresses: private ones that few networks use. An invitation from
elsewhere could lead what is meant for others, such as a name server, into the tunnel."""
TUNNEL_BITS = 30
"""Length of the prefix of a network for two hosts."""
TUNNEL_NAME = 15
"""Characters of an interface's name at most, on Linux."""


class Blueprint(NamedTuple):
    """A site of one pair. What only a VPN needs is empty without one."""

    pair: str
    control: HostPort
    """Where the ends reach it."""
    node: str
    """Where control runs."""
    a: str
    b: str
    """The nodes of the two ends."""
    vpn: Vpn
    network: ipaddress.IPv4Network | None = None
    """Of the tunnel: a /30, whose first host is end a."""
    port: int = 0
    """WireGuard's ListenPort, and the port that OpenVPN takes over. `forward` listens at the one
    after it."""
    known_by: tuple[bytes, bytes] | None = None
    """By which 32 bytes each end knows the other: WireGuard's public keys of a and b, or the
    SHA-256 fingerprints of OpenVPN's certificates."""

    @property
    def has_wireguard(self) -> bool:
        return self.vpn.startswith("wireguard")

    @property
    def key_file(self) -> str:
        """The path of the pair's key, or control's, below the folder of the site file."""
        return f"{KEYS}/{self.pair}.key"

    @property
    def interface(self) -> str:
        """The name of WireGuard's interface: as much of the pair's name as fits."""
        return f"wg-{self.pair}"[:TUNNEL_NAME].rstrip("-")

    def node_of(self, end: EndName) -> str:
        return self.a if end == "a" else self.b

    def address_of(self, end: EndName) -> str:
        """In the tunnel."""
        assert self.network is not None
        return str(self.network.network_address + (1 if end == "a" else 2))


class Identity(NamedTuple):
    """Who an end is to its partner's VPN."""

    private_key: bytes
    """32 bytes: WireGuard's, or that of the certificate (P-256)."""
    certificate: bytes = b""
    """OpenVPN's, in DER."""

    def __repr__(self) -> str:
        return redacted(self, "private_key")


def site_text(site: Blueprint, this_node: str | None = None) -> str:
    """The site file. `this_node` is named in it where the host's name does not say which node the
    host is."""
    own = _line(f"node: {_word(this_node)}", "this host, by another name") if this_node else ""
    port = site.control.port
    ports = f"{port} and {port + 1}"
    address = _line(f'  address: "{site.control}"', f"its firewall has to let in UDP {ports}")
    relay = _line(f'  # relay: ":{port + 2}"', "for pairs that nothing else links; open it, too")
    key = _line(f'    secret_file: "{KEYS}/{{pair}}.key"', "`netpunch key id` compares keys")
    return f"""\
# Links {site.a} (end a) and {site.b} (end b), which {site.node} introduces to each other: it has a
# public address. The same file lies on all three hosts, and each runs the part that names it:
#   netpunch check site.yaml           what is wrong, if anything
#   netpunch run site.yaml             run this host's part
#   netpunch status                    is it linked?
# All keys: docs/configuration.md. For an editor that completes and checks them:
#   netpunch schema -o netpunch.schema.json
# yaml-language-server: $schema=netpunch.schema.json
version: 1
{own}
control:
  node: {_word(site.node)}
{address}{relay}
pairs:
  {_word(site.pair)}:
{key}{_line("    mode: keep", "punch anew when the link is lost")}{_VPN_TEXTS[site.vpn](site)}"""


def _word(name: str) -> str:
    """In quotes, if YAML could take it for anything else than a text."""
    is_plain = _PLAIN.fullmatch(name) and name not in _YAML_WORDS
    return name if is_plain else f'"{name}"'


_PLAIN = re.compile("[a-z][a-z0-9.-]*")
_YAML_WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")


def _line(text: str, comment: str) -> str:
    """Comments stand below each other, where the text leaves room."""
    return f"{text.ljust(38)} # {comment}\n"


def _share(site: Blueprint) -> str:
    a, b = (base64_of(key) for key in site.known_by or ())
    return f"""\
    # WireGuard keeps its port; netpunch finds and holds the path beside it, from the same port
    # (CAP_NET_RAW), and the hook tells WireGuard the address (CAP_NET_ADMIN).
    share: on
{_line(f'    local: ":{site.port}"', f"ListenPort in {site.interface}.conf")}\
    hooks: [{HOOK}, {site.interface}]
    a: {{node: {_word(site.a)}, wireguard_key: "{a}"}}
    b: {{node: {_word(site.b)}, wireguard_key: "{b}"}}
"""


def _forward(site: Blueprint) -> str:
    return f"""\
    # netpunch relays between the link and WireGuard: Endpoint and ListenPort in
    # {site.interface}.conf. It needs no privileges.
    forward: {{listen: "127.0.0.1:{site.port + 1}", to: "127.0.0.1:{site.port}"}}
{_ends(site)}"""


def _openvpn(site: Blueprint) -> str:
    def end(name: EndName, other: EndName) -> str:
        ping = f"[ping, -I, {OPENVPN_DEVICE}, -c1, -W1, {site.address_of(other)}]"
        return f"    {name}: {{node: {_word(site.node_of(name))}, check: {ping}}}\n"

    arguments = '"{pair}.conf", --lport, "{lport}", --remote, "{rhost}", "{rport}"'
    return f"""\
    # OpenVPN takes over the port; netpunch punches anew when it ends or when the check fails twice.
    # It gets CAP_NET_ADMIN from netpunch.
    local: ":{site.port}"
    command: [openvpn, --config, {arguments}]
    check_every: 5s
{end("a", "b")}{end("b", "a")}"""


def _none(site: Blueprint) -> str:
    return f"""\
    # Who uses the link? For any UDP program: what it sends to port 7001 here arrives at port 7000
    # there; netpunch encrypts it. OpenVPN, WireGuard and hooks: docs/recipes.md.
    # forward: {{listen: "127.0.0.1:7001", to: "127.0.0.1:7000", sealed: on}}
{_ends(site)}"""


def _ends(site: Blueprint) -> str:
    return f"    a: {{node: {_word(site.a)}}}\n    b: {{node: {_word(site.b)}}}\n"


_VPN_TEXTS = {
    "wireguard-share": _share,
    "wireguard-forward": _forward,
    "openvpn": _openvpn,
    "none": _none,
}

OPENVPN_DEVICE = "vpn0"
"""As in contrib/openvpn-a.conf."""


def base64_of(key: bytes) -> str:
    """As WireGuard writes keys."""
    import base64

    return base64.b64encode(key).decode("ascii")
