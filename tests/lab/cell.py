"""The real program behind two NATs of a `TunLab`: a control and both ends.

A link is verified from outside: when the ends have gone, plain sockets on the reported
local ports exchange nonces by the reported addresses.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from netpunch.address import Address
from tests.lab.datagrams import passes
from tests.lab.network import Host
from tests.lab.program import Program, Record, remote_of
from tests.lab.tun_network import TunLab
from tests.sim.network import Link
from tests.sim.setups import EASY, HARD, Place

KINDS: dict[str, Place] = {
    "open": EASY["open"],
    "full": EASY["full"],
    "restricted": EASY["restricted"],
    "port-restricted": EASY["port-restricted"],
    "random-port": EASY["random-port"],
    "hard-step": HARD["hard-step"],
    "hard-random": HARD["hard-random"],
    "blocked": HARD["blocked"],
}
"""From the easiest to the impossible."""

CONTROL_PORT = 10001
UPLINK = Link(delay=0.02)
"""A common delay. Without any, datagrams would never cross in flight."""
DEADLINE = 30
"""Seconds: every strategy has had its turn by then."""
START_SECONDS = 10.0
"""Time for the start of a process on a busy machine."""

SITE = """
version: 1
control: {{node: vps, address: "{control}"}}
pairs:
  home-office:
    secret_file: {key}
    deadline: {deadline}s
    a: {{node: home, local: ":5000"}}
    b: {{node: office, local: ":5000"}}
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an end's process ended, and its `pair.up` if it was linked."""

    exit_code: int
    up: Record | None
    said: str
    """On standard error."""

    @property
    def linked_at(self) -> float:
        """Seconds since the epoch."""
        assert self.up is not None
        return datetime.fromisoformat(self.up["ts"]).timestamp()

    @property
    def started_at(self) -> float:
        assert self.up is not None
        return self.linked_at - float(self.up["duration_s"])


@dataclass(frozen=True, slots=True)
class Run:
    """How both ends ended: both linked, or neither."""

    home: Ended
    office: Ended

    @property
    def linked(self) -> bool:
        return self.home.up is not None

    @property
    def seconds(self) -> float:
        """From the later end's start until both report the link."""
        begun = max(self.home.started_at, self.office.started_at)
        return max(self.home.linked_at, self.office.linked_at) - begun


def run_cell(
    home: Place,
    office: Place,
    directory: Path,
    key: Path,
    *,
    seed: int = 1,
    deadline: int = DEADLINE,
    uplink: Link = UPLINK,
) -> Run:
    """An end (a) `home` and one (b) at the `office`, wherever those are, until both have ended.

    `directory` takes the site file; `deadline` in seconds; `uplink` is each direction of both.
    Raises AssertionError if one is linked and the other isn't, or if the hole is not open."""
    with TunLab(seed) as lab:
        hosts = {
            "vps": lab.host("vps"),
            "home": lab.host_at("home", home, up=uplink, down=uplink),
            "office": lab.host_at("office", office, up=uplink, down=uplink),
        }
        site = directory / "site.yaml"
        control = Address(hosts["vps"].address, CONTROL_PORT)
        site.write_text(SITE.format(control=control, key=key, deadline=deadline))
        run = _run_programs(hosts, site, deadline)
        if run.home.up is None or run.office.up is None:
            assert run.home.up is run.office.up, f"only one end is linked: {run}"
        else:
            with lab.faultless():
                _prove_open(hosts["home"], run.home.up, hosts["office"], run.office.up)
        return run


def _run_programs(hosts: dict[str, Host], site: Path, deadline: int) -> Run:
    with ExitStack() as programs:

        def start(node: str) -> Program:
            program = Program(hosts[node].namespace, site, node)
            programs.callback(program.close)
            return program

        start("vps").wait_for("control.ready")
        ends = {node: start(node) for node in ("home", "office")}
        home, office = (_ended(ends[node], site, node, deadline) for node in ends)
        return Run(home, office)


def _ended(program: Program, site: Path, node: str, deadline: int) -> Ended:
    program.keeps_from("pair.up", deadline + START_SECONDS)
    exit_code = program.wait_exit()
    up = program.wait_for("pair.up") if exit_code == 0 else None
    return Ended(exit_code, up, site.with_name(f"{node}.stderr").read_text())


def _prove_open(home: Host, home_up: Record, office: Host, office_up: Record) -> None:
    with (
        home.namespace.udp_socket(home_up["lhost"], home_up["lport"]) as at_home,
        office.namespace.udp_socket(office_up["lhost"], office_up["lport"]) as in_office,
    ):
        assert passes(at_home, remote_of(home_up), in_office) == remote_of(office_up)
        assert passes(in_office, remote_of(office_up), at_home) == remote_of(home_up)
