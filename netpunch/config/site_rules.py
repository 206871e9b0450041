"""The rules between the parts of a site: what they must not share, and what all must have.

Each rule records what is wrong, at the place in the file that causes it."""

from collections import defaultdict
from collections.abc import Iterator
from os.path import normpath
from pathlib import Path
from typing import NamedTuple

from netpunch.config.document.problems import Position, Problems
from netpunch.config.kinds import Found, Settings, did_you_mean, is_whole, some
from netpunch.config.model import ControlConfig, EndConfig
from netpunch.config.rules import Draft, Drafts
from netpunch.config.schema import GENERATE
from netpunch.config.values import WILDCARDS, Auto, Counted, HostPort
from netpunch.mesh import placeholders
from netpunch.template import has_placeholder, render

_Location = tuple[str | None, str]
"""A node, and a path on it."""


def check_parts(drafts: Drafts, settings: Settings, problems: Problems) -> None:
    """`settings`: the file's own."""
    _check_nodes(drafts, problems)
    _check_process_paths(drafts, settings, problems)
    _check_generated(drafts, problems)
    _check_sockets(drafts, problems)
    _check_outputs(drafts, problems)
    _check_slots(drafts, problems)
    _check_own_node(drafts, settings.get("node"), problems)


def _check_own_node(drafts: Drafts, node: Found | None, problems: Problems) -> None:
    """As far as all nodes are known."""
    if node is None or not is_whole(node.value) or not drafts.complete:
        return
    names = sorted({part.part.node for part in drafts.parts() if part.part.node is not None})
    if node.value not in names:
        known = f"nodes are {some(names)}" if names else "no part names a node"
        guess = did_you_mean(node.value, names)
        problems.add(node.position, node.path, f"no part runs on {node.value}{guess}: {known}")


def _check_nodes(drafts: Drafts, problems: Problems) -> None:
    named = [part for part in drafts.parts() if part.part.node is not None]
    if not named:
        return
    for part in drafts.parts():
        if part.part.node is None:
            message = f"`node` is missing: {named[0].path} names one, so every part must"
            problems.add(part.position, part.path, message)


def _check_process_paths(drafts: Drafts, settings: Settings, problems: Problems) -> None:
    """Where no part names a node, no path can have it."""
    if not drafts.complete or any(part.part.node is not None for part in drafts.parts()):
        return
    metrics = settings.get("metrics")
    textfile = metrics.value.get("textfile") if metrics and is_whole(metrics.value) else None
    for found in (settings.get("status"), textfile):
        if found is not None and is_whole(found.value) and has_placeholder(found.value):
            message = "{node} has no value: no part of this file names a node"
            problems.add(found.position, found.path, message)


def _check_generated(drafts: Drafts, problems: Problems) -> None:
    if all(part.part.node is None for part in drafts.parts()):
        return
    for pair in drafts.pairs:
        if pair.pair.secret.kind == GENERATE:
            found = pair.settings["secret"]
            message = (
                "`generate` requires that control and both ends run in one process, without any "
                "`node`: use `secret_file`, with a file from `netpunch key new`"
            )
            problems.add(found.position, found.path, message)


class _Socket(NamedTuple):
    """A port that a part binds: of UDP, or with `is_tcp` of TCP."""

    node: str | None
    is_tcp: bool
    address: HostPort
    key: str
    position: Position
    shared_by: str = ""
    """The pair that shares the port with others; empty if it can't be shared."""


def _check_sockets(drafts: Drafts, problems: Problems) -> None:
    """Two parts of one node can't bind the same port."""
    taken: dict[tuple[str | None, bool, int], list[_Socket]] = defaultdict(list)
    for socket in _sockets(drafts):
        others = taken[socket.node, socket.is_tcp, socket.address.port]
        for other in others:
            if _overlap(socket.address.host, other.address.host) and not _share(socket, other):
                problems.add(socket.position, socket.key, _collision(socket, other, problems))
                break
        others.append(socket)


def _share(one: _Socket, other: _Socket) -> bool:
    """Whether both can have the same port: each has a pair of its own, by which datagrams are told
    apart."""
    pairs = {one.shared_by, other.shared_by}
    return "" not in pairs and len(pairs) == 2


def _collision(socket: _Socket, other: _Socket, problems: Problems) -> str:
    address = socket.address
    if socket.key == other.key:
        return (
            "a node of a mesh has several pairs, and each needs a port of its own: expected "
            f'"{Counted(*address)}", which counts the partners in the order of `nodes` '
            f"({address.port} leads to the first node, {address.port + 1} to the second)"
        )
    cure = (
        "`listen: auto`, or another port"
        if socket.key.endswith("forward.listen")
        else "another port"
    )
    return (
        f"{other.key} uses port {address.port} on the same node "
        f"({problems.place(other.position, socket.position)}): choose {cure}"
    )


def _sockets(drafts: Drafts) -> Iterator[_Socket]:
    for control in drafts.controls:
        part = control.part
        for key, addresses in (
            ("listen", part.listen),
            ("observe", part.observe),
            ("relay", part.relay_sockets),
        ):
            for address in addresses:
                yield _socket(control, address, key)
        if control.part.tls is not None:
            yield _socket(control, control.part.tls, "tls", is_tcp=True)
    for end in drafts.enabled_ends():
        local = HostPort(*end.part.settings.local)
        if local.port != 0:
            shared_by = end.part.pair if end.part.settings.share else ""
            yield _socket(end, local, "local")._replace(shared_by=shared_by)
        forward = end.part.forward
        if forward is not None and not isinstance(forward.listen, Auto):
            yield _socket(end, forward.listen, "forward", "listen")


def _socket(
    draft: Draft[ControlConfig] | Draft[EndConfig],
    address: HostPort,
    *keys: str,
    is_tcp: bool = False,
) -> _Socket:
    """Its key names the part, even if the setting is inherited or a default."""
    position, _ = draft.place(*keys)
    return _Socket(draft.part.node, is_tcp, address, ".".join((draft.path, *keys)), position)


def _overlap(one: str, other: str) -> bool:
    """Whether binding both hosts collides. Names are compared as they are, not looked up."""
    if "" in (one, other) or one == other:
        return True
    wildcard, host = (one, other) if one in WILDCARDS else (other, one)
    return wildcard in WILDCARDS and (":" in wildcard) == (":" in host)


def _check_outputs(drafts: Drafts, problems: Problems) -> None:
    """No two files are written to the same path of a node, and none over a file that is read."""
    read = {location: what for end in drafts.enabled_ends() for location, what in _inputs(end)}
    sites = {normpath(drafts.path.absolute()): "this file itself"}
    for source in problems.included():
        sites[normpath(Path(source.file).absolute())] = "an included file"
    written: dict[_Location, str] = {}
    for end in drafts.enabled_ends():
        for template, position, key in _outputs(end):
            path = normpath(render(template, placeholders(end.part.pair, end.part.end)))
            location = (end.part.node, path)
            overwritten = sites.get(path) or read.get(location)
            first = written.get(location)
            written.setdefault(location, key)
            if overwritten:
                problems.add(position, key, f"would overwrite {path}, which is {overwritten}")
            elif first == key:
                message = (
                    "all pairs of a mesh's node would write the same path: put {pair} or {partner} "
                    "in it"
                )
                problems.add(position, key, message)
            elif first is not None:
                message = (
                    f"{first} writes {path} on the same node: "
                    "choose another path, perhaps with {pair} or {end} in it"
                )
                problems.add(position, key, message)


def _inputs(end: Draft[EndConfig]) -> Iterator[tuple[_Location, str]]:
    for file in end.part.files:
        yield (end.part.node, normpath(file.template)), "a template"
    if end.part.secret.kind == "file":
        for source in end.part.secret.all:
            yield (end.part.node, normpath(source.path)), "a secret"


def _outputs(end: Draft[EndConfig]) -> Iterator[tuple[str, Position, str]]:
    if end.part.env_file is not None:
        yield end.part.env_file, end.place("env_file")[0], f"{end.path}.env_file"
    for index, file in enumerate(end.part.files):
        yield file.to, file.position, f"{end.path}.files[{index}].to"


def _check_slots(drafts: Drafts, problems: Problems) -> None:
    """A control identifies classic ends by their letters alone."""
    taken: dict[tuple[str, str], str] = {}
    for draft in drafts.pairs:
        pair = draft.pair
        if not pair.enabled or not pair.slots:
            continue
        for control in pair.controls:
            first = taken.setdefault((control, "".join(sorted(pair.slots))), pair.name)
            if first != pair.name:
                slots = draft.settings["slots"]
                message = (
                    f"pairs.{first} has slots {pair.slots[0]}-{pair.slots[1]} of control "
                    f"{control}: choose others for pairs.{pair.name}"
                )
                problems.add(slots.position, slots.path, message)
                break
