"""netpunch.cli.schema: what it writes is the schema that editors check site files with."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from netpunch.cli import main
from netpunch.config.display import json_schema

ROOT = Path(__file__).parents[2]
Captured = pytest.CaptureFixture[str]


def test_the_schema_is_printed_as_json(capsys: Captured) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_a_written_schema_accepts_the_example_and_refuses_a_misspelt_key(folder: Path) -> None:
    (folder / "netpunch.schema.json").write_text("an older one")
    assert main(["schema", "-o", "netpunch.schema.json"]) == 0
    validator = jsonschema.Draft202012Validator(
        json.loads((folder / "netpunch.schema.json").read_text())
    )
    site = yaml.safe_load((ROOT / "configs" / "site.yaml").read_text())
    validator.validate(site)
    site["pairs"]["home-office"]["forwrad"] = site["pairs"]["home-office"].pop("forward")
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(site)


def test_a_schema_is_not_written_where_there_is_no_folder(folder: Path, capsys: Captured) -> None:
    assert main(["schema", "-o", "no/netpunch.schema.json"]) == 73
    assert capsys.readouterr().err.startswith("netpunch schema: no/netpunch.schema.json: ")
