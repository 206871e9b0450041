"""IPv4 addresses behind a translator's prefix."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from netpunch.address import Address, is_pingable
from netpunch.core.end.candidates import Candidate, reflexive_kind, with_translated
from netpunch.core.end.verdict import Facts, verdict
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import Failed, Linked, PathKind, Reason
from netpunch.core.nat64 import WELL_KNOWN, Nat64, learned
from netpunch.wire import v2
from tests.core.v2_bench import Bench, Puppet
from tests.core.v2_pair import CONTROL, VIA, B, Sent

PUBLIC = Address("192.0.2.33", 5000)


def prefix(text: str) -> Nat64:
    network = ipaddress.IPv6Network(text)
    return Nat64(network.network_address.packed[: network.prefixlen // 8], network.prefixlen)


@pytest.mark.parametrize(
    ("nat64", "expected"),
    [
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100:0"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::c000:221"),
        ("64:ff9b::/96", "64:ff9b::c000:221"),
    ],
)
def test_the_examples_of_rfc_6052(nat64: str, expected: str) -> None:
    """Section 2.4; and each prefix is learned from what its DNS64 says of ipv4only.arpa."""
    translator = prefix(nat64)
    assert translator.translated(PUBLIC) == Address(expected, 5000)
    assert translator.original(Address(expected, 5000)) == PUBLIC
    told = [translator.translated(Address(f"192.0.0.{n}", 0)) for n in (170, 171)]
    assert learned(told) == translator
    assert learned([Address("192.0.0.170", 0), told[1]]) == translator


def test_names_without_a_translator_teach_nothing() -> None:
    assert learned([]) is None
    assert learned([Address("192.0.0.170", 0), Address("2001:db8::1", 0)]) is None
    assert prefix("2001:db8:64::/96").original(Address("2001:db8::1", 1)) is None
    assert WELL_KNOWN.original(PUBLIC) is None


def test_public_addresses_are_translated_and_tried_as_they_are_too() -> None:
    named = [
        Candidate(PUBLIC, PathKind.HOST),
        Candidate(Address("10.0.0.1", 5000), PathKind.HOST),
        Candidate(Address("2001:db8::1", 5000), PathKind.IPV6),
        Candidate(Address("192.0.2.34", 5000), PathKind.MAPPED),
    ]
    assert list(with_translated(WELL_KNOWN, named)) == [
        Candidate(Address("64:ff9b::c000:221", 5000), PathKind.OBSERVED),
        *named[:3],
        Candidate(Address("64:ff9b::c000:222", 5000), PathKind.MAPPED),
        named[3],
    ]
    assert reflexive_kind(Address("64:ff9b::c000:221", 5000)) is PathKind.OBSERVED


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "224.0.0.1", "169.254.1.1", "10.0.0.1"])
def test_nobody_is_aimed_at_what_the_translator_trusts(host: str) -> None:
    translator = prefix("2001:db8:64::/96")
    forged = Candidate(translator.translated(Address(host, 22)), PathKind.IPV6)
    assert list(with_translated(translator, [forged])) == []


@pytest.mark.parametrize("host", ["64:ff9b::7f00:1", "64:ff9b::e000:1", "64:ff9b::"])
def test_the_well_known_prefix_hides_no_forbidden_address(host: str) -> None:
    """Whether or not this host is behind a translator: it can't know."""
    assert not is_pingable(Address(host, 22), loopback=True)
    assert is_pingable(Address("64:ff9b::c000:221", 22), loopback=True)


class TestLinking:
    """An end whose host has IPv6 only, behind a translator, towards a partner with IPv4 only."""

    CONTROL6 = WELL_KNOWN.translated(CONTROL)
    B6 = WELL_KNOWN.translated(B)

    def bench(self, **more: Any) -> Bench:
        ipv6 = {VIA: Address("::", 5000)}
        settings = {"controls": (self.CONTROL6,), "sockets": ipv6, "nat64": WELL_KNOWN}
        return Bench(**{**settings, **more})

    def introduce(self, bench: Bench, puppet: Puppet) -> list[Sent]:
        return bench.control_says(bench.introduction(puppet), self.CONTROL6)

    def test_by_the_translated_address(self) -> None:
        bench = self.bench()
        puppet = bench.puppet(at=B)
        pings = self.introduce(bench, puppet)
        assert {each.destination for each in pings if isinstance(each.message, v2.Ping)} == {
            self.B6
        }
        bench.pong_all(puppet, pings)
        nominate = bench.all(v2.Nominate)[-1]
        accept = v2.Accept(puppet.attempt, bench.attempt, nominate.sequence)
        bench.receive(puppet.says(accept), self.B6)
        link = bench.event(Linked)
        assert (link.remote, link.path) == (self.B6, PathKind.OBSERVED)

    def test_traversal_strategies_aim_there_too(self) -> None:
        bench = self.bench()
        puppet = bench.puppet(at=B)
        self.introduce(bench, puppet)
        assert bench.end._punching.attempt.partners.by_id[puppet.attempt].observed == self.B6

    def test_a_prefix_that_is_learned_later_counts_for_later_introductions(self) -> None:
        bench = self.bench(nat64=None)
        puppet = bench.puppet(at=B)
        assert not [e for e in self.introduce(bench, puppet) if isinstance(e.message, v2.Ping)]
        bench.end.controls_found(ControlEndpoints((self.CONTROL6,), nat64=WELL_KNOWN), bench.now)
        pings = self.introduce(bench, puppet)
        assert self.B6 in {e.destination for e in pings if isinstance(e.message, v2.Ping)}


class TestUnsendable:
    """What this end cannot send to was not tried."""

    LACKING = Address("2001:db8::7", 5000)

    def test_no_socket_of_the_family(self) -> None:
        bench = Bench(deadline=1.0)
        bench.introduce(bench.puppet(hosts=(self.LACKING,)))
        bench.run(2.0)
        [lacking] = [c for c in bench.event(Failed).candidates if c.remote == self.LACKING]
        assert (lacking.sent, lacking.unsendable) == (0, True)
        assert [c.unsendable for c in bench.event(Failed).candidates if c.remote == B] == [False]

    def test_no_route(self) -> None:
        """As the driver tells of each datagram."""
        bench = Bench(deadline=1.0)
        puppet = bench.puppet()
        refused = bench.introduce(puppet)
        while not bench.events(Failed):
            for each in refused:
                if isinstance(each.message, v2.Ping):
                    bench.end.no_route(each.via, each.destination)
            refused = [each.sent for each in bench.run(0.01)]
        failure = bench.event(Failed)
        assert [(c.remote, c.sent, c.unsendable) for c in failure.candidates] == [(B, 0, True)]
        assert failure.datagrams == 0
        assert str(B) in failure.detail
        assert "NAT64" in failure.detail

    def test_a_route_that_comes_later(self) -> None:
        bench = Bench(deadline=1.0)
        [ping] = [e for e in bench.introduce(bench.puppet()) if isinstance(e.message, v2.Ping)]
        bench.end.no_route(ping.via, ping.destination)
        bench.run(2.0)
        [report] = bench.event(Failed).candidates
        assert report.sent > 0
        assert not report.unsendable

    def test_the_advice_names_each_address_once(self) -> None:
        text = verdict(Reason.BLOCKED, Facts(reachable=False, unsendable=(PUBLIC, PUBLIC)))
        assert text.count(str(PUBLIC)) == 1
