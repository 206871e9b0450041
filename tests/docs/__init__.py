"""The sections of docs/ that are generated from the code.

A section stands in its document between `<!-- begin: NAME -->` and `<!-- end -->`; what is around
it is written by hand. `python -m tests.docs` rewrites all sections, and a test holds them to the
code.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.docs import configuration, events, faults, state_machines

DOCS = Path(__file__).parents[2] / "docs"


class Section(NamedTuple):
    """A section called `name` of docs/`document`; `render` returns its Markdown."""

    document: str
    name: str
    render: Callable[[], str]

    @property
    def path(self) -> Path:
        return DOCS / self.document

    def generated(self) -> str:
        """The whole document with this section as the code has it. Raises ValueError if the
        document has no such section."""
        text = self.path.read_text(encoding="utf-8")
        begin = re.escape(f"<!-- begin: {self.name} -->\n")
        section = re.compile(f"(?<={begin}).*?(?=<!-- end -->)", re.DOTALL)
        result, found = section.subn(lambda _: f"\n{self.render().strip()}\n\n", text)
        if found != 1:
            raise ValueError(f"expected one section {self.name!r} in {self.path}, found {found}")
        return result


SECTIONS = [
    Section("architecture.md", "state machines", state_machines.render),
    Section("configuration.md", "keys", configuration.render),
    Section("events.md", "reasons", events.render_reasons),
    Section("events.md", "events", events.render_events),
    Section("troubleshooting.md", "faults", faults.render),
]
