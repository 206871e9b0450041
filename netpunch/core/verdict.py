"""Why an end was not linked, in one sentence for people."""

from __future__ import annotations

from collections.abc import Sequence

from netpunch.address import Address
from netpunch.core.events import Reason


def verdict(
    reason: Reason,
    *,
    controls: Sequence[Address] = (),
    holds: bool = False,
    nats: tuple[str, str] = ("unknown", "unknown"),
    reachable: bool = True,
) -> str:
    """What happened and what to do. `reachable`: the partner has an address that this end can
    send to."""
    match reason:
        case Reason.SECRET_REJECTED_OR_SILENT:
            asked = ", ".join(map(str, controls))
            detail = (
                f"no answer from control at {asked}: is it running, does a firewall drop UDP, "
                "and has it this pair's key? (It stays silent to a wrong one.)"
            )
        case Reason.PARTNER_ABSENT:
            detail = (
                "control answers, but the partner did not announce itself: is it running, and "
                "does its log say that control answers?"
            )
        case Reason.BLOCKED if not reachable:
            detail = (
                "the partner is there, but at no address that this end can send to: is one of "
                'them bound to IPv4 only, the other to IPv6 only? `local: ":PORT"` is both'
            )
        case Reason.BLOCKED:
            detail = (
                "the partner is there, but nothing it sends arrives: a NAT that maps every "
                "destination anew, or a firewall that drops UDP, at either end"
            )
        case Reason.INFEASIBLE:
            detail = (
                f"this end's NAT is {nats[0]}, the partner's {nats[1]}: nothing opens this pair. "
                "Forward a UDP port to one end and set it as `local`, or let its router map one "
                "(`candidates: [mapped, ...]`), or use IPv6"
            )
        case Reason.NOT_AGREED:
            detail = "datagrams pass, but the partner did not confirm the path"
        case Reason.PARTNER_MODE:
            ours, theirs = ("holds", "hands over") if holds else ("hands over", "holds")
            detail = (
                f"this end {ours} the hole, the partner {theirs} it: give both ends, or "
                "neither, a command or a check"
            )
        case _:
            detail = "no control can be reached: check its name and this host's network"
    return detail
