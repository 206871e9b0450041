"""Each key is declared once; the model, `check --show`, the documentation and the JSON schema have
all of them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest
import yaml

from netpunch.config.display import json_schema, show
from netpunch.config.document.problems import SiteError
from netpunch.config.kinds import Key
from netpunch.config.loading import load
from netpunch.config.model import (
    SECRET_KEYS,
    ControlConfig,
    EndConfig,
    Forward,
    Hooks,
    RenderedFile,
)
from netpunch.config.schema import (
    ANYWHERE,
    CONTROL_KEYS,
    END_KEYS,
    FILE_KEYS,
    FORWARD_KEYS,
    HOOK_KEYS,
    METRICS_KEYS,
    OWN_MESH_KEYS,
    PAIR_KEYS,
    SITE_KEYS,
)
from netpunch.core.settings import EndSettings
from tests.config.conftest import LoadText
from tests.config.test_loading import EVERYTHING, MINIMAL
from tests.docs.configuration import TABLES, table

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
BROKEN_SITES = 400

MAPPINGS: dict[str, Collection[Key[Any]]] = {
    "site": SITE_KEYS,
    "control": CONTROL_KEYS,
    "pair": PAIR_KEYS,
    "end": END_KEYS,
    "forward": FORWARD_KEYS,
    "hooks": HOOK_KEYS,
    "files": FILE_KEYS,
    "metrics": METRICS_KEYS,
    "mesh": OWN_MESH_KEYS,
}
KEYS = [
    pytest.param(keys, key, id=f"{mapping}.{key.name}")
    for mapping, keys in MAPPINGS.items()
    for key in keys
    if not key.elsewhere
]


@pytest.mark.parametrize(("keys", "key"), KEYS)
def test_every_key_is_documented_with_its_default(
    keys: Collection[Key[Any]], key: Key[Any]
) -> None:
    assert key.doc
    assert key.default_text or key.kind.write(key.default) not in ("", "None")
    assert f"| `{key.name}` | {key.doc} | {key.kind.wanted} | " in table(keys)


def test_the_documentation_has_a_table_for_every_mapping() -> None:
    """Ends have the keys of pairs and `node`."""
    shown = {key.name for keys in TABLES.values() for key in keys}
    assert shown == {key.name for keys in MAPPINGS.values() for key in keys}


@pytest.mark.parametrize(
    ("keys", "fields"),
    [
        (END_KEYS, {*EndConfig._fields, *EndSettings._fields}),
        (CONTROL_KEYS, set(ControlConfig._fields)),
        (FORWARD_KEYS, set(Forward._fields)),
        (HOOK_KEYS, set(Hooks._fields)),
        (FILE_KEYS, set(RenderedFile._fields)),
    ],
    ids=["end", "control", "forward", "hooks", "files"],
)
def test_every_key_fills_the_field_of_its_name(
    keys: Collection[Key[Any]], fields: set[str]
) -> None:
    """But for those that the model needs in another form."""
    in_another_form = {"control", "slots", *SECRET_KEYS.values()}
    assert {key.name for key in keys} - fields <= in_another_form


def test_show_writes_every_key_with_its_default(load_text: LoadText) -> None:
    shown = yaml.safe_load(show(load_text(MINIMAL)))
    end = shown["pairs"]["home-office"]["a"]
    given = {"control", "local", "hooks"}
    dependent = {"mode": "once", "keepalive": "15s", "hold_for": "60s"}
    assert dependent == {name: end[name] for name in dependent}, "these depend on other keys"
    given |= dependent.keys()
    for key in ANYWHERE:
        if key.name in end and key.name not in given | set(SECRET_KEYS.values()):
            assert end[key.name] == key.kind.write(key.default), key.name
    not_written = {key.name for key in ANYWHERE} - end.keys()
    assert not_written == {"env_file", "forward", "template", "credential", "secret", "tls"}


# The JSON schema.


def refusal(site: Any) -> str:
    """Why the schema refuses a site; empty if it accepts it."""
    error = next(VALIDATOR.iter_errors(site), None)
    return f"{error.json_path}: {error.message}" if error else ""


def test_the_json_schema_is_valid_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("text", [MINIMAL, EVERYTHING], ids=["minimal", "everything"])
def test_the_json_schema_accepts_what_the_loader_accepts(load_text: LoadText, text: str) -> None:
    assert refusal(yaml.safe_load(text)) == ""
    assert refusal(yaml.safe_load(show(load_text(text)))) == ""


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_the_json_schema_accepts_the_examples(file: Path) -> None:
    assert refusal(yaml.safe_load(file.read_text())) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1", "version: 2"),
        ("mode: keep", "mode: kept"),
        ("mode: keep", "mod: keep"),
        ("deadline: 1m", "deadline: 60"),
        ("probe_rate: 100.5/s", "probe_rate: 100.5"),
        ('address: "[2001:DB8:0::1]:10001"', "node: x"),
        ("check: [x]", "check: x"),
        ("slots: d-c", "slots: d"),
        ("standby: off", "standby: never"),
        ("candidates: [mapped, observed]", "candidates: [any-port]"),
        ("files: [{template", "files: [{templat"),
        ("  go:", "  Go:"),
        ("    a: {node: home, enabled: true}", "    a: {protocol: v2}"),
    ],
)
def test_the_json_schema_refuses_what_the_loader_refuses(
    load_text: LoadText, old: str, new: str
) -> None:
    assert old in EVERYTHING
    text = EVERYTHING.replace(old, new)
    assert refusal(yaml.safe_load(text))
    with pytest.raises(SiteError):
        load_text(text)


def broken_sites(count: int) -> Iterator[str]:
    """EVERYTHING with one value replaced, or one key renamed, at random."""
    random = Random(7)
    values = ["off", "on", "1", "010", "1.5", "x", '""', "[]", "{}", "[x]", "5s", '":1"', "{x: y}"]
    values += ['"a:1"', "9/s", "0x10", "a-b", "~", "generate", "v2", "[host]", "no", "/x"]
    lines = EVERYTHING.splitlines()
    for _ in range(count):
        at = random.randrange(len(lines))
        key, colon, value = lines[at].partition(": ")
        line = f"{key}{colon}{random.choice(values)}" if value else lines[at]
        if random.random() < 0.2:
            line = line.replace(key.strip("- "), f"{key.strip('- ')}x", 1)
        yield "\n".join([*lines[:at], line, *lines[at + 1 :]]) + "\n"


def is_loaded(file: Path) -> bool:
    try:
        load(file)
    except SiteError:
        return False
    return True


def test_the_loader_refuses_whatever_the_json_schema_refuses(tmp_path: Path) -> None:
    """The other way round it need not be: some rules are beyond a schema."""
    file, refused = tmp_path / "site.yaml", 0
    for text in broken_sites(BROKEN_SITES):
        try:
            site = yaml.safe_load(text)
        except yaml.YAMLError:
            continue
        if reason := refusal(site):
            refused += 1
            file.write_text(text)
            assert not is_loaded(file), f"{reason}\n{text}"
    assert refused > BROKEN_SITES / 4
