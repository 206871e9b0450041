"""An internet in a box: routers with the kernel's own NAT between hosts, out of namespaces.

    server ──┐                 ┌── router ── lan ── host
             ├── internet ─────┤
    server ──┘   (a router)    └── router ── lan ── router ── lan ── host

Public addresses are those reserved for documentation; nothing leaves the namespaces.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType

from tests.lab.cable import Cable
from tests.lab.datagrams import observed
from tests.lab.namespace import Namespace

FIRST_MEMBER = 10
"""The last byte of a segment's first member; its gateway is 1."""
PRIVATE_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
"""The internet silently drops what is sent there, as providers do."""
SEQUENTIAL_PORTS = range(40000, 41000)
_COUNTER = (
    # Through a map: the bare number would be taken in the wrong byte order.
    f"numgen inc mod {len(SEQUENTIAL_PORTS)} map "
    f"{{ {', '.join(f'{index} : {port}' for index, port in enumerate(SEQUENTIAL_PORTS))} }}"
)


class Ports(StrEnum):
    """How a router chooses the outside port of a new flow, in the words of nftables."""

    PRESERVED = "masquerade"
    """The inside port unless it is taken: the same for every destination."""
    RANDOM = "masquerade fully-random"
    """Another for every destination, unpredictable."""
    SEQUENTIAL = f"masquerade to :{_COUNTER}"
    """Another for every destination, always the next one."""
    FEW_RANDOM = "masquerade to :50000-50127 fully-random"
    """Like RANDOM, out of 128."""


@dataclass(frozen=True, slots=True)
class Nat:
    """What a router does with UDP. The default is the common home router: endpoint-independent
    mapping, address- and port-dependent filtering, no hairpin."""

    ports: Ports = Ports.PRESERVED
    input_drop: bool = True
    """Drop what nobody behind the router asked for. Without it the router itself answers, and
    connection tracking remembers the flow: the outside port is then taken."""
    dmz: bool = False
    """Unsolicited datagrams go to the first host of the lan (IPv4): endpoint-independent
    filtering."""
    udp_blocked: bool = False

    def ruleset(self, dmz_host: str) -> str:
        """The nftables rules of a router with interfaces `wan` and `lan`."""
        dmz = f'iifname "wan" meta l4proto udp dnat to {dmz_host}' if self.dmz else ""
        udp_input = 'iifname "wan" meta l4proto udp drop' if self.input_drop else ""
        udp_forward = "meta l4proto udp drop" if self.udp_blocked else ""
        return f"""
            table ip nat {{
                chain prerouting {{
                    type nat hook prerouting priority dstnat;
                    {dmz}
                }}
                chain postrouting {{
                    type nat hook postrouting priority srcnat;
                    oifname "wan" meta l4proto udp {self.ports}
                    oifname "wan" masquerade
                }}
            }}
            table inet filter {{
                chain input {{
                    type filter hook input priority filter;
                    ct state established,related accept
                    {udp_input}
                }}
                chain forward {{
                    type filter hook forward priority filter;
                    {udp_forward}
                    ct state established,related accept
                    ct status dnat accept
                    iifname "wan" drop
                }}
            }}
        """


HOME_ROUTER = Nat()


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace with its addresses on one segment; an address of a family that the lab does
    without is empty."""

    namespace: Namespace
    address4: str
    address6: str

    @property
    def address(self) -> str:
        """Its IPv4 address, or else its IPv6 address."""
        return self.address4 or self.address6


ROUTER_LINK_ADDRESS = "02:00:00:00:00:01"
"""Of the router of each segment, on that segment."""


class Segment:
    """A switched network: a bridge in `owner`, which is its router."""

    def __init__(self, owner: Namespace, bridge: str, prefix4: str, prefix6: str) -> None:
        """`prefix4` is three bytes (`192.0.2`), `prefix6` up to four groups (`2001:db8:1`);
        either may be empty."""
        self.owner = owner
        self.bridge = bridge
        self.prefix4 = prefix4
        self.prefix6 = prefix6
        self._members = 0
        # Without snooping, neighbour discovery needs no multicast querier. Without a link address
        # of its own, a bridge takes the lowest of its members': each new one may change it, and
        # earlier members would go on sending to the old one.
        owner.configure(
            f"link add {bridge} address {ROUTER_LINK_ADDRESS} type bridge mcast_snooping 0",
            *_addresses(bridge, self.address4(1), self.address6(1)),
            f"link set {bridge} up",
        )

    def address4(self, number: int) -> str:
        return f"{self.prefix4}.{number}" if self.prefix4 else ""

    def address6(self, number: int) -> str:
        return f"{self.prefix6}::{number}" if self.prefix6 else ""

    def join(
        self, namespace: Namespace, interface: str = "eth0", cable: Namespace | None = None
    ) -> Host:
        """Plug a namespace in, with the segment's router as its default route; by a cable with
        a length where there is a namespace for that."""
        host = self.plug(namespace, interface, cable)
        namespace.configure(
            *_addresses(interface, host.address4, host.address6), *self.default_routes()
        )
        return host

    def plug(
        self, namespace: Namespace, interface: str = "eth0", cable: Namespace | None = None
    ) -> Host:
        """Plug a namespace in, with an interface that is up, but has none of the addresses that it
        may take."""
        number = FIRST_MEMBER + self._members
        self._members += 1
        port = f"{self.bridge}{number}"
        if cable is None:
            _link(self.owner, port, namespace, interface)
        else:
            cable.sysctl("ipv6/conf/default/disable_ipv6", 1)  # it shall say nothing of its own
            _link(self.owner, port, cable, Cable.NEAR)
            _link(cable, Cable.FAR, namespace, interface)
            cable.configure(f"link set {Cable.NEAR} up", f"link set {Cable.FAR} up")
        self.owner.configure(f"link set {port} master {self.bridge} up")
        namespace.configure(f"link set {interface} up")
        return Host(namespace, self.address4(number), self.address6(number))

    def default_routes(self) -> list[str]:
        """The `ip` commands that lead all else of a member to the segment's router."""
        routers = self.address4(1), self.address6(1)
        return [f"route replace default via {router}" for router in routers if router]


def _link(one: Namespace, interface: str, other: Namespace, other_interface: str) -> None:
    one.configure(f"link add {interface} type veth peer name {other_interface} netns {other.name}")


def _addresses(interface: str, address4: str, address6: str) -> list[str]:
    return [
        *([f"address add {address4}/24 dev {interface}"] if address4 else []),
        # Without `nodad` it can't be used until the kernel has come round to not checking it.
        *([f"address add {address6}/64 dev {interface} nodad"] if address6 else []),
    ]


class Router:
    """A router: NAT for IPv4, a stateful firewall without NAT for IPv6."""

    def __init__(self, namespace: Namespace, wan: Host, lan: Segment, nat: Nat) -> None:
        self.namespace = namespace
        self.wan = wan
        self.lan = lan
        self.change(nat)

    def change(self, nat: Nat) -> None:
        """Do this with UDP from now on."""
        rules = f"flush ruleset\n{nat.ruleset(self.lan.address4(FIRST_MEMBER))}"
        self.namespace.run("nft", "-f", "-", stdin=rules)

    def forget_flows(self) -> None:
        """Lose every mapping and filter state, as a restart does. Needs `conntrack`."""
        self.namespace.run("conntrack", "-F")


class Lab:
    """One internet; a context manager that leaves nothing behind."""

    def __init__(self, *, ipv4: bool = True, ipv6: bool = False) -> None:
        self.ipv4 = ipv4
        self.ipv6 = ipv6
        self._cleanup = ExitStack()
        self._lans = 0

    def __enter__(self) -> Lab:
        try:
            self._build_internet()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def server(self, label: str) -> Host:
        """A host with a public address and no firewall."""
        return self._servers.join(self._namespace(label))

    def router(
        self,
        label: str,
        nat: Nat = HOME_ROUTER,
        *,
        behind: Router | None = None,
        latency: float = 0.0,
    ) -> Router:
        """A router with a lan of its own, at the internet or (IPv4 only) behind another one.

        `latency` is the seconds that its uplink takes, in each direction."""
        namespace = self._namespace(label)
        uplink = behind.lan if behind else self._customers
        cable = self._namespace(f"{label}_cable") if latency else None
        wan = uplink.join(namespace, "wan", cable)
        if cable:
            self._cleanup.callback(Cable(cable, latency).close)
            _acquaint(wan, uplink)
        self._lans += 1
        prefix6 = f"2001:db8:1:{self._lans:x}" if self.ipv6 and not behind else ""
        lan = Segment(namespace, "lan", f"192.168.{self._lans}" if self.ipv4 else "", prefix6)
        if prefix6:
            self._internet.configure(f"route add {prefix6}::/64 via {wan.address6}")
        _forward(namespace)
        return Router(namespace, wan, lan, nat)

    def host(self, label: str, router: Router) -> Host:
        """A host on a router's lan."""
        return router.lan.join(self._namespace(label))

    def udp_socket(self, host: Host, port: int = 0) -> socket.socket:
        """A socket for the test itself, on a host's address; closed with the lab."""
        sock = host.namespace.udp_socket(host.address, port)
        self._cleanup.callback(sock.close)
        return sock

    def close(self) -> None:
        """Remove everything that was built so far."""
        self._cleanup.close()

    def _namespace(self, label: str) -> Namespace:
        namespace = Namespace(label)
        self._cleanup.callback(namespace.delete)
        return namespace

    def _build_internet(self) -> None:
        self._internet = self._namespace("internet")
        self._servers = self._public("servers", "198.51.100", "2001:db8:a")
        self._customers = self._public("customers", "203.0.113", "2001:db8:c")
        if self.ipv4:
            self._internet.configure(*(f"route add blackhole {net}" for net in PRIVATE_NETWORKS))
        _forward(self._internet)

    def _public(self, bridge: str, prefix4: str, prefix6: str) -> Segment:
        return Segment(
            self._internet, bridge, prefix4 if self.ipv4 else "", prefix6 if self.ipv6 else ""
        )


def _acquaint(member: Host, segment: Segment) -> None:
    """Have a router and its uplink's resolve each other's link addresses, as those of real ones
    have long done: it takes a round trip, which would hold up the first datagram."""
    for address, gateway in (
        (member.address4, segment.address4(1)),
        (member.address6, segment.address6(1)),
    ):
        if address:
            with (
                member.namespace.udp_socket(address, 0) as here,
                segment.owner.udp_socket(gateway, 0) as there,
            ):
                observed(here, there)


def _forward(namespace: Namespace) -> None:
    namespace.sysctl("ipv4/ip_forward", 1)
    namespace.sysctl("ipv6/conf/all/forwarding", 1)
