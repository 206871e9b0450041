"""netpunch.doctor.network: what is said of controls, NATs and gateways, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from netpunch.address import Address
from netpunch.core.observing import Answer
from netpunch.core.settings import ControlAt, EndSettings
from netpunch.doctor import network
from netpunch.doctor.finding import Level
from netpunch.doctor.measuring import ControlSeen, Network
from netpunch.net.observation import GatewayOffer, NatSurvey, Reply
from netpunch.net.routes import Gateway
from netpunch.wire.card import NatClass
from tests.doctor.seen import AT, CONTROL, PUBLIC, control, only, reply, survey

OK, WARN, FAIL = Level
ROUTER = Gateway("192.168.1.1", "192.168.1.7", "eth0")
SECOND_PORT = Address(CONTROL.host, 10002)


def measured(nat: NatSurvey | None = None, **more: Any) -> Network:
    return Network(**{"controls": {"vps": control()}, "nat": nat} | more)


# Controls.


def said_of(seen: ControlSeen, **more: Any) -> Any:
    return network.control("vps", seen, **more)


def test_a_control_that_answers() -> None:
    found = only(OK, said_of(control()))
    assert found.text == "vps: vps.example.net -> 198.51.100.10:10001, answers in 23 ms"


def test_an_address_of_a_control_that_is_silent_while_another_answers() -> None:
    other = Address("198.51.100.11", 10001)
    replies = {("p", CONTROL): reply(), ("p", other): Reply()}
    found = only(OK, said_of(control(addresses=(CONTROL, other), replies=replies)))
    assert "(198.51.100.11:10001 silent)" in found.text


def test_a_name_that_does_not_resolve() -> None:
    seen = ControlSeen(AT, problem="cannot resolve 'vps': no address; check the spelling")
    found = only(FAIL, said_of(seen))
    assert (found.text, found.cure) == (
        "vps: cannot resolve 'vps': no address",
        "check the spelling",
    )
    assert found.code == 69


def test_a_host_where_nothing_listens() -> None:
    found = only(FAIL, said_of(control(replies={("p", CONTROL): Reply(refused=True)})))
    assert "nothing listens there" in found.text
    assert found.cure.startswith("start control")


def test_a_control_that_is_silent() -> None:
    found = only(FAIL, said_of(control(replies={("p", CONTROL): Reply()})))
    assert found.text.endswith("is silent")


def test_a_system_that_does_not_send() -> None:
    found = only(FAIL, said_of(control(replies={("p", CONTROL): Reply(error="EPERM")})))
    assert "does not send (EPERM)" in found.text


def test_a_control_that_answers_over_tls_only() -> None:
    tls = Answer(PUBLIC, 0.05, 10003)
    found = only(WARN, said_of(control(replies={("p", CONTROL): Reply()}, tls=tls)))
    assert "UDP is blocked here" in found.text


def test_a_control_of_this_host_that_is_not_reached_from_here() -> None:
    seen = control(replies={("p", CONTROL): Reply()})
    found = only(WARN, said_of(seen, runs_here=True))
    assert "though it runs on this host" in found.text


def test_a_control_that_nobody_could_ask() -> None:
    found = only(WARN, said_of(control(replies={})))
    assert found.cure == "see `key`"


def test_a_route_that_leads_into_a_tunnel() -> None:
    tunnel = "the route to 198.51.100.10:10001 leads into the tunnel wg0: set `mark: 51820`"
    route, answer = said_of(control(tunnel=tunnel))
    assert only(WARN, route).cure == "set `mark: 51820`"
    assert only(OK, answer)


def test_a_silent_control_behind_a_route_into_a_tunnel() -> None:
    tunnel = "the route to 198.51.100.10:10001 leads into the tunnel wg0: set `mark: 51820`"
    _, silence = said_of(control(replies={("p", CONTROL): Reply()}, tunnel=tunnel))
    assert "leads into the tunnel wg0" in only(FAIL, silence).text
    assert silence.cure == "set `mark: 51820`"


def test_a_silent_control_whose_host_refuses_other_ports() -> None:
    seen = control(replies={("p", CONTROL): Reply()}, refuses_others=True)
    found = only(FAIL, said_of(seen))
    assert "datagrams get there" in found.text
    assert "another key or name" in found.cure


def test_a_silent_control_that_has_only_an_ipv6_address() -> None:
    place = Address("2001:db8::1", 10001)
    found = only(FAIL, said_of(control(addresses=(place,), replies={("p", place): Reply()})))
    assert found.cure.startswith("either IPv6 is broken here or there (`ping -6 2001:db8::1`")


# Keys.


def test_an_answer_proves_that_control_has_the_key() -> None:
    found = only(OK, network.key_at("vps", control(), "p", "p", "5f3a"))
    assert found.text == "5f3a; control vps has the matching one"


def test_an_answer_over_tls_proves_it_too() -> None:
    seen = control(replies={("p", CONTROL): Reply()}, tls=Answer(PUBLIC, 0.05, 0), tls_by="p")
    assert only(OK, network.key_at("vps", seen, "p", "p", "5f3a"))


def test_a_control_that_answers_other_keys_only() -> None:
    seen = control(replies={("p", CONTROL): Reply(), ("q", CONTROL): reply()})
    found = only(FAIL, network.key_at("vps", seen, "p", "p", "5f3a"))
    assert found.pairs == ("p",)
    assert "ask again in a minute" in found.cure


def test_while_a_key_is_rotated_one_of_two_is_enough() -> None:
    seen = control(replies={("p", CONTROL): reply(), ("p (second key)", CONTROL): Reply()})
    found = network.key_at("vps", seen, "p (second key)", "p", "5f3a", has_other=True)
    assert only(WARN, found).text == "5f3a; control vps has only the other of the two"


def test_of_a_silent_control_nothing_is_said_about_keys() -> None:
    seen = control(replies={("p", CONTROL): Reply()})
    assert network.key_at("vps", seen, "p", "p", "5f3a") is None


# The second port, and the NAT.


def test_a_second_port_that_answers() -> None:
    found = only(OK, network.observe({"vps": control()}, survey(NatClass.EASY)))
    assert found.text == "port 10002 of vps answers"


def test_a_second_port_that_is_silent() -> None:
    nat = survey(NatClass.UNKNOWN, silent=(SECOND_PORT,))
    found = only(WARN, network.observe({"vps": control()}, nat))
    assert found.cure == "open it in control's firewall to learn how this NAT maps"


def test_a_control_without_a_second_port() -> None:
    seen = {"vps": control(at=AT._replace(observe=None))}
    assert "no second port" in only(WARN, network.observe(seen, survey(NatClass.UNKNOWN))).text


def test_two_controls_without_second_ports_do_as_well() -> None:
    one = control(at=AT._replace(observe=None))
    assert not list(network.observe({"vps": one, "other": one}, survey(NatClass.EASY)))


def test_a_survey_that_control_did_not_answer_is_not_the_second_ports_fault() -> None:
    nat = NatSurvey(survey(NatClass.UNKNOWN).report, silent=(CONTROL, SECOND_PORT))
    found = only(WARN, network.observe({"vps": control()}, nat))
    assert "in a minute" in found.cure
    assert only(WARN, network.nat(nat, measured(nat))).text == "not known"


@pytest.mark.parametrize(
    ("nat", "level", "text"),
    [
        (survey(NatClass.OPEN, preserves_ports=True), OK, "no NAT: this host's own address is "
         "seen; public address 203.0.113.5"),
        (survey(NatClass.EASY, preserves_ports=True), OK, "endpoint-independent mapping (easy: one "
         "port for all destinations), port preserved; public address 203.0.113.5"),
        (survey(NatClass.HARD_STEP, preserves_ports=False), OK, "symmetric: another port for each "
         "destination, in steps, port not preserved; public address 203.0.113.5"),
        (survey(NatClass.HARD_RANDOM, preserves_ports=False), WARN, "symmetric: a random port for "
         "each destination, port not preserved; public address 203.0.113.5"),
        (survey(NatClass.HARD_RANDOM, PUBLIC, Address("203.0.113.6", 1)), WARN, "symmetric: a "
         "random port for each destination; public address 203.0.113.5, 203.0.113.6"),
        (survey(NatClass.UNKNOWN), WARN, "how it maps is not known; public address 203.0.113.5"),
        (survey(NatClass.UNKNOWN, Address("172.17.0.2", 1)), WARN, "not known: control is in this "
         "host's network, or behind a translation; seen at 172.17.0.2"),
        (None, OK, "not known: control is on this host's loopback"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_nat(nat: NatSurvey | None, level: Level, text: str) -> None:
    assert only(level, network.nat(nat, measured(nat))).text == text


@pytest.mark.parametrize(("works", "text"), [(True, "yes"), (False, "no")])
def test_hairpinning_is_told_where_it_was_tried(works: bool, text: str) -> None:
    nat = survey(NatClass.EASY, looped_back=works)
    _, hairpin = network.nat(nat, measured(nat))
    assert only(OK, hairpin).text.startswith(text)


def test_several_uplinks_are_named_as_the_cause() -> None:
    nat = survey(NatClass.HARD_RANDOM, PUBLIC, Address("203.0.113.6", 1))
    assert "uplinks" in only(WARN, network.nat(nat, measured(nat))).cure


@pytest.mark.parametrize(
    ("hosts", "external", "text"),
    [
        (("100.64.3.4",), "", "a carrier-grade NAT"),
        ((), "100.64.3.4", "a carrier-grade NAT"),
        ((), "192.168.0.2", "a second NAT"),
    ],
)
def test_a_nat_behind_the_nat(hosts: tuple[str, ...], external: str, text: str) -> None:
    offer = GatewayOffer(ROUTER, nat_pmp=True, external=external)
    found = measured(survey(NatClass.EASY), gateways=(offer,), hosts=hosts)
    assert text in only(WARN, network.translations(found)).text


def test_one_nat_is_nothing_to_speak_of() -> None:
    offer = GatewayOffer(ROUTER, nat_pmp=True, external=PUBLIC.host)
    assert not list(network.translations(measured(survey(NatClass.EASY), gateways=(offer,))))


# Gateways, IPv6, relay, TLS, MTU.


def test_what_a_router_offers() -> None:
    offer = GatewayOffer(ROUTER, pcp=True, nat_pmp=False)
    found = only(OK, network.mapping([offer], wanted=True))
    assert found.text == "PCP: yes; NAT-PMP: no (router 192.168.1.1)"


def test_a_mapping_that_is_wanted_and_not_offered() -> None:
    refusing = GatewayOffer(ROUTER, pcp=False, nat_pmp=False)
    for offer in (refusing, GatewayOffer(ROUTER)):
        assert "switch it on" in only(WARN, network.mapping([offer], wanted=True)).cure


def test_silent_routers_are_one_line() -> None:
    offers = [GatewayOffer(ROUTER), GatewayOffer(ROUTER._replace(host="fe80::1"))]
    found = only(OK, network.mapping(offers, wanted=False))
    asked, _, upnp = found.text.partition("; ")
    assert asked == "no answer to PCP or NAT-PMP (asked 192.168.1.1 and fe80::1)"
    assert upnp == "UPnP: not asked, netpunch does not use it"


def over_ipv6(host: str) -> ControlSeen:
    return control(other_reply=Reply(Answer(Address(host, 1), 0.02, 0)))


@pytest.mark.parametrize(
    ("seen", "hosts", "text"),
    [
        (over_ipv6("2001:db8::5"), ("2001:db8::5",), "2001:db8::5, inbound needs punching, too"),
        (over_ipv6("2001:db8::9"), ("2001:db8::5",), "2001:db8::9, translated from 2001:db8::5"),
        (over_ipv6("2001:db8::9"), (), "2001:db8::9, translated"),
        (control(), ("2001:db8::5",), "2001:db8::5; no control was reached over it"),
        (control(), ("fd00::5",), "this host has none"),
    ],
)
def test_what_is_said_of_ipv6(seen: ControlSeen, hosts: tuple[str, ...], text: str) -> None:
    assert only(OK, network.ipv6(measured(controls={"vps": seen}, hosts=hosts))).text == text


def test_a_translator_to_ipv4_is_told() -> None:
    seen = control(addresses=(Address("64:ff9b::c633:640a", 10001),))
    _, nat64 = network.ipv6(measured(controls={"vps": seen}))
    assert nat64.name == "NAT64"


def test_a_control_that_relays() -> None:
    seen = {"vps": control(replies={("p", CONTROL): reply(10003)})}
    assert only(OK, network.relay(seen, [])).text == "vps relays, port 10003"


def test_a_control_that_does_not_relay() -> None:
    found = only(OK, network.relay({"vps": control()}, [EndSettings("p", "a", b"")]))
    assert found.text.startswith("vps has none")


def test_a_tls_port_that_does_not_answer() -> None:
    seen = {"vps": control(at=ControlAt("vps", 10001, 10002, 443), tls_asked=True)}
    found = only(WARN, network.relay(seen, []))
    assert found.text == "vps does not answer over TLS, port 443"


def test_a_usual_path_has_room_for_a_tunnel() -> None:
    found = only(OK, network.path_mtu({"vps": control()}))
    assert found.text == "1500 towards vps: a tunnel's MTU may be 1420"


def test_a_path_with_little_room_for_a_tunnel() -> None:
    seen = {"vps": control(replies={("p", CONTROL): reply(mtu=1300)})}
    assert "`MTU = 1220`" in only(WARN, network.path_mtu(seen)).cure


def test_a_path_on_loopback_says_nothing_about_the_internet() -> None:
    here = Address("127.0.0.1", 10001)
    seen = control(addresses=(here,), replies={("p", here): reply(mtu=65535)})
    assert not list(network.path_mtu({"vps": seen}))


@pytest.mark.parametrize(
    ("second", "told"), [("192.168.1.1", True), ("100.64.0.1", True), ("203.0.113.1", False)]
)
def test_a_second_router_with_a_private_address(second: str, told: bool) -> None:
    found = list(network.translations(measured(survey(NatClass.EASY), second_router=second)))
    assert [(each.level, each.name) for each in found] == [(WARN, "CGNAT")] * told


def test_an_ipv6_address_of_control_that_does_not_answer_while_ipv4_does() -> None:
    other = (Address("2001:db8::1", 10001),)
    seen = control(other=other, other_reply=Reply())
    found = only(WARN, network.ipv6(measured(controls={"vps": seen})))
    assert "while IPv4 works" in found.text
    assert "`ping -6 2001:db8::1`" in found.cure
