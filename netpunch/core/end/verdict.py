"""Why an end was not linked, in one sentence for people: what happened, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from netpunch.address import Address, is_private
from netpunch.core.events import Reason

NATS = {
    "unknown": "not known",
    "open": "open (no NAT)",
    "easy": "easy (one port for all destinations)",
    "hard_step": "hard_step (another port for each destination, in steps)",
    "hard_random": "hard_random (a random port for each destination)",
    "blocked": "blocked (no UDP reaches control)",
}
HARD = {"hard_step", "hard_random"}
EASY = {"open", "easy"}


class RelayOutcome(IntEnum):
    """Why no control's relay carried the link; of several relays the last of these counts."""

    NOT_TRIED = 0
    NOT_ALLOWED = 1
    """`relay` is not among this end's candidates."""
    UNKNOWN = 2
    """No control has said whether it relays."""
    NOT_OFFERED = 3
    """No control relays, or it is of a version that cannot."""
    SILENT = 4
    """A relay did not answer."""
    ALONE = 5
    """This end was bound there, the partner was not."""
    FAILED = 6
    """Both ends were bound, and yet nothing came."""


class Facts(NamedTuple):
    """What an end knows when it gives up. `sealed`: whether it seals, where the partner differs in
    that alone; `nats`: this end's class and the partner's; `hosts` and
    `partner_hosts`: where each was seen from outside; `reachable`: this end can send to an address
    of the partner; `unsendable`: those that it can't send to; `heard`: a datagram of the partner
    has arrived, and by no relay; `share`: the port is another program's; `asks_gateways`: they were
    asked to map a port; `relay`: what became of relays, `silent_relays` those that have answered
    nothing."""

    controls: tuple[Address, ...] = ()
    holds: bool = False
    sealed: bool | None = None
    nats: tuple[str, str] = ("unknown", "unknown")
    hosts: tuple[str, ...] = ()
    partner_hosts: tuple[str, ...] = ()
    reachable: bool = True
    unsendable: tuple[Address, ...] = ()
    heard: bool = False
    share: bool = False
    asks_gateways: bool = False
    relay: RelayOutcome = RelayOutcome.NOT_TRIED
    silent_relays: tuple[Address, ...] = ()


def verdict(reason: Reason, facts: Facts = Facts()) -> str:  # noqa: B008 - it never changes
    """The sentence for a reason that the core reports."""
    match reason:
        case Reason.SECRET_REJECTED_OR_SILENT:
            return f"{silence(facts.controls)}: {SILENCE_ADVICE}"
        case Reason.PARTNER_ABSENT:
            return f"control answers, but the partner has not announced itself: {ABSENCE_ADVICE}"
        case Reason.BLOCKED:
            return _blocked(facts) + _relay(facts)
        case Reason.INFEASIBLE:
            return _infeasible(facts) + _relay(facts)
        case Reason.SPRAY_QUEUE:
            return (
                "against a hard NAT one pair of a process is tried at a time, and this one's turn "
                "did not come in half an hour, here or at the partner: are there pairs that never "
                "link? Disable them, or run some of the pairs elsewhere"
            )
        case Reason.UDP_BLOCKED:
            blocked = f"{silence(facts.controls)} on UDP, but over TLS: a firewall here drops UDP"
            return f"{blocked}{OVER_TLS if facts.holds else NOT_OVER_TLS}"
        case Reason.NOT_AGREED:
            return (
                "datagrams pass, but the partner did not confirm the path: does its log say that "
                "it failed or was stopped?"
            )
        case Reason.PARTNER_MODE:
            return _partner_mode(facts.holds) if facts.sealed is None else _sealing(facts.sealed)
        case _:
            return (
                "no control can be reached: does its name resolve, and has this host a network "
                "of that address's family (IPv4, IPv6)?"
            )


SILENCE_ADVICE = (
    "either no UDP gets through (start control, allow its port in the firewalls here, there and at "
    "its provider), or control has another key or name for this pair (`netpunch key id PAIR FILE` "
    "must print the same at both). Control's own output tells which: only of the latter it says "
    "`rejected`"
)
OVER_TLS = "; the link will be relayed over TLS, and turn direct when UDP passes"
NOT_OVER_TLS = (
    ". Allow UDP to that address and to the partner; or let netpunch hold the link at both ends "
    "(`mode: keep`, best with `forward`, without command and check), which works over TLS, too"
)
ABSENCE_ADVICE = "is it running, and does its log say that control answers?"


def silence(controls: Iterable[Address]) -> str:
    """Which controls do not answer."""
    return f"no answer from control at {', '.join(map(str, controls))}"


def _blocked(facts: Facts) -> str:
    if not facts.reachable:
        return (
            "the partner is there, but at no address that this end can send to "
            f"{_listed(facts.unsendable)}: has one end IPv4 only, the other IPv6 only? "
            '`local: ":PORT"` binds both; a network without IPv4 reaches the partner only by IPv6 '
            "at its side, or by NAT64 at this one, which was not found"
        )
    if facts.heard:
        return (
            "the partner's datagrams arrive, but none of this end's reach the partner: a firewall "
            "here drops outgoing UDP, or one at the partner incoming UDP: allow it there"
        )
    several = _several_addresses(facts)
    if several:
        return f"the partner is there, but nothing it sends arrives: {several}"
    hidden = _hidden(facts)
    if hidden:
        return f"the partner is there, but nothing it sends arrives: {hidden}"
    ours, theirs = facts.nats
    if theirs == "blocked":
        cause = "no UDP passes in its network, so only a relay helps"
    elif ours in EASY and theirs in EASY:
        cause = (
            f"{_nats(facts)}, so NAT does not prevent it: does a firewall at either end, or "
            "between them, drop UDP from any other host than control? Else a router may send over "
            "several uplinks, and from another public address than control sees"
        )
    elif ours in HARD or theirs in HARD:
        cause = (
            f"{_nats(facts)}, which takes luck; a firewall at either end may drop UDP, too. "
            f"{_help(facts)}"
        )
    else:
        cause = (
            "a firewall that drops UDP, or a NAT that uses another port for each destination, at "
            "either end. Which one is known only where control's second port (`observe`) answers"
        )
    return f"the partner is there, but nothing it sends arrives: {cause}"


def _listed(addresses: Iterable[Address]) -> str:
    return f"({', '.join(map(str, dict.fromkeys(addresses)))})"


def _infeasible(facts: Facts) -> str:
    several = _several_addresses(facts)
    cause = several or _nats(facts)
    if facts.share and facts.nats[0] in HARD:
        cause += (
            ", and with `share` there is one port only (with `forward` netpunch may use others)"
        )
    return f"{cause}: nothing opens this pair. {_help(facts)}"


def _several_addresses(facts: Facts) -> str:
    """If a router sends over several uplinks. IPv4 only: hosts have several IPv6 addresses."""
    for whose, hosts in (("this end", facts.hosts), ("the partner", facts.partner_hosts)):
        public = sorted({host for host in hosts if ":" not in host and not is_private(host)})
        if len(public) > 1:
            return (
                f"{whose} is seen at several public addresses ({', '.join(public)}), so its router "
                "sends over several uplinks in turn; bind this host, or its port, to one of them"
            )
    return ""


def _hidden(facts: Facts) -> str:
    """If a control at a public address sees an end at a private one."""
    if all(is_private(control.host) for control in facts.controls):
        return ""
    for whose, hosts in (("this end", facts.hosts), ("the partner", facts.partner_hosts)):
        if hosts and all(map(is_private, hosts)):
            return (
                f"control sees {whose} at a private address ({', '.join(sorted(set(hosts)))}), "
                f"which the other end cannot reach. If control runs in a container, give it the "
                f"host's network; if {whose} is in control's own network, set `public` at control"
            )
    return ""


def _nats(facts: Facts) -> str:
    ours, theirs = (NATS.get(nat, nat) for nat in facts.nats)
    return f"this end's NAT is {ours}, the partner's {theirs}"


def _help(facts: Facts) -> str:
    forward = "Forward a UDP port to one end and set it as `local`"
    if facts.asks_gateways:
        return f"{forward}, or use IPv6 (`mapped` is on here, but gave no address that worked)"
    return f"{forward}, let its router map one (`candidates: [mapped, ...]`), or use IPv6"


def _relay(facts: Facts) -> str:
    """What a relay could do, as a sentence of its own; empty if that is not known."""
    match facts.relay:
        case RelayOutcome.NOT_TRIED:
            told = ""
        case RelayOutcome.NOT_ALLOWED:
            told = (
                "A relay at control would carry this link, but `relay` is not among this end's "
                f"`candidates`; control needs {RELAY_LINE}"
            )
        case RelayOutcome.UNKNOWN:
            told = f"Control did not say whether it relays; a relay there needs {RELAY_LINE}"
        case RelayOutcome.NOT_OFFERED:
            told = (
                f"A relay at control would carry this link: it needs {RELAY_LINE}, and a netpunch "
                "of this version or later; there is none now"
            )
        case RelayOutcome.SILENT:
            told = (
                f"The relay at {', '.join(map(str, facts.silent_relays))} does not answer: does a "
                "firewall there drop that UDP port?"
            )
            if facts.share:
                told += (
                    " Or is another pair at this port relayed already? A relay tells them apart by "
                    "their ports, so one of those that share a port can be relayed"
                )
        case RelayOutcome.ALONE:
            told = (
                "Control's relay is ready, but the partner is not bound there: is `relay` among "
                "its `candidates`, and is its netpunch of this version or later?"
            )
        case RelayOutcome.FAILED:
            told = (
                "Both ends are bound at control's relay, but nothing comes through it: does "
                "`netpunch status` at control show that the limits of `relay_rate` or "
                "`relay_total` drop it?"
            )
    return told and f". {told}"


RELAY_LINE = '`relay: ":10003"` in its configuration'


def _partner_mode(holds: bool) -> str:
    hands_over = "hands its port over (`mode: once`, or `keep` with a command or check)"
    keeps = "holds the link (`mode: keep` with neither command nor check)"
    ours, theirs = (keeps, hands_over) if holds else (hands_over, keeps)
    return (
        f"this end {ours}, the partner {theirs}: set the same `mode` at both ends, and with "
        "`keep` a command or check at both or at neither"
    )


def _sealing(sealed: bool) -> str:
    seals, passes = "seals what `forward` carries", "does not (or is too old to)"
    if not sealed:
        seals, passes = "does not seal what `forward` carries", "does"
    return (
        f"this end {seals}, the partner {passes}: set `forward: {{sealed: on}}` at both ends, or "
        "at neither"
    )
