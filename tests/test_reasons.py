"""The reasons of events: described for people, and the README has them all."""

from __future__ import annotations

import re
from pathlib import Path

from netpunch.reasons import WORDS, Reason, in_words

README = Path(__file__).parents[1] / "README.md"


def test_the_readme_has_every_reason_and_no_other() -> None:
    _, _, table = README.read_text().partition("| `reason` | what it means |")
    rows = table.strip().partition("\n\n")[0].splitlines()[1:]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(Reason)


def test_people_read_words() -> None:
    assert set(WORDS) == set(Reason)
    assert in_words("secret_rejected_or_silent") == "no answer from control"
    assert in_words("of_a_later_version") == "of_a_later_version"
