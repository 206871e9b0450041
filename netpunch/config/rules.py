"""Rules that compare the parts of a site: nodes, ports, output files, slots."""

from collections import defaultdict
from collections.abc import Iterator
from os.path import normpath
from pathlib import Path
from typing import NamedTuple

from netpunch.config.controls import Controls
from netpunch.config.inherit import Draft
from netpunch.config.model import Control, EndConfig, HostPort, Position
from netpunch.config.pairs import PairDraft
from netpunch.config.problems import Problems
from netpunch.config.schema import Found, did_you_mean, is_whole
from netpunch.config.sources import GENERATE
from netpunch.config.values import WILDCARDS
from netpunch.template import render

_Location = tuple[str | None, str]
"""A node, and a path on it."""


class Drafts(NamedTuple):
    """Every part of a site that was built. `complete`: nothing was left out for being wrong."""

    path: Path
    controls: Controls
    pairs: tuple[PairDraft, ...]
    complete: bool

    def parts(self) -> Iterator[Draft[Control] | Draft[EndConfig]]:
        yield from self.controls
        for pair in self.pairs:
            yield from pair.ends

    def enabled_ends(self) -> Iterator[Draft[EndConfig]]:
        for pair in self.pairs:
            yield from (end for end in pair.ends if end.part.enabled)


def check_site(drafts: Drafts, problems: Problems) -> None:
    """Record what is wrong between parts."""
    _check_nodes(drafts, problems)
    _check_generated(drafts, problems)
    _check_sockets(drafts, problems)
    _check_outputs(drafts, problems)
    _check_slots(drafts, problems)


def check_own_node(drafts: Drafts, node: Found | None, problems: Problems) -> None:
    """Record if the file's own `node:` is none of its nodes, as far as they are known."""
    if node is None or not is_whole(node.value) or not drafts.complete:
        return
    names = sorted({part.part.node for part in drafts.parts() if part.part.node is not None})
    if node.value not in names:
        there_is = f"there is {', '.join(names)}" if names else "no part names a node"
        guess = did_you_mean(node.value, names)
        problems.add(node.position, node.path, f"no part runs on {node.value}{guess}: {there_is}")


def _check_nodes(drafts: Drafts, problems: Problems) -> None:
    named = [part for part in drafts.parts() if part.part.node is not None]
    if not named:
        return
    for part in drafts.parts():
        if part.part.node is None:
            message = f"names no `node`, but {named[0].path} does: either every part or none"
            problems.add(part.position, part.path, message)


def _check_generated(drafts: Drafts, problems: Problems) -> None:
    if all(part.part.node is None for part in drafts.parts()):
        return
    for pair in drafts.pairs:
        if pair.pair.secret.kind == GENERATE:
            found = pair.settings["secret"]
            message = (
                "`generate` works only where control and both ends run in one process, without "
                "any `node`: use `secret_file`, and make it with `netpunch key new`"
            )
            problems.add(found.position, found.path, message)


class _Socket(NamedTuple):
    """A UDP port that a part will bind."""

    node: str | None
    address: HostPort
    key: str
    position: Position


def _check_sockets(drafts: Drafts, problems: Problems) -> None:
    """Two parts of one node can't bind the same port."""
    taken: dict[tuple[str | None, int], list[_Socket]] = defaultdict(list)
    for socket in _sockets(drafts):
        others = taken[socket.node, socket.address.port]
        for other in others:
            if _overlap(socket.address.host, other.address.host):
                message = (
                    f"port {socket.address.port} is taken on the same node by {other.key} "
                    f"(line {other.position.line}): choose another"
                )
                problems.add(socket.position, socket.key, message)
                break
        others.append(socket)


def _sockets(drafts: Drafts) -> Iterator[_Socket]:
    for control in drafts.controls:
        for key, addresses in (("listen", control.part.listen), ("observe", control.part.observe)):
            for address in addresses:
                yield _socket(control, address, key)
    for end in drafts.enabled_ends():
        local = HostPort(*end.part.settings.local)
        if local.port != 0:
            yield _socket(end, local, "local")
        if end.part.forward is not None:
            yield _socket(end, end.part.forward.listen, "forward", "listen")


def _socket(draft: Draft[Control] | Draft[EndConfig], address: HostPort, *keys: str) -> _Socket:
    """Named by its part, even if the setting was inherited or is a default."""
    position, _ = draft.place(*keys)
    return _Socket(draft.part.node, address, ".".join((draft.path, *keys)), position)


def _overlap(one: str, other: str) -> bool:
    """Whether binding both hosts collides. Names are compared as they are: nothing is looked
    up here."""
    if "" in (one, other) or one == other:
        return True
    wildcard, host = (one, other) if one in WILDCARDS else (other, one)
    return wildcard in WILDCARDS and (":" in wildcard) == (":" in host)


def _check_outputs(drafts: Drafts, problems: Problems) -> None:
    """No two files are written to one path of a node, and none over a file that is read."""
    read = {location: what for end in drafts.enabled_ends() for location, what in _inputs(end)}
    site = normpath(drafts.path.absolute())
    written: dict[_Location, str] = {}
    for end in drafts.enabled_ends():
        for template, position, key in _outputs(end):
            path = normpath(render(template, {"pair": end.part.pair, "end": end.part.end}))
            location = (end.part.node, path)
            overwritten = "this file itself" if path == site else read.get(location)
            first = written.setdefault(location, key)
            if overwritten:
                problems.add(position, key, f"would overwrite {path}, {overwritten}")
            elif first != key:
                message = (
                    f"would write {path} on the same node as {first}: "
                    "choose another, perhaps with {pair} or {end} in it"
                )
                problems.add(position, key, message)


def _inputs(end: Draft[EndConfig]) -> Iterator[tuple[_Location, str]]:
    for file in end.part.files:
        yield (end.part.node, normpath(file.template)), "a template"
    if end.part.secret.kind == "file":
        yield (end.part.node, normpath(end.part.secret.path)), "a secret"


def _outputs(end: Draft[EndConfig]) -> Iterator[tuple[str, Position, str]]:
    if end.part.env_file is not None:
        yield end.part.env_file, end.place("env_file")[0], f"{end.path}.env_file"
    for index, file in enumerate(end.part.files):
        yield file.to, file.position, f"{end.path}.files[{index}].to"


def _check_slots(drafts: Drafts, problems: Problems) -> None:
    """A control tells classic pairs apart by their letters alone."""
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
                    f"slots {pair.slots[0]}-{pair.slots[1]} of control {control} belong to "
                    f"pairs.{first} already: choose others for pairs.{pair.name}"
                )
                problems.add(slots.position, slots.path, message)
                break
