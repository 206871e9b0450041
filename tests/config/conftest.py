"""Site files written for one test, named `site.yaml` in messages wherever they lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from netpunch.config.document.problems import SiteError
from netpunch.config.loading import load
from netpunch.config.model import Site

LoadText = Callable[[str], Site]
ReportOf = Callable[[str], str]


@pytest.fixture
def load_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadText:
    """Loads a text as `site.yaml`, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def load_it(text: str) -> Site:
        path = Path("site.yaml")
        path.write_bytes(text.encode())
        path.chmod(0o600)
        return load(path)

    return load_it


@pytest.fixture
def report_of(load_text: LoadText) -> ReportOf:
    """What a wrong text is told; fails if it is taken for right."""

    def report(text: str) -> str:
        with pytest.raises(SiteError) as caught:
            load_text(text)
        return str(caught.value)

    return report
