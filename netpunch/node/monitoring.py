"""Publishes the status of a process: to systemd, on the status socket, in the metrics file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from netpunch._version import __version__
from netpunch.errors import NetpunchError, resource_errors
from netpunch.net.loop import in_thread
from netpunch.net.preload import PAUSE
from netpunch.node.services import Services
from netpunch.output.status import ProcessStatus

if TYPE_CHECKING:
    from netpunch.output.status_socket import StatusServer

PERIOD = 15.0
"""Seconds after which the metrics are written again though nothing has happened: counters of
controls change without an event, and a file that stays old is the sign of a hung process."""

SHORTEST_PAUSE = 1.0
"""Seconds between two updates: a fleet that registers at once needs only one."""

METRICS_MODE = 0o644
"""Read by node_exporter, which is another user."""


class Monitoring:
    """A context that lasts as long as the run; `use` says where to publish."""

    def __init__(
        self,
        services: Services,
        *,
        file: Path | None = None,
        fallback: Path | None = None,
        period: float = PERIOD,
    ) -> None:
        """`file` is the site's; `fallback` is the status socket where `use` names none; `period` is
        in seconds."""
        self._services = services
        self._file = None if file is None else str(file.resolve())
        self._fallback = fallback
        self._later: asyncio.TimerHandle | None = None
        self._period = period
        self._started = time.time()
        self._changed = asyncio.Event()
        self._server: StatusServer | None = None
        self._textfile: Path | None = None
        self._writing: asyncio.Future[None] | None = None
        self._complaint = ""
        self._updating: asyncio.Task[None] | None = None
        services.status.watch(self._changed.set)

    async def __aenter__(self) -> Monitoring:
        self._services.notifier.open()
        self._updating = asyncio.create_task(self._update_for_ever(), name="netpunch monitoring")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Writes the last metrics, which stay: an end that linked once (`mode: once`) is up there,
        one that was stopped is not."""
        if self._later is not None:
            self._later.cancel()
        if self._updating is not None:
            self._updating.cancel()
            await asyncio.wait([self._updating])
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._write_metrics()
        if self._server is not None:
            self._server.close()
        self._services.notifier.close()

    def use(self, socket: Path | None, textfile: Path | None) -> None:
        """Where to listen, and what to write: at the start, and after each reload. Reports what
        fails, and goes on without it."""
        if self._later is not None:
            self._later.cancel()
        if self._server is not None and self._server.path != (socket or self._fallback):
            self._server.close()
            self._server = None
        if self._server is None and socket is not None:
            self._open_server(socket)
        elif self._server is None and self._fallback is not None:
            # Not configured, so it may not delay the first datagram.
            open_later = partial(self._open_server, self._fallback, fallback=True)
            self._later = asyncio.get_running_loop().call_later(PAUSE, open_later)
        if textfile is not None:
            # Now: later there may be no descriptors left to import them with.
            import netpunch.output.atomic
            import netpunch.output.metrics  # noqa: F401
        self._textfile = textfile
        self._changed.set()

    def status(self) -> ProcessStatus:
        """The status now."""
        journal, model = self._services.journal, self._services.status
        return ProcessStatus(
            at=time.time(),
            started=self._started,
            version=__version__,
            run=journal.run,
            pid=os.getpid(),
            node=journal.node,
            events_dropped=journal.dropped,
            ends=model.ends,
            controls=model.controls,
            file=self._file,
            refusal=model.refusal,
        )

    def _open_server(self, path: Path, *, fallback: bool = False) -> None:
        """A failure of the fallback needs no warning, as it is not configured."""
        try:
            with resource_errors():
                from netpunch.output.status_socket import StatusServer, prepare_folder

                if fallback:
                    prepare_folder(path.parent)
                server = StatusServer(path, self._answer)
                server.open()
        except NetpunchError as error:
            report = self._services.console.say if fallback else self._services.console.warn
            report(f"no status socket: {error}")
        else:
            self._server = server

    def _answer(self) -> Iterator[bytes]:
        return self.status().as_json()

    async def _update_for_ever(self) -> None:
        """At once when something changes, but not more often than the shortest pause allows."""
        while True:
            self._changed.clear()
            self._notify()
            await self._write_metrics()
            await asyncio.sleep(SHORTEST_PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._period - SHORTEST_PAUSE):
                    await self._changed.wait()

    def _notify(self) -> None:
        if self._services.notifier.is_open:
            status = self.status()
            line = "; ".join(filter(None, (status.summary, status.health)))
            self._services.notifier.status(line)

    async def _write_metrics(self) -> None:
        """A cancellation does not interrupt it, so two never write at the same time."""
        if self._textfile is None:
            return
        try:
            with resource_errors():
                from netpunch.output.atomic import replace_file
                from netpunch.output.metrics import metrics_text

                textfile, status = self._textfile, self.status()

                def write() -> None:  # in the thread, as it takes 30 ms for a thousand ends
                    replace_file(textfile, metrics_text(status).encode(), METRICS_MODE)

                self._writing = asyncio.ensure_future(in_thread(write, "metrics"))
                await asyncio.shield(self._writing)
        except NetpunchError as error:
            self._complain(str(error))
        else:
            self._complain("")

    def _complain(self, complaint: str) -> None:
        """Once for each problem, and again when it comes back."""
        if complaint and complaint != self._complaint:
            self._services.console.warn(f"no metrics: {complaint}")
        self._complaint = complaint
