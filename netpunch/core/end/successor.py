"""The successor of a held link: the attempt beside it that may take its place.

It is on standby, registered with the controls, until there is a reason to move. Then it punches, on
the link's own sockets. If both ends agree on a path, that is the link from then on (make before
break); if not, the link stays as it was. Each successor is used once: its attempt began after the
link before it was agreed, so no recording can name it, however late it comes.
"""

from __future__ import annotations

from enum import Enum

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.end.announcing import Introduction
from netpunch.core.end.candidates import Candidate
from netpunch.core.end.holding import HeldLink
from netpunch.core.end.punching import Punching
from netpunch.core.end.resources import Resources
from netpunch.core.end.waiting import Deadline
from netpunch.core.events import Linked, Moved, MoveReason
from netpunch.core.machine import NEVER, next_state
from netpunch.core.pacing import TokenBucket
from netpunch.wire.drop import Drop


class SuccessorState(Enum):
    """What the attempt beside the link does."""

    STANDBY = "standby"
    """It is registered, so that the partner can ask for a move."""
    PUNCHING = "punching"


TRANSITIONS: dict[tuple[SuccessorState, str], SuccessorState] = {
    (SuccessorState.STANDBY, "reason to move"): SuccessorState.PUNCHING,
    (SuccessorState.PUNCHING, "path agreed"): SuccessorState.STANDBY,
    (SuccessorState.PUNCHING, "no path"): SuccessorState.STANDBY,
    (SuccessorState.PUNCHING, "old path works, partner absent"): SuccessorState.STANDBY,
}
"""On its way to standby it is replaced by a new one."""


DEAD_PATH = frozenset(MoveReason) - {
    MoveReason.BETTER_PATH,
    MoveReason.KEY_CHANGED,
    MoveReason.PARTNER_ASKED,
}
"""Reasons that are gone when the link's path works again."""


ASKED = (MoveReason.PARTNER_ASKED, MoveReason.KEY_CHANGED)
"""What a partner may ask for."""


class Successor:
    """One after the other, within the bounds on starts. An attempt that one of them begins anew
    counts as a start, too."""

    def __init__(self, resources: Resources, now: float) -> None:
        self.state = SuccessorState.STANDBY
        self.reason: MoveReason | None = None
        """Why it punches, or wants to."""
        self._resources = resources
        self._starts = TokenBucket(1 / timing.MOVE_REFILL, timing.MOVES_AT_ONCE)
        self._earliest = -NEVER
        """When the bounds allow the next start."""
        self.punching = self._on_standby(now)

    def next_timer(self) -> float:
        if self.state is SuccessorState.PUNCHING:
            return self.punching.next_timer()
        announce_at = self.punching.attempt.announcer.next_timer()
        return announce_at if self.reason is None else min(announce_at, self._earliest)

    def handle_timer(self, link: HeldLink, now: float) -> None:
        """`link` is the one beside which it is."""
        if self.state is SuccessorState.STANDBY:
            if link.works and self.reason in DEAD_PATH:
                self.reason = None
            if self.reason is not None:
                self.move(self.reason, link, now)
            self.punching.attempt.announcer.handle_timer(now)
            return
        self._keep_beside(link, now)
        if self.punching.handle_timer(now) is not None:
            self._replace("no path", now)
        elif link.works and not self.punching.has_partner and self.reason in DEAD_PATH:
            self._replace("old path works, partner absent", now)

    def move(self, reason: MoveReason, link: HeldLink, now: float) -> bool:
        """Begins to punch, or will as soon as the bounds allow; returns whether it began now."""
        if self.state is SuccessorState.PUNCHING:
            return False
        if self.reason is None or reason in ASKED:
            self.reason = reason
        if now < self._earliest:
            return False
        if not self._starts.take(now):
            self._earliest = now + self._starts.refill
            return False
        self._earliest = now + timing.MOVE_INTERVAL
        self.state = next_state(TRANSITIONS, self.state, "reason to move")
        # A partner that is absent may come back: without a working path there is time until then.
        deadline = Deadline(timing.MOVE_FOR, now, from_start=link.works)
        self.punching.begin(deadline, now)
        self._keep_beside(link, now)
        return True

    def introduced(self, introduction: Introduction, link: HeldLink, now: float) -> Drop | None:
        """A control names a partner attempt. For another key the path need not change: it is
        tried, too, as no other may be found again through hard NATs."""
        drop = self.punching.introduced(introduction, now)
        partner = self.punching.attempt.partners.by_id.get(introduction.attempt)
        if self.reason is MoveReason.KEY_CHANGED and partner is not None and link.works:
            via, remote = link.place
            if link.is_relayed:
                partner.checks.add_relay(via, remote, now)
            else:
                partner.checks.add(Candidate(remote, link.kind), now)
        return drop

    def _keep_beside(self, link: HeldLink, now: float) -> None:
        relay_may_do = link.is_relayed and self.reason is MoveReason.KEY_CHANGED
        works = link.works and not relay_may_do
        self.punching.attempt.relaying.beside(link.kind, now, works=works)
        if link.is_relayed:
            self.punching.attempt.traversal.beside_relay()

    def taken(self, now: float) -> Punching:
        """Both ends agree on a path: returns what has found it, to be the link; another successor
        goes on standby."""
        agreed = self.punching
        self.state = next_state(TRANSITIONS, self.state, "path agreed")
        self.reason = None
        self.punching = self._on_standby(now)
        return agreed

    def _replace(self, why: str, now: float) -> None:
        self.state = next_state(TRANSITIONS, self.state, why)
        self.reason = None
        self.punching.end()
        self._resources.restore_sockets()
        self.punching = self._on_standby(now)

    def _on_standby(self, now: float) -> Punching:
        never = Deadline(NEVER, now)
        return Punching(self._resources, never, on_standby=True, bound=self._starts, now=now)


def moved(linked: Linked, reason: MoveReason, previous: Address) -> Moved:
    """What is told when a successor has become the link."""
    return Moved(
        linked.via,
        linked.local,
        linked.remote,
        linked.path,
        linked.rtt,
        reason,
        previous,
        linked.duration,
        linked.session_key,
        linked.datagrams,
    )
