"""When an end asks for its controls' names to be looked up again."""

from __future__ import annotations

import pytest

from netpunch.core.end.lookups import (
    REVIEW,
    SILENCE,
    SILENCE_ELSEWHERE,
    Lookups,
)
from netpunch.core.end.registration import Registration
from netpunch.core.endpoints import LOOKUP_INTERVAL, NO_NAMES, Names
from netpunch.core.events import Event, LookupWanted
from tests.core.v2_pair import CHANNELS, CONTROL

BEGAN = 1000.0
NAMED = Names(frozenset({CONTROL}))
ASKED = [LookupWanted(frozenset({CONTROL}))]


class Asking:
    """An end with one control, that announces itself each second."""

    def __init__(self, names: Names = NAMED) -> None:
        self.events: list[Event] = []
        self.now = BEGAN
        self.answered = True
        self.registration = Registration(CONTROL, 0, CHANNELS, BEGAN)
        self.lookups = Lookups(names, self.events.append, lambda n: bytes(n), BEGAN)

    def wait(self, seconds: float) -> list[Event]:
        """What it asks for meanwhile."""
        until = self.now + seconds
        while self.now < until:
            self.now += 1.0
            if self.registration.silent_since > self.now or not self.answered:
                self.registration.announcing(self.registration.counter + 1, self.now)
            if self.answered:
                self.registration.challenged(self.registration.counter, b"cookie", self.now)
            registrations = [self.registration]
            if self.lookups.next_timer(registrations) <= self.now:
                self.lookups.handle_timer(registrations, self.now, punching=False)
        asked, self.events[:] = list(self.events), []
        return asked


def test_a_silent_control_is_looked_up_after_a_while() -> None:
    asking = Asking()
    assert not asking.wait(2 * LOOKUP_INTERVAL)
    asking.answered = False
    assert not asking.wait(SILENCE - 1)
    assert asking.wait(3) == ASKED
    assert not asking.wait(LOOKUP_INTERVAL - 3)
    assert asking.wait(3) == ASKED


def test_a_control_that_is_silent_in_another_network_is_looked_up_soon() -> None:
    asking = Asking()
    asking.wait(10)
    asking.lookups.network_changed(asking.now)
    asking.answered = False
    assert asking.wait(SILENCE_ELSEWHERE + 2) == ASKED
    assert not asking.wait(SILENCE), "once"
    asking.lookups.network_changed(asking.now)
    assert asking.wait(1) == ASKED, "in each network"


def test_a_control_that_answers_in_another_network_is_not_looked_up() -> None:
    asking = Asking()
    asking.lookups.network_changed(asking.now)
    assert not asking.wait(LOOKUP_INTERVAL)
    asking.wait(REVIEW)
    asking.answered = False
    assert not asking.wait(SILENCE - 1)


def test_a_name_without_an_address_is_looked_up_in_another_network_at_once() -> None:
    asking = Asking(Names(frozenset(), unresolved=True))
    assert not asking.wait(1)
    asking.lookups.network_changed(asking.now)
    assert asking.wait(1) == [LookupWanted()]


@pytest.mark.parametrize("answered", [True, False])
def test_addresses_are_never_looked_up(answered: bool) -> None:
    asking = Asking(NO_NAMES)
    asking.answered = answered
    asking.lookups.network_changed(asking.now)
    assert not asking.wait(2 * REVIEW)
