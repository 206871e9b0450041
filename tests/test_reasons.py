"""Reasons are names for programs and words for people, and the documents have them all."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

from netpunch.reasons import Reason, in_words

TABLE = Path(__file__).parents[1] / "docs" / "troubleshooting.md"


def test_the_table_of_reasons_has_every_one_and_no_other() -> None:
    _, _, table = TABLE.read_text().partition("| `reason` | what it means | what to do |")
    rows = table.strip().partition("\n\n")[0].splitlines()[1:]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(Reason)


def test_people_read_words() -> None:
    assert in_words("secret_rejected_or_silent") == "no answer from control"
    assert in_words(Reason.BLOCKED) == Reason.BLOCKED.words == "nothing gets through"
    assert in_words("of_a_later_version") == "of_a_later_version"


def test_a_reason_is_its_name() -> None:
    assert Reason("blocked") is Reason.BLOCKED
    assert f"{Reason.BLOCKED}" == "blocked"
    assert pickle.loads(pickle.dumps(Reason.BLOCKED)) is Reason.BLOCKED
