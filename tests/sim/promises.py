"""What holds in every run, whatever the network does to it; and the count of the runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from netpunch.address import Address
from netpunch.core.machine import NEVER
from tests.sim.machines import V2
from tests.sim.network import Datagram
from tests.sim.scenarios import (
    CONTROL_PORT,
    OBSERVE_PORT,
    PROGRAM,
    RELAY_PORT,
    TLS_PORT,
    Scenario,
    Setup,
    Side,
)

MORE = int(os.environ.get("NETPUNCH_SEEDS", "1"))
PROBE = b"a test's probe of the path"
V2_CONTROL_LENGTH, V2_PEER_LENGTH = 384, 128
PROBE_PATIENCE = 6.0
"""Seconds; more than any way in any scenario takes: a stream, before it gives up."""


@dataclass
class Tally:
    """What the terminal summary tells."""

    runs: int = 0
    violations: int = 0


TALLY = Tally()


def seeds(usual: int) -> range:
    """Those of a test's runs; with NETPUNCH_SEEDS=10 ten times as many, to find what is rare."""
    return range(usual * MORE)


def punch(seed: int, setup: Setup) -> Scenario:
    """One whole run, from both starts to both ends, that keeps every promise."""
    with promising(Scenario(seed, setup)) as scenario:
        return scenario.start().run_to_the_end()


@contextmanager
def promising(
    scenario: Scenario,
    *,
    excused: Callable[[Scenario], bool] = lambda _: False,
    check: Callable[[Scenario], Iterable[str]] | None = None,
) -> Iterator[Scenario]:
    """Counts a run, and checks the promises when it is over; an error tells seed and setup.
    `excused` says whether the run is beyond their limits; `check` finds those broken, by default
    of ends that have ended."""
    TALLY.runs += 1
    try:
        yield scenario
        broken = list((check or violations)(scenario))
        assert not broken or excused(scenario), broken
    except Exception as error:
        TALLY.violations += 1
        error.add_note(f"seed {scenario.seed}, {scenario.setup}")
        raise


def violations(scenario: Scenario) -> list[str]:
    """Every promise that a run broke, in words. To be asked once both ends have ended."""
    found = [*one_path(scenario), *_ends(scenario)]
    if isinstance(scenario.setup.protocol, V2):  # classic promises no lengths
        found += [*_answers(scenario), *_lengths(scenario)]
    return found


def one_path(scenario: Scenario) -> Iterator[str]:
    """Both ends report the same path, or neither reports one."""
    a, b = scenario.a.link, scenario.b.link
    if a is None or b is None:
        if a is not b:
            yield f"only {'b' if a is None else 'a'} is linked"
        return
    if a.session_key != b.session_key:
        yield "the session keys differ"
    if a.path != b.path:
        yield f"a calls the path {a.path}, b {b.path}"
    for here, there in ((scenario.a, scenario.b), (scenario.b, scenario.a)):
        if not connects(scenario, here, there):
            yield f"{here.name}'s path does not lead to {there.name}'s"


def connects(scenario: Scenario, here: Side, there: Side) -> bool:
    """Whether a datagram from `here`'s reported socket to its reported remote address arrives
    at `there`'s reported socket, coming from `there`'s reported remote address."""
    mine, theirs = here.link, there.link
    assert mine is not None
    assert theirs is not None
    arrivals: list[tuple[int, Datagram]] = []

    def tap(via: int, datagram: Datagram) -> bool:
        if datagram.data == PROBE:
            arrivals.append((via, datagram))
        return datagram.data == PROBE

    network = scenario.network
    there.host.tap = tap
    network.faultless = True
    here.host.send(PROBE, mine.remote, mine.via)
    network.run_until(network.now + PROBE_PATIENCE, lambda: bool(arrivals))
    network.faultless = False
    there.host.tap = None
    return [(via, datagram.source) for via, datagram in arrivals] == [(theirs.via, theirs.remote)]


def _ends(scenario: Scenario) -> Iterator[str]:
    """Every attempt ends, and then asks for nothing more."""
    for side in scenario.sides:
        machine = side.host.machine
        if machine is None:
            continue
        if not side.ended:
            yield f"{side.name} never ends"
        elif machine.next_timer() != NEVER:
            yield f"{side.name} asks for a timer after its end"
        if side.link is None and side.failure is None:
            yield f"{side.name} ends without a word"


def _answers(scenario: Scenario) -> Iterator[str]:
    """No answer is longer than its question."""
    for host in (*scenario.controls, scenario.a.host, scenario.b.host):
        for question, transmits in host.answers:
            for answer in transmits:
                back = answer.destination == question.source
                if back and len(answer.data) > len(question.data):
                    yield f"{host.name} answers {len(question.data)} by {len(answer.data)} bytes"


def _lengths(scenario: Scenario) -> Iterator[str]:
    """One length with control, another between ends: sizes tell nothing."""
    hosts = [host for control in scenario.controls for host in control.host_addresses]
    controls = {Address(host, port) for host in hosts for port in (CONTROL_PORT, OBSERVE_PORT)}
    for _, host, datagram in scenario.network.sent:
        data, source, destination, _ = datagram
        if data in (PROBE, PROGRAM) or not {RELAY_PORT, TLS_PORT}.isdisjoint(
            (source.port, destination.port)
        ):
            continue  # programs', or to and from a relay, which passes on all lengths
        with_control = not controls.isdisjoint((source, destination))
        if len(data) != (V2_CONTROL_LENGTH if with_control else V2_PEER_LENGTH):
            yield f"{host} sends {len(data)} bytes to {destination}"
