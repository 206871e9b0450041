"""A held link: one agreed path, kept open, watched, and in the end said farewell to.

A path works as long as its pings are answered. A *check* is one or two pings after which a path
without an answer counts as dead: the keepalives, and what anything suspicious starts (a changed
network, a partner whose program has fallen silent). A dead path is pinged on once a second: if it
works again, it is used again.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from netpunch.core import timing
from netpunch.core.end.attempt import Attempt
from netpunch.core.end.channels import Channels
from netpunch.core.end.meter import Meter
from netpunch.core.end.nomination import NominationState
from netpunch.core.events import Linked, MoveReason, PathKind
from netpunch.core.machine import NEVER, LinkFigures, Traffic, next_state
from netpunch.core.pacing import Repeat
from netpunch.wire import v2


class PathState(Enum):
    """Whether the link's path works."""

    WORKING = "working"
    CHECKED = "checked"
    """A ping is out whose answer decides."""
    DEAD = "dead"


WORKING = PathState.WORKING
# By name, as reading it off its class is slow: each program's datagram does.


TRANSITIONS: dict[tuple[PathState, str], PathState] = {
    (PathState.WORKING, "check begins"): PathState.CHECKED,
    (PathState.WORKING, "answer"): PathState.WORKING,
    (PathState.WORKING, "own address gone"): PathState.DEAD,
    (PathState.CHECKED, "check begins"): PathState.CHECKED,
    (PathState.CHECKED, "answer"): PathState.WORKING,
    (PathState.CHECKED, "partner heard"): PathState.WORKING,
    (PathState.CHECKED, "no answer"): PathState.DEAD,
    (PathState.CHECKED, "own address gone"): PathState.DEAD,
    (PathState.DEAD, "own address gone"): PathState.DEAD,
    (PathState.DEAD, "answer"): PathState.WORKING,
}


class _Check:
    """Pings that decide whether the path works, `patience` seconds apart."""

    def __init__(self, reason: MoveReason, pings: int, patience: float) -> None:
        self.reason = reason
        self.left = pings
        self.patience = patience
        self.next_at = -NEVER

    @property
    def ends_at(self) -> float:
        """When the path counts as dead."""
        return self.next_at + self.left * self.patience


class HeldLink:
    """The link of an attempt that has agreed on a path; if it has moved, `after` another one."""

    def __init__(
        self, attempt: Attempt, linked: Linked, now: float, *, after: HeldLink | None = None
    ) -> None:
        agreed = attempt.partners.nominations.agreement
        assert agreed is not None
        self.attempt = attempt
        self.partner, self._path, self.kind = agreed
        self.place = (linked.via, linked.remote)
        """Our socket and the partner's address."""
        self.local = linked.local
        self.over_stream = linked.via in attempt.resources.streams.local
        """Whether its path is by way of a stream to a control."""
        self.moves: int = 0 if after is None else after.moves + 1
        self.state = PathState.WORKING
        self.dead_because: MoveReason | None = None
        """Why its path was checked, if there was no answer."""
        self._settings = attempt.resources.settings
        self._agreed_at = self._heard_at = now
        self._check: _Check | None = None
        self._keepalive_at = now + self._settings.keepalive
        self._confirm_at = now + timing.LINGER if self._settings.end == "b" else NEVER
        """When to doubt that a agreed, too: it is linked only once it has heard our ACCEPT."""
        self._dead_ping_at = NEVER
        self._dead_since = -NEVER
        self.unheard_since = NEVER
        self.silence_at = NEVER
        """When to look whether the programs' datagrams are answered."""
        self.traffic: Traffic = Traffic() if after is None else after.traffic
        self._meter: Meter = Meter(self._path.rtt, self.traffic)
        self._byes = Repeat(0, timing.BYE_INTERVAL, 0.0)
        soon = timing.UPGRADE_ROUND_TRIPS * (self._path.rtt or 0.0)
        self._upgrade_at = now + soon if self.is_relayed else NEVER
        """When a relayed link looks for a direct path."""
        self._rekey_at = self._rekey_until = NEVER
        """When it tries to come under another key, and until when it may."""

    @property
    def works(self) -> bool:
        """Whether nothing says that the path does not work."""
        return self.state is not PathState.DEAD

    @property
    def is_relayed(self) -> bool:
        return self.kind is PathKind.RELAY

    @property
    def channels(self) -> Channels:
        """Of the key that it is under."""
        return self.partner.channels

    @property
    def is_settled(self) -> bool:
        """Whether the partner is linked, too, and needs no more answers."""
        return self.attempt.partners.nominations.state is NominationState.SETTLED

    @property
    def has_left(self) -> bool:
        """Whether no BYE is left to send."""
        return not self._byes.left

    @property
    def rtt(self) -> float | None:
        """The latest round trip in seconds."""
        return self._path.rtt

    def figures(self) -> LinkFigures:
        """How the link does."""
        return self._meter.figures(self.kind, self._agreed_at, self.moves)

    def next_timer(self) -> float:
        checked_at = NEVER if self._check is None else self._check.next_at
        return min(
            self._keepalive_at,
            self._confirm_at,
            checked_at,
            self._dead_ping_at,
            self.silence_at,
            self._upgrade_at,
            self._rekey_at,
            self._byes.next_at,
        )

    def handle_timer(self, now: float) -> None:
        if self._byes.due(now):
            via, remote = self.place
            bye = v2.Bye(self.attempt.identity.id, self.partner.attempt)
            self.attempt.send(bye, remote, via)
        if now >= self._keepalive_at:
            self._keepalive_at = now + self._settings.keepalive
            if self.state is not PathState.DEAD and not self._must_be_answered:
                self._keep_alive(now)
        if now >= self._confirm_at:
            self._confirm_at = NEVER
            self.doubt(MoveReason.SILENT, now)
        if now >= self.silence_at:
            self._look_at_silence(now)
        if self._check is not None and now >= self._check.next_at:
            self._go_on_checking(self._check, now)
        if now >= self._dead_ping_at:
            self._dead_ping_at = now + timing.DEAD_PATH_INTERVAL
            self._ping(now)

    def doubt(self, reason: MoveReason, now: float) -> None:
        """Something about the network has changed: checks the path, unless a check ends sooner
        anyway."""
        patience = timing.DOUBT_ROUND_TRIPS * self._meter.rtt + timing.DOUBT_GRACE
        check = self._check
        if check is not None and reason is MoveReason.PARTNER_ASKED:
            return
        ends_sooner = check is not None and check.ends_at <= now + patience
        if self.state is not PathState.DEAD and not (ends_sooner and self._must_be_answered):
            self._begin_check(reason, timing.DOUBT_PINGS, patience / timing.DOUBT_PINGS, now)

    @property
    def _must_be_answered(self) -> bool:
        """Whether there is a check that no ping of the partner ends: no other may take its place
        that one would, or a path that leads in one direction only would seem to work."""
        return self._check is not None and self._check.reason is not MoveReason.PARTNER_ASKED

    def address_gone(self, reason: MoveReason, now: float) -> None:
        """This host no longer has the address that the path was used from."""
        self._move("own address gone")
        self._die(reason, now)

    def heard(self, now: float) -> None:
        """A datagram of the partner came on the path. A ping does not show that ours arrive, but
        that the partner has not been restarted."""
        self._heard_at = now
        self.unheard_since = NEVER
        if self._check is not None and self._check.reason is MoveReason.PARTNER_ASKED:
            self._move("partner heard")
            self._check = None

    # A recording of these two may come again and again, so they don't count as heard.

    def nominated(self, now: float) -> None:
        """a has not heard our ACCEPT yet. Later it is a recording: a would have given up."""
        if now <= self._agreed_at + timing.NOMINATE_LONGEST:
            self._confirm_at = now + timing.LINGER

    def confirmed(self) -> None:
        """a is linked, too: it has said DONE."""
        self._confirm_at = NEVER

    def answered(self, now: float) -> None:
        """A pong came on the path."""
        self.heard(now)
        self._meter.answered(self._path.rtt)
        if now - (self._path.rtt or 0.0) < self._dead_since:
            return  # since that ping was sent, datagrams may leave from another address
        self._move("answer")
        self._check = self.dead_because = None
        self._dead_ping_at, self._dead_since = NEVER, -NEVER

    def reason_to_move(self, now: float) -> MoveReason | None:
        """Why another path should be looked for, if so."""
        if self.state is PathState.DEAD:
            return self.dead_because
        if now >= self._rekey_at:
            return MoveReason.KEY_CHANGED
        return MoveReason.BETTER_PATH if now >= self._upgrade_at else None

    def upgrade_began(self, now: float) -> None:
        """Another path is being looked for: not again before the next time."""
        if now >= self._rekey_at:
            self._rekey_at = now + timing.REKEY_INTERVAL
        if now >= self._upgrade_at:
            later = (self._agreed_at + each for each in timing.UPGRADES)
            usual = now + timing.UPGRADE_INTERVAL
            self._upgrade_at = next((each for each in later if each > now), usual)

    def keys_changed(self, keys: tuple[Channels, ...], now: float) -> None:
        """These are the end's keys from now on. Without its own the link has to come under another
        one: until then, but not for long, it goes on."""
        if self.channels in keys:
            self._rekey_at = self._rekey_until = NEVER
        elif self._rekey_until == NEVER:
            self._rekey_at, self._rekey_until = now, now + timing.REKEY_WITHIN

    @property
    def lost_at(self) -> float:
        """When a dead path is given up, if nothing comes on it any more, or a removed key."""
        if self.state is not PathState.DEAD:
            return self._rekey_until
        return min(self._heard_at + self._settings.hold_for, self._rekey_until)

    def why_lost(self, now: float) -> str:
        """At that time."""
        if now >= self._rekey_until:
            return (
                f"its key was removed {timing.REKEY_WITHIN:g} s ago, "
                "and the partner has no other one that this end has"
            )
        return f"no answer for {self._settings.hold_for:g} s"

    def stop(self) -> None:
        """Sends no more pings."""
        self._keepalive_at = self._confirm_at = self._dead_ping_at = NEVER
        self.silence_at = self._upgrade_at = self._rekey_at = NEVER
        self._check = None

    def leave(self, now: float) -> None:
        """Says BYE, a few times."""
        self._byes = Repeat(timing.BYE_COUNT, timing.BYE_INTERVAL, now)

    # Programs' datagrams.

    def payloads_sent(self, count: int, octets: int, now: float) -> bool:
        """Counts some; returns whether the next timer may be earlier than before."""
        traffic = self.traffic
        traffic.sent += count
        traffic.sent_bytes += octets
        return self.unheard_since == NEVER and self.begin_unheard(now)

    def begin_unheard(self, now: float) -> bool:
        """The first one after the last one that came was sent; returns the same. (A path that is
        checked begins anew when it is answered.)"""
        self.unheard_since = now
        if self.silence_at != NEVER or self.state is not WORKING:
            return False
        self.silence_at = now + self._silence_patience
        return True

    def payloads_received(self, count: int, octets: int) -> None:
        """Counts some."""
        traffic = self.traffic
        traffic.received += count
        traffic.received_bytes += octets
        self.unheard_since = NEVER

    @property
    def _silence_patience(self) -> float:
        return max(timing.SILENCE_LEAST, timing.SILENCE_ROUND_TRIPS * self._meter.rtt)

    def _look_at_silence(self, now: float) -> None:
        """Programs that talk both ways cost one look in a second, and no ping."""
        self.silence_at = NEVER
        if self.unheard_since == NEVER or self.state is not PathState.WORKING:
            return
        if now < (due := self.unheard_since + self._silence_patience):
            self.silence_at = due
            return
        self.unheard_since = NEVER
        self._check_silence(now)

    # Checks.

    def _keep_alive(self, now: float) -> None:
        if self._settings.share:  # programs may send, and hear nothing, without our knowledge
            self._check_silence(now)
            return
        pings = timing.KEEPALIVE_PINGS
        retry = min(timing.KEEPALIVE_RETRY, self._settings.keepalive / pings)
        self._begin_check(MoveReason.SILENT, pings, retry, now)

    def _check_silence(self, now: float) -> None:
        round_trips = timing.SILENCE_PATIENCE_ROUND_TRIPS
        patience = max(round_trips * self._meter.rtt, timing.SILENCE_PATIENCE)
        pings = timing.SILENCE_PINGS
        self._begin_check(MoveReason.SILENT, pings, patience / pings, now)

    def _begin_check(self, reason: MoveReason, pings: int, patience: float, now: float) -> None:
        self._move("check begins")
        self._check = _Check(reason, pings, patience)
        self._go_on_checking(self._check, now)

    def _go_on_checking(self, check: _Check, now: float) -> None:
        if check.left:
            check.left -= 1
            check.next_at = now + check.patience
            self._ping(now)
        else:
            self._move("no answer")
            self._die(check.reason, now)

    def _die(self, reason: MoveReason, now: float) -> None:
        self.dead_because = reason
        self._check = None
        self.silence_at = NEVER
        self._dead_since, self._dead_ping_at = now, now + timing.DEAD_PATH_INTERVAL

    def _ping(self, now: float) -> None:
        self._meter.pinged()
        self.partner.checks.ping_now(self._path, now)

    def _move(self, event: str) -> None:
        self.state = next_state(TRANSITIONS, self.state, event)


class Retired(NamedTuple):
    """A link that was moved away from: until then, what comes on its path still counts."""

    link: HeldLink
    until: float
