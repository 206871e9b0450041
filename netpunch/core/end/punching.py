"""Punching: attempts at one link, one after the other, until both ends agree on a path or there is
no hope left. An attempt that leads nowhere (a dead port, a nomination without an answer) is
replaced by a new one, within the same deadline."""

from __future__ import annotations

from collections.abc import Mapping

from netpunch.address import Address
from netpunch.core.end.announcing import Introduction
from netpunch.core.end.attempt import Attempt
from netpunch.core.end.nomination import Agreement, NominationState
from netpunch.core.end.resources import Resources
from netpunch.core.end.waiting import Deadline
from netpunch.core.events import CloseSocket, Failed, Linked, Reason, Via
from netpunch.core.pacing import TokenBucket
from netpunch.wire.drop import Drop


class Punching:
    """`on_standby`: the first attempt is only announced until `begin` (see
    `core.end.successor`). `bound`: each further attempt takes one of it; without one there is no
    hope left, or the port stays."""

    def __init__(
        self,
        resources: Resources,
        deadline: Deadline,
        *,
        on_standby: bool = False,
        bound: TokenBucket | None = None,
        now: float,
    ) -> None:
        self.began = now
        self.attempt = Attempt(resources, opener=False, on_standby=on_standby, now=now)
        self._resources = resources
        self._deadline = deadline
        self._bound = bound
        self._datagrams = 0
        """Sent to the partner in earlier attempts."""

    def begin(self, deadline: Deadline, now: float) -> None:
        """Ends the standby: the attempt wants to be introduced."""
        self.began, self._deadline = now, deadline
        self.attempt.announcer.begin_to_punch(now)

    def next_timer(self) -> float:
        attempt = self.attempt
        timers = [
            attempt.announcer.next_timer(),
            attempt.partners.next_timer(),
            attempt.traversal.next_timer(),
            attempt.other_family.next_timer,
            attempt.relay_timer(),
        ]
        if not attempt.partners.nominating:
            timers.append(self._deadline.next_timer())
        return min(timers)

    def handle_timer(self, now: float) -> Reason | None:
        """Returns why there is no hope left, if so; then `end` or `stop` has to follow."""
        self.attempt.partners.handle_timer(now)
        self.attempt.other_family.handle_timer(now)
        if now >= self.attempt.relay_timer():
            self.attempt.relaying.handle_timer(now)
        failure = self._watch(now)
        if failure is None:
            self.attempt.announcer.handle_timer(now)
        return failure

    def introduced(self, introduction: Introduction, now: float) -> Drop | None:
        """A control names a partner attempt."""
        drop = self.attempt.introduce(introduction, now)
        self.heard(now)
        return drop

    def heard(self, now: float) -> None:
        """Something came from a control or the partner: accounts for what it means."""
        proved_at = self.attempt.partners.proved_at
        if proved_at is not None:
            self._deadline.start(proved_at)
        self.update_deadline(now)

    def update_deadline(self, now: float) -> None:
        """The deadline stands still while an end waits for its turn."""
        if not self.attempt.announcer.on_standby:
            self._deadline.update(now, queued=self.attempt.traversal.waits(now))

    def sockets_opened(self, request: int, opened: Mapping[Via, Address], now: float) -> None:
        """The driver's answer to a request of this punching."""
        fresh = self.attempt.traversal.sockets_opened(request, opened, now)
        if fresh is not None:
            self._take_fresh_port(*fresh, now)

    @property
    def agreement(self) -> Agreement | None:
        """The path that both ends have agreed on."""
        return self.attempt.partners.nominations.agreement

    @property
    def has_partner(self) -> bool:
        """Whether a partner attempt has proved to be alive."""
        return self.attempt.partners.proved_at is not None

    def knows(self, partner_attempt: bytes) -> bool:
        """Whether this partner attempt has proved to be alive."""
        partner = self.attempt.partners.by_id.get(partner_attempt)
        return partner is not None and partner.checks.proved

    def linked(self, now: float) -> Linked:
        """The agreed path, for users. The sockets of all others are closed."""
        agreed = self.agreement
        assert agreed is not None
        link = self.attempt.linked(agreed, now - self.began, self._datagrams)
        self.attempt.traversal.stop(keep=[agreed.path.via])
        self.attempt.settle()
        return link

    def failed(self, reason: Reason, detail: str, now: float) -> Failed:
        """What is told of a failure."""
        return self.attempt.failed(reason, detail, now - self.began, self._datagrams)

    def no_path(self, now: float) -> Failed | None:
        """What would be told of a failure now, if it is that nothing gets through."""
        if self._deadline.is_over(now) or self._why_not_linked(now) is not Reason.BLOCKED:
            return None
        from netpunch.core.end.verdict import verdict  # nobody needs it before

        detail = verdict(Reason.BLOCKED, self.attempt.facts(early=True))
        return self.failed(Reason.BLOCKED, detail, now)

    def end(self) -> None:
        """Ends it at once, for another one."""
        self.attempt.end()

    def stop(self, now: float) -> None:
        """Ends it for good: the controls are told, a few times."""
        self.attempt.traversal.stop()
        self.attempt.announcer.leave(now)

    def _watch(self, now: float) -> Reason | None:
        self.update_deadline(now)
        partners, traversal = self.attempt.partners, self.attempt.traversal
        if partners.nominations.agreement is not None:
            return None
        if partners.mode_differs:
            return Reason.PARTNER_MODE
        if partners.nominating:
            traversal.handle_timer(now)
            # b may be linked already: a must not give up before its nomination does
        elif self._deadline.is_over(now):
            return self._why_not_linked(now)
        elif self._is_hopeless(now):
            return Reason.INFEASIBLE
        elif partners.nominations.state is NominationState.FUTILE:
            if not self._may_begin_anew(now):
                return Reason.NOT_AGREED
            self._begin_anew(now)
        else:
            traversal.handle_timer(now)
        return None

    def _is_hopeless(self, now: float) -> bool:
        """Whether nothing is left to try, not even a relay."""
        partners, traversal = self.attempt.partners, self.attempt.traversal
        infeasible = traversal.infeasible and not partners.any_valid
        return infeasible and not self.attempt.relaying.may_help(now)

    def _why_not_linked(self, now: float) -> Reason:
        """Once a partner is known; what is wrong without one only the end knows."""
        partners = self.attempt.partners
        if self.attempt.traversal.waits(now):
            return Reason.SPRAY_QUEUE
        if partners.any_card_differs:
            return Reason.PARTNER_MODE
        if partners.any_valid:
            return Reason.NOT_AGREED
        if partners.proved_at is not None:
            return Reason.BLOCKED
        return Reason.PARTNER_ABSENT

    def _may_begin_anew(self, now: float) -> bool:
        return self._bound is None or self._bound.take(now)

    def _begin_anew(self, now: float) -> None:
        self._datagrams += self.attempt.datagrams
        self.attempt.end()
        due_at = self.attempt.relaying.due_at
        self.attempt = Attempt(self._resources, opener=True, relay_due_at=due_at, now=now)

    def _take_fresh_port(self, via: Via, local: Address, now: float) -> None:
        """Begins a new attempt from this socket instead of the first one of its family, or closes
        it."""
        if not self._may_begin_anew(now):
            self._resources.emit(CloseSocket(via))
            return
        self.attempt.announcer.leave_at_once()  # from the socket that is about to close
        self._resources.replace_socket(via, local)
        self._resources.fresh_port_patience *= 2
        self._begin_anew(now)
