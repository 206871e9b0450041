"""netpunch.core.portmap.inquiry: what gateways answer, and that nothing is mapped."""

from __future__ import annotations

from netpunch.address import Address
from netpunch.core.machine import NEVER
from netpunch.core.portmap.inquiry import GAPS, GatewayInquiry
from netpunch.wire import portmap
from netpunch.wire.portmap import SERVER_PORT

GATEWAY = Address("192.168.1.1", SERVER_PORT)
CLIENT = "192.168.1.7"
REFUSES_VERSION = bytes([0, 0x80 | portmap.ANNOUNCE, 0, 1, 0, 0, 0, 9])


class Asked:
    """An inquiry that has just begun."""

    def __init__(self, gateway: Address = GATEWAY) -> None:
        self.done = 0
        self.inquiry = GatewayInquiry(gateway, CLIENT, now=0.0, on_done=self._count)
        self.inquiry.handle_timer(0.0)

    def _count(self) -> None:
        self.done += 1

    def hears(self, data: bytes, source: Address = GATEWAY) -> None:
        self.inquiry.receive_datagram(data, source, 0.1, 0)


def test_it_asks_by_both_protocols_and_for_no_mapping() -> None:
    sent = [portmap.parse(each.data) for each in Asked().inquiry.datagrams_to_send()]
    assert sent == [portmap.PcpAnnounce(0, CLIENT), portmap.AddressRequest()]


def test_a_gateway_of_ipv6_is_asked_by_pcp_only() -> None:
    asked = Asked(Address("fe80::1", SERVER_PORT))
    assert len(asked.inquiry.datagrams_to_send()) == 1
    asked.hears(portmap.pack(portmap.PcpAnnounced(0, 0, 9)), Address("fe80::1", SERVER_PORT))
    assert asked.done == 1
    assert asked.inquiry.pcp


def test_a_gateway_with_both_tells_its_external_address() -> None:
    asked = Asked()
    asked.hears(portmap.pack(portmap.PcpAnnounced(0, 0, 9)))
    asked.hears(portmap.pack(portmap.AddressResponse(0, 9, "203.0.113.5")))
    inquiry = asked.inquiry
    assert (inquiry.pcp, inquiry.nat_pmp, inquiry.external) == (True, True, "203.0.113.5")
    assert asked.done == 1
    assert inquiry.next_timer() == NEVER


def test_a_gateway_without_announce_speaks_pcp_all_the_same() -> None:
    asked = Asked()
    asked.hears(portmap.pack(portmap.PcpAnnounced(portmap.PcpResult.UNSUPP_OPCODE, 0, 9)))
    assert asked.inquiry.pcp


def test_a_gateway_with_nat_pmp_only_refuses_the_version() -> None:
    asked = Asked()
    asked.hears(REFUSES_VERSION)
    asked.hears(portmap.pack(portmap.AddressResponse(0, 9, "203.0.113.5")))
    assert (asked.inquiry.pcp, asked.inquiry.nat_pmp) == (False, True)


def test_a_refusal_by_nat_pmp_is_a_no() -> None:
    asked = Asked()
    refusal = portmap.AddressResponse(portmap.NatPmpResult.NOT_AUTHORIZED, 9, "0.0.0.0")
    asked.hears(portmap.pack(refusal))
    assert asked.inquiry.nat_pmp is False
    assert asked.inquiry.external == ""


def test_a_silent_gateway_is_given_up_after_three_times() -> None:
    asked = Asked()
    inquiry = asked.inquiry
    sent = len(inquiry.datagrams_to_send())
    while not asked.done:
        inquiry.handle_timer(inquiry.next_timer())
        sent += len(inquiry.datagrams_to_send())
    assert sent == 2 * len(GAPS)
    assert (inquiry.pcp, inquiry.nat_pmp) == (None, None)


def test_only_the_gateway_is_heard() -> None:
    asked = Asked()
    asked.hears(portmap.pack(portmap.PcpAnnounced(0, 0, 9)), Address("192.168.1.9", SERVER_PORT))
    asked.hears(b"")
    asked.hears(b"\2\x80")
    assert asked.inquiry.pcp is None
