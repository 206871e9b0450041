"""Faults between processes: wrong secrets, duplicate ends, killed processes."""

from __future__ import annotations

import signal
import time

import pytest

from tests.e2e.assertions import assert_linked, assert_same_path
from tests.e2e.site import PROTOCOLS, Settings, Site

PAIRS = 100
SILENT_KEEPALIVES = 3.5
"""Seconds after which a link whose keepalives of a second stay unanswered is lost."""


def classic_secrets(site: Site) -> None:
    site.write_file("p.key", "correct horse", 0o600)
    site.write_file("wrong.key", "battery staple", 0o600)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_wrong_secret_is_reported_by_end_and_control(site: Site, protocol: str) -> None:
    if protocol == "classic":
        classic_secrets(site)
    else:
        site.write_key("wrong.key")
    wrong: Settings = {"a": {"secret_file": "wrong.key"}}
    site.write_nodes(PROTOCOLS[protocol] | wrong, deadline="400ms")
    control = site.run_node("vps")
    control.wait_for("control.ready")
    home = site.run_node("home")
    rejected = control.wait_for("auth.rejected")
    assert (rejected["reason"], rejected["pair"]) == ("bad_mac", "p")
    control.wait_said("the key of that end differs")
    failed = home.wait_for("pair.failed")
    assert failed["reason"] == "secret_rejected_or_silent"
    assert home.wait_exit() == 69, home.transcript()
    assert not control.events("control.registered")


def test_a_second_machine_with_the_same_end_is_reported(site: Site) -> None:
    """The same end on two machines. Both keep announcing, because their partner hangs."""
    site.write_nodes()
    control = site.run_node("vps")
    office = site.run_node("office")
    control.wait_for("control.registered", end="b")
    office.signal(signal.SIGSTOP)
    doubles = site.run_node("home"), site.run_node("home")
    conflict = control.wait_for("role.conflict")
    assert (conflict["pair"], conflict["end"]) == ("p", "a")
    assert len(set(conflict["addresses"])) == 2
    control.wait_said("configured on two machines")
    for double in doubles:
        double.wait_for("pair.waiting", reason="role_conflict")
    assert [double.stop() for double in doubles] == [75, 75]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_end_that_is_killed_and_restarted_links_again(site: Site, protocol: str) -> None:
    """Its partner is first introduced to the killed attempt."""
    site.write_nodes(PROTOCOLS[protocol])
    control = site.run_node("vps")
    office = site.run_node("office")
    ghost = control.wait_for("control.registered", end="b")
    office.kill()
    home = site.run_node("home")
    home.wait_for("pair.introduced", raddr=ghost["raddr"])
    assert_linked(home, site.run_node("office"))


def test_a_control_dies_again_and_again_under_load(site: Site) -> None:
    """Each time all slots are gone, and the secret of its cookies is another one. Whoever is not
    linked yet links in the end; whoever holds a link does not notice."""
    pairs = [f"p{number}" for number in range(PAIRS)]
    site.write_key("p.key")
    ends = {"a": {"node": "home"}, "b": {"node": "home"}}
    site.write(
        dict.fromkeys(pairs, ends),
        control={"node": "vps"},
        secret_file="p.key",
        mode="keep",
        keepalive="1s",
    )
    home = site.run_node("home")
    for linked in (1, PAIRS // 2, PAIRS):
        control = site.run_node("vps")
        home.wait_for("pair.up", linked)
        control.kill()
    site.run_node("vps").wait_for("control.ready")
    for pair in pairs:
        ups = [home.wait_for("pair.up", pair=pair, end=end) for end in "ab"]
        assert_same_path(*ups)
    time.sleep(SILENT_KEEPALIVES)
    assert len(home.events("pair.up")) == 2 * PAIRS
    assert not home.events("pair.down") + home.events("pair.failed")
    assert home.stop() == 0


def test_an_absent_partner_is_reported_at_the_deadline(site: Site) -> None:
    site.write_nodes(deadline="400ms")
    site.run_node("vps")
    home = site.run_node("home")
    failed = home.wait_for("pair.failed")
    assert failed["reason"] == "partner_absent"
    assert home.wait_exit() == 75


def test_an_end_without_an_answering_control_fails_as_unreachable(site: Site) -> None:
    site.write_nodes(deadline="400ms")
    home = site.run_node("home")
    assert home.wait_for("pair.failed")["reason"] == "secret_rejected_or_silent"
    assert home.wait_exit() == 69, home.transcript()
    assert f"127.0.0.1:{site.port}" in home.said


def test_an_end_reports_a_control_whose_name_does_not_resolve(site: Site) -> None:
    """`.invalid` never resolves (RFC 6761). The pair that has another control goes on."""
    port = site.port
    good, bad = (
        {"name": name, "node": node, "address": f"{host}:{port}", "listen": f"127.0.0.1:{port}"}
        for name, node, host in (("good", "vps", "127.0.0.1"), ("bad", "other", "nowhere.invalid"))
    )
    site.write_key("p.key")
    ends = {"secret_file": "p.key", "a": {"node": "home"}, "b": {"node": "home"}}
    pairs = {
        "lost": ends | {"control": "bad", "deadline": "400ms"},
        "saved": ends | {"control": ["bad", "good"]},
    }
    site.write(pairs, control=[good, bad])
    site.run_node("vps")
    home = site.run_node("home")
    assert home.wait_exit() == 69, home.transcript()
    assert {record["pair"] for record in home.events("pair.up")} == {"saved"}
    failures = home.events("pair.failed")
    assert [(record["pair"], record["reason"]) for record in failures] == [
        ("lost", "no_control")
    ] * 2
    assert "nowhere.invalid" in failures[0]["err"]
    assert "saved a: cannot resolve 'nowhere.invalid'" in home.said
