"""What one end reports: events for programs, lines for people.

A log has a line for each change. What an end reports once more, as it does with every attempt of
a pair that is blocked, only the status sees; `reminders` say that the wait goes on.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from netpunch.address import Address
from netpunch.config.model import EndConfig
from netpunch.config.values import Chosen
from netpunch.core.events import (
    CandidateReport,
    Event,
    Failed,
    Introduced,
    Linked,
    Mapped,
    MappingLost,
    Moved,
    MoveReason,
    SeenInside,
    Waiting,
)
from netpunch.core.machine import LinkFigures
from netpunch.errors import NetpunchError
from netpunch.net.driver import Datagram
from netpunch.node.reminders import Wait
from netpunch.node.services import Services
from netpunch.output import events
from netpunch.output.status import Figures, Traffic
from netpunch.reasons import Reason, in_words

if TYPE_CHECKING:
    from netpunch.node.publish import Published

WAITING = {
    Reason.PARTNER_ABSENT: "registered, waiting for the partner",
    Reason.NO_CONTROL: "waiting for the name of a control to resolve",
    Reason.SPRAY_QUEUE: "waiting for another pair of this host to finish its probing",
}
"""What an end does meanwhile, where that says more than the reason's words."""
OBSTACLES = {
    Reason.NO_CONTROL,
    Reason.SECRET_REJECTED_OR_SILENT,
    Reason.UDP_BLOCKED,
    Reason.BLOCKED,
    Reason.NO_PROGRAM,
}
"""What mostly does not pass by itself: people are warned."""
MOVED = {
    MoveReason.NETWORK_CHANGED: "this host's network has changed",
    MoveReason.WOKE: "this host was suspended",
    MoveReason.SILENT: "nothing came from the partner",
    MoveReason.ADDRESS_CHANGED: "control sees this end at another address",
    MoveReason.BETTER_PATH: "it was relayed",
    MoveReason.KEY_CHANGED: "the pair has another key",
    MoveReason.PARTNER_ASKED: "the partner moves, or was restarted",
}
"""Why a link has moved, for people."""
CONFLICT = (
    "another machine announces itself as this end, too, and both displace each other: stop one of "
    "them, or make it the pair's other end (with `share` it may be another process of this one)"
)
PARTNER_ADVICE = "control answers: is netpunch running there, and does its log say so, too?"


class EndReports:
    """Of one end, over all its links."""

    def __init__(self, end: EndConfig, services: Services) -> None:
        self.end = end
        self._key = (end.pair, end.end)
        self._services = services
        self._journal = services.journal
        self._reminders = services.reminders
        self._console = services.console.named(f"{end.pair} {end.end}", gathered=True)
        self.latest_move = b""
        """The line of the last `pair.moved`, for the hook."""
        self._forwards_at: Address | None = None
        self._local_port = 0
        """Of the link's path."""
        self._reported: dict[object, object] = {}
        """What was last reported of each kind since there was a link."""

    def waits(self, what: str, advice: str = "", reason: str | None = None) -> None:
        """Nothing happens until something arrives: see `Wait`."""
        secret = self.end.secret
        file = secret.path if secret.kind == "file" else "FILE"
        own = f"{self.end.pair} {file}"
        self._reminders.waits(self._key, Wait(what, advice, own, reason))

    def observe(self, seen: Datagram | Event) -> None:
        """What an attempt of this end sees, except that it is linked."""
        match seen:
            case Datagram():
                self._services.trace_datagram(seen, pair=self.end.pair, end=self.end.end)
            case Waiting():
                self._waiting(seen)
            case SeenInside(control, observed):
                self._seen_inside(control, observed)
            case Mapped(external):
                self._mapped(external, seen.flaw)
            case MappingLost(detail):
                self._mapped(None, detail)
            case Introduced(remote):
                if self._report_news(events.PairIntroduced(*self._key, remote), remote.host):
                    self._console.say(f"the partner is at {remote}, punching")
                self.waits(f"punching towards {remote.host}")
            case Linked(local=local):
                self._local_port = local.port
            case Moved():
                self._moved(seen)

    def forwards(self, local: Address) -> None:
        """The local program may send there from now on."""
        self._services.status.forwards(*self._key, str(local))
        forward = self.end.forward
        if local != self._forwards_at and forward and isinstance(forward.listen, Chosen):
            self._console.say(f"the local program sends to {local} (forward.listen)")
        self._forwards_at = local

    def up(self, linked: Linked, published: Published) -> bytes:
        """The path is agreed; nothing is written and the port is not free yet."""
        self._linked()
        self._console.good(f"linked {_path(linked)}")
        return self._journal.emit(
            events.PairUp(
                *self._key,
                linked.local,
                linked.remote,
                linked.path,
                _rtt_ms(linked),
                linked.duration,
                published.changed,
                linked.datagrams,
                published.forward,
            )
        )

    def handed_over(self, published: Published) -> None:
        """The port is free (unless the end holds it) and the files are written: of a new link, or
        of one that has moved."""
        self._journal.show_link(published.text, own_template=self.end.template is not None)
        if published.env_file is not None:
            self._journal.emit(events.EnvWritten(*self._key, str(published.env_file)))

    def stale(self, error: NetpunchError) -> None:
        """Programs could not be told of the latest move. Once more for the same reason, only the
        status sees it."""
        reason, err = error.reason, str(error)
        news = (self.latest_move, reason, err)
        if self._report_news(events.PairStale(*self._key, reason, err), news):
            self._console.error(f"moved, but programs may not know: {err}")

    def alive(self) -> None:
        """The check passes."""
        self._linked()
        self._journal.emit(events.PairAlive(*self._key))
        self._console.good("alive: the check passes, nothing to do")

    def down(self, reason: str, detail: str) -> bytes:
        """The link was lost."""
        self._console.lost(f"down: {detail}")
        return self._journal.emit(events.PairDown(*self._key, reason, detail))

    def failed(self, reason: str, detail: str, failure: Failed | None = None) -> bytes:
        """An attempt came to nothing. Once more for the same reason, the event is short."""
        words = in_words(reason)
        self.waits("its `fail` hook has been running")
        self._reminders.failed(self._key, words, detail)
        hosts = () if failure is None else sorted({t.remote.host for t in failure.candidates})
        if not self._is_news(events.PairFailed, (reason, detail, tuple(hosts))):
            return self._journal.emit(events.PairFailed(*self._key, None, reason, words))
        self._console.error(detail)
        if failure is None:
            return self._journal.emit(events.PairFailed(*self._key, None, reason, detail))
        return self._journal.emit(
            events.PairFailed(
                *self._key,
                failure.duration,
                reason,
                detail,
                failure.nat,
                failure.partner_nat,
                failure.datagrams,
                [_candidate(tried) for tried in failure.candidates],
            )
        )

    def stopped(self) -> bytes:
        """The end was stopped before it had a link."""
        return self._journal.emit(events.PairFailed(*self._key, None, Reason.STOPPED))

    def retries_in(self, pause: float, reason: str) -> None:
        """The next attempt is in `pause` seconds; `reason` is why."""
        if self._is_news("retry", reason):
            self._console.remark(f"the next attempt is in {pause:.0f} s")
        self.waits("pausing before the next attempt")

    def closed(self) -> None:
        """The end is done."""
        self._reminders.over(self._key)

    def _moved(self, moved: Moved) -> None:
        changed = (moved.local.port, moved.remote) != (self._local_port, moved.previous)
        self._local_port = moved.local.port
        self._console.say(f"moved to {_path(moved)}: {MOVED[moved.reason]}")
        self.latest_move = self._journal.emit(
            events.PairMoved(
                *self._key,
                moved.local,
                moved.remote,
                moved.path,
                _rtt_ms(moved),
                moved.duration,
                changed,
                moved.datagrams,
                moved.reason,
                moved.previous,
            )
        )

    def _waiting(self, waiting: Waiting) -> None:
        reason, observed, detail = waiting
        if reason == Reason.ROLE_CONFLICT:
            self._journal.emit(events.PairWaiting(*self._key, reason))
            self._console.warn(CONFLICT)
            return
        event = events.PairWaiting(*self._key, reason, detail or None, observed)
        what = WAITING.get(reason, reason.words)
        if self._report_news(event, (reason, detail, observed and observed.host)):
            tell = self._console.warn if reason in OBSTACLES else self._console.say
            tell(detail or what)
        if reason == Reason.SECRET_REJECTED_OR_SILENT:
            problem, _, advice = detail.partition(": ")
            self.waits(problem or what, advice, reason)
        elif reason == Reason.PARTNER_ABSENT:
            self.waits(f"waiting for {self._partner()}", PARTNER_ADVICE, reason)
        elif reason == Reason.BLOCKED:
            self.waits("punching, but nothing gets through", detail, reason)
        else:
            self.waits(what, detail, reason)

    def _seen_inside(self, control: Address, observed: Address) -> None:
        if self._is_news(f"seen inside by {control}", observed.host):
            self._journal.emit(events.PairSeenInside(*self._key, observed, str(control)))
            self._console.warn(
                f"control at {control} sees this end at {observed}, a private address, so a "
                "partner elsewhere may not learn where this end is; if control runs in a "
                "container, give it the host's network; if this end is in control's own network, "
                "set `public` at that control"
            )

    def _mapped(self, external: Address | None, flaw: str) -> None:
        event = events.PairMapped(*self._key, flaw or None, external)
        if not self._report_news(event, (external, flaw)):
            return
        if flaw:
            self._console.warn(flaw)
        else:
            self._console.say(f"the gateway forwards {external} to this end")

    def _partner(self) -> str:
        other = "b" if self.end.end == "a" else "a"
        node = self.end.partner_node
        return f"end {other} (node {node})" if node else f"end {other}"

    def _linked(self) -> None:
        self._reported.clear()
        self._reminders.over(self._key)

    def _report_news(self, event: events.Event, news: object) -> bool:
        """Whether `news` differs from that of the last such event, which then is emitted; else
        only the status sees it."""
        if self._is_news(type(event), news):
            self._journal.emit(event)
            return True
        self._journal.note(event)
        return False

    def _is_news(self, kind: object, news: object) -> bool:
        is_news = self._reported.get(kind) != news
        self._reported[kind] = news
        return is_news


def _rtt_ms(link: Linked | Moved) -> float | None:
    return None if link.rtt is None else link.rtt * 1000


def _path(link: Linked | Moved) -> str:
    rtt_ms = _rtt_ms(link)
    quickness = "" if rtt_ms is None else f", {rtt_ms:.1f} ms"
    return f"{link.local} -> {link.remote} ({link.path}{quickness}, after {link.duration:.3f} s)"


def figures_of(link: LinkFigures | None, forward_drops: Counter[str] | None) -> Figures | None:
    """What the status shows of a held link. `forward_drops` is None if no programs' datagrams pass
    through it."""
    if link is None:
        return None
    traffic = None
    if forward_drops is not None:
        traffic = Traffic(
            link.sent_datagrams,
            link.sent_bytes,
            link.received_datagrams,
            link.received_bytes,
            forward_drops + Counter({str(drop): count for drop, count in link.drops.items()}),
        )
    return Figures(link.rtt, link.jitter, link.loss, traffic)


def _candidate(tried: CandidateReport) -> str:
    remote, path, sent, received, unsendable = tried
    fate = "unsendable" if unsendable else f"sent={sent} received={received}"
    return f"{remote} {path} {fate}"
