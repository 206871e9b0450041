"""What the system refused to send, in words for people: it explains what looks like silence."""

from __future__ import annotations

from collections import Counter

CAUSES = {
    "EPERM": "a firewall on this host?",
    "EACCES": "a firewall on this host?",
    "ENOBUFS": "its queues are full",
    "ENETUNREACH": "is there a network, and a route?",
    "EHOSTUNREACH": "is there a network, and a route?",
    "ENETDOWN": "is there a network, and a route?",
}
ABSENT_NETWORK = {"ENETUNREACH", "EHOSTUNREACH", "ENETDOWN", "EADDRNOTAVAIL"}
"""Usual for some of a partner's addresses: few hosts reach all of them."""


def refusals(errors: Counter[str], *, to_control: bool) -> str:
    """One clause about a driver's `send_errors`, empty if there is nothing to tell. `to_control`:
    the end's controls are what it cannot reach."""
    told = {name: n for name, n in errors.items() if to_control or name not in ABSENT_NETWORK}
    if not told:
        return ""
    name = max(told, key=told.__getitem__)
    cause = f": {CAUSES[name]}" if name in CAUSES else ""
    return f"the system refuses to send ({told[name]} x {name}){cause}"
