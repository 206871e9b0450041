"""Draws the state machines of the core from their tables of transitions, as Mermaid diagrams."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from netpunch.core.classic import end as classic_end
from netpunch.core.control import registrations
from netpunch.core.end import end, nomination, registration
from netpunch.core.portmap import pcp
from netpunch.core.traversal import escalation, turns

Transitions = Mapping[Any, Enum]
"""The next state, by (state before, what happens): a member of the machine's enumeration and a
word. A machine begins in the first member; a state without a way out is final."""

STATE_MACHINES: dict[str, Transitions] = {
    "End": end.TRANSITIONS,
    "An end's registration with one control": registration.TRANSITIONS,
    "Nomination of a path": nomination.TRANSITIONS,
    "Traversal of hard NATs": escalation.TRANSITIONS,
    "An end's turn to probe": turns.TRANSITIONS,
    "An end at a control": registrations.TRANSITIONS,
    "Classic end": classic_end.TRANSITIONS,
    "Port mapping by PCP or NAT-PMP": pcp.TRANSITIONS,
}
"""In the order in which the document shows them."""


def render() -> str:
    """All state machines as Markdown, each with its title."""
    return "\n\n".join(
        f"### {title}\n\n```mermaid\n{diagram(transitions)}\n```"
        for title, transitions in STATE_MACHINES.items()
    )


def states_of(transitions: Transitions) -> list[Enum]:
    """All states of the machine, the first one first."""
    some: Enum = next(iter(transitions))[0]
    return list(type(some))


def diagram(transitions: Transitions) -> str:
    """One machine as a Mermaid state diagram; several causes of one transition share an arrow."""
    causes: dict[tuple[Enum, Enum], list[str]] = {}
    for (before, cause), after in transitions.items():
        causes.setdefault((before, after), []).append(cause)
    states = states_of(transitions)
    final = [state for state in states if state not in {before for before, _ in transitions}]
    return "\n    ".join(
        [
            "stateDiagram-v2",
            f"[*] --> {states[0].name}",
            *(
                f"{before.name} --> {after.name}: {', '.join(causes)}"
                for (before, after), causes in causes.items()
            ),
            *(f"{state.name} --> [*]" for state in final),
        ]
    )
