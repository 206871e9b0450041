"""A held link: keepalives on its path until one side stops or falls silent, then the farewell."""

from __future__ import annotations

from netpunch.core import timing
from netpunch.core.end.identity import AttemptHost
from netpunch.core.end.nomination import Agreement
from netpunch.core.machine import NEVER
from netpunch.core.pacing import Repeat
from netpunch.wire import v2


class HeldLink:
    """A keepalive is a ping, repeated soon if it stays unanswered: loss is no silence."""

    def __init__(self, host: AttemptHost, agreement: Agreement, now: float) -> None:
        self.place = (agreement.path.via, agreement.path.remote)
        """Our socket and the partner's address."""
        self._host = host
        self._partner, self._path, _ = agreement
        self._interval = host.resources.settings.keepalive
        self._keepalive_at = now + self._interval
        self._next_keepalive = 0.0
        """When the next one is due after this one is answered."""
        self._byes = Repeat(0, timing.BYE_INTERVAL, 0.0)

    @property
    def has_left(self) -> bool:
        """Whether no BYE is left to send."""
        return not self._byes.left

    def next_timer(self) -> float:
        return min(self._keepalive_at, self._byes.next_at)

    def handle_timer(self, now: float) -> bool:
        """Whether the link is alive; False once the partner has missed too many keepalives."""
        if self._byes.due(now):
            bye = v2.Bye(self._host.identity.id, self._partner.attempt)
            self._host.send(bye, self._path.remote, self._path.via)
        return now < self._keepalive_at or self._keep_alive(now)

    def stop(self) -> None:
        """Sends no more keepalives."""
        self._keepalive_at = NEVER

    def leave(self, now: float) -> None:
        """Says BYE, a few times."""
        self._byes = Repeat(timing.BYE_COUNT, timing.BYE_INTERVAL, now)

    def _keep_alive(self, now: float) -> bool:
        path, tries = self._path, timing.KEEPALIVE_TRIES
        most = timing.SILENT_KEEPALIVES * tries
        if path.unanswered >= most:
            return False
        if path.unanswered == 0 and now < self._next_keepalive:
            self._keepalive_at = self._next_keepalive  # the last one was answered
            return True
        if path.unanswered % tries == 0:
            self._next_keepalive = now + self._interval
        path.unanswered += 1
        self._partner.checks.ping_now(path, now)
        retry = min(timing.KEEPALIVE_RETRY, self._interval / tries)
        again = path.unanswered % tries != 0 or path.unanswered >= most
        self._keepalive_at = now + retry if again else self._next_keepalive
        return True
