"""UDP sockets: binding them, with errors that say what to do, and what the system knows of them."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from netpunch.address import Address
from netpunch.core.settings import EndSettings
from netpunch.errors import (
    ConfigurationError,
    NetpunchError,
    NetworkNotReadyError,
    PermissionsError,
    PortInUseError,
    lack_behind,
)

WILDCARDS = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104

FRESH_PORT_ATTEMPTS = 16
"""A port that the system chooses for IPv4 is seldom taken in IPv6, and not 16 times in a row."""

MISSING_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
"""What binding a wildcard answers on a host without IPv6 (or without IPv4)."""

NOT_READY = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENODEV, errno.ENETDOWN}
"""The address or the interface is not there now; at boot it soon is."""

SHOW_OWNER = "ss -{0}lpn 'sport = :{1}'" if sys.platform == "linux" else "lsof -nP -i{2}:{1}"
"""The command that shows whose a port is: `u`, the port, UDP; or `t`, the port, TCP."""

IP_MTU_DISCOVER = 10
IPV6_MTU_DISCOVER = 23
PMTUDISC_DONT = 0
"""Of linux/in.h and in6.h, the same for both families; Python's socket module has no names for
them before 3.14."""

MEMINFO_OPTION = 55
"""SO_MEMINFO, asm-generic/socket.h; Python's socket module has no name for it."""

MEMINFO = struct.Struct("@9I")
"""The SK_MEMINFO_… of linux/sock_diag.h; the last, SK_MEMINFO_DROPS, counts full queues."""

IP_PKTINFO = 8
"""Linux's number, in linux/in.h; Python's socket module has the name since 3.14 only."""

PKTINFO = struct.Struct("@i4s4s")
"""struct in_pktinfo, ip(7): interface, address to send from, destination in the header."""

PKTINFO6 = struct.Struct("@16sI")
"""struct in6_pktinfo, RFC 3542: destination (of one to send: its source), interface."""

Ancillary = list[tuple[int, int, bytes]]
"""As `socket.sendmsg` takes it and `socket.recvmsg` gives it."""


class SocketOptions(NamedTuple):
    """How the system treats a socket's datagrams on their way out and in.

    `mark`: for the rules of policy routing and of firewalls (SO_MARK), 0 for none. `interface`:
    the only one to send and receive by (SO_BINDTODEVICE), empty for any. `receive_buffer`: bytes
    to ask the system for, 0 for its default."""

    mark: int = 0
    interface: str = ""
    receive_buffer: int = 0


DEFAULT_OPTIONS = SocketOptions()

Bind = Callable[[str, int], list[socket.socket]]
"""As `bind`, with certain options."""


def options_of(settings: EndSettings) -> SocketOptions:
    """The options of every socket that an end opens."""
    return SocketOptions(settings.mark, settings.interface)


def binder(settings: EndSettings) -> Bind:
    """`bind` with the options of an end. It binds every socket of the end, whatever its purpose:
    without the options, datagrams would leave the host by another route than the others."""
    options = options_of(settings)
    return lambda host, port: bind(host, port, options)


def bind(host: str, port: int, options: SocketOptions = DEFAULT_OPTIONS) -> list[socket.socket]:
    """Returns bound, non-blocking UDP sockets.

    `host` is an IP address (one socket) or empty: all addresses, one socket for each family that
    this host has, on the same port. Port 0 is a free one. No other socket can share the port.

    Raises PortInUseError, PermissionsError, ConfigurationError, NetworkNotReadyError if the address
    or the interface is not there now, and ResourcesError if the system has no sockets left; then
    none is bound."""
    if host:
        return [_bind_literal(host, port, options)]
    attempts = 1 if port else FRESH_PORT_ATTEMPTS
    while True:
        attempts -= 1
        try:
            return _bind_wildcards(port, options)
        except PortInUseError:
            if attempts == 0:
                raise


def local_address(sock: socket.socket) -> Address:
    """The address that a socket is bound to."""
    host, port = sock.getsockname()[:2]
    return Address(host.partition("%")[0], port)


def queue_drops(sock: socket.socket) -> int:
    """How many datagrams the system dropped because the receive queue was full; 0 if that is not
    known, as on other systems than Linux."""
    if sys.platform != "linux":
        return 0
    try:
        drops: int = MEMINFO.unpack(
            sock.getsockopt(socket.SOL_SOCKET, MEMINFO_OPTION, MEMINFO.size)
        )[-1]
    except (OSError, struct.error):  # before Linux 4.12
        return 0
    return drops


def has_route(address: Address, bind: Bind) -> bool:
    """Whether the system has a route to an address now. Nothing is sent."""
    try:
        connected(address, bind).close()
    except (NetpunchError, OSError):
        return False
    return True


def connected(address: Address, bind: Bind) -> socket.socket:
    """A socket that hears from nobody else, and of ICMP errors. Raises OSError, and what `bind`
    raises."""
    [sock] = bind(WILDCARDS[socket.AF_INET6 if address.family == 6 else socket.AF_INET], 0)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def send_from(host: str, interface: str = "") -> Ancillary:
    """Ancillary data with which sendmsg() on a wildcard socket sends from this address of the host,
    and by this interface only, if given. Raises OSError if there is no such interface. Linux
    only."""
    index = socket.if_nametoindex(interface) if interface else 0
    if ":" in host:
        packed = PKTINFO6.pack(socket.inet_pton(socket.AF_INET6, host), index)
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packed)]
    packed = PKTINFO.pack(index, socket.inet_pton(socket.AF_INET, host), bytes(4))
    return [(socket.IPPROTO_IP, IP_PKTINFO, packed)]


def asked_address(ancillary: list[tuple[int, int, bytes]]) -> str | None:
    """The address that a datagram was sent to; None if that was no unicast address."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            _interface, answer_from, destination = PKTINFO.unpack_from(data)
            # They differ for broadcast and multicast.
            unicast = answer_from == destination
            return socket.inet_ntop(socket.AF_INET, destination) if unicast else None
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            destination, _interface = PKTINFO6.unpack_from(data)
            unicast = destination[0] != 0xFF
            return socket.inet_ntop(socket.AF_INET6, destination) if unicast else None
    return None


def _bind_wildcards(port: int, options: SocketOptions) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, host in WILDCARDS.items():
            try:
                sock = _bind(family, (host, port), options)
            except OSError as error:
                if error.errno in MISSING_FAMILY:
                    continue
                raise explained(error, host, port) from error
            sockets.append(sock)
            port = sock.getsockname()[1]
    except NetpunchError:
        for sock in sockets:
            sock.close()
        raise
    if not sockets:
        raise NetworkNotReadyError("this host has neither IPv4 nor IPv6 now")
    return sockets


def literal(host: str, port: int) -> tuple[int, Any]:
    """Family and socket address of an IP address. Raises ConfigurationError if it is none."""
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        # As bytes: for text Python would import its IDNA codec, which takes a descriptor, and time.
        found = socket.getaddrinfo(host.encode(), port, type=socket.SOCK_DGRAM, flags=numeric)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigurationError(
            "expected an IP address as the local address, such as 192.0.2.1:5000, or :5000 for all "
            f"addresses of this host, got {host!r}"
        ) from error
    family, *_, sockaddr = found[0]
    return family, sockaddr


def _bind_literal(host: str, port: int, options: SocketOptions) -> socket.socket:
    family, sockaddr = literal(host, port)
    try:
        return _bind(family, sockaddr, options)
    except OSError as error:
        raise explained(error, host, port) from error


def _bind(
    family: int, sockaddr: tuple[str | int, ...] | tuple[int, bytes], options: SocketOptions
) -> socket.socket:
    sock = open_socket(family, options)
    try:
        sock.bind(sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def open_socket(family: int, options: SocketOptions = DEFAULT_OPTIONS) -> socket.socket:
    """A UDP socket as `bind` makes them, but not bound. Raises OSError, and what `bind` raises
    about the options."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        allow_fragments(sock)
        apply_options(options, sock)
    except BaseException:
        sock.close()
        raise
    return sock


def moved(sock: socket.socket) -> socket.socket:
    """The same socket as another object; the former one is closed from now on."""
    taken = socket.socket(sock.family, sock.type, fileno=sock.detach())
    taken.setblocking(False)
    return taken


def allow_fragments(sock: socket.socket) -> None:
    """Lets long datagrams of `forward` be fragmented, as they would be without netpunch. By default
    Linux sets DF, and where a filter drops the ICMP answers, long datagrams vanish."""
    if sys.platform != "linux":
        return
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DONT)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DONT)


def apply_options(options: SocketOptions, sock: socket.socket) -> None:
    """Raises what `bind` raises about the options."""
    if options.receive_buffer:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.receive_buffer)
    if not (options.mark or options.interface):
        return
    if sys.platform != "linux":
        raise ConfigurationError("`mark` and `interface` work on Linux only")
    if options.mark:
        _mark(sock, options.mark)
    if options.interface:
        _bind_to_interface(sock, options.interface)


def _mark(sock: socket.socket, mark: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("@I", mark))
    except OSError as error:
        raise PermissionsError(
            f"cannot set mark {mark}: {error.strerror}; it needs root or CAP_NET_ADMIN"
        ) from error


def bind_to_interface_again(sock: socket.socket, options: SocketOptions) -> None:
    """The interface of that name may be another one than when the socket was made, as a modem's is
    after each connection. Nothing changes while there is none, or without the privilege."""
    if options.interface:
        with contextlib.suppress(NetpunchError):
            _bind_to_interface(sock, options.interface)


def _bind_to_interface(sock: socket.socket, interface: str) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise NetworkNotReadyError(
                f"this host has no interface {interface} now: `ip link` shows those that it has"
            ) from error
        raise PermissionsError(
            f"cannot bind to interface {interface}: {error.strerror}; "
            "it needs root or CAP_NET_RAW on Linux before 5.7"
        ) from error


def explained(error: OSError, host: str, port: int, protocol: str = "UDP") -> NetpunchError:
    """What it means that a socket could not be bound to an address, and what to do."""
    address = Address(host, port)
    if lack := lack_behind(error, f"cannot bind {address}"):
        return lack
    match error.errno:
        case errno.EADDRINUSE if port:
            return port_in_use(address, protocol)
        case errno.EADDRINUSE:
            return PortInUseError(f"{host} has no free port left")
        case errno.EACCES | errno.EPERM:
            return PermissionsError(
                f"cannot bind {address}: ports below 1024 need root or CAP_NET_BIND_SERVICE"
            )
        case number if number in NOT_READY:
            return NetworkNotReadyError(
                f"cannot bind {address}: this host does not have the address {host} now; wait "
                f"until it has, choose another one, or :{port} for all of them"
            )
        case _:
            return ConfigurationError(f"cannot bind {address}: {error.strerror}")


def port_in_use(
    address: Address | str,
    protocol: str = "UDP",
    whose: str = "another socket",
    *,
    may_share: bool = False,
) -> PortInUseError:
    """With what to do. `may_share`: it is an end's port, and that program may be its VPN."""
    port = str(address).rpartition(":")[2]
    show_owner = SHOW_OWNER.format(protocol[0].lower(), port, protocol)
    share = ", or share it if that is the VPN that uses the link (`share: on`)" if may_share else ""
    return PortInUseError(
        f"{address} is in use by {whose} (`{show_owner}` shows it): stop that program, choose "
        f"another port{share}"
    )
