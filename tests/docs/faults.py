"""The table of faults in docs/troubleshooting.md: what is wrong, and what netpunch says of it."""

from __future__ import annotations

from tests.faults.table import FAULTS, Fault

HOSTS = {"vps": "control", "home": "the end", "office": "the partner", "nobody": "that host"}
"""What the nodes of the table are, for readers."""


def render() -> str:
    """A row for each complaint of each fault."""
    head = ["| what is wrong | who says it | the cause | the cure |", "| --- | --- | --- | --- |"]
    return "\n".join(head + [row for fault in FAULTS for row in _rows(fault)])


def _rows(fault: Fault) -> list[str]:
    """The same words of several commands are one row."""
    speakers: dict[tuple[str, str], dict[str, None]] = {}
    for sign in fault.signs:
        words = ("nothing: it links", "") if sign.says_nothing else (sign.cause, sign.cure)
        speaker = f"`{sign.command}` at {HOSTS[sign.node]}"
        speakers.setdefault(words, {})[speaker] = None
    rows = []
    wrong = fault.wrong
    for (cause, cure), who in speakers.items():
        rows.append(f"| {wrong} | {', '.join(who)} | {_shown(cause)} | {_shown(cure)} |")
        wrong = ""
    return rows


def _shown(words: str) -> str:
    """In Markdown: backticks that the words have are whole."""
    text = " ".join(words.replace("...", " … ").split()).replace("… `", "…`")
    return text if text.count("`") % 2 == 0 else f"{text}`"
