"""`standby`: while a command owns the port, the partner can still ask for a new link."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from tests.e2e.assertions import assert_same_path
from tests.e2e.harness import Netpunch
from tests.e2e.site import Settings, Site
from tests.node.children import needs_proc, nobody_left, processes_with

QUICK: Settings = {"mode": "keep", "retry_after": "1s"}
COMMAND = ["sh", "-c", "echo run by $$; exec sleep 60"]
"""A VPN that would notice a dead link only after a minute."""
SECONDS = 8.0
"""An end that is back is linked within so many: standby's registration, its proof, and an
attempt."""
QUIET = 2.0
"""Seconds within which standby would have noticed."""


def start(site: Site, **more: Any) -> tuple[Netpunch, Netpunch]:
    site.write_nodes(command=COMMAND, **QUICK, **more)
    control = site.run_node("vps")
    ends = site.run_node("home"), site.run_node("office")
    for end in ends:
        end.wait_for("hook.output", hook="command")
    if "standby" not in more:
        # Once for the link, once for standby.
        for name in "ab":
            control.wait_for("control.registered", 2, end=name)
    return ends


def command_pid(end: Netpunch, number: int = 1) -> int:
    """The process id of its `number`-th command."""
    output = end.wait_for("hook.output", number, hook="command")
    return int(output["text"].rpartition(" ")[2])


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def kill_with_command(end: Netpunch) -> None:
    """Like a power loss: kill `netpunch run` and all that it runs."""
    pid = command_pid(end)
    end.kill()
    os.kill(pid, 9)


@pytest.mark.parametrize("victim", ["home", "office"])
def test_an_end_on_standby_links_a_partner_that_was_killed_and_restarted(
    site: Site, victim: str
) -> None:
    """The other end stops its command, and both link again long before the VPN notices."""
    home, office = start(site)
    killed, other = (home, office) if victim == "home" else (office, home)
    first = command_pid(other)
    kill_with_command(killed)
    begun = time.monotonic()
    again = site.run_node(victim)
    down = other.wait_for("pair.down")
    assert down["reason"] == "partner_returned"
    assert not is_running(first), "the port was its"
    assert_same_path(again.wait_for("pair.up"), other.wait_for("pair.up", 2))
    assert time.monotonic() - begun < SECONDS
    assert is_running(command_pid(other, 2))
    assert is_running(command_pid(again))
    assert (again.stop(), other.stop()) == (0, 0)


def test_an_end_on_standby_notices_a_second_return(site: Site) -> None:
    """It links again only after `retry_after`."""
    home, office = start(site)
    for count in (1, 2):
        kill_with_command(office)
        office = site.run_node("office")
        office.wait_for("pair.up")
        assert home.wait_for("pair.down", count)["reason"] == "partner_returned"
        home.wait_for("hook.output", count + 1, hook="command")
        office.wait_for("hook.output", hook="command")
    assert (home.stop(), office.stop()) == (0, 0)


def test_standby_does_not_disturb_a_working_link(site: Site) -> None:
    home, office = start(site)
    time.sleep(QUIET)
    assert is_running(command_pid(home))
    assert (home.stop(), office.stop()) == (0, 0)
    assert not home.events("pair.down") + office.events("pair.down")


def test_without_standby_a_returning_partner_does_not_end_the_command(site: Site) -> None:
    home, office = start(site, standby="off")
    kill_with_command(office)
    office = site.run_node("office")
    office.wait_for("pair.waiting")
    time.sleep(QUIET)
    assert not home.events("pair.down")
    assert is_running(command_pid(home))
    assert not office.events("pair.introduced")
    assert (home.stop(), office.stop()) == (0, 0)


@needs_proc
def test_a_stop_on_standby_is_clean(site: Site) -> None:
    """The command ends, and the end leaves control: no partner is introduced to it any more."""
    pair = f"standby-{site.port}"
    site.write({pair: {}}, secret="generate", command=COMMAND, **QUICK)
    program = site.run()
    for end in "ab":
        program.wait_for("hook.output", hook="command", end=end)
    assert len(processes_with("NETPUNCH_PAIR", pair)) >= 2
    begun = time.monotonic()
    assert program.stop() == 0
    assert time.monotonic() - begun < SECONDS
    assert nobody_left("NETPUNCH_PAIR", pair)
