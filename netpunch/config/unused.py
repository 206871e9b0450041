"""Links that nothing would use: allowed, but probably not meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netpunch.config.model import EndConfig, Site
from netpunch.config.problems import Problem, problem_at
from netpunch.config.source import source_of

HELD = (
    "warning: nothing will use this link: netpunch holds it, and relays for no program. Add "
    "`forward`, or a `command` or a `check` that lets another program have its port"
)
NOTHING = (
    "warning: nothing will use this link: netpunch gives its port back, and nothing starts a "
    "program on it, so the check fails and the ends punch anew, again and again. Add `command`, "
    "`hooks.up` or, instead of the check, `forward`"
)
FILES = (
    "warning: only a file tells of this link: unless a program watches it (a systemd path unit), "
    "the check fails and the ends punch anew, again and again. Else add `command` or `hooks.up`"
)


def unused_links(site: Site, ends: Iterable[EndConfig]) -> Iterator[Problem]:
    """Of ends that go on for ever: those that nothing in the file lets any program use, or only
    perhaps."""
    for end in ends:
        if end.mode == "keep" and (message := _complaint(end)) is not None:
            source = source_of(str(site.path), site.source)
            yield problem_at(source, end.position, f"pairs.{end.pair}.{end.end}", message)


def surely_unused(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Without those that somebody may use whom the file does not know."""
    return (problem for problem in problems if problem.message == NOTHING)


def _complaint(end: EndConfig) -> str | None:
    if end.holds:
        return None if end.forward else HELD
    if end.command or end.hooks.up:
        return None
    return FILES if end.env_file or end.files else NOTHING
