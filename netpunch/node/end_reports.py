"""What one end tells: records for programs, lines for people.

A log has a line for each change. What an end reports once more, as it does with every attempt of
a pair that is blocked, only the status sees; `notices` tells people that it goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netpunch.address import Address
from netpunch.config.model import End
from netpunch.core.events import (
    Event,
    Failed,
    Introduced,
    Linked,
    Mapped,
    MappingLost,
    SeenInside,
    Waiting,
)
from netpunch.net.driver import Datagram
from netpunch.node.notices import Wait
from netpunch.node.reporter import WAITING_WORDS, failure_fields, trace
from netpunch.node.services import Services
from netpunch.output.record import EventName, Record, Value
from netpunch.reasons import Reason, in_words

if TYPE_CHECKING:
    from netpunch.node.publish import Published


class EndReports:
    """Of one end, over all its links."""

    def __init__(self, end: End, services: Services) -> None:
        self._end = end
        self._key = (end.pair, end.end)
        self._services = services
        self._told: dict[str, object] = {}
        """What was last told of each kind since there was a link."""

    # Any event, any line.

    def tell(self, event: EventName, **fields: Value) -> Record:
        """An event of this end."""
        return self._services.journal.emit(event, pair=self._end.pair, end=self._end.end, **fields)

    def say(self, text: str) -> None:
        """A line for people."""
        self._services.console.say(f"{self._end.pair} {self._end.end}: {text}")

    def warn(self, text: str) -> None:
        """What somebody should look at."""
        self._services.console.warn(f"{self._end.pair} {self._end.end}: {text}")

    def error(self, text: str) -> None:
        """What went wrong."""
        self._services.console.error(f"{self._end.pair} {self._end.end}: {text}")

    # What it waits for.

    def waits(self, what: str, advice: str = "", reason: str | None = None) -> None:
        """Nothing happens until something comes: see `Wait`."""
        secret = self._end.secret
        file = secret.path if secret.kind == "file" else "FILE"
        own = f"{self._end.pair} {file}"
        self._services.notices.waits(self._key, Wait(what, advice, own, reason))

    def waits_no_longer(self) -> None:
        """It is linked, or done."""
        self._services.notices.over(self._key)

    # What happens.

    def observe(self, seen: Datagram | Event) -> None:
        """What an attempt of this end sees, but for the link itself."""
        match seen:
            case Datagram():
                trace(seen, self._services, pair=self._end.pair, end=self._end.end)
            case Waiting():
                self._waiting(seen)
            case SeenInside(control, observed):
                self._seen_inside(control, observed)
            case Mapped() | MappingLost():
                self._mapped(seen)
            case Introduced(remote):
                if self._tell_news(EventName.PAIR_INTRODUCED, remote.host, remote=remote):
                    self.say(f"the partner is at {remote}, punching")
                self.waits(f"punching towards {remote.host}")

    def up(self, linked: Linked, published: Published) -> Record:
        """The path is agreed; nothing is written and the port is not free yet."""
        self._linked()
        quickness = "" if linked.rtt is None else f", {linked.rtt * 1000:.1f} ms"
        self.say(
            f"linked {linked.local} -> {linked.remote} ({linked.path}{quickness}, "
            f"after {linked.duration:.3f} s)"
        )
        return self.tell(
            EventName.PAIR_UP,
            local=linked.local,
            remote=linked.remote,
            path=linked.path,
            rtt_ms=None if linked.rtt is None else linked.rtt * 1000,
            duration_s=linked.duration,
            changed=published.changed,
            datagrams=linked.datagrams,
        )

    def handed_over(self, published: Published) -> None:
        """The port is free (unless the end holds it) and the files are written."""
        self._services.journal.show_link(published.text)
        if published.env_file is not None:
            self.tell(EventName.ENV_WRITTEN, file=str(published.env_file))

    def alive(self) -> None:
        """The check passes."""
        self._linked()
        self.tell(EventName.PAIR_ALIVE)
        self.say("alive: the check passes, nothing to do")

    def failed(self, reason: str, detail: str, failure: Failed | None) -> Record:
        """An attempt came to nothing. Once more for the same reason, the event is short."""
        self._services.notices.failed(self._key, in_words(reason), detail)
        hosts = () if failure is None else sorted({t.remote.host for t in failure.candidates})
        if not self._is_news(EventName.PAIR_FAILED, (reason, detail, tuple(hosts))):
            return self.tell(EventName.PAIR_FAILED, reason=reason, err=in_words(reason))
        self.error(detail)
        facts: dict[str, Value] = {} if failure is None else failure_fields(failure)
        return self.tell(EventName.PAIR_FAILED, reason=reason, err=detail, **facts)

    def retries_in(self, pause: float, reason: str) -> None:
        """The next attempt is in `pause` seconds; `reason` is why."""
        if self._is_news("retry", reason):
            self.say(f"the next attempt is in {pause:.0f} s")
        self.waits("pausing before the next attempt")

    # Inside.

    def _waiting(self, waiting: Waiting) -> None:
        reason, observed, detail = waiting
        if reason == Reason.ROLE_CONFLICT:
            self.tell(EventName.PAIR_WAITING, reason=reason)
            self.warn(CONFLICT)
            return
        news = (reason, detail, observed and observed.host)
        told = self._tell_news(
            EventName.PAIR_WAITING, news, reason=reason, observed=observed, err=detail or None
        )
        if told:
            self.say(detail or WAITING_WORDS.get(reason, in_words(reason)))
        if reason == Reason.SECRET_REJECTED_OR_SILENT:
            what, _, advice = detail.partition(": ")
            self.waits(what or in_words(reason), advice, reason)
        elif reason == Reason.PARTNER_ABSENT:
            self.waits(f"waiting for {self._partner()}", PARTNER_ADVICE, reason)
        else:
            self.waits(WAITING_WORDS.get(reason, in_words(reason)), detail, reason)

    def _seen_inside(self, control: Address, observed: Address) -> None:
        if self._is_news(f"seen inside by {control}", observed.host):
            self.tell(EventName.PAIR_SEEN_INSIDE, observed=observed, control=str(control))
            self.warn(
                f"control at {control} sees this end at {observed}, a private address, so a "
                "partner elsewhere may not learn where this end is; if control runs in a "
                "container, give it the host's network; if this end is in control's own network, "
                "set `public` at that control"
            )

    def _mapped(self, mapping: Mapped | MappingLost) -> None:
        external, flaw = None, ""
        if isinstance(mapping, Mapped):
            external, flaw = mapping.external, mapping.flaw
        else:
            flaw = mapping.detail
        told = self._tell_news(
            EventName.PAIR_MAPPED, (external, flaw), external=external, err=flaw or None
        )
        if told and flaw:
            self.warn(flaw)
        elif told:
            self.say(f"the gateway forwards {external} to this end")

    def _partner(self) -> str:
        other = "b" if self._end.end == "a" else "a"
        node = self._end.partner_node
        return f"end {other} (node {node})" if node else f"end {other}"

    def _linked(self) -> None:
        self._told.clear()
        self.waits_no_longer()

    def _tell_news(self, event: EventName, news: object, **fields: Value) -> bool:
        """Whether it was news, and is told; else only the status sees it."""
        if self._is_news(event, news):
            self.tell(event, **fields)
            return True
        self._services.journal.note(event, pair=self._end.pair, end=self._end.end, **fields)
        return False

    def _is_news(self, kind: str, news: object) -> bool:
        is_news = self._told.get(kind) != news
        self._told[kind] = news
        return is_news


CONFLICT = (
    "another machine announces itself as this end, too, and both displace each other: stop one of "
    "them, or set up the other as the pair's other end"
)
PARTNER_ADVICE = "control answers: is netpunch running there, and does its log say so, too?"
