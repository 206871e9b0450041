"""What happens to a held link with traffic on it, and how long that may interrupt it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab.moving_pair import NODES, MovingPair
from tests.lab.network import HOME_ROUTER, Nat, Ports, Router
from tests.lab.vpn_site import change_address

NEW_ADDRESS = 77
"""The last byte of the address that a host changes to."""
NEW_PUBLIC_ADDRESS = {"home": 201, "office": 202}
"""The last byte of the one that a router changes to."""
REBOOT_SECONDS = 5.0
OFFLINE_SECONDS = 4.0
FLIPS, FLIP_SECONDS = 10, 0.7
SUSPENDED_SECONDS = 40.0
LONG_SUSPENDED_SECONDS = 80.0
CONTROL_DEAD_SECONDS = 60.0
AWAY_SECONDS = 15.0
"""How long a host is without an address: less than a link is held in silence."""
NO_OUTAGE = 0.1
"""Seconds without a datagram that are nobody's doing but a busy machine's."""
DARK = """
    table inet dark {
        chain forward { type filter hook forward priority -1; drop; }
    }
"""


def nothing(pair: MovingPair, node: str) -> float:
    return time.monotonic()


def host_changes_address(pair: MovingPair, node: str) -> float:
    """Same uplink, as after another lease. The router still has the flows of the old one, so what
    the new one sends from the same port gets another port outside."""
    since = time.monotonic()
    _change_address(pair, node)
    return since


def host_leaves_for_other_uplink(pair: MovingPair, node: str) -> float:
    since = time.monotonic()
    _go_elsewhere(pair, node)
    return since


def host_prefers_other_uplink(pair: MovingPair, node: str) -> float:
    """As when a cable is plugged in: the old interface and its way out stay, as second best."""
    since = time.monotonic()
    lan = pair.routers[node].lan
    pair.hosts[node].namespace.configure(
        f"route add default via {lan.address4(1)} metric 600", *_join_other_uplink(pair, node)
    )
    return since


def default_route_moves(pair: MovingPair, node: str) -> float:
    """The old interface keeps its address, but nothing leaves there any more."""
    since = time.monotonic()
    pair.hosts[node].namespace.configure(*_join_other_uplink(pair, node))
    return since


def host_goes_and_returns(pair: MovingPair, node: str) -> float:
    """To the other uplink, and back when the link has just moved there."""
    since = time.monotonic()
    _go_elsewhere(pair, node)
    time.sleep(3.0)
    _return(pair, node)
    return since


def host_is_offline_in_between(pair: MovingPair, node: str) -> float:
    """Counted from when it has the other uplink."""
    pair.hosts[node].namespace.configure("address flush dev eth0")
    time.sleep(OFFLINE_SECONDS)
    since = time.monotonic()
    _go_elsewhere(pair, node)
    return since


def host_goes_behind_hard_nat(pair: MovingPair, node: str) -> float:
    """As from a WLAN to a mobile network: each destination gets another, unpredictable port."""
    pair.other_routers[node].change(Nat(Ports.RANDOM))
    return host_leaves_for_other_uplink(pair, node)


def host_goes_where_udp_is_blocked(pair: MovingPair, node: str) -> float:
    pair.other_routers[node].change(Nat(udp_blocked=True))
    return host_leaves_for_other_uplink(pair, node)


def host_goes_to_and_fro(pair: MovingPair, node: str) -> float:
    """Faster than links may move; counted from when it stays."""
    for _ in range(FLIPS):
        _go_elsewhere(pair, node)
        time.sleep(FLIP_SECONDS)
        _return(pair, node)
        time.sleep(FLIP_SECONDS)
    since = time.monotonic()
    _go_elsewhere(pair, node)
    return since


def both_nats_change_address(pair: MovingPair, node: str) -> float:
    since = nat_changes_address(pair, node)
    for each in NODES:
        if each != node:
            nat_changes_address(pair, each)
    return since


def nat_changes_address(pair: MovingPair, node: str) -> float:
    """As a provider's customers get another address at night: its mappings are void."""
    router = pair.routers[node]
    since = time.monotonic()
    change_address(router, f"{router.wan.address4.rpartition('.')[0]}.{NEW_PUBLIC_ADDRESS[node]}")
    return since


def nat_forgets(pair: MovingPair, node: str) -> float:
    """A restart that takes no time."""
    since = time.monotonic()
    pair.routers[node].forget_flows()
    return since


def nat_reboots(pair: MovingPair, node: str) -> float:
    """Nothing passes for a while, then it has no mappings. Counted from then on."""
    with _dark(pair.routers[node]):
        time.sleep(REBOOT_SECONDS)
    return time.monotonic()


def host_is_suspended(pair: MovingPair, node: str) -> float:
    """Nothing reaches it, and its programs and their monotonic clocks stand still. The NAT has
    forgotten them by the time that it wakes, from when the outage is counted."""
    return _stand_still(pair, node, clock_too=True)


def host_is_suspended_for_long(pair: MovingPair, node: str) -> float:
    """Longer than its partner holds the link."""
    return _stand_still(pair, node, clock_too=True, seconds=LONG_SUSPENDED_SECONDS)


def host_wakes_elsewhere(pair: MovingPair, node: str) -> float:
    """Suspended at one uplink, awake at another."""
    return _stand_still(pair, node, clock_too=True, elsewhere=True)


def program_is_stopped(pair: MovingPair, node: str) -> float:
    """The same with clocks that go on, as when a container is frozen."""
    return _stand_still(pair, node, clock_too=False)


def control_restarts(pair: MovingPair, node: str) -> float:
    since = time.monotonic()
    pair.kill("vps")
    pair.start_control()
    return since


def control_restarts_and_host_moves(pair: MovingPair, node: str) -> float:
    """Before the control has heard of the partner again."""
    pair.kill("vps")
    pair.start_control()
    return host_leaves_for_other_uplink(pair, node)


def control_moves_and_host_moves(pair: MovingPair, node: str) -> float:
    """A while later, when the ends should have found the control."""
    pair.move_control()
    time.sleep(CONTROL_DEAD_SECONDS)
    return host_leaves_for_other_uplink(pair, node)


def control_is_away_while_host_moves(pair: MovingPair, node: str) -> float:
    """Counted from its return."""
    pair.kill("vps")
    host_leaves_for_other_uplink(pair, node)
    time.sleep(AWAY_SECONDS)
    since = time.monotonic()
    pair.start_control()
    return since


def hosts_go_behind_easy_nats(pair: MovingPair, node: str) -> float:
    """From where only a relay links them."""
    for router in pair.other_routers.values():
        router.change(HOME_ROUTER)
    return both_leave_for_other_uplinks(pair, node)


def control_is_dead(pair: MovingPair, node: str) -> float:
    since = time.monotonic()
    pair.kill("vps")
    time.sleep(CONTROL_DEAD_SECONDS)
    pair.start_control()
    return since


def control_moves(pair: MovingPair, node: str) -> float:
    since = time.monotonic()
    pair.move_control()
    return since


def program_restarts(pair: MovingPair, node: str) -> float:
    since = time.monotonic()
    pair.kill(node)
    pair.start(node)
    return since


def both_change_address(pair: MovingPair, node: str) -> float:
    since = time.monotonic()
    for each in NODES:
        _change_address(pair, each)
    return since


def both_leave_for_other_uplinks(pair: MovingPair, node: str) -> float:
    since = time.monotonic()
    for each in NODES:
        _go_elsewhere(pair, each)
    return since


def address_returns_without_control(pair: MovingPair, node: str) -> float:
    """Counted from the return; the control stays dead."""
    pair.kill("vps")
    host, lan = pair.hosts[node], pair.routers[node].lan
    host.namespace.configure("address flush dev eth0")
    time.sleep(AWAY_SECONDS)
    since = time.monotonic()
    host.namespace.configure(f"address add {host.address4}/24 dev eth0", *lan.default_routes())
    return since


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What happens to a node (or to what is around it) while its link is direct or `relayed`, and
    the longest outage allowed.

    `happens` returns when it has happened, with the time from which the outage counts."""

    name: str
    happens: Callable[[MovingPair, str], float]
    allowed: float
    relayed: bool = False


DISTURBANCES = {
    each.name: each
    for each in (
        Disturbance("nothing", nothing, NO_OUTAGE),
        Disturbance("host-address", host_changes_address, 0.5),
        Disturbance("uplink-gone", host_leaves_for_other_uplink, 0.5),
        Disturbance("uplink-kept", host_prefers_other_uplink, 0.5),
        Disturbance("route-moves", default_route_moves, 0.5),
        Disturbance("there-and-back", host_goes_and_returns, 0.5),
        Disturbance("offline-between", host_is_offline_in_between, 0.5),
        Disturbance("uplink-hard", host_goes_behind_hard_nat, 10.0),
        Disturbance("to-and-fro", host_goes_to_and_fro, 12.5),
        Disturbance("nat-address", nat_changes_address, 2.5),
        Disturbance("both-nats", both_nats_change_address, 5.0),
        Disturbance("nat-forgets", nat_forgets, NO_OUTAGE),
        Disturbance("nat-reboots", nat_reboots, 1.0),
        Disturbance("suspended", host_is_suspended, 1.0),
        Disturbance("suspended-long", host_is_suspended_for_long, 5.0),
        Disturbance("wakes-elsewhere", host_wakes_elsewhere, 1.0),
        Disturbance("stopped", program_is_stopped, 1.0),
        Disturbance("control-restarts", control_restarts, NO_OUTAGE),
        Disturbance("restart-and-move", control_restarts_and_host_moves, 5.0),
        Disturbance("moves-both", control_moves_and_host_moves, 0.5),
        Disturbance("away-and-move", control_is_away_while_host_moves, 5.0),
        Disturbance("control-dead", control_is_dead, NO_OUTAGE),
        Disturbance("control-moves", control_moves, NO_OUTAGE),
        Disturbance("killed", program_restarts, 1.0),
        Disturbance("both-addresses", both_change_address, 5.0),
        Disturbance("both-uplinks", both_leave_for_other_uplinks, 5.0),
        Disturbance("returns-alone", address_returns_without_control, 1.0),
        Disturbance("relayed-nothing", nothing, NO_OUTAGE, relayed=True),
        Disturbance("relayed-uplink", host_leaves_for_other_uplink, 5.0, relayed=True),
        Disturbance("relayed-nat", nat_changes_address, 5.0, relayed=True),
        Disturbance("relayed-restart", control_restarts, 5.0, relayed=True),
        Disturbance("relayed-killed", program_restarts, 5.0, relayed=True),
        Disturbance("relayed-blocked", host_goes_where_udp_is_blocked, 6.0, relayed=True),
        Disturbance("relayed-direct", hosts_go_behind_easy_nats, 5.0, relayed=True),
    )
}
"""By name."""


def _change_address(pair: MovingPair, node: str) -> None:
    host, lan = pair.hosts[node], pair.routers[node].lan
    host.namespace.configure(
        "address flush dev eth0",
        f"address add {lan.address4(NEW_ADDRESS)}/24 dev eth0",
        *lan.default_routes(),
    )


def _go_elsewhere(pair: MovingPair, node: str) -> None:
    pair.hosts[node].namespace.configure("address flush dev eth0", *_join_other_uplink(pair, node))


def _return(pair: MovingPair, node: str) -> None:
    host, lan = pair.hosts[node], pair.routers[node].lan
    host.namespace.configure(
        "address flush dev eth1",
        f"address add {host.address4}/24 dev eth0",
        *lan.default_routes(),
    )


def _join_other_uplink(pair: MovingPair, node: str) -> list[str]:
    other, lan = pair.other_uplinks[node], pair.other_routers[node].lan
    return [
        f"address add {other.address4}/24 dev eth1",
        *lan.default_routes(),
    ]


@contextmanager
def _dark(router: Router) -> Iterator[None]:
    """Nothing passes it, and then it has no mappings."""
    router.namespace.run("nft", "-f", "-", stdin=DARK)
    yield
    router.forget_flows()
    router.namespace.run("nft", "delete table inet dark")


def _stand_still(
    pair: MovingPair,
    node: str,
    *,
    clock_too: bool,
    elsewhere: bool = False,
    seconds: float = SUSPENDED_SECONDS,
) -> float:
    program, direction = pair.programs[node], pair.traffic.directions[node]
    direction.paused = True
    program.send_signal(signal.SIGSTOP)
    with _dark(pair.routers[node]):
        time.sleep(seconds)
    if clock_too:
        pair.clocks[node].suspended(seconds)
    since = time.monotonic()
    if elsewhere:
        _go_elsewhere(pair, node)
    program.send_signal(signal.SIGCONT)
    direction.paused = False
    return since
