"""A mesh of the site file, and the pairs that it stands for.

Each node is built and checked once, as an end without a pair; a pair takes two of them and differs
in little. A mesh of 200 nodes has 19,900 pairs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from netpunch.config.kinds import Found, Place, Settings
from netpunch.config.model import EndConfig, Pair, SecretSource
from netpunch.config.rules import Draft, PairDraft
from netpunch.config.schema import FILES, OWN_MESH_KEYS
from netpunch.config.values import Counted
from netpunch.core.settings import EndName
from netpunch.mesh import pair_of, placeholders

NOT_INHERITED = ("a", "b", "protocol", "slots")
"""Keys of `defaults` that mean nothing to a mesh."""

MAX_PAIRS = 100_000
"""Of all meshes of a file: as many as a pair's tag tells apart, and what 447 nodes need. It bounds
the time and memory that a short file takes."""


def defaults_of_meshes(defaults: Settings) -> Settings:
    """What meshes inherit."""
    return {name: found for name, found in defaults.items() if name not in NOT_INHERITED}


def shared_by_nodes(mesh: Settings) -> Settings:
    """What the nodes of a mesh inherit."""
    own = {key.name for key in OWN_MESH_KEYS}
    return {name: found for name, found in mesh.items() if name not in own}


def count_pairs(mesh: Settings) -> int:
    """How many pairs a mesh stands for."""
    nodes = len(mesh["nodes"].value)
    return nodes - 1 if "hub" in mesh else nodes * (nodes - 1) // 2


class MeshDraft(NamedTuple):
    """A mesh that was built. `settings` are the mesh's, with the defaults."""

    name: str
    found: Found
    settings: Settings
    secret: SecretSource
    enabled: bool
    hub: str | None
    nodes: dict[str, Draft[EndConfig]]
    """In the order of the file, which counts ports. Each is the end of no pair yet."""

    def pairs(self) -> list[PairDraft]:
        """All pairs, with the two nodes of each."""
        places = {node: place for place, node in enumerate(self.nodes)}
        return [self._pair(one, other, places) for one, other in self.links()]

    def links(self) -> Iterator[tuple[str, str]]:
        """The two nodes of each pair."""
        if self.hub is None:
            return combinations(self.nodes, 2)
        return ((self.hub, node) for node in self.nodes if node != self.hub)

    def _pair(self, one: str, other: str, places: dict[str, int]) -> PairDraft:
        nodes = pair_of(self.name, one, other)
        name = str(nodes)
        enabled = self.enabled and all(self.nodes[each].part.enabled for each in nodes[1:])
        a = self._end(name, "a", nodes.a, nodes.b, places, enabled=enabled)
        b = self._end(name, "b", nodes.b, nodes.a, places, enabled=enabled)
        controls = a.part.controls
        if b.part.controls != controls:
            controls = tuple(dict.fromkeys(controls + b.part.controls))
        position = self.found.position
        pair = Pair(name, enabled, "v2", "", controls, self.secret, a.part, b.part, position)
        return PairDraft(pair, self.settings, self.found, (a, b))

    def _end(
        self,
        pair: str,
        name: EndName,
        node: str,
        partner: str,
        places: dict[str, int],
        *,
        enabled: bool,
    ) -> Draft[EndConfig]:
        """The end of a pair at a node."""
        draft = self.nodes[node]
        end, local = draft.part, draft.part.settings.local
        if isinstance(local, Counted):
            local = local.towards(places[partner])
        forward, files = end.forward, end.files
        if forward is not None and isinstance(forward.listen, Counted):
            forward = forward._replace(listen=forward.listen.towards(places[partner]))
        if "files" in draft.settings:
            place = Place(end.directory, placeholders(pair, name))
            files = FILES.build(draft.settings["files"].value, place)
        part = end._replace(
            settings=end.settings._replace(pair=pair, end=name, local=local),
            partner_node=partner,
            partner_wireguard_key=self.nodes[partner].part.wireguard_key,
            enabled=enabled,
            forward=forward,
            files=files,
        )
        return Draft(part, draft.settings, draft.path, draft.position)
