"""Reasons are names for programs and words for people, and the documents have them all."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

from netpunch.reasons import Reason, in_words

TABLE = Path(__file__).parents[1] / "docs" / "troubleshooting.md"


def test_troubleshooting_lists_every_reason_with_its_words() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", TABLE.read_text(), re.MULTILINE)
    assert rows[1:] == [(reason, reason.words) for reason in Reason]


def test_messages_describe_reasons_in_words() -> None:
    assert in_words("secret_rejected_or_silent") == "no answer from control"
    assert in_words(Reason.BLOCKED) == Reason.BLOCKED.words == "nothing gets through"
    assert in_words("of_a_later_version") == "of_a_later_version"


def test_a_reason_is_its_name() -> None:
    assert Reason("blocked") is Reason.BLOCKED
    assert f"{Reason.BLOCKED}" == "blocked"
    assert pickle.loads(pickle.dumps(Reason.BLOCKED)) is Reason.BLOCKED
