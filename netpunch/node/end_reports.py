"""What one end tells: records for programs, lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netpunch.config.model import End
from netpunch.core.events import Failed, Linked
from netpunch.node.reporter import failure_fields
from netpunch.node.services import Services
from netpunch.output.record import EventName, Record, Value

if TYPE_CHECKING:
    from netpunch.node.publish import Published


class EndReports:
    """Of one end, over all its links."""

    def __init__(self, end: End, services: Services) -> None:
        self._end = end
        self._services = services

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

    def up(self, linked: Linked, published: Published) -> Record:
        """The path is agreed; nothing is written and the port is not free yet."""
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

    def failed(self, reason: str, detail: str, failure: Failed | None) -> Record:
        """An attempt came to nothing."""
        self.error(detail)
        facts: dict[str, Value] = {} if failure is None else failure_fields(failure)
        return self.tell(EventName.PAIR_FAILED, reason=reason, err=detail, **facts)
