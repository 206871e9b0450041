"""Hypothesis strategies for everything that v2 can put on the wire."""

from __future__ import annotations

import ipaddress

from hypothesis import strategies as st

from netpunch.address import Address
from netpunch.wire import v2
from netpunch.wire.card import MAX_HOSTS, MAX_OBSERVED, Card, NatClass


def _canonical(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


ports = st.integers(0, 65535)
addresses = st.builds(
    Address,
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(_canonical),
    ports,
)
attempts = sequences = echoes = st.binary(min_size=8, max_size=8)
counters = st.integers(0, 2**64 - 1)
cookies = st.binary(min_size=v2.COOKIE_LENGTH, max_size=v2.COOKIE_LENGTH)
sealed_cards = st.binary(min_size=v2.SEALED_CARD_LENGTH, max_size=v2.SEALED_CARD_LENGTH)
bytes_of_one = st.integers(0, 255)
milliseconds = st.integers(0, v2.MAX_MILLISECONDS)

to_control: st.SearchStrategy[v2.Message] = st.one_of(
    st.builds(v2.Announce, attempts, counters, cookies, bytes_of_one, sealed_cards),
    st.builds(v2.Leave, attempts, counters),
    st.builds(v2.Observe, echoes),
    st.builds(v2.Bind, attempts, counters, cookies),
)
from_control: st.SearchStrategy[v2.Message] = st.one_of(
    st.builds(
        v2.Waiting, attempts, counters, addresses, milliseconds, attempts, cookies, bytes_of_one
    ),
    *(
        st.builds(
            kind,
            attempts,
            counters,
            addresses,
            attempts,
            addresses,
            sealed_cards,
            cookies,
            bytes_of_one,
        )
        for kind in (v2.Introduce, v2.Knock)
    ),
    st.builds(v2.Challenge, attempts, counters, cookies, bytes_of_one),
    st.builds(v2.Observed, echoes, addresses, ports, ports),
    st.builds(v2.Bound, attempts, counters, addresses, bytes_of_one, milliseconds),
)
between_ends: st.SearchStrategy[v2.Message] = st.one_of(
    st.builds(v2.Ping, attempts, attempts, sequences, bytes_of_one),
    st.builds(v2.Pong, attempts, attempts, sequences, addresses),
    st.builds(v2.Nominate, attempts, attempts, sequences, bytes_of_one, milliseconds),
    st.builds(v2.Accept, attempts, attempts, sequences),
    st.builds(v2.Done, attempts, attempts, sequences),
    st.builds(v2.Bye, attempts, attempts),
)
messages = st.one_of(to_control, from_control, between_ends)

cards = st.builds(
    Card,
    public_key=st.binary(min_size=32, max_size=32),
    partner_attempt=attempts,
    holds=st.booleans(),
    nat_class=st.sampled_from(NatClass),
    bracket_port=ports,
    bracket_step=st.integers(-(2**15), 2**15 - 1),
    bracket_count=bytes_of_one,
    bracket_round=bytes_of_one,
    hosts=st.lists(addresses, max_size=MAX_HOSTS).map(tuple),
    observed=st.lists(addresses, max_size=MAX_OBSERVED - 1).map(tuple),
    mapped=st.lists(addresses, max_size=1).map(tuple),
    queued=st.booleans(),
    sealed=st.booleans(),
).map(lambda card: card._replace(holds=card.holds or card.sealed))
"""Who seals holds, too."""
