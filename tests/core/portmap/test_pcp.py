"""A port mapper against gateways of every kind, in virtual time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.address import Address
from netpunch.core.events import Event, Mapped, MappingLost, Unmapped
from netpunch.core.machine import NEVER
from netpunch.core.portmap import pcp as timing
from netpunch.core.portmap.pcp import (
    LIFETIME,
    RETRY_AFTER,
    VIA,
    EpochClock,
    PortMapper,
    State,
)
from netpunch.wire import portmap
from netpunch.wire.drop import Drop
from netpunch.wire.portmap import (
    UDP,
    AddressRequest,
    AddressResponse,
    PcpRequest,
    PcpResponse,
    PortRequest,
    PortResponse,
)

GATEWAY = Address("192.168.1.1", portmap.SERVER_PORT)
GATEWAY6 = Address("fe80::1", portmap.SERVER_PORT)
CLIENT = "192.168.1.23"
CLIENT6 = "2001:db8:1::23"
PORT = 5000
WAN = "203.0.113.9"
EXTERNAL = Address(WAN, PORT)
OTHER = Address(WAN, 6000)
BUDGET = 3.5 * (1 + timing.JITTER)
"""Silence from both protocols."""
VERSION_REFUSED = bytes.fromhex("00 81 0001 00000001")


class Talk:
    """A mapper and the time; the test is its gateway, whose epoch is 1000 at time 0."""

    def __init__(self, gateway: Address = GATEWAY, client: str = CLIENT) -> None:
        self.now = 0.0
        self.gateway = gateway
        self.restarted_at = -1000.0
        self.mapper = PortMapper(
            gateway, client=client, internal_port=PORT, random=Random(1).randbytes, now=self.now
        )
        self.nonce = self.pcp_request().nonce

    # What the mapper does.

    def requests(self) -> list[portmap.Message | Drop]:
        sent = self.mapper.datagrams_to_send()
        assert all(each.destination == self.gateway and each.via == VIA for each in sent)
        return [portmap.parse(each.data) for each in sent]

    def pcp_request(self) -> PcpRequest:
        [request] = self.requests()
        assert isinstance(request, PcpRequest)
        return request

    def events(self) -> list[Event]:
        return list(iter(self.mapper.next_event, None))

    def ring(self) -> float:
        """Goes on to the next timer; gives the time since the last one."""
        due, before = self.mapper.next_timer(), self.now
        assert due != NEVER
        self.now = due
        self.mapper.handle_timer(due)
        return due - before

    def ring_until_silent(self) -> int:
        """Until the current tries are given up; how many requests that took."""
        count = len(self.requests())
        while self.mapper.next_timer() < self.now + BUDGET:
            self.ring()
            count += len(self.requests())
        return count

    # What the driver and the gateway do.

    def change_network(self) -> None:
        self.mapper.network_changed((), self.now)

    @property
    def epoch(self) -> int:
        return int(self.now - self.restarted_at)

    def hear(self, data: bytes, source: Address | None = None) -> None:
        self.mapper.receive_datagram(data, source or self.gateway, self.now, VIA)

    def answer_pcp(
        self,
        external: Address = EXTERNAL,
        lifetime: int = LIFETIME,
        *,
        result: int = 0,
        nonce: bytes | None = None,
        port: int = PORT,
        protocol: int = UDP,
    ) -> None:
        nonce = self.nonce if nonce is None else nonce
        self.hear(
            portmap.pack(
                PcpResponse(
                    result,
                    lifetime,
                    self.epoch,
                    nonce,
                    protocol,
                    port,
                    external.port,
                    external.host,
                )
            )
        )

    def answer_address(self, host: str = WAN, result: int = 0) -> None:
        self.hear(portmap.pack(AddressResponse(result, self.epoch, host)))

    def answer_port(
        self, external_port: int = PORT, lifetime: int = LIFETIME, result: int = 0, port: int = PORT
    ) -> None:
        self.hear(portmap.pack(PortResponse(result, self.epoch, port, external_port, lifetime)))


def mapped_by_pcp() -> Talk:
    talk = Talk()
    talk.answer_pcp()
    assert talk.events() == [Mapped(EXTERNAL, LIFETIME)]
    return talk


def mapped_by_nat_pmp() -> Talk:
    talk = Talk()
    talk.hear(VERSION_REFUSED)
    assert talk.requests() == [AddressRequest()]
    talk.answer_address()
    assert talk.requests() == [PortRequest(PORT, PORT, LIFETIME)]
    talk.answer_port()
    assert talk.events() == [Mapped(EXTERNAL, LIFETIME)]
    return talk


MAPPED = pytest.mark.parametrize("mapped", [mapped_by_pcp, mapped_by_nat_pmp])
Setup = Callable[[], Talk]


# Mapping.


def test_each_port_mapper_has_its_own_nonce() -> None:
    nonces = set()
    for seed in range(3):
        mapper = PortMapper(
            GATEWAY, client=CLIENT, internal_port=PORT, random=Random(seed).randbytes, now=0.0
        )
        [sent] = mapper.datagrams_to_send()
        request = portmap.parse(sent.data)
        assert isinstance(request, PcpRequest)
        nonces.add(request.nonce)
    assert len(nonces) == 3


@pytest.mark.parametrize(
    ("gateway", "client", "any_host"),
    [(GATEWAY, CLIENT, "0.0.0.0"), (GATEWAY6, CLIENT6, "::")],
)
def test_pcp_request_names_client_port_and_no_preferred_host(
    gateway: Address, client: str, any_host: str
) -> None:
    mapper = PortMapper(
        gateway, client=client, internal_port=PORT, random=bytes, now=5.0, lifetime=600
    )
    [sent] = mapper.datagrams_to_send()
    assert sent.destination == gateway
    request = PcpRequest(600, client, bytes(12), UDP, PORT, PORT, any_host)
    assert portmap.parse(sent.data) == request
    assert mapper.describe(sent.data) == portmap.describe(sent.data)


def test_existing_mapping_is_renewed_with_its_nonce() -> None:
    mapper = PortMapper(
        GATEWAY, client=CLIENT, internal_port=PORT, random=bytes, now=0.0, nonce=b"a dozen long"
    )
    [sent] = mapper.datagrams_to_send()
    request = portmap.parse(sent.data)
    assert isinstance(request, PcpRequest)
    assert request.nonce == b"a dozen long"


def test_external_address_may_have_another_port() -> None:
    talk = Talk()
    talk.answer_pcp(OTHER)
    assert talk.events() == [Mapped(OTHER, LIFETIME)]


def test_pcp_over_ipv6_opens_a_pinhole() -> None:
    talk = Talk(GATEWAY6, CLIENT6)
    talk.answer_pcp(Address(CLIENT6, PORT))
    assert talk.events() == [Mapped(Address(CLIENT6, PORT), LIFETIME)]


def test_refused_version_of_pcp_leads_to_nat_pmp() -> None:
    mapped_by_nat_pmp()


def test_second_refusal_of_the_same_request_is_ignored() -> None:
    talk = Talk()
    talk.ring()
    talk.hear(VERSION_REFUSED)
    talk.hear(VERSION_REFUSED)
    talk.answer_address()
    talk.hear(VERSION_REFUSED)
    talk.answer_port()
    assert talk.events() == [Mapped(EXTERNAL, LIFETIME)]
    assert talk.mapper.drops == {Drop.UNEXPECTED: 2}


def test_silence_to_pcp_leads_to_nat_pmp() -> None:
    talk = Talk()
    requests: list[portmap.Message | Drop] = []
    while requests != [AddressRequest()]:
        talk.ring()
        requests = talk.requests()
    assert talk.now < BUDGET / 2
    talk.answer_address()
    talk.answer_port(OTHER.port)
    assert talk.events() == [Mapped(OTHER, LIFETIME)]


@pytest.mark.parametrize("rings", range(3, 6))
def test_late_answer_of_a_slow_gateway_counts(rings: int) -> None:
    talk = Talk()
    for _ in range(rings):
        talk.ring()
    talk.answer_pcp()
    assert talk.events() == [Mapped(EXTERNAL, LIFETIME)]
    talk.requests()
    talk.mapper.close(talk.now)
    assert talk.pcp_request().lifetime == 0


def test_pcp_answer_after_giving_up_counts() -> None:
    talk = Talk()
    talk.ring_until_silent()
    talk.answer_pcp()
    assert [type(event) for event in talk.events()] == [MappingLost, Mapped]


# Retransmission.


def test_port_mapping_request_is_repeated_after_growing_gaps() -> None:
    talk = Talk()
    gaps = [talk.ring() for _ in range(3)]
    for gap, expected in zip(gaps, [0.25, 0.5, 1.0], strict=True):
        assert expected * 0.9 <= gap <= expected * 1.1
    first, second, last = talk.requests()
    assert first == second
    assert isinstance(first, PcpRequest)
    assert last == AddressRequest()


def test_gateway_without_server_costs_six_datagrams_and_one_event() -> None:
    talk = Talk()
    assert talk.ring_until_silent() == 5  # the first was taken by the constructor of Talk
    assert talk.now <= BUDGET
    [lost] = talk.events()
    assert lost == MappingLost(
        "the gateway 192.168.1.1 maps no port: it answers neither PCP nor NAT-PMP"
    )


def test_ipv6_gateway_is_not_asked_by_nat_pmp() -> None:
    for refuse in (False, True):
        talk = Talk(GATEWAY6, CLIENT6)
        if refuse:
            talk.hear(VERSION_REFUSED)
        assert talk.ring_until_silent() == (0 if refuse else 2)
        assert [type(event) for event in talk.events()] == [MappingLost]


def test_failed_mapping_is_retried_much_later_and_reported_once() -> None:
    talk = Talk()
    talk.ring_until_silent()
    assert len(talk.events()) == 1
    gap = talk.ring()
    assert RETRY_AFTER * 0.9 <= gap <= RETRY_AFTER * 1.1
    assert talk.pcp_request().nonce == talk.nonce
    talk.ring_until_silent()
    assert talk.events() == []
    talk.ring()
    talk.answer_pcp()
    assert talk.events() == [Mapped(EXTERNAL, LIFETIME)]


# Refusals.


@pytest.mark.parametrize(
    ("told", "waits"), [(0, RETRY_AFTER), (1, timing.SHORTEST_RETRY), (200, 200), (10**9, 86400)]
)
def test_refusal_of_pcp_says_when_to_ask_again(told: int, waits: float) -> None:
    talk = Talk()
    talk.answer_pcp(lifetime=told, result=portmap.PcpResult.NO_RESOURCES)
    assert talk.events() == [MappingLost("the gateway 192.168.1.1 maps no port: PCP NO_RESOURCES")]
    assert waits * 0.9 <= talk.ring() <= waits * 1.1
    assert talk.pcp_request().lifetime == LIFETIME


def test_nat_pmp_may_refuse_the_address() -> None:
    talk = Talk()
    talk.hear(VERSION_REFUSED)
    talk.answer_address(result=portmap.NatPmpResult.NETWORK_FAILURE)
    assert talk.events() == [
        MappingLost("the gateway 192.168.1.1 maps no port: NAT-PMP NETWORK_FAILURE")
    ]


def test_nat_pmp_may_refuse_the_port() -> None:
    talk = Talk()
    talk.hear(VERSION_REFUSED)
    talk.answer_address()
    talk.answer_port(result=portmap.NatPmpResult.NOT_AUTHORIZED, port=0)
    assert talk.events() == [
        MappingLost("the gateway 192.168.1.1 maps no port: NAT-PMP NOT_AUTHORIZED")
    ]
    assert talk.ring() > RETRY_AFTER * 0.8


@pytest.mark.parametrize(
    "external",
    [
        Address("0.0.0.0", PORT),
        Address("127.0.0.1", PORT),
        Address("224.0.0.1", PORT),
        Address("255.255.255.255", PORT),
        Address("169.254.1.1", PORT),
        Address("fe80::1", PORT),
        Address("::1", PORT),
        Address(WAN, 0),
    ],
)
def test_external_address_that_may_not_be_pinged_is_no_mapping(external: Address) -> None:
    talk = Talk()
    talk.answer_pcp(external)
    assert [type(event) for event in talk.events()] == [MappingLost]
    assert talk.mapper.drops == {Drop.HOSTILE_ADDRESS: 1}
    assert talk.ring() > RETRY_AFTER * 0.8


# Renewal.


@MAPPED
def test_lease_is_renewed_around_its_half_with_the_same_address(mapped: Setup) -> None:
    talk = mapped()
    for _ in range(5):
        assert LIFETIME / 2 <= talk.ring() <= LIFETIME * 5 / 8
        [request] = talk.requests()
        if isinstance(request, AddressRequest):
            talk.answer_address()
            [request] = talk.requests()
            assert request == PortRequest(PORT, PORT, LIFETIME)
            talk.answer_port()
        else:
            assert request == PcpRequest(LIFETIME, CLIENT, talk.nonce, UDP, PORT, PORT, WAN)
            talk.answer_pcp()
    assert talk.events() == []


def test_clients_mapped_together_renew_at_different_times() -> None:
    times = set()
    for seed in range(8):
        mapper = PortMapper(
            GATEWAY, client=CLIENT, internal_port=PORT, random=Random(seed).randbytes, now=0.0
        )
        request = portmap.parse(mapper.datagrams_to_send()[0].data)
        assert isinstance(request, PcpRequest)
        response = PcpResponse(0, LIFETIME, 1, request.nonce, UDP, PORT, PORT, WAN)
        mapper.receive_datagram(portmap.pack(response), GATEWAY, 0.0, VIA)
        times.add(mapper.next_timer())
    assert len(times) > 4


def test_changed_external_address_is_reported_and_kept() -> None:
    talk = mapped_by_pcp()
    talk.ring()
    talk.requests()
    talk.answer_pcp(OTHER)
    assert talk.events() == [Mapped(OTHER, LIFETIME)]
    talk.ring()
    assert talk.pcp_request().suggested_port == OTHER.port


def test_nat_pmp_notices_a_changed_external_address() -> None:
    talk = mapped_by_nat_pmp()
    talk.ring()
    talk.answer_address("198.51.100.1")
    talk.answer_port()
    assert talk.events() == [Mapped(Address("198.51.100.1", PORT), LIFETIME)]


@pytest.mark.parametrize(("granted", "believed"), [(5, 30.0), (120, 120.0), (10**9, 86400.0)])
def test_granted_lifetime_is_bounded(granted: int, believed: float) -> None:
    talk = Talk()
    talk.answer_pcp(lifetime=granted)
    assert talk.events() == [Mapped(EXTERNAL, believed)]
    assert believed / 2 <= talk.ring() <= believed * 5 / 8


@MAPPED
def test_silent_gateway_is_asked_until_the_lease_has_run_out(mapped: Setup) -> None:
    talk = mapped()
    tries, times = 0, [talk.now]
    while not (events := talk.events()):
        talk.ring()
        if talk.requests():
            times.append(talk.now)
            tries += 1
    assert events == [
        MappingLost("the gateway 192.168.1.1 maps no port: it did not renew the mapping")
    ]
    assert talk.now == pytest.approx(LIFETIME)
    assert 10 < tries < 40
    shortest = min(later - earlier for earlier, later in itertools.pairwise(times))
    assert shortest > 0.2

    talk.ring()
    talk.nonce = talk.pcp_request().nonce
    talk.answer_pcp()
    assert talk.events() == [Mapped(EXTERNAL, LIFETIME)]


def test_refused_renewal_is_tried_again() -> None:
    talk = mapped_by_pcp()
    talk.ring()
    talk.answer_pcp(result=portmap.PcpResult.NETWORK_FAILURE, lifetime=5)
    assert talk.events() == []
    left = LIFETIME - talk.now
    assert talk.ring() == pytest.approx(left / 2)
    talk.answer_pcp(Address("0.0.0.0", 0))
    assert talk.events() == []
    talk.ring()
    talk.answer_pcp()
    assert talk.events() == []


def test_lease_that_runs_out_during_a_renewal_is_mapped_anew() -> None:
    talk = Talk()
    talk.answer_pcp(lifetime=30)
    talk.ring()
    while talk.now < 30.0:
        talk.ring()
    assert talk.events() == [
        Mapped(EXTERNAL, 30.0),
        MappingLost("the gateway 192.168.1.1 maps no port: it did not renew the mapping"),
    ]
    talk.ring_until_silent()
    talk.answer_pcp()
    assert [type(event) for event in talk.events()][-1] is Mapped


def test_replaced_gateway_may_speak_nat_pmp() -> None:
    talk = mapped_by_pcp()
    talk.ring()
    talk.hear(VERSION_REFUSED)
    talk.answer_address()
    talk.answer_port(OTHER.port)
    assert talk.events() == [Mapped(OTHER, LIFETIME)]
    talk.requests()
    talk.ring()
    assert talk.requests() == [AddressRequest()]


# Unasked news.


def test_duplicated_pcp_answer_changes_nothing() -> None:
    talk = mapped_by_pcp()
    renewal = talk.mapper.next_timer()
    talk.answer_pcp()
    assert talk.events() == []
    assert talk.requests() == []
    assert talk.mapper.next_timer() == pytest.approx(renewal, abs=LIFETIME / 8)


def test_gateway_may_report_a_changed_mapping_unasked() -> None:
    talk = mapped_by_pcp()
    talk.now = 60.0
    talk.answer_pcp(OTHER)
    assert talk.events() == [Mapped(OTHER, LIFETIME)]
    assert talk.requests() == []


def test_restarted_gateway_is_asked_anew_at_once() -> None:
    talk = mapped_by_pcp()
    talk.now = 60.0
    talk.restarted_at = 50.0
    talk.answer_pcp(OTHER)
    assert talk.events() == []
    assert talk.pcp_request().suggested_port == PORT
    talk.answer_pcp(OTHER)
    assert talk.events() == [Mapped(OTHER, LIFETIME)]


@MAPPED
def test_gateway_is_asked_again_after_a_change_of_the_network(mapped: Setup) -> None:
    """At once, but however often that changes not more often than a mapping is renewed."""
    talk = mapped()
    talk.now = 60.0
    talk.change_network()
    assert talk.ring() == 0
    assert len(talk.requests()) == 1
    talk.ring_until_silent()
    failed_at = talk.now
    for _ in range(100):
        talk.now += 0.01
        talk.change_network()
    talk.ring()
    assert talk.now <= failed_at + timing.SHORTEST_RENEWAL + 1
    assert len(talk.requests()) == 1
    assert talk.events() == []


def test_gateway_without_server_is_asked_again_after_a_change_of_the_network() -> None:
    talk = Talk()
    talk.ring_until_silent()
    talk.change_network()
    assert talk.ring() < timing.SHORTEST_RENEWAL
    assert talk.pcp_request().lifetime == LIFETIME


def test_request_under_way_gets_all_its_tries_after_a_change_of_the_network() -> None:
    talk = Talk()
    talk.ring()
    talk.requests()
    talk.change_network()
    assert talk.mapper.state is State.ASKING_PCP
    assert sum(len(talk.requests()) for _ in range(timing.TRIES) if talk.ring()) == timing.TRIES


def test_change_of_the_network_does_not_disturb_a_release() -> None:
    talk = mapped_by_pcp()
    talk.mapper.close(talk.now)
    talk.requests()
    talk.change_network()
    assert talk.mapper.state is State.RELEASING
    talk.ring_until_silent()
    assert talk.events() == [Unmapped()]
    talk.change_network()
    assert talk.mapper.next_timer() == NEVER


def test_unasked_failure_of_pcp_is_dropped() -> None:
    talk = mapped_by_pcp()
    talk.answer_pcp(result=portmap.PcpResult.NOT_AUTHORIZED)
    talk.answer_pcp(lifetime=0)
    talk.answer_address()
    talk.answer_port()
    talk.hear(VERSION_REFUSED)
    assert talk.events() == []
    assert talk.mapper.drops == {Drop.STALE: 2, Drop.UNEXPECTED: 3}


def test_unasked_pcp_grant_is_dropped_after_a_nat_pmp_mapping() -> None:
    talk = mapped_by_nat_pmp()
    talk.answer_pcp(OTHER)
    assert talk.events() == []
    assert talk.mapper.drops == {Drop.STALE: 1}


# Which answers are believed.


def test_datagram_from_elsewhere_than_the_gateway_is_dropped() -> None:
    talk = Talk()
    answer = portmap.pack(PcpResponse(0, LIFETIME, 1, talk.nonce, UDP, PORT, PORT, WAN))
    for source in (Address("192.168.1.66", GATEWAY.port), Address(GATEWAY.host, 5350)):
        talk.hear(answer, source)
        talk.hear(VERSION_REFUSED, source)
    assert talk.mapper.drops == {Drop.UNEXPECTED_SOURCE: 4}
    assert talk.events() == []
    assert talk.requests() == []


def test_answer_to_another_request_is_dropped() -> None:
    talk = Talk()
    talk.answer_pcp(nonce=bytes(12))
    talk.answer_pcp(port=PORT + 1)
    talk.answer_pcp(protocol=6)
    talk.answer_pcp(nonce=bytes(12), result=portmap.PcpResult.NOT_AUTHORIZED)
    assert talk.mapper.drops == {Drop.WRONG_ATTEMPT: 4}
    talk.hear(VERSION_REFUSED)
    talk.answer_address()
    talk.answer_port(port=PORT + 1)
    assert talk.mapper.drops == {Drop.WRONG_ATTEMPT: 5}
    assert talk.events() == []


@pytest.mark.parametrize("message", [AddressRequest(), PortRequest(PORT, PORT, LIFETIME)])
def test_port_mapper_drops_requests(message: portmap.Request) -> None:
    talk = Talk()
    talk.hear(portmap.pack(message))
    assert talk.mapper.drops == {Drop.UNEXPECTED: 1}


def test_success_without_a_lifetime_is_dropped() -> None:
    talk = Talk()
    talk.answer_pcp(lifetime=0)
    talk.hear(VERSION_REFUSED)
    talk.answer_address()
    talk.answer_port(lifetime=0)
    assert talk.mapper.drops == {Drop.STALE: 2}
    assert talk.events() == []


# The end.


def test_pcp_is_released_with_the_same_nonce() -> None:
    talk = mapped_by_pcp()
    talk.mapper.close(talk.now)
    talk.mapper.close(talk.now)
    assert talk.requests() == [PcpRequest(0, CLIENT, talk.nonce, UDP, PORT, 0, "0.0.0.0")]
    assert talk.events() == []
    talk.answer_pcp(lifetime=0)
    assert talk.events() == [Unmapped()]
    assert talk.mapper.next_timer() == NEVER


def test_nat_pmp_is_released_without_an_external_port() -> None:
    talk = mapped_by_nat_pmp()
    talk.mapper.close(talk.now)
    assert talk.requests() == [PortRequest(PORT, 0, 0)]
    talk.answer_port(0, 0)
    assert talk.events() == [Unmapped()]
    assert talk.mapper.next_timer() == NEVER


@MAPPED
def test_release_is_repeated_but_not_for_long(mapped: Setup) -> None:
    talk = mapped()
    talk.mapper.close(talk.now)
    count = 0
    while talk.mapper.next_timer() != NEVER:
        count += len(talk.requests())
        talk.ring()
    assert count == 3
    assert talk.now < 0.8
    assert talk.events() == [Unmapped()]


def test_answer_to_an_earlier_request_does_not_end_the_release() -> None:
    talk = mapped_by_pcp()
    talk.ring()
    talk.mapper.close(talk.now)
    talk.answer_pcp()
    assert talk.events() == []
    talk.answer_pcp(result=portmap.PcpResult.NOT_AUTHORIZED)
    assert talk.events() == [Unmapped()]

    talk = mapped_by_nat_pmp()
    talk.mapper.close(talk.now)
    talk.answer_port()
    assert talk.events() == []
    talk.answer_port(result=portmap.NatPmpResult.NOT_AUTHORIZED)
    assert talk.events() == [Unmapped()]


def test_release_replaces_a_renewal_underway() -> None:
    talk = mapped_by_pcp()
    talk.ring()
    talk.requests()
    talk.mapper.close(talk.now)
    assert talk.pcp_request().lifetime == 0


def test_mapping_at_a_silent_gateway_is_released_without_waiting() -> None:
    talk = Talk()
    talk.mapper.close(talk.now)
    assert talk.pcp_request().lifetime == 0
    assert talk.events() == [Unmapped()]
    assert talk.mapper.next_timer() == NEVER


def test_nothing_is_released_where_nothing_was_mapped() -> None:
    talk = Talk()
    talk.answer_pcp(result=portmap.PcpResult.NOT_AUTHORIZED)
    talk.events()
    talk.mapper.close(talk.now)
    assert talk.requests() == []
    assert talk.events() == [Unmapped()]


def test_nothing_is_released_by_pcp_at_a_gateway_without_it() -> None:
    talk = Talk()
    talk.hear(VERSION_REFUSED)
    assert talk.requests() == [AddressRequest()]
    talk.mapper.close(talk.now)
    assert talk.requests() == []
    assert talk.events() == [Unmapped()]


def test_released_port_mapper_does_nothing() -> None:
    talk = mapped_by_pcp()
    talk.mapper.close(talk.now)
    talk.answer_pcp(lifetime=0)
    talk.events()
    talk.requests()
    talk.answer_pcp()
    talk.answer_pcp(OTHER)
    assert talk.events() == []
    assert talk.requests() == []
    assert talk.mapper.next_timer() == NEVER


# Whatever comes.

STEPS = st.lists(
    st.one_of(
        st.just("ring"),
        st.just("close"),
        st.tuples(st.sampled_from([0, 1, 2, 30, LIFETIME]), st.sampled_from([0, 1, 8])),
        st.binary(max_size=64),
    ),
    max_size=40,
)


@given(STEPS, st.booleans())
def test_no_order_of_answers_breaks_the_contract_of_a_port_mapper(
    steps: list[object], ipv6: bool
) -> None:
    talk = Talk(GATEWAY6, CLIENT6) if ipv6 else Talk()
    told: list[Event] = []
    for step in steps:
        match step:
            case "ring" if talk.mapper.next_timer() != NEVER:
                assert talk.ring() >= 0
            case "close":
                talk.mapper.close(talk.now)
            case (int(lifetime), int(result)):
                talk.answer_pcp(lifetime=lifetime, result=result)
                talk.hear(VERSION_REFUSED)
                talk.answer_address(result=result & 2)
                talk.answer_port(lifetime=lifetime, result=result & 2)
            case bytes(data):
                talk.hear(data)
        assert len(talk.requests()) <= 4
        told += talk.events()
    assert not any(first == second for first, second in itertools.pairwise(told))
    talk.mapper.close(talk.now)
    for _ in range(3):
        if talk.mapper.next_timer() != NEVER:
            talk.ring()
    told += talk.events()
    assert told.count(Unmapped()) == 1
    assert told[-1] == Unmapped()
    assert talk.mapper.next_timer() == NEVER


@pytest.mark.parametrize(
    ("epoch", "now", "restarted"),
    [
        (1000, 500.0, False),  # a second answer within the same second
        (999, 500.0, False),  # answers that overtook each other
        (998, 500.0, True),
        (1600, 1100.0, False),
        (1565, 1100.0, False),  # slower by less than a 16th
        (1555, 1100.0, True),
        (1635, 1100.0, False),  # faster by less than a 16th
        (1650, 1100.0, True),
        (1002, 500.0, False),
        (1003, 500.0, True),
        (0, 4100.0, True),
    ],
)
def test_epoch_that_does_not_fit_shows_a_restart(epoch: int, now: float, restarted: bool) -> None:
    """RFC 6887 section 8.5, example by example."""
    clock = EpochClock()
    assert not clock.restarted(1000, 500.0)
    assert clock.restarted(epoch, now) is restarted


def test_epoch_is_compared_with_that_of_the_last_answer() -> None:
    clock = EpochClock()
    assert not clock.restarted(1000, 0.0)
    assert clock.restarted(0, 100.0)
    assert not clock.restarted(100, 200.0)
