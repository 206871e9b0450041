"""The generated sections of docs/ show what the code says."""

from __future__ import annotations

import pytest

from tests.docs import SECTIONS, Section


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_generated_section_of_a_document_is_up_to_date(section: Section) -> None:
    text = section.path.read_text(encoding="utf-8")
    assert text == section.generated(), "run `python -m tests.docs`"
