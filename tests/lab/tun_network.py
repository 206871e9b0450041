"""An internet in a box whose NATs are in user space, so that they can be of any kind.

Each host is a namespace; all that it sends goes into a TUN device, and from there through the
models of `tests.sim` in a process of their own (`tests.lab.tun_nat`). Next to the kernel's NAT
of `tests.lab.network` this has every mapping and filter, delay, loss, and NATs that forget.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from multiprocessing.connection import Pipe
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab.namespace import Namespace
from tests.lab.network import FIRST_MEMBER, Host
from tests.lab.program import REPOSITORY
from tests.lab.tun_nat import TUN_DEVICE
from tests.sim.nat import NatBehavior
from tests.sim.network import PERFECT, Link
from tests.sim.setups import Place

PUBLIC_PREFIX = "203.0.113"
INTERNET = 0
"""The number of the segment that is behind no NAT."""
CALL_SECONDS = 10.0
"""A call takes well under a millisecond, the start of the process some tenths of a second."""
STOP_SECONDS = 5.0


def missing_for_tun() -> str:
    """What this machine lacks, beyond the lab's own needs; empty if nothing."""
    return "" if Path(TUN_DEVICE).exists() else TUN_DEVICE


class TunProcess:
    """The process that carries the packets, in the namespace where its devices are created."""

    def __init__(self, namespace: Namespace, seed: int) -> None:
        self._connection, theirs = Pipe()
        argv = namespace.command(sys.executable, "-m", "tests.lab.tun_nat", str(theirs.fileno()))
        with theirs:
            self._process = subprocess.Popen(argv, cwd=REPOSITORY, pass_fds=[theirs.fileno()])
        self._connection.send(seed)

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls a method of `tun_nat.Internet`. Raises RuntimeError if the process is stuck, and
        EOFError if it has ended; what went wrong is on standard error."""
        self._connection.send((method, arguments))
        if not self._connection.poll(CALL_SECONDS):
            raise RuntimeError(f"the TUN process does not answer {method}")
        return self._connection.recv()

    def close(self) -> None:
        """Ends it; packets underway are lost."""
        self._connection.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class LanAddresses:
    """Hands out the addresses of a segment."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._numbers = count(FIRST_MEMBER)

    def take(self) -> str:
        return f"{self._prefix}.{next(self._numbers)}"


class TunNat:
    """A NAT of a `TunLab`, and the LAN behind it."""

    def __init__(
        self, process: TunProcess, number: int, public: str, outside: LanAddresses
    ) -> None:
        self.number = number
        self.public = public
        self.inside = LanAddresses(f"192.168.{number}")
        self._process = process
        self._outside = outside

    def flush(self) -> None:
        """Forget every mapping, as a restart does."""
        self._process.call("rebind", self.number, None)

    def move(self) -> None:
        """Forget every mapping and take another public address."""
        self.public = self._outside.take()
        self._process.call("rebind", self.number, self.public)


class TunLab:
    """One IPv4 internet; a context manager that leaves nothing behind.

    `seed` decides what its NATs and links leave to chance. They are described in the words of
    `tests.sim`: a `Link` is one direction, `up` leads towards the internet, `down` back."""

    def __init__(self, seed: int = 1) -> None:
        self._seed = seed
        self._cleanup = ExitStack()
        self._public = LanAddresses(PUBLIC_PREFIX)
        self._nats: list[TunNat] = []

    def __enter__(self) -> TunLab:
        try:
            self._home = self._namespace("tun")
            self._process = TunProcess(self._home, self._seed)
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.close()  # before the namespaces: its devices are in them
        self._cleanup.close()

    def nat(
        self,
        behavior: NatBehavior,
        *,
        behind: TunNat | None = None,
        up: Link = PERFECT,
        down: Link = PERFECT,
    ) -> TunNat:
        """A NAT at the internet, or behind another one."""
        outside = behind.inside if behind else self._public
        public = outside.take()
        number = self._process.call("add_nat", behavior, public, _number(behind), up, down)
        nat = TunNat(self._process, number, public, outside)
        self._nats.append(nat)
        return nat

    def host(
        self,
        label: str,
        behind: TunNat | None = None,
        *,
        up: Link = PERFECT,
        down: Link = PERFECT,
    ) -> Host:
        """A host on a NAT's LAN, or with a public address and no firewall."""
        namespace = self._namespace(label)
        address = (behind.inside if behind else self._public).take()
        device = self._process.call("add_host", address, _number(behind), up, down)
        self._home.configure(f"link set {device} netns {namespace.name} name tun")
        namespace.configure(
            # Its address is on another interface, as no address of a TUN device is offered to
            # partners: it could be the one of a VPN.
            "link add eth0 type bridge",
            f"address add {address}/32 dev eth0",
            "link set eth0 up",
            "link set tun up",
            f"route add default dev tun src {address}",
        )
        return Host(namespace, address, "")

    def host_at(
        self, label: str, place: Place, *, up: Link = PERFECT, down: Link = PERFECT
    ) -> Host:
        """A host behind NATs of its own, named from there outwards; `up` and `down` are its way
        to the internet and back."""
        if not place:
            return self.host(label, up=up, down=down)
        *inner, outermost = place
        nat = self.nat(outermost, up=up, down=down)
        for behavior in reversed(inner):
            nat = self.nat(behavior, behind=nat)
        return self.host(label, nat)

    def flush(self) -> None:
        """Have all NATs forget every mapping."""
        for nat in self._nats:
            nat.flush()

    @contextmanager
    def faultless(self) -> Iterator[None]:
        """Suspends all loss while a test itself exchanges datagrams."""
        self._process.call("set_faultless", True)
        try:
            yield
        finally:
            self._process.call("set_faultless", False)

    def udp_socket(self, host: Host, port: int = 0) -> socket.socket:
        """A socket for the test itself, on a host's address; closed with the lab."""
        sock = host.namespace.udp_socket(host.address, port)
        self._cleanup.callback(sock.close)
        return sock

    def _namespace(self, label: str) -> Namespace:
        namespace = Namespace(label)
        self._cleanup.callback(namespace.delete)
        return namespace


def _number(nat: TunNat | None) -> int:
    return nat.number if nat else INTERNET
