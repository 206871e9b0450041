"""The rules that a control, an end, a pair and a mesh obey beyond their single values.

Each rule records what is wrong, at the place in the file that causes it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from netpunch.config.control_rules import control_flaws
from netpunch.config.document.problems import Position, Problems
from netpunch.config.kinds import Found, Settings, did_you_mean, some
from netpunch.config.model import SECRET_KEYS, ControlConfig, EndConfig, Pair, SecretSource
from netpunch.config.schema import GENERATE
from netpunch.config.secrets import Role, decode
from netpunch.config.values import (
    FEWEST_KEEPALIVES,
    HIGHEST_PORT,
    Counted,
    HostPort,
    reaches,
    share_family,
)
from netpunch.core.settings import ControlAt, Protocol
from netpunch.mesh import mesh_pair
from netpunch.template import TemplateError, of_end, validate

P = TypeVar("P", ControlConfig, EndConfig)

_TEMPLATES = frozenset({"env_file", "template", "command", "files"})
"""Keys of an end with placeholders that are replaced for each link."""


class Draft(Generic[P]):
    """A control or an end that was built, with its settings, so that messages can name their
    places."""

    __slots__ = ("part", "path", "position", "settings")

    def __init__(self, part: P, settings: Settings, path: str, position: Position) -> None:
        self.part: P = part
        self.settings = settings
        self.path = path
        self.position = position

    def place(self, *keys: str) -> tuple[Position, str]:
        """Where a (nested) setting stands; if it is not set, where the part does."""
        position, path, settings = self.position, self.path, self.settings
        for key in keys:
            if key not in settings:
                break
            found = settings[key]
            position, path, settings = found.position, found.path, found.value
        return position, path

    def complain(self, problems: Problems, message: str, *keys: str) -> None:
        """Records a problem with a setting, and for which part if that inherited it."""
        position, path = self.place(*keys)
        inherited = not path.startswith(self.path)
        problems.add(position, path, message, example=self.path if inherited else "")


class PairDraft(NamedTuple):
    """A pair that was built, with the settings it came from."""

    pair: Pair
    settings: Settings
    found: Found
    ends: tuple[Draft[EndConfig], Draft[EndConfig]]


class Drafts(NamedTuple):
    """Every part of a site that was built. `complete`: no part was left out for being wrong."""

    path: Path
    controls: list[Draft[ControlConfig]]
    pairs: tuple[PairDraft, ...]
    complete: bool

    def parts(self) -> Iterator[Draft[ControlConfig] | Draft[EndConfig]]:
        yield from self.controls
        for pair in self.pairs:
            yield from pair.ends

    def enabled_ends(self) -> Iterator[Draft[EndConfig]]:
        for pair in self.pairs:
            yield from (end for end in pair.ends if end.part.enabled)


class Known(NamedTuple):
    """What references are checked against."""

    controls: dict[str, ControlAt] | None
    """By name. None if a control is wrong: then references to controls are not checked."""
    control_nodes: frozenset[str]
    """The nodes that run a control, as far as these are right."""


# One control.


def check_control_names(drafts: list[Draft[ControlConfig]], problems: Problems) -> None:
    first: dict[str, Draft[ControlConfig]] = {}
    for draft in drafts:
        name = draft.part.name
        if not name:
            problems.add(
                draft.position, draft.path, "`name` is missing: there are several controls"
            )
        elif first.setdefault(name, draft) is not draft:
            message = f"another control is named {name}: give each its own `name`"
            draft.complain(problems, message, "name")


def check_control(draft: Draft[ControlConfig], problems: Problems) -> None:
    for key, message in control_flaws(draft.part, draft.settings):
        draft.complain(problems, message, key)


# One pair, and its ends.


def check_pair(
    name: str,
    found: Found,
    merged: Settings,
    secret: SecretSource | None,
    problems: Problems,
) -> None:
    """What must be right before the ends can be built. `found` is the pair as it stands in the
    file, `merged` with the defaults."""
    for end in ("a", "b"):
        if end not in merged:
            message = f"end `{end}` is missing: a pair has two, such as `{end}: {{node: office}}`"
            problems.add(found.position, found.path, message)
    protocol: Protocol = merged["protocol"].value if "protocol" in merged else "v2"
    if protocol == "classic" and "slots" not in merged:
        message = "`slots` is missing: a classic pair needs two, such as `slots: a-b`"
        problems.add(found.position, found.path, message)
    elif protocol != "classic" and "slots" in merged:
        message = "only classic pairs have slots: remove this, or add `protocol: classic`"
        problems.add(merged["slots"].position, merged["slots"].path, message)
    if secret is None:
        message = (
            f"the pair has no secret: add `secret_file: {name}.key` "
            f"(made by `netpunch key new -o {name}.key`), `credential` or `secret`"
        )
        problems.add(found.position, found.path, message)
    elif complaint := _secret_complaint(secret, protocol, "control"):
        written = merged[SECRET_KEYS[secret.kind]]
        problems.add(written.position, written.path, complaint)


# One mesh, and its nodes.


def check_mesh(
    name: str,
    found: Found,
    merged: Settings,
    secret: SecretSource | None,
    pairs: Settings,
    problems: Problems,
) -> None:
    """What must be right before the nodes can be built. `found` is the mesh as it stands in the
    file, `merged` with the defaults; `pairs` are the written ones."""
    nodes, hub = merged["nodes"], merged.get("hub")
    if len(nodes.value) < 2:
        message = "a mesh links two nodes or more: add nodes, such as [home, office, cabin]"
        problems.add(nodes.position, nodes.path, message)
    if hub is not None and hub.value not in nodes.value:
        known = f"{did_you_mean(hub.value, nodes.value)}: nodes are {some(nodes.value)}"
        problems.add(hub.position, hub.path, f"{hub.value} is no node of this mesh{known}")
    for pair, written in pairs.items():
        mesh = mesh_pair(pair)
        line = f"pairs.{pair} ({problems.place(written.position, found.position)})"
        if pair == name:
            message = f"{line} has the same name: `netpunch key` tells them apart by it: rename one"
            problems.add(found.position, found.path, message)
        elif (
            mesh is not None
            and mesh.mesh == name
            and {mesh.a, mesh.b} <= nodes.value.keys()
            and (hub is None or hub.value in (mesh.a, mesh.b))
        ):
            message = f"{line} is a pair of this mesh: remove it, and set its keys in the mesh"
            problems.add(found.position, found.path, message)
    if secret is None:
        message = (
            f"the mesh has no secret: add `secret_file: {name}.key` "
            f"(made by `netpunch key new -o {name}.key`), `credential` or `secret`"
        )
        problems.add(found.position, found.path, message)
    elif secret.kind == GENERATE:
        message = (
            "a mesh has several hosts, which all need the same key: use `secret_file`, with a file "
            "from `netpunch key new`"
        )
        problems.add(merged["secret"].position, merged["secret"].path, message)
    elif complaint := _secret_complaint(secret, "v2", "control"):
        problems.add(merged["secret"].position, merged["secret"].path, complaint)


def check_mesh_nodes(
    nodes: Mapping[str, Draft[EndConfig]],
    found: Found,
    links: Iterable[tuple[str, str]],
    known: Known,
    problems: Problems,
) -> None:
    """What the nodes of a mesh have to agree on; `found` is the mesh."""
    for draft in nodes.values():
        for key, address in _counted(draft.part):
            if address.port + len(nodes) - 1 > HIGHEST_PORT:
                message = f"no ports are left above {address.port} to count {len(nodes)} nodes"
                draft.complain(problems, message, *key)
    holding = [name for name, draft in nodes.items() if draft.part.holds]
    if holding and len(holding) < len(nodes):
        other = next(name for name in nodes if name not in holding)
        message = (
            f"node {holding[0]} keeps the port after the link, node {other} hands it over: "
            "either all keep it (`mode: keep` without `command` and `check`), or none"
        )
        problems.add(found.position, found.path, message)
    sealing = [name for name, draft in nodes.items() if draft.part.settings.sealed]
    if sealing and len(sealing) < len(nodes):
        other = next(name for name in nodes if name not in sealing)
        message = (
            f"node {sealing[0]} seals what `forward` carries, node {other} does not: set "
            "`forward: {sealed: on}` at all, or at none"
        )
        problems.add(found.position, found.path, message)
    if known.controls is None:
        return
    for one, other in links:
        first, second = nodes[one].part.controls, nodes[other].part.controls
        if first is not second and first != second and not set(first) & set(second):
            message = (
                f"nodes {one} and {other} have no control in common: nothing would introduce them"
            )
            problems.add(found.position, found.path, message)
            return


def _counted(end: EndConfig) -> Iterator[tuple[tuple[str, ...], Counted]]:
    """The addresses that count, each with its key."""
    if isinstance(end.settings.local, Counted):
        yield ("local",), end.settings.local
    if end.forward is not None and isinstance(end.forward.listen, Counted):
        yield ("forward", "listen"), end.forward.listen


def check_end(draft: Draft[EndConfig], merged: Settings, known: Known, problems: Problems) -> None:
    """`merged`: the settings of the pair, or of the mesh."""
    _check_placeholders(draft, problems)
    _check_controls(draft, known, problems)
    _check_forward(draft, problems)
    _check_silence(draft, problems)
    _check_secret(draft, merged, known, problems)
    for rule in _RULES:
        if rule.broken(draft.part):
            draft.complain(problems, rule.message, rule.key)


class _Rule(NamedTuple):
    """A combination that an end can't have, and the key to point at."""

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
        lambda end: (
            end.protocol == "classic"
            and end.holds
            and not (end.forward is not None or end.settings.share)
        ),
        "a classic pair can't hold the link: add `command` or `check`, or use `mode: once`",
    ),
    _Rule(
        "share",
        lambda end: end.mode == "once" and end.settings.share,
        "mode `once` ends at the link, and nothing would keep its path open: leave `mode` out, or "
        "set `mode: keep`",
    ),
    _Rule(
        "share",
        lambda end: end.settings.share and end.forward is not None,
        "with `share` the program itself sends to the partner, with `forward` by way of netpunch: "
        "keep one of them, and turn the other off (`share: off`, `forward: off`)",
    ),
    _Rule(
        "share",
        lambda end: end.settings.share and bool(end.command or end.check),
        "with `share` netpunch holds the link itself: turn `command` and `check` off "
        "(`command: []`, `check: []`), or this",
    ),
    _Rule(
        "share",
        lambda end: end.protocol == "classic" and end.settings.share,
        "a classic pair can't hold the link: use `protocol: v2`, or turn this off",
    ),
    _Rule(
        "share",
        lambda end: end.settings.share and end.settings.local[1] == 0,
        '`local` has to name the port that the program has, such as `local: ":51820"` (in '
        "WireGuard: ListenPort = 51820)",
    ),
    _Rule(
        "session_key",
        lambda end: end.protocol == "classic" and end.session_key,
        "a classic pair has no session key: use `protocol: v2`, or turn this off",
    ),
)


def _check_controls(draft: Draft[EndConfig], known: Known, problems: Problems) -> None:
    controls = known.controls
    if controls is None:
        return
    for name in draft.part.controls:
        if name not in controls:
            guess = did_you_mean(name, controls) or f"; there is {', '.join(controls)}"
            draft.complain(problems, f"no control is named {name}{guess}", "control")


def _check_placeholders(draft: Draft[EndConfig], problems: Problems) -> None:
    """Some exist only for the pairs of a mesh, or with `forward`."""
    in_mesh = mesh_pair(draft.part.pair) is not None
    allowed = of_end(in_mesh=in_mesh, forwards=draft.part.forward is not None)
    for key in _TEMPLATES & draft.settings.keys():
        for text in _texts(draft.settings[key].value):
            try:
                validate(text, allowed)
            except TemplateError as error:
                draft.complain(problems, str(error), key)


def _texts(value: object) -> Iterator[str]:
    """All texts in a value that was read."""
    match value:
        case str():
            yield value
        case Found():
            yield from _texts(value.value)
        case tuple():
            for each in value:
                yield from _texts(each)
        case dict():
            for each in value.values():
                yield from _texts(each)


def _check_forward(draft: Draft[EndConfig], problems: Problems) -> None:
    forward = draft.part.forward
    if forward is None:
        if "forward" in draft.settings and draft.settings["forward"].value is not None:
            message = "`listen` is missing: where the program sends to, "
            message += 'such as "127.0.0.1:51821", or auto'
            draft.complain(problems, message, "forward")
    elif forward.to is not None and reaches(forward.to, forward.listen):
        message = (
            f"the same address as `listen`, {forward.listen}, so netpunch would send to itself: "
            "expected the port of the local program"
        )
        draft.complain(problems, message, "forward", "to")
    elif forward.to is not None and not share_family(forward.listen, forward.to):
        message = (
            f"datagrams to the program leave from `listen`, {forward.listen}, which reaches no "
            f"address of the other family, {forward.to}: give both in IPv4, or both in IPv6"
        )
        draft.complain(problems, message, "forward", "to")


def _check_silence(draft: Draft[EndConfig], problems: Problems) -> None:
    """One lost keepalive, or one that is not due yet, must not end a link."""
    settings = draft.part.settings
    least = FEWEST_KEEPALIVES * settings.keepalive
    if draft.part.holds and settings.hold_for < least:
        message = (
            f"expected the time of {FEWEST_KEEPALIVES} keepalives or more, {least:g}s, got "
            f"{settings.hold_for:g}s: raise this, or lower `keepalive` ({settings.keepalive:g}s)"
        )
        draft.complain(problems, message, "hold_for")


def _check_secret(
    draft: Draft[EndConfig], merged: Settings, known: Known, problems: Problems
) -> None:
    """Control's key (npc1:) is enough for a pair in the file of a control. The node that runs the
    end refuses it when it is read."""
    end = draft.part
    key = SECRET_KEYS[end.secret.kind]
    is_of_the_pair = merged.get(key) is draft.settings[key]
    runs_elsewhere = end.node is not None and end.node not in known.control_nodes
    role: Role = "control" if is_of_the_pair and runs_elsewhere else "end"
    if complaint := _secret_complaint(end.secret, end.protocol, role):
        draft.complain(problems, complaint, key)


def _secret_complaint(source: SecretSource, protocol: Protocol, role: Role) -> str | None:
    """What is wrong with a secret, as far as it stands in the file itself."""
    if source.other is not None and protocol == "classic":
        return "a classic pair has one secret: only keys of v2 can be rotated"
    if source.kind != "inline":
        return None
    try:
        for each in source.all:
            decode(each.text.encode(), protocol, role)
    except ValueError as error:
        return str(error)
    return None


def check_both_ends(draft: PairDraft, known: Known, problems: Problems) -> None:
    """What the two ends have to agree on."""
    pair, found = draft.pair, draft.found
    a, b = pair.ends
    for end in draft.ends:
        for key, address in _counted(end.part):
            message = (
                f"only the pairs of a mesh count ports: expected one port, {HostPort(*address)}"
            )
            end.complain(problems, message, *key)
    if not set(a.controls) & set(b.controls) and known.controls is not None:
        message = "the ends have no control in common: nothing would introduce them"
        problems.add(found.position, found.path, message)
    if a.holds != b.holds:
        holder, other = ("a", "b") if a.holds else ("b", "a")
        message = (
            f"end `{holder}` keeps the port after the link, end `{other}` hands it over: "
            "either both keep it (`mode: keep` without `command` and `check`), or neither"
        )
        problems.add(found.position, found.path, message)
    elif a.settings.sealed != b.settings.sealed:
        seals, other = ("a", "b") if a.settings.sealed else ("b", "a")
        message = (
            f"end `{seals}` seals what `forward` carries, end `{other}` does not: set "
            "`forward: {sealed: on}` at both, or at neither"
        )
        problems.add(found.position, found.path, message)
    kinds = {pair.secret.kind, a.secret.kind, b.secret.kind}
    if GENERATE in kinds and len(kinds) > 1:
        message = "`secret: generate` makes one key for the pair: no end can have another"
        problems.add(found.position, found.path, message)
