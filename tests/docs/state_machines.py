"""Draws the state machines of the core from their tables of transitions, as Mermaid diagrams."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import ModuleType
from typing import Any

from netpunch.core.classic import end as classic_end
from netpunch.core.control import registrations, relay
from netpunch.core.end import (
    binding,
    end,
    holding,
    nomination,
    registration,
    streams,
    successor,
)
from netpunch.core.portmap import pcp
from netpunch.core.traversal import escalation, turns

Transitions = Mapping[Any, Enum]
"""The next state, by (state before, what happens): a member of the machine's enumeration and a
word. A machine begins in the first member; a state without a way out is final."""

STATE_MACHINES: dict[str, ModuleType] = {
    "End": end,
    "The path of a held link": holding,
    "The successor of a held link": successor,
    "An end's registration with one control": registration,
    "Streams to controls": streams,
    "Nomination of a path": nomination,
    "Traversal of hard NATs": escalation,
    "An end's turn to probe": turns,
    "An end at a control": registrations,
    "An end at a relay": relay,
    "A relay, as an end sees it": binding,
    "Classic end": classic_end,
    "Port mapping by PCP or NAT-PMP": pcp,
}
"""The modules that have `TRANSITIONS`, in the order in which the document shows them."""


def render() -> str:
    """All state machines as Markdown, each with its title and the file of its table."""
    return "\n\n".join(
        f"### {title}\n\n`{_path(module)}`\n\n```mermaid\n{diagram(module.TRANSITIONS)}\n```"
        for title, module in STATE_MACHINES.items()
    )


def _path(module: ModuleType) -> str:
    return module.__name__.replace(".", "/") + ".py"


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
                f"{before.name} --> {after.name}: {' or '.join(causes)}"
                for (before, after), causes in causes.items()
            ),
            *(f"{state.name} --> [*]" for state in final),
        ]
    )
