"""`netpunch init`: a new site of one pair, and invitations for its other hosts."""

from __future__ import annotations

import argparse
import ipaddress
import secrets
import shlex
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from netpunch.cli.arguments import Parser
from netpunch.cli.new_files import SECRET_FILE_MODE, refuse_existing, write_new_file
from netpunch.cli.new_site import add_folder, folder_of, next_steps, ports_of, set_up
from netpunch.cli.streams import write_line
from netpunch.errors import OutputError, UsageError

if TYPE_CHECKING:
    from netpunch.config.blueprint import Blueprint, Identity, Vpn
    from netpunch.config.invitation import Invitation
    from netpunch.config.values import HostPort

T = TypeVar("T")

WIREGUARD_PORT = 51820
"""WireGuard's usual one. The first of it and the even ports above that is free here, as the next
one is, too."""
PORTS_TRIED = 50
OPENVPN_PORT = 5000
"""As in contrib/openvpn-a.conf's head and README."""
DRAWS = 1000
"""For a /30 of TUNNELS that is free, at random: then it most likely is at the partner's, too."""
VPN_CHOICES = ("wireguard-share", "wireguard-forward", "openvpn", "none")

DESCRIPTION = """\
Set up a new pair: write a commented site file, the pair's key and, with --vpn,
the VPN's keys and configuration for this host. Then check them, and print an
invitation for each of the two other hosts, which `netpunch join` takes there.
Existing files are never overwritten.

On a terminal it asks for what is missing; otherwise PAIR, --control, --partner
and --vpn are needed.
"""
VPNS_EXPLAINED = """\
  wireguard-share    WireGuard keeps its port, and the kernel carries the data;
                     netpunch needs root, or CAP_NET_RAW and CAP_NET_ADMIN
  wireguard-forward  netpunch relays to WireGuard, and needs no privileges
  openvpn            netpunch runs OpenVPN on the port that it has punched
  none               nothing yet: edit the site file
"""
EPILOG = f"""\
VPNs:
{VPNS_EXPLAINED}
Invitations are shown only on a terminal or with --show-invitations, and
otherwise written to files of mode 0600. The partner's holds the pair's secret.

examples:
  netpunch init home-office --control vps.example.net --partner office \\
    --vpn wireguard-share
  netpunch init
"""


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    add = parser.add_argument
    add("pair", metavar="PAIR", nargs="?", help="the name of the pair, such as home-office")
    add("--control", metavar="HOST[:PORT]", help="control's public name or address; port: 10001")
    add("--end", choices=("a", "b"), default="a", help="the end that this host is; default: a")
    add("--me", metavar="NODE", help="the name of this host; default: its host name")
    add("--partner", metavar="NODE", help="the host name of the other end")
    add("--vpn", choices=VPN_CHOICES, help="what will use the link; see below")
    add_folder(parser)
    add("--show-invitations", action="store_true", help="print them, whoever may read it")
    return parser.parse_args(arguments)


def execute(options: argparse.Namespace) -> int:
    from netpunch.cli.new_site import SITE_FILE

    folder = folder_of(options)
    refuse_existing(folder / SITE_FILE)  # before anything is asked
    site = Answers(options).site()
    own, *others = invitations_to(site, options.end)
    shown = options.show_invitations or (sys.stdout is not None and sys.stdout.isatty())
    if not shown:
        for each in others:
            refuse_existing(invitation_file(folder, each))
    code = set_up(own, folder)
    if code == 0:
        steps = [invite(each, None if shown else folder) for each in others]
        write_line("\nNext, with netpunch on all three hosts:")
        for number, step in enumerate(steps, 1):
            write_line(f"\n{number}. {step}")
        write_line(f"\n{next_steps(own, folder, f'{len(steps) + 1}. Here')}")
    return code


class Answers:
    """What the arguments say and, on a terminal, the answers to questions about the rest."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._asks = sys.stdin is not None and sys.stdin.isatty()

    def site(self) -> Blueprint:
        """Raises UsageError if a value is missing or wrong."""
        from netpunch.config.blueprint import Blueprint
        from netpunch.config.invitation import check_names
        from netpunch.config.values import node_name

        self._refuse_missing()
        name = socket.gethostname().partition(".")[0]
        me = self._read("me", name, "this host's name", node_name, asks=False)
        control = self._read("control", "", "control's public name or address", control_at)
        partner = self._read("partner", "", "the partner's host name", other_than(me))
        pair = self._read("pair", suggested_pair(me, partner), "the pair's name", own_pair)
        vpn = self._read("vpn", VPN_CHOICES[0], "the VPN", vpn_choice, explained=VPNS_EXPLAINED)
        a, b = (me, partner) if self._options.end == "a" else (partner, me)
        site = Blueprint(pair, control, control_node(control, (a, b)), a, b, vpn)
        try:
            check_names(site)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return site

    def _refuse_missing(self) -> None:
        named = {"pair": "PAIR", "control": "--control HOST", "partner": "--partner NODE"}
        named["vpn"] = f"--vpn {'|'.join(VPN_CHOICES)}"
        missing = [words for name, words in named.items() if not getattr(self._options, name)]
        if missing and not self._asks:
            raise UsageError(
                f"missing: {', '.join(missing)} (asked for on a terminal only); "
                "see `netpunch init --help`"
            )

    def _read(
        self,
        name: str,
        default: str,
        question: str,
        read: Callable[[str], T],
        *,
        asks: bool = True,
        explained: str = "",
    ) -> T:
        given = getattr(self._options, name)
        if given is not None or not asks:
            try:
                return read(given or default)
            except ValueError as error:
                raise UsageError(f"{question}: {given or default!r}: {error}") from None
        sys.stderr.write(explained)
        while True:
            answer = ask(f"{question[0].upper()}{question[1:]}", default)
            try:
                return read(answer)
            except ValueError as error:
                sys.stderr.write(f"  {error}\n")


def ask(question: str, default: str) -> str:
    """Raises UsageError at the end of the input."""
    sys.stderr.write(f"{question}{f' [{default}]' if default else ''}: ")
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        sys.stderr.write("\n")
        raise UsageError("the input has ended; nothing was written")
    return line.strip() or default


def control_at(text: str) -> HostPort:
    """`HOST`, `HOST:PORT`, an IPv6 address with or without brackets."""
    from netpunch.config.blueprint import CONTROL_PORT
    from netpunch.config.values import reachable_host_port

    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        has_port = ":" in text.rpartition("]")[2]
        return reachable_host_port(text if has_port else f"{text}:{CONTROL_PORT}")
    return reachable_host_port(f"[{text}]:{CONTROL_PORT}")


def other_than(me: str) -> Callable[[str], str]:
    """Reads the name of a node."""

    def read(text: str) -> str:
        from netpunch.config.values import node_name

        if node_name(text) == me:
            raise ValueError(f"both ends are named {me}: name this one by --me, or the other one")
        return node_name(text)

    return read


def own_pair(text: str) -> str:
    from netpunch.config.values import NAME, NAME_RULE

    if not NAME.fullmatch(text):
        raise ValueError(f"expected {NAME_RULE}")
    return text


def vpn_choice(text: str) -> Vpn:
    if text not in VPN_CHOICES:
        raise ValueError(f"expected one of {', '.join(VPN_CHOICES)}")
    return cast("Vpn", text)


def suggested_pair(me: str, partner: str) -> str:
    return "-".join(name.partition(".")[0] for name in (me, partner)).replace("_", "-")[:32]


def control_node(control: HostPort, ends: tuple[str, str]) -> str:
    """The first part of its host's name, which most likely is what it calls itself."""
    name = control.host.partition(".")[0].lower()
    is_address = ":" in control.host or control.host.replace(".", "").isdigit()
    return "control" if is_address or name in (*ends, "localhost") else name


# Keys, and invitations that hold them.


def invitations_to(site: Blueprint, end: str) -> tuple[Invitation, Invitation, Invitation]:
    """For this host, for control and for the partner."""
    import os

    from netpunch.config.invitation import Invitation
    from netpunch.config.secrets import KEY_SIZE
    from netpunch.wire.keys import control_key

    identities: list[Identity | None] = [None, None]
    if site.vpn != "none":
        (one, a), (other, b) = new_identity(site, site.a), new_identity(site, site.b)
        identities = [one, other]
        port = free_ports() if site.has_wireguard else OPENVPN_PORT
        site = site._replace(network=free_network(), port=port, known_by=(a, b))
    key = os.urandom(KEY_SIZE)
    ends = (
        Invitation("a", site, key, identities[0]),
        Invitation("b", site, key, identities[1]),
    )
    own, partner = ends if end == "a" else reversed(ends)
    return own, Invitation("control", site, control_key(key, site.pair)), partner


def new_identity(site: Blueprint, node: str) -> tuple[Identity, bytes]:
    """An end's key for the VPN, and by what the partner knows it."""
    from netpunch.config.vpn_files import openvpn_identity, wireguard_identity

    if site.has_wireguard:
        return wireguard_identity()
    from netpunch.net.tls_certificate import self_signed

    return openvpn_identity(self_signed(node, OPENVPN_LIFETIME_DAYS))


OPENVPN_LIFETIME_DAYS = 36500
"""The partner knows the certificate by its fingerprint. When it has expired, nothing links."""


def free_network() -> ipaddress.IPv4Network:
    """A network for two hosts that this host has no route into. Raises OutputError."""
    from netpunch.config.blueprint import TUNNEL_BITS, TUNNELS
    from netpunch.net.routes import ipv4_networks

    taken = ipv4_networks()
    for _ in range(DRAWS):
        place = secrets.randbelow(1 << (TUNNEL_BITS - TUNNELS.prefixlen))
        first = TUNNELS.network_address + place * (1 << (32 - TUNNEL_BITS))
        network = ipaddress.IPv4Network((first, TUNNEL_BITS))
        if not any(network.overlaps(each) for each in taken):
            return network
    raise OutputError(f"this host has routes into all of {TUNNELS}: no addresses for the tunnel")


def free_ports() -> int:
    """A port of which no program here has it or the next one."""
    for port in range(WIREGUARD_PORT, WIREGUARD_PORT + 2 * PORTS_TRIED, 2):
        if all(_is_free(each) for each in (port, port + 1)):
            return port
    return WIREGUARD_PORT


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def invitation_file(folder: Path, invitation: Invitation) -> Path:
    return folder / f"{invitation.site.pair}.{invitation.node}.invitation"


def invite(invitation: Invitation, folder: Path | None) -> str:
    """What to do at another host, with its invitation in the text, or in a file of that folder."""
    from netpunch.config.invitation import format_invitation

    site, node = invitation.site, invitation.node
    if invitation.role == "control":
        part = f"control; its firewall has to let in UDP {ports_of(site)}"
        holds, host = "control's key", site.control.host
    else:
        part, holds, host = f"end {invitation.role}", "the pair's secret", node
    join = f"On {node} ({part}), run `netpunch join`\n   "
    care = f"It holds {holds}: only {node} may read it."
    line = format_invitation(invitation)
    if folder is None:
        return f"{join}and paste this line. {care}\n\n{line}\n"
    file = invitation_file(folder, invitation)
    write_new_file(file, f"{line}\n", SECRET_FILE_MODE)
    return (
        f"{join}with this file, and remove it then. {care}\n\n"
        f"   ssh {host} netpunch join <{shlex.quote(str(file))}\n"
    )
