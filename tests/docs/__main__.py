"""Rewrites the generated sections of docs/: `python -m tests.docs`."""

from tests.docs import SECTIONS

for section in SECTIONS:
    section.path.write_text(section.generated(), encoding="utf-8")
