"""What happens to a pair's network while it links, holds or moves: hosts that go elsewhere, NATs
that forget, controls and processes that die, ways that are blocked for a while."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import NamedTuple

from netpunch.core.end.lookups import REVIEW
from netpunch.core.endpoints import LOOKUP_INTERVAL
from tests.sim.hosts import LOOKUP_TIME
from tests.sim.nat import (
    FULL_CONE,
    PORT_RESTRICTED_CONE,
    RANDOM_CONE,
    RESTRICTED_CONE,
    NatBehavior,
)
from tests.sim.network import Node
from tests.sim.scenarios import Scenario, Side

GAP = 1.0
"""Seconds that a host has no address at most, on its way from one to the next."""
OUTAGE = 20.0
"""Seconds that a way is closed, or a host asleep, at most: well below the silence after which a
link is given up, also when two such events follow each other."""
ABSENCE = 3.0
"""Seconds from the death of a process to its restart, at most."""
LINGERING = 10.0
"""Seconds that an address still works, at most, after another one has become the usual."""
ELSEWHERE: tuple[tuple[NatBehavior, ...], ...] = (
    (),
    (FULL_CONE,),
    (RESTRICTED_CONE,),
    (PORT_RESTRICTED_CONE,),
    (RANDOM_CONE,),
)
"""What another uplink may be."""

Act = Callable[[Scenario, Sequence[Side], Random], float]
"""Does something to these sides; returns after how many seconds that is over."""


class Event(NamedTuple):
    """`seamless`: payload arrives all the time if nothing is lost. `of_ends`: it matters to whom it
    happens. `by_name`: the ends know the controls by name; so long as they have not heard of the
    new place, a link that needs a control may be lost. `long`: takes minutes."""

    act: Act
    seamless: bool = False
    of_ends: bool = True
    by_name: bool = False
    long: bool = False


# Hosts.


def leave(side: Side, hosts: Sequence[str]) -> None:
    for host in hosts:
        if host in side.host.host_addresses:
            side.host.detach(host)
    side.host.tell_network_changed()


def new_address(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """The host gets another address in its network; the old one is gone at once."""
    gap = _gap(random)
    for side in sides:
        _replace_address(run, side, random, gap, elsewhere=False)
    return gap


def new_uplink(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """The host goes to another network."""
    gap = _gap(random)
    for side in sides:
        _replace_address(run, side, random, gap, elsewhere=True)
    return gap


def _gap(random: Random) -> float:
    return random.choice([0.0, random.uniform(0.0, GAP)])


def _replace_address(
    run: Scenario, side: Side, random: Random, gap: float, *, elsewhere: bool
) -> None:
    place, old = side.host.place(), side.host.host_addresses
    behaviors = random.choice(ELSEWHERE)

    def arrive() -> None:
        if elsewhere or place is None:
            run.another_uplink(side, behaviors)
        else:
            run.another_address(side, place)
        side.host.tell_network_changed()

    leave(side, old)
    run.network.call_at(run.network.now + gap, arrive)


def second_address(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """The host gets another address in its network beside the old one."""
    for side in sides:
        _add_address(run, side, random, elsewhere=False)
    return 0.0


def second_uplink(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """The host gets another network beside the old one, which what is sent from the old address
    still uses."""
    for side in sides:
        _add_address(run, side, random, elsewhere=True)
    return 0.0


def other_default_route(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """The host gets another network beside the old one, which all that it sends uses."""
    for side in sides:
        side.host.source_routing = False
        _add_address(run, side, random, elsewhere=True)
    return 0.0


def handover(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """The host gets another address, in its network or elsewhere; the old one goes later."""
    latest = 0.0
    for side in sides:
        old, lingering = side.host.host_addresses, random.uniform(0.0, LINGERING)
        _add_address(run, side, random, elsewhere=random.random() < 0.5)
        run.network.call_at(run.network.now + lingering, leave, side, old)
        latest = max(latest, lingering)
    return latest


def _add_address(run: Scenario, side: Side, random: Random, *, elsewhere: bool) -> None:
    place = side.host.place()
    if elsewhere or place is None:
        run.another_uplink(side, random.choice(ELSEWHERE))
    else:
        run.another_address(side, place)
    side.host.tell_network_changed()


def suspend(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """The hosts sleep."""
    return max(_suspend(run, side, random.uniform(0.1, OUTAGE)) for side in sides)


def suspend_and_go(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """The hosts sleep, and wake in another network."""
    latest = 0.0
    for side in sides:
        seconds, gap = _suspend(run, side, random.uniform(0.1, OUTAGE)), _gap(random)
        leaves = random.uniform(0.0, seconds)
        go = partial(_replace_address, run, side, random, gap, elsewhere=True)
        run.network.call_at(run.network.now + leaves, go)
        latest = max(latest, seconds, leaves + gap)
    return latest


def _suspend(run: Scenario, side: Side, seconds: float) -> float:
    if not side.host.asleep:
        side.host.suspend()
        run.network.call_at(run.network.now + seconds, side.host.wake)
    return seconds


def restart(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """The processes are killed, and others start in their place."""
    latest = 0.0
    for side in sides:
        absence = random.choice([0.0, random.uniform(0.0, ABSENCE)])
        side.host.when_awake(partial(_restart, run, side, absence))
        latest = max(latest, absence)
    return latest


def _restart(run: Scenario, side: Side, absence: float) -> None:
    side.host.stop()
    run.network.call_at(run.network.now + absence, start_if_down, run, side)


def start_if_down(run: Scenario, side: Side) -> None:
    """Starts the side's process, unless another one is there by now."""
    if side.host.asleep:
        side.host.when_awake(lambda: start_if_down(run, side))
    elif side.host.machine is None or side.ended:
        run.restart_end(side)


# NATs and what is between them.


def nat_address(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """The outermost NATs get another public address."""
    for side in sides:
        if side.nats:
            side.nats[-1].rebind(run.another_public(side))
    return 0.0


def nat_reboot(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """The NATs forget all mappings, and pass nothing for a while."""
    for side in sides:
        for nat in side.nats:
            nat.rebind()
    return _uplink_down(run, sides, random.choice([0.0, random.uniform(0.0, OUTAGE)]))


def uplink_down(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """Nothing passes for a while."""
    return _uplink_down(run, sides, random.uniform(0.1, OUTAGE))


def _uplink_down(run: Scenario, sides: Sequence[Side], seconds: float) -> float:
    nats = [nat for side in sides for nat in side.nats]
    for nat in nats:
        nat.down = True

    def up() -> None:
        for nat in nats:
            nat.down = False

    run.network.call_at(run.network.now + seconds, up)
    return seconds


def blocked_to_control(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """No UDP passes between these sides and the controls for a while."""
    here = [run.at_the_internet(side) for side in sides]
    return cut(run, here, run.controls, random.uniform(0.1, OUTAGE))


def blocked_to_partner(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """No UDP passes between the sides for a while."""
    a, b = (run.at_the_internet(side) for side in run.sides)
    return cut(run, [a], [b], random.uniform(0.1, OUTAGE))


def cut(run: Scenario, here: Sequence[Node], there: Sequence[Node], seconds: float) -> float:
    pairs = {pair for a in here for b in there for pair in ((a, b), (b, a))}
    cuts = run.network.internet.cuts
    cuts |= pairs
    run.network.call_at(run.network.now + seconds, cuts.difference_update, pairs)
    return seconds


# Controls.


def control_restart(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """The first control's process is another one, which knows nothing."""
    run.restart_control()
    return 0.0


def control_away(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """The first control is dead for a while."""
    control, seconds = run.control, random.uniform(0.1, OUTAGE)
    if control.machine is not None:
        control.stop()

    def start() -> None:
        if control.machine is None and control is run.control:
            run.start_control(control)

    run.network.call_at(run.network.now + seconds, start)
    return seconds


def control_moves(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """The first control goes on at another address, and with it its name."""
    run.move_control()
    return LOOKUP_INTERVAL + LOOKUP_TIME


def control_followed(run: Scenario, sides: Sequence[Side], random: Random) -> float:
    """The same, but the old one still answers, until all must have heard of the new one."""
    old = run.control
    run.move_control(old_one_stays=True)
    run.network.call_at(run.network.now + REVIEW + LOOKUP_TIME + 1.0, old.stop)
    return REVIEW + LOOKUP_TIME + 1.0


EVENTS: dict[str, Event] = {
    "host's address changes": Event(new_address),
    "host goes to another uplink": Event(new_uplink),
    "host gets a second address": Event(second_address, seamless=True),
    "host gets a second uplink": Event(second_uplink, seamless=True),
    "host's default route changes": Event(other_default_route),
    "host gets another address, the old one goes later": Event(handover),
    "NAT's address changes": Event(nat_address),
    "NAT reboots": Event(nat_reboot),
    "uplink down": Event(uplink_down),
    "suspend": Event(suspend),
    "suspend, wakes elsewhere": Event(suspend_and_go),
    "process restarts": Event(restart),
    "UDP blocked to control": Event(blocked_to_control, seamless=True),
    "UDP blocked to partner": Event(blocked_to_partner, of_ends=False),
    "control restarts": Event(control_restart, seamless=True, of_ends=False),
    "control away": Event(control_away, seamless=True, of_ends=False),
    "control moves": Event(control_moves, True, of_ends=False, by_name=True, long=True),
    "control moves, the old one stays": Event(
        control_followed, True, of_ends=False, by_name=True, long=True
    ),
}
