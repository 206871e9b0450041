"""What is generated from the schema: the effective configuration as YAML, secrets redacted (`check
--show`), and the JSON schema of a site file."""

from __future__ import annotations

from typing import Any

from netpunch.config.kinds import written
from netpunch.config.model import (
    SECRET_KEYS,
    ControlConfig,
    EndConfig,
    Pair,
    Part,
    SecretSource,
    Site,
)
from netpunch.config.schema import (
    CONTROL_KEYS,
    END,
    END_KEYS,
    INCLUDED,
    MESH,
    PAIR,
    SITE,
    SITE_KEYS,
    VERSION,
)
from netpunch.template import escape

REDACTED = "(redacted)"


def show(part_or_site: Part | Site) -> str:
    """A whole site as a file with the same meaning and no defaults left out (it can be loaded
    again, unless secrets stood in it), or the part of it that one node runs."""
    import yaml  # here, so that what needs no YAML starts without it

    shown = _site(part_or_site) if isinstance(part_or_site, Site) else _part(part_or_site)
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=100)


def _site(site: Site) -> dict[str, Any]:
    metrics = site.metrics_textfile and {"textfile": site.metrics_textfile}
    return {
        "version": int(VERSION),
        "control": [_control(control) for control in site.controls],
        **written(SITE_KEYS, {"node": site.node, "status": site.status, "metrics": metrics}),
        "pairs": {pair.name: _pair(pair) for pair in site.pairs},
    }


def _part(part: Part) -> dict[str, Any]:
    pairs: dict[str, dict[str, Any]] = {}
    for end in part.ends:
        slot = {"slot": end.settings.slot} if end.settings.slot else {}
        pairs.setdefault(end.pair, {})[end.end] = {"protocol": end.protocol, **slot, **_end(end)}
    node = {"node": part.node} if part.node else {}
    return {**node, "control": [_control(each) for each in part.controls], "pairs": pairs}


def _control(control: ControlConfig) -> dict[str, Any]:
    values = control._asdict() | {"public": control.public or None}
    if not control.relay:
        values |= {"relay_ports": None, "relay_rate": None, "relay_total": None}
    return written(CONTROL_KEYS, values)


def _pair(pair: Pair) -> dict[str, Any]:
    slots = {"slots": "-".join(pair.slots)} if pair.slots else {}
    return {
        "enabled": pair.enabled,
        "protocol": pair.protocol,
        **slots,
        **_secret(pair.secret),
        "a": _end(pair.a),
        "b": _end(pair.b),
    }


def _end(end: EndConfig) -> dict[str, Any]:
    own = [key for key in END_KEYS if not key.elsewhere and key.name not in SECRET_KEYS.values()]
    values = end._asdict() | end.settings._asdict() | {"control": end.controls}
    return written(own, values) | _secret(end.secret)


def _secret(source: SecretSource) -> dict[str, str | list[str]]:
    match source.kind:
        case "generate":
            texts = [str(source.kind)]
        case "inline":
            texts = [REDACTED for _ in source.all]
        case _:
            texts = [escape(each.path) for each in source.all]
    return {SECRET_KEYS[source.kind]: texts if len(texts) > 1 else texts[0]}


def json_schema(*, included: bool = False) -> dict[str, Any]:
    """The JSON schema of a site file, or of one that is `included` in it. It accepts every file
    that `load` accepts, and some that break a rule which it can't express."""
    title = "file that a netpunch site file includes" if included else "netpunch site file"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **(INCLUDED if included else SITE).schema,
        "$defs": {"pair": PAIR.schema, "end": END.schema, "mesh": MESH.schema},
    }
