"""The program that owns the port after a link (`command:`), in the foreground."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from netpunch.node.output_lines import OnOutput, OutputLines
from netpunch.node.process import TERM_GRACE, Exit, ProcessGroup

OUTPUT_PERIOD = 60.0
"""Seconds in which a command may print as much as a hook in all: it runs for days."""


class Command:
    """Starts `argv` at once, in a running loop, with a hook's environment.

    Whoever makes one must await `stop`, or `wait` to its end: that leaves no process behind."""

    def __init__(
        self,
        argv: Sequence[str],
        directory: Path,
        variables: Mapping[str, str],
        on_output: OnOutput,
    ) -> None:
        """Raises HookError when the program cannot be started, ResourcesError when it may be
        later."""
        output = OutputLines(on_output, period=OUTPUT_PERIOD)
        self._process = ProcessGroup(argv, directory, variables, output)
        self._ending = asyncio.Lock()
        self._ended = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def duration(self) -> float:
        """Seconds that it ran, or runs so far."""
        return self._process.duration

    async def wait(self) -> Exit | None:
        """Wait for its end, also by `stop`. What it left in its group is ended as well, for it
        may hold the port. Cancelling this leaves the command running, and `stop` due."""
        await self._process.exits_within(None)
        return await self.stop()

    async def stop(self, grace: float = TERM_GRACE) -> Exit | None:
        """SIGTERM to its group, SIGKILL after `grace` seconds; fine when it has ended already.

        Cancelled, it kills at once. None: the kernel could not end it even so."""
        async with self._ending:
            if not self._ended:
                await self._end(grace)
        return self._process.exit

    async def _end(self, grace: float) -> None:
        try:
            await self._process.terminate(grace)
            await self._process.drain()
        finally:
            self._process.close()
        self._ended = True
