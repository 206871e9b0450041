"""`netpunch run`: from a site file to an exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from netpunch._version import __version__
from netpunch.config.loading import load, select
from netpunch.config.model import Part, Site
from netpunch.errors import BUG_EXIT_CODE, NetpunchError, bug_text, combined_exit_code, lack_behind
from netpunch.net.loop import in_thread
from netpunch.net.loop import run as run_loop
from netpunch.node.monitoring import Monitoring
from netpunch.node.options import RunOptions
from netpunch.node.plan import Plan, Planner
from netpunch.node.services import Services
from netpunch.node.supervisor import Supervisor, some
from netpunch.output.console import QUIET, Console, Verbosity
from netpunch.output.events import RunStart
from netpunch.output.journal import Journal, Style
from netpunch.output.sink import Sink
from netpunch.output.status import default_socket, own_folder, own_socket, runtime_directory
from netpunch.output.status_model import StatusModel
from netpunch.output.systemd import Notifier
from netpunch.output.terminal import PLAIN, is_terminal, screen_of

STARTED_AFTER = 1.0
"""Seconds after which garbage is collected; before, that would delay the first links."""

FEW_NAMES = 6
"""Parts that the first line lists by name."""

MAX_FINAL_WAIT = 1.0
"""Seconds that a stalled reader of standard error gets at the end."""


def run_site(path: Path, options: RunOptions) -> int:
    """See `netpunch.node.run_site`."""
    already_read = [_read(path, options)]
    node = already_read[0][1].node
    output, errors = Sink(1), Sink(2, "standard error")
    journald = reaches_the_journal(os.environ)
    console = _console(errors, options, journald=journald)
    status = StatusModel()
    style = _style(options, journald=journald)
    journal = Journal(output.put, node=node, style=style, observer=status.take)
    notifier = Notifier.from_environment()
    services = Services(journal, console, trace=options.trace, status=status, notifier=notifier)
    try:
        code = run_loop(_run(path, options, services, already_read))
    finally:
        console.flush()
        output.close()
        if output.failure is not None:
            console.error(str(output.failure))
        errors.close(MAX_FINAL_WAIT)
    return combined_exit_code([code, output.failure.exit_code if output.failure else 0])


def _read(path: Path, options: RunOptions) -> tuple[Site, Part]:
    site = load(path)
    part = select(site, options.node, socket.gethostname(), os.environ.get("NETPUNCH_NODE"))
    return site, part


def reaches_the_journal(environ: Mapping[str, str], descriptors: Sequence[int] = (1, 2)) -> bool:
    """Whether systemd has connected these descriptors (standard output and error) to its journal:
    JOURNAL_STREAM (systemd.exec(5)) names that file, as another may have replaced it since."""
    stream = environ.get("JOURNAL_STREAM")
    if not stream:
        return False
    try:
        found = [os.fstat(descriptor) for descriptor in descriptors]
    except OSError:
        return False
    return all(f"{each.st_dev}:{each.st_ino}" == stream for each in found)


def _console(errors: Sink, options: RunOptions, *, journald: bool) -> Console:
    """A journal that gets both streams needs everything only once: as asked for, or else as text;
    and one line for each change. A terminal gets the time and colour."""
    if options.quiet:
        verbosity = QUIET
    else:
        verbosity = Verbosity(
            news=not (journald and options.format == "json"),
            remarks=not reaches_the_journal(os.environ, [2]),
        )
    on_terminal = is_terminal(sys.stderr)
    return Console(
        errors.put,
        verbosity,
        screen=lambda: screen_of(sys.stderr) if on_terminal else PLAIN,
        timed=on_terminal,
        later=lambda delay, call: asyncio.get_running_loop().call_later(delay, call),
    )


def _style(options: RunOptions, *, journald: bool) -> Style:
    if options.format is not None:
        return Style(options.format)
    if journald:
        return Style.NONE
    if not is_terminal(sys.stdout):
        return Style.JSON
    return Style.TEMPLATES if is_terminal(sys.stderr) and not options.quiet else Style.TEXT


async def _run(
    path: Path, options: RunOptions, services: Services, already_read: list[tuple[Site, Part]]
) -> int:
    """`already_read` is emptied: a site with large meshes takes much memory, and is needed only
    until it is planned."""
    services.journal.emit(RunStart(str(path), os.getpid()))
    supervisor = Supervisor(services)
    planner = Planner(options)
    monitoring = Monitoring(services, file=path, fallback=_own_socket(path))

    def read_and_plan() -> tuple[tuple[str, ...], Part, Plan]:
        site, part = already_read.pop() if already_read else _read(path, options)
        return site.warnings, part, planner.plan(site, part)

    async def make_plan() -> Plan:
        if already_read:
            warnings, part, plan = read_and_plan()  # nothing runs yet that it could block
            services.console.say(_start_line(path, services.journal.node, plan))
        else:
            warnings, part, plan = await in_thread(read_and_plan, "reload")
        for warning in (*warnings, *plan.warnings):
            services.console.say(warning)
        monitoring.use(part.status or default_socket(os.environ), part.metrics_textfile)
        return plan

    bugs = _catch_bugs(services, options)
    _install_signals(supervisor)
    _remove_stale_env_files(already_read[0][0], services.console)
    if already_read[0][1].ends:
        import netpunch.node.end_task  # noqa: F401 - now, while no timer waits for it
    gc.freeze()  # all objects so far stay: the collector need not visit them
    asyncio.get_running_loop().call_later(STARTED_AFTER, gc.enable)
    try:
        async with monitoring:
            code = await supervisor.run(make_plan)
    finally:
        _ignore_signals()
    return BUG_EXIT_CODE if bugs else code


def _start_line(path: Path, node: str | None, plan: Plan) -> str:
    """Who runs what."""
    names = [f"control {name}" for name in plan.controls]
    names += [f"{pair} {end}" for pair, end in plan.ends]
    who = f", node {node}" if node else ""
    what = some(names, FEW_NAMES) or "nothing"
    return f"netpunch {__version__}{who}, runs {path}: {what}"


def _remove_stale_env_files(site: Site, console: Console) -> None:
    """Of pairs that were removed while the unit was stopped, as its folder may outlive it. In other
    folders, files may belong to others."""
    if (folder := runtime_directory(os.environ)) is None:
        return
    from netpunch.node.publish import remove_stale_env_files

    try:
        remove_stale_env_files(folder, [end for pair in site.pairs for end in pair.ends])
    except NetpunchError as error:
        console.error(str(error))


def _own_socket(file: Path) -> Path | None:
    folder = own_folder(os.environ, os.geteuid()) if hasattr(os, "geteuid") else None
    return own_socket(folder, file, os.getpid()) if folder else None


def _catch_bugs(services: Services, options: RunOptions) -> list[str]:
    """Callbacks that raise are bugs: one line, with --debug a traceback, exit code 70. A lack of
    resources is not: it is reported, and the part that needs them tries again."""
    bugs: list[str] = []

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and (lack := lack_behind(error)):
            services.console.error(f"{context['message']}: {lack}")
        else:
            bugs.append(context["message"])
            raised = f": {bug_text(error)}" if error is not None else ""
            services.console.error(
                f"bug: {context['message']}{raised}; please report it, with --debug's traceback"
            )
        if options.debug and error is not None:
            services.console.error("".join(traceback.format_exception(error)))

    asyncio.get_running_loop().set_exception_handler(handle)
    return bugs


def _install_signals(supervisor: Supervisor) -> None:
    if sys.platform == "win32":
        return  # Ctrl-C raises KeyboardInterrupt there
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop, number.name)
    if sys.stdin is not None and sys.stdin.isatty():
        loop.add_signal_handler(signal.SIGHUP, supervisor.stop, "SIGHUP")
    else:
        loop.add_signal_handler(signal.SIGHUP, supervisor.reload)


def _ignore_signals() -> None:
    """All is done except Python's own exit: a signal now must not change the exit code."""
    if sys.platform == "win32":
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
