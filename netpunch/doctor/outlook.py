"""How a pair will link, by the class of the partner's NAT: docs/networks.md, in a table."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from netpunch.core.settings import EndSettings
from netpunch.wire.card import NatClass

OPEN, EASY, STEP, RANDOM = (
    NatClass.OPEN,
    NatClass.EASY,
    NatClass.HARD_STEP,
    NatClass.HARD_RANDOM,
)
BLOCKED = NatClass.BLOCKED
HARD = {STEP, RANDOM}
PARTNERS = {
    OPEN: "no NAT",
    EASY: "an easy NAT (one port for all)",
    STEP: "a symmetric NAT, ports in steps",
    RANDOM: "a symmetric NAT, random ports",
    BLOCKED: "a firewall that blocks UDP",
}
"""What a partner may be behind."""
SHORT = {
    OPEN: "no NAT",
    EASY: "an easy NAT",
    STEP: "a symmetric NAT with ports in steps",
    RANDOM: "a symmetric NAT with random ports",
    BLOCKED: "blocked UDP",
}
"""The same within a sentence."""

Seconds = tuple[float, float]
"""Median and 95 %, from the later end's start."""

DIRECT: dict[frozenset[NatClass], Seconds] = {
    frozenset({OPEN}): (0.15, 0.15),
    frozenset({OPEN, EASY}): (0.156, 0.156),
    frozenset({OPEN, STEP}): (0.176, 0.176),
    frozenset({OPEN, RANDOM}): (0.176, 0.176),
    frozenset({EASY}): (0.156, 0.156),
    frozenset({EASY, STEP}): (0.552, 0.552),
    frozenset({EASY, RANDOM}): (2.007, 3.749),
    frozenset({STEP}): (0.552, 0.552),
}
"""The matrix of docs/networks.md without loss; an easy NAT as the strictest, port-restricted. All
of these link, the others never."""
RELAYED_HOLDING: Seconds = (1.801, 1.801)
RELAYED_HANDED_OVER: Seconds = (4.852, 4.852)
RELAYED_OVER_TLS: Seconds = (1.55, 1.551)
"""Its second table."""


class How(StrEnum):
    """The way of a link."""

    DIRECT = "directly"
    RELAY = "by relay"
    TLS = "by relay over TLS"
    NONE = "not at all"
    UNKNOWN = "not known"


class Way(NamedTuple):
    """`likely`: 0 to 1, None if not known; `seconds` from the later end's start."""

    how: How
    likely: float | None
    seconds: Seconds | None = None


NO_WAY = Way(How.NONE, 0.0)
NOT_KNOWN = Way(How.UNKNOWN, None)


class Circumstances(NamedTuple):
    """What decides. `own`: this end's class. `relay`: a control of the pair relays; None: not
    known. `tls`: one takes TLS. `holds`: both ends hold the link, so it may go over TLS;
    `may_relay`: both allow it; `opens_here`: a hard NAT at this end can be opened, as it may use
    any port and the partner probes for it; `opens_there`: the same of the partner's."""

    own: NatClass
    relay: bool | None
    tls: bool
    holds: bool
    may_relay: bool
    opens_here: bool
    opens_there: bool


def circumstances(
    own: NatClass, relay: bool | None, tls: bool, end: EndSettings, partner: EndSettings
) -> Circumstances:
    return Circumstances(
        own,
        relay,
        tls,
        holds=end.carries and partner.carries,
        may_relay=end.may_be_relayed and partner.may_be_relayed,
        opens_here=end.any_port and partner.traverses,
        opens_there=partner.any_port and end.traverses,
    )


def outlook(given: Circumstances) -> dict[NatClass, Way]:
    """The way with each class of partner."""
    return {partner: _way(given, partner) for partner in PARTNERS}


def _way(given: Circumstances, partner: NatClass) -> Way:
    if BLOCKED in (given.own, partner):
        return _over_tls(given, blocked_here=given.own is BLOCKED)
    if given.own is NatClass.UNKNOWN:
        return (
            Way(How.DIRECT, 1.0, DIRECT[frozenset({OPEN, RANDOM})])
            if partner is OPEN
            else (NOT_KNOWN)
        )
    classes = frozenset({given.own, partner})
    opens = (given.own not in HARD or given.opens_here) and (
        partner not in HARD or given.opens_there
    )
    if classes in DIRECT and (OPEN in classes or opens):
        return Way(How.DIRECT, 1.0, DIRECT[classes])
    return _relayed(given)


def _relayed(given: Circumstances) -> Way:
    if given.relay is None:
        return NOT_KNOWN
    if not (given.relay and given.may_relay):
        return NO_WAY
    return Way(How.RELAY, 1.0, RELAYED_HOLDING if given.holds else RELAYED_HANDED_OVER)


def _over_tls(given: Circumstances, *, blocked_here: bool) -> Way:
    """An end whose UDP is blocked needs TLS and a relay, and both ends have to hold the link."""
    if not (given.holds and given.may_relay):
        return NO_WAY
    if given.relay is None and not blocked_here:
        return NOT_KNOWN
    return Way(How.TLS, 1.0, RELAYED_OVER_TLS) if given.relay and given.tls else NO_WAY


def sentence(given: Circumstances, ways: dict[NatClass, Way], relay: str) -> str:
    """What follows `PAIR: `; `relay` names the control that relays."""
    kinds: dict[How, list[NatClass]] = {}
    for partner, way in ways.items():
        kinds.setdefault(way.how, []).append(partner)
    if given.own is NatClass.UNKNOWN:
        return UNKNOWN_NAT
    direct = kinds.pop(How.DIRECT, [])
    if not direct:
        return (
            f"cannot link: {_obstacle(given)}"
            if How.NONE in kinds
            else (f"will link {_at(next(iter(kinds)), relay)}")
        )
    if not kinds:
        return "will link directly with any partner"
    others = [(_listed(partners), _at(how, relay)) for how, partners in kinds.items()]
    if len(direct) * 2 > len(ways):
        exceptions = " or ".join(f"{behind} ({at})" for behind, at in others)
        return f"will link directly with any partner, except behind {exceptions}"
    rest = "; ".join(f"behind {behind}: {at}" for behind, at in others)
    return f"will link directly with a partner behind {_listed(direct)}; {rest}"


UNKNOWN_NAT = (
    "will link directly unless the NATs at both ends are symmetric, or UDP is blocked: how this "
    "NAT maps is not known"
)


def _obstacle(given: Circumstances) -> str:
    """Why there is no way at all: only an end without UDP has none to any partner."""
    if not given.holds:
        return "UDP is blocked here, and an end that hands its port over needs it"
    if not given.may_relay:
        return "UDP is blocked here, and `relay` is not among the `candidates` of both ends"
    return "UDP is blocked here, and control has no relay"


def _at(how: How, relay: str) -> str:
    return how.replace("by relay", f"by the relay at {relay}") if relay else str(how)


def _listed(classes: list[NatClass]) -> str:
    """Both kinds of symmetric NAT as one."""
    if {STEP, RANDOM} <= set(classes):
        classes = [each for each in classes if each is not RANDOM]
        names = ["a symmetric NAT" if each is STEP else SHORT[each] for each in classes]
    else:
        names = [SHORT[each] for each in classes]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
