"""A site file to a `Site`: inherited, built and checked; and the part of it that one node runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from netpunch.config.auto_ports import choose_ports, with_ports
from netpunch.config.document.problems import Abandoned, Problems
from netpunch.config.files import read_templates
from netpunch.config.kinds import (
    BROKEN,
    Found,
    Place,
    Rejected,
    Settings,
    beside,
    built,
    did_you_mean,
    is_whole,
    some,
)
from netpunch.config.meshes import (
    MAX_PAIRS,
    MeshDraft,
    count_pairs,
    defaults_of_meshes,
    shared_by_nodes,
)
from netpunch.config.model import (
    SECRET_KEYS,
    ControlConfig,
    EndConfig,
    Pair,
    Part,
    SecretSource,
    Site,
)
from netpunch.config.reading import Reading
from netpunch.config.rules import (
    Draft,
    Drafts,
    Known,
    PairDraft,
    check_both_ends,
    check_control,
    check_control_names,
    check_end,
    check_mesh,
    check_mesh_nodes,
    check_pair,
)
from netpunch.config.schema import (
    CONTROL_KEYS,
    END_KEYS,
    GENERATE,
    SITE_KEYS,
    usual_hold_for,
    usual_keepalive,
)
from netpunch.config.site_rules import check_parts
from netpunch.config.values import HIGHEST_PORT, HostPort
from netpunch.core.settings import EndName, EndSettings
from netpunch.errors import ConfigurationError
from netpunch.mesh import MeshPair, placeholders
from netpunch.template import MESH_PLACEHOLDERS, has_placeholder, render

END_NAMES: tuple[EndName, EndName] = ("a", "b")
OTHER_END: dict[EndName, EndName] = {"a": "b", "b": "a"}

SETTINGS_KEYS = {key.name for key in END_KEYS} & set(EndSettings._fields) - {"secret"}
"""Keys that fill a field of EndSettings; the others fill one of EndConfig."""

ONLY_CONTROL = "control"
"""The name of the only control, if neither it nor its node has a name."""


def load(path: Path) -> Site:
    """The site that a file and those that it includes describe. Opens no other files, so it loads
    on every host alike.

    Raises SiteError (a ConfigurationError) with everything that is wrong, MissingFileError,
    PermissionsError, ResourcesError."""
    reading = Reading(path)
    problems = reading.problems
    try:
        settings = reading.settings()
        drafts = _Builder(path, settings, problems).build()
        check_parts(drafts, settings, problems)
    except (Abandoned, Rejected):
        raise problems.error() from None
    if len(problems):
        raise problems.error()
    return _site(drafts, settings, reading)


def _site(drafts: Drafts, settings: Settings, reading: Reading) -> Site:
    parts = ("control", "pairs", "meshes", "include")
    plain = {name: found for name, found in settings.items() if name not in parts}
    values = built(SITE_KEYS, plain, Place(drafts.path.absolute().parent, {}))
    pairs = tuple(draft.pair for draft in drafts.pairs)
    return Site(
        path=drafts.path,
        node=values["node"],
        controls=tuple(draft.part for draft in drafts.controls),
        pairs=pairs,
        status=values["status"],
        metrics_textfile=values["metrics"] and values["metrics"]["textfile"],
        source=reading.problems.source().text(),
        included={source.file: source.text() for source in reading.problems.included()},
        warnings=(*reading.remarks, *_warnings(drafts.path, pairs, reading.public)),
    )


def _warnings(path: Path, pairs: tuple[Pair, ...], public: Collection[str]) -> Iterator[str]:
    """For files that others may read; an empty name is the site file's."""
    secret = {
        source.position.file
        for pair in pairs
        for source in (pair.secret, pair.a.secret, pair.b.secret)
        if source.kind == "inline"
    }
    for name in sorted(secret.intersection(public)):
        file = name or path
        yield f"{file}: warning: contains secrets and others may read it: `chmod 600 {file}`"


def inherit(upper: Settings, own: Settings) -> Settings:
    """`own` wins, mappings are merged, and an own secret replaces an upper one of any kind."""
    secret_keys = SECRET_KEYS.values()
    if any(name in own for name in secret_keys):
        upper = {name: found for name, found in upper.items() if name not in secret_keys}
    merged = upper | own
    for name in upper.keys() & own.keys():
        above, below = upper[name].value, own[name].value
        if isinstance(above, dict) and isinstance(below, dict):
            merged[name] = own[name]._replace(value=inherit(above, below))
    return merged


class _Builder:
    """Builds every part that is right. What is wrong in one part doesn't hide what is wrong in
    another."""

    def __init__(self, path: Path, settings: Settings, problems: Problems) -> None:
        self._path = path
        self._directory = path.absolute().parent
        self._controls: tuple[Found, ...] = settings["control"].value
        self._pairs: Settings = settings["pairs"].value if "pairs" in settings else {}
        self._meshes: Settings = settings["meshes"].value if "meshes" in settings else {}
        self._defaults: Settings = settings["defaults"].value if "defaults" in settings else {}
        self._problems = problems
        self._is_whole = "include" not in settings or is_whole(settings["include"].value)
        """Whether no included file was left out for being wrong."""
        self._known = Known(None, frozenset())

    def build(self) -> Drafts:
        controls = self._build_controls()
        self._known = Known(
            None if controls is None else {each.part.name: each.part.at for each in controls},
            frozenset(each.part.node for each in controls or () if each.part.node),
        )
        if BROKEN in (self._pairs, self._meshes, self._defaults):
            return Drafts(self._path, controls or [], (), complete=False)
        pairs = [self._build_pair(name, found) for name, found in self._pairs.items()]
        right = [pair for pair in pairs if pair is not None]
        complete = self._is_whole and controls is not None and len(right) == len(pairs)
        for name, found in self._whole_meshes():
            mesh = self._build_mesh(name, found)
            complete = complete and mesh is not None
            right += mesh.pairs() if mesh else ()
        return Drafts(self._path, controls or [], tuple(right), complete)

    def _build_controls(self) -> list[Draft[ControlConfig]] | None:
        """All controls, or None if one is wrong: then references to them can't be checked."""
        found = self._controls
        if not is_whole(found) or not all(is_whole(each.value) for each in found):
            return None
        before = len(self._problems)
        drafts = [self._build_control(each) for each in found]
        check_control_names(drafts, self._problems)
        return drafts if len(self._problems) == before else None

    def _build_control(self, found: Found) -> Draft[ControlConfig]:
        settings: Settings = found.value
        values = built(CONTROL_KEYS, settings, Place(self._directory, {}))
        is_only = len(self._controls) == 1
        values["name"] = values["name"] or values["node"] or (ONLY_CONTROL if is_only else "")
        values["listen"] = values["listen"] or (HostPort("", values["address"].port),)
        if values["observe"] is None:
            values["observe"] = next_ports = tuple(
                HostPort(each.host, each.port + 1) for each in values["listen"]
            )
            if any(each.port > HIGHEST_PORT for each in next_ports):
                message = "no port is left above this one for `observe`: set it to a port or off"
                listens = settings.get("listen", settings["address"])
                self._problems.add(listens.position, listens.path, message)
        control = ControlConfig(**values, position=found.position)
        draft = Draft(control, settings, found.path, found.position)
        check_control(draft, self._problems)
        return draft

    def _build_pair(self, name: str, found: Found) -> PairDraft | None:
        """A pair, or None if something in it is wrong (and was recorded)."""
        if not is_whole(found.value):
            return None
        merged = inherit(self._defaults, found.value)
        if not is_whole(merged):
            return None
        before = len(self._problems)
        secret = self._secret_source(merged, name)
        check_pair(name, found, merged, secret, self._problems)
        if secret is None or len(self._problems) > before:
            return None
        a, b = (self._build_end(name, end, found, merged) for end in END_NAMES)
        pair = Pair(
            name=name,
            enabled=_is_enabled(merged),
            protocol=a.part.protocol,
            slots=a.part.settings.slot + b.part.settings.slot,
            controls=tuple(dict.fromkeys(a.part.controls + b.part.controls)),
            secret=secret,
            a=a.part,
            b=b.part,
            position=found.position,
        )
        draft = PairDraft(pair, merged, found, (a, b))
        check_both_ends(draft, self._known, self._problems)
        return draft if len(self._problems) == before else None

    def _whole_meshes(self) -> Iterator[tuple[str, Found]]:
        """Those without broken values, and not above MAX_PAIRS."""
        count = 0
        for name, found in self._meshes.items():
            if not is_whole(found.value):
                yield name, found  # which is left out
                continue
            count += count_pairs(found.value)
            if count > MAX_PAIRS:
                message = (
                    f"the meshes have {count:,} pairs up to here, but a file may have "
                    f"{MAX_PAIRS:,} of them: make this one a star (`hub: NODE`), or split the file"
                )
                self._problems.add(found.position, found.path, message)
                return
            yield name, found

    def _build_mesh(self, name: str, found: Found) -> MeshDraft | None:
        """A mesh, or None if something in it is wrong (and was recorded)."""
        if not is_whole(found.value):
            return None
        merged = inherit(defaults_of_meshes(self._defaults), found.value)
        if not is_whole(merged):
            return None
        before = len(self._problems)
        secret = self._secret_source(merged, name, mesh=name)
        check_mesh(name, found, merged, secret, self._pairs, self._problems)
        if secret is None or len(self._problems) > before:
            return None
        shared = shared_by_nodes(merged)
        nodes = {
            node: self._build_node(name, node, own, shared)
            for node, own in merged["nodes"].value.items()
        }
        hub = merged["hub"].value if "hub" in merged else None
        draft = MeshDraft(name, found, merged, secret, _is_enabled(merged), hub, nodes)
        check_mesh_nodes(nodes, found, draft.links(), self._known, self._problems)
        return draft if len(self._problems) == before else None

    def _build_node(self, mesh: str, node: str, found: Found, shared: Settings) -> Draft[EndConfig]:
        """What the ends of a mesh at one node have in common: an end of no pair yet."""
        settings = inherit(shared, found.value)
        same = {key: each for key, each in settings.items() if key != "files"}
        values = built(END_KEYS, same, Place(self._directory, {})) | {
            "secret": self._secret_source(settings, mesh, mesh=mesh),
            "position": found.position,
            "path": found.path,
            "partner_node": None,
            "partner_wireguard_key": None,
        }
        part = self._end_config(str(MeshPair(mesh, node, "")), "a", values)
        draft = Draft(part, settings, found.path, found.position)
        check_end(draft, shared, self._known, self._problems)
        return draft

    def _build_end(
        self, pair: str, name: EndName, found: Found, merged: Settings
    ) -> Draft[EndConfig]:
        """An end of a pair; what is wrong with it is recorded. `found` is the pair as it stands in
        the file, `merged` with the defaults."""
        own, other = (merged[each].value for each in (name, OTHER_END[name]))
        shared = {key: each for key, each in merged.items() if key not in END_NAMES}
        settings = inherit(shared, own)
        names = dict.fromkeys(MESH_PLACEHOLDERS, "") | placeholders(pair, name)
        position, path = found.value.get(name, found).position, f"{found.path}.{name}"
        values = built(END_KEYS, settings, Place(self._directory, names)) | {
            "secret": self._secret_source(settings, pair),
            "position": position,
            "path": path,
            "partner_node": other["node"].value if "node" in other else None,
            "partner_wireguard_key": (
                other["wireguard_key"].value if "wireguard_key" in other else None
            ),
        }
        values["enabled"] = values["enabled"] and _is_enabled(merged)
        draft = Draft(self._end_config(pair, name, values), settings, path, position)
        check_end(draft, merged, self._known, self._problems)
        return draft

    def _end_config(self, pair: str, name: EndName, values: dict[str, Any]) -> EndConfig:
        """`values`: of END_KEYS, and of those fields that are none of these keys."""
        values["mode"] = values["mode"] or ("keep" if values["share"] else "once")
        values["keepalive"] = values["keepalive"] or usual_keepalive(share=values["share"])
        values["hold_for"] = values["hold_for"] or usual_hold_for(values["keepalive"])
        known = self._known.controls or {}
        controls = tuple(dict.fromkeys(values["control"] or known))
        slots: str = values["slots"]
        end_settings = EndSettings(
            pair,
            name,
            b"",
            slot=slots[END_NAMES.index(name)] if slots else "",
            controls=tuple(known[each] for each in controls if each in known),
            **{key: values[key] for key in SETTINGS_KEYS},
        )
        values |= {"settings": end_settings, "controls": controls, "directory": self._directory}
        return EndConfig._make(map(values.__getitem__, EndConfig._fields)).in_mode(values["mode"])

    def _secret_source(self, settings: Settings, name: str, mesh: str = "") -> SecretSource | None:
        """Where the secret comes from, `{pair}` replaced by `name`: the pair's, or the mesh's. Of
        several sources, which are an error that is recorded already, the first."""
        key = next((key for key in SECRET_KEYS.values() if key in settings), None)
        if key is None:
            return None
        position, texts = settings[key].position, settings[key].value
        source: SecretSource | None = None
        for text in reversed(texts):
            each = SecretSource("inline", position, mesh=mesh, other=source)
            if key == "secret_file":
                path = beside(str(self._directory), render(text, {"pair": name}))
                source = each._replace(kind="file", path=path)
            elif key == "credential":
                source = each._replace(kind="credential", path=render(text, {"pair": name}))
            elif texts == (GENERATE,):
                source = each._replace(kind="generate")
            else:
                source = each._replace(text=text)
        return source


def _is_enabled(pair: Settings) -> bool:
    return "enabled" not in pair or bool(pair["enabled"].value)


def select(site: Site, node: str | None, hostname: str, environ_node: str | None) -> Part:
    """The controls and the enabled ends that run on this host, templates read.

    `node` comes from `--node`, `environ_node` from NETPUNCH_NODE. Raises ConfigurationError if no
    part names this node or a template can't be used."""
    names = node_names(site)
    name = _choose(site, names, node, hostname, environ_node) if names else None
    if node is not None and not names:
        raise ConfigurationError(
            f"{site.path}: no part names a node, so all parts run in this process: "
            f"remove `--node {node}`"
        )
    ends = [end for pair in site.pairs for end in pair.ends if end.enabled and end.node == name]
    ports = choose_ports(site, name)
    return Part(
        node=name,
        controls=tuple(control for control in site.controls if control.node == name),
        ends=read_templates(site, [with_ports(end, ports) for end in ends]),
        status=_path_at(site.status, name),
        metrics_textfile=_path_at(site.metrics_textfile, name),
    )


def status_socket(
    site: Site, node: str | None, hostname: str, environ_node: str | None
) -> Path | None:
    """Where the file says that this host's process has its status socket. Takes what `select`
    takes; which node this is matters only if the path depends on it. Raises ConfigurationError
    if no part names this node."""
    if site.status is None or not has_placeholder(site.status):
        return _path_at(site.status, None)
    names = node_names(site)
    return _path_at(site.status, _choose(site, names, node, hostname, environ_node))


def _path_at(path: str | None, node: str | None) -> Path | None:
    """A path of the whole process, at one node."""
    return None if path is None else Path(render(path, {} if node is None else {"node": node}))


def pairs_served(site: Site, control: ControlConfig) -> tuple[Pair, ...]:
    """The enabled pairs that this control introduces."""
    return tuple(pair for pair in site.pairs if pair.enabled and control.name in pair.controls)


def owners_of(ends: Iterable[EndConfig]) -> set[str]:
    """The names of the pairs and meshes that these ends belong to, and whose keys their host has
    therefore; see `owner_of`."""
    return {end.secret.mesh or end.pair for end in ends}


def owner_of(pair: Pair) -> str:
    """What has the secret: a pair itself, or its mesh."""
    return pair.secret.mesh or pair.name


def node_names(site: Site) -> list[str]:
    """The nodes of a site, in alphabetical order."""
    nodes = {control.node for control in site.controls}
    nodes |= {end.node for pair in site.pairs for end in pair.ends}
    return sorted(node for node in nodes if node is not None)


def _choose(
    site: Site, names: list[str], node: str | None, hostname: str, environ_node: str | None
) -> str:
    chosen = node or environ_node or site.node
    candidates = [chosen] if chosen else [hostname, hostname.partition(".")[0]]
    for candidate in candidates:
        if candidate.lower() in names:
            return candidate.lower()
    hint = "" if chosen else ", NETPUNCH_NODE, or `node:` in the file"
    guess = did_you_mean(chosen, names) if chosen else ""
    raise ConfigurationError(
        f"{site.path}: no part runs on {candidates[0]!r}{guess}: "
        f"choose one of {some(names)} with `--node`{hint}"
    )
