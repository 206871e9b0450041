"""The effective configuration as YAML, secrets redacted: what `check --show` prints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from netpunch.config.keys import VERSION
from netpunch.config.model import (
    Argv,
    Control,
    EndConfig,
    Forward,
    Hooks,
    HostPort,
    Pair,
    Part,
    RenderedFile,
    SecretSource,
    Site,
)
from netpunch.config.readers import OCCASIONS
from netpunch.template import escape

REDACTED = "(redacted)"

_CANDIDATES = ("observed", "host", "any-port", "mapped")
"""Their usual order; a set has none."""


def show(part_or_site: Part | Site) -> str:
    """A whole site as a file that says the same without defaults (and loads again, unless
    secrets stood in it), or the part of it that one node runs."""
    import yaml  # here, so that what needs no configuration starts without it

    shown = _site(part_or_site) if isinstance(part_or_site, Site) else _part(part_or_site)
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=100)


def _site(site: Site) -> dict[str, Any]:
    return _given(
        version=int(VERSION),
        node=site.node,
        control=[_control(control) for control in site.controls],
        status=_path(site.status),
        metrics={"textfile": _path(site.metrics_textfile)} if site.metrics_textfile else None,
        pairs={pair.name: _pair(pair) for pair in site.pairs},
    )


def _part(part: Part) -> dict[str, Any]:
    pairs: dict[str, dict[str, Any]] = {}
    for end in part.ends:
        shared = _given(protocol=end.protocol, slot=end.settings.slot or None)
        pairs.setdefault(end.pair, {})[end.end] = shared | _end(end)
    controls = [_control(control) for control in part.controls]
    return _given(node=part.node, control=controls, pairs=pairs)


def _control(control: Control) -> dict[str, Any]:
    return _given(
        name=control.name,
        node=control.node,
        address=str(control.address),
        listen=[str(address) for address in control.listen],
        observe=[str(address) for address in control.observe] or "off",
        expire=_duration(control.expire),
        public=list(control.public) or None,
    )


def _pair(pair: Pair) -> dict[str, Any]:
    return _given(
        enabled=pair.enabled,
        protocol=pair.protocol,
        slots="-".join(pair.slots) or None,
        **_secret(pair.secret),
        a=_end(pair.a),
        b=_end(pair.b),
    )


def _end(end: EndConfig) -> dict[str, Any]:
    settings = end.settings
    return _given(
        node=end.node,
        enabled=end.enabled,
        mode=end.mode,
        control=list(end.controls),
        local=str(HostPort(*settings.local)),
        mark=settings.mark or "off",
        interface=settings.interface or "off",
        candidates=[name for name in _CANDIDATES if name in settings.candidates],
        deadline=_duration(settings.deadline or 0.0),
        retry_after=_duration(end.retry_after),
        keepalive=_duration(settings.keepalive),
        probe_rate=f"{_number(end.probe_rate)}/s",
        check=list(end.check),
        check_every=_duration(end.check_every),
        command=list(end.command),
        forward=_forward(end.forward),
        hooks=_hooks(end.hooks),
        env_file=end.env_file,
        files=[_file(file) for file in end.files],
        template=end.template,
        session_key=end.session_key,
        standby=end.standby,
        **_secret(end.secret),
    )


def _secret(source: SecretSource) -> dict[str, str]:
    match source.kind:
        case "file":
            return {"secret_file": escape(source.path)}
        case "credential":
            return {"credential": escape(source.path)}
        case "generate":
            return {"secret": "generate"}
        case _:
            return {"secret": REDACTED}


def _forward(forward: Forward | None) -> dict[str, str] | None:
    if forward is None:
        return None
    return _given(listen=str(forward.listen), to=str(forward.to) if forward.to else None)


def _hooks(hooks: Hooks) -> dict[str, Any]:
    programs: Iterable[tuple[str, Argv]] = ((name, getattr(hooks, name)) for name in OCCASIONS)
    return {name: list(argv) for name, argv in programs} | {"timeout": _duration(hooks.timeout)}


def _file(file: RenderedFile) -> dict[str, str]:
    template = escape(str(file.template))
    return {"template": template, "to": file.to, "mode": f"{file.mode:04o}"}


def _path(path: object) -> str | None:
    return escape(str(path)) if path else None


def _given(**values: Any) -> dict[str, Any]:
    """Without what isn't there."""
    return {name: value for name, value in values.items() if value is not None}


def _duration(seconds: float) -> str:
    return f"{_number(seconds)}s"


def _number(value: float) -> str:
    """Without an exponent and without trailing zeros; nanoseconds are enough."""
    return f"{value:.9f}".rstrip("0").rstrip(".")
