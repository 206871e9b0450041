"""One end of a pair: everything inherited, paths absolute, its own rules checked."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from netpunch.config.context import Context
from netpunch.config.inherit import Draft, inherit, setting
from netpunch.config.keys import FILE_MODE, HOOK_TIMEOUT
from netpunch.config.model import EndConfig, Forward, Hooks, Position, RenderedFile
from netpunch.config.paths import beside, command_beside, program_beside, template_beside
from netpunch.config.readers import OCCASIONS
from netpunch.config.schema import Found, Settings, did_you_mean
from netpunch.config.secrets import Role
from netpunch.config.sources import inline_complaint, secret_key, secret_source
from netpunch.config.values import reaches
from netpunch.core.settings import EndName, EndSettings
from netpunch.template import render

END_NAMES: tuple[EndName, EndName] = ("a", "b")


def build_end(
    pair: str, name: EndName, found: Found, merged: Settings, context: Context
) -> Draft[EndConfig]:
    """An end of a pair. `found` is the pair as it stands in the file, `merged` the same with the
    defaults. Problems of the end are recorded."""
    settings = inherit(_without_ends(merged), merged[name].value)
    position = found.value.get(name, found).position
    end = _end(pair, name, position, merged, settings, context)
    draft = Draft(end, settings, f"{found.path}.{name}", position)
    _check_controls(draft, context)
    _check_forward(draft, context)
    _check_secret(draft, merged, context)
    for rule in _RULES:
        if rule.broken(draft.part):
            draft.complain(context.problems, rule.message, rule.key)
    return draft


def _without_ends(merged: Settings) -> Settings:
    return {key: found for key, found in merged.items() if key not in END_NAMES}


def _end(
    pair: str,
    name: EndName,
    position: Position,
    merged: Settings,
    settings: Settings,
    context: Context,
) -> EndConfig:
    slots = setting(merged, "slots")
    directory = context.directory
    secret = secret_key(settings)
    assert secret is not None  # the pair has one
    env_file = setting(settings, "env_file")
    end = EndConfig(
        settings=EndSettings(
            pair=pair,
            end=name,
            secret=b"",
            candidates=setting(settings, "candidates"),
            deadline=setting(settings, "deadline"),
            keepalive=setting(settings, "keepalive"),
            protocol=setting(merged, "protocol"),
            slot=slots[END_NAMES.index(name)] if slots else "",
            local=setting(settings, "local"),
            mark=setting(settings, "mark"),
            interface=setting(settings, "interface"),
        ),
        node=setting(settings, "node"),
        enabled=setting(merged, "enabled") and setting(settings, "enabled"),
        mode=setting(settings, "mode"),
        controls=tuple(dict.fromkeys(setting(settings, "control") or context.controls or ())),
        retry_after=setting(settings, "retry_after"),
        probe_rate=setting(settings, "probe_rate"),
        check=program_beside(directory, setting(settings, "check")),
        check_every=setting(settings, "check_every"),
        command=command_beside(directory, setting(settings, "command")),
        forward=_forward(setting(settings, "forward")),
        hooks=_hooks(setting(settings, "hooks"), directory),
        env_file=template_beside(directory, env_file) if env_file else None,
        files=tuple(
            _rendered_file(file, {"pair": pair, "end": name}, directory)
            for file in setting(settings, "files")
        ),
        template=setting(settings, "template"),
        session_key=setting(settings, "session_key"),
        standby=setting(settings, "standby"),
        secret=secret_source(secret, settings, pair, directory),
        position=position,
        directory=directory,
    ).in_mode(setting(settings, "mode"))
    known = context.controls or {}
    controls = tuple(known[each] for each in end.controls if each in known)
    return end._replace(settings=end.settings._replace(controls=controls))


def _forward(settings: Settings | None) -> Forward | None:
    if settings is None or "listen" not in settings:  # the latter is told by `_check_forward`
        return None
    to = settings.get("to")
    return Forward(listen=settings["listen"].value, to=to.value if to else None)


def _hooks(settings: Settings, directory: Path) -> Hooks:
    programs = {
        occasion: program_beside(directory, settings[occasion].value)
        for occasion in OCCASIONS
        if occasion in settings
    }
    timeout = settings["timeout"].value if "timeout" in settings else HOOK_TIMEOUT
    return Hooks(**programs, timeout=timeout)


def _rendered_file(settings: Settings, names: dict[str, str], directory: Path) -> RenderedFile:
    template = settings["template"]
    return RenderedFile(
        template=Path(beside(directory, render(template.value, names))),
        to=template_beside(directory, settings["to"].value),
        mode=settings["mode"].value if "mode" in settings else FILE_MODE,
        position=template.position,
    )


def _check_controls(draft: Draft[EndConfig], context: Context) -> None:
    known = context.controls
    if known is None:
        return
    for name in draft.part.controls:
        if name not in known:
            guess = did_you_mean(name, known) or f"; there is {', '.join(known)}"
            draft.complain(context.problems, f"no control is named {name}{guess}", "control")


def _check_forward(draft: Draft[EndConfig], context: Context) -> None:
    forward = setting(draft.settings, "forward")
    if forward is None:
        return
    if "listen" not in forward:
        message = '`listen` is missing: where the program sends to, such as "127.0.0.1:51821"'
        draft.complain(context.problems, message, "forward")
    relayed = draft.part.forward
    if relayed is not None and relayed.to is not None and reaches(relayed.to, relayed.listen):
        message = (
            f"is `listen`, {relayed.listen}, itself, so netpunch would send to itself: expected "
            "the port of the local program"
        )
        draft.complain(context.problems, message, "forward", "to")


def _check_secret(draft: Draft[EndConfig], merged: Settings, context: Context) -> None:
    """Control's key (npc1:) is enough for a pair in the file of a control. On a node that runs the
    end it is refused when it is read."""
    end = draft.part
    key = secret_key(draft.settings)
    is_of_the_pair = key is not None and merged.get(key) is draft.settings[key]
    runs_elsewhere = end.node is not None and end.node not in context.control_nodes
    role: Role = "control" if is_of_the_pair and runs_elsewhere else "end"
    complaint = inline_complaint(end.secret, end.protocol, role)
    if key and complaint:
        draft.complain(context.problems, complaint, key)


class _Rule(NamedTuple):
    """What an end can't be, and the key to point at."""

    key: str
    broken: Callable[[EndConfig], bool]
    message: str


_RULES = (
    _Rule(
        "command",
        lambda end: end.mode == "once" and bool(end.command),
        "mode `once` ends at the link and runs no command: "
        "set `mode: keep`, or start the program from `hooks: {up: [...]}`",
    ),
    _Rule(
        "forward",
        lambda end: end.mode == "once" and end.forward is not None,
        "mode `once` ends at the link and relays nothing: set `mode: keep`",
    ),
    _Rule(
        "forward",
        lambda end: end.forward is not None and bool(end.command or end.check),
        "with `forward` netpunch keeps the port, with `command` or `check` another program has "
        "it: keep one of them, and turn the other off (`forward: off`, `command: []`, `check: []`)",
    ),
    _Rule(
        "forward",
        lambda end: end.protocol == "classic" and end.forward is not None,
        "a classic pair can't relay: use `protocol: v2`, or hand over the port in `hooks`",
    ),
    _Rule(
        "mode",
        lambda end: end.protocol == "classic" and end.holds and end.forward is None,
        "a classic pair can't hold the hole: add `command` or `check`, or use `mode: once`",
    ),
    _Rule(
        "session_key",
        lambda end: end.protocol == "classic" and end.session_key,
        "a classic pair has no session key: use `protocol: v2`, or turn this off",
    ),
)
