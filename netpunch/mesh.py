"""The pairs of a mesh are named MESH.NODE.NODE. All that is particular to them follows from the
name: which keys they have, and what templates and hooks know of them."""

from __future__ import annotations

from typing import NamedTuple


class MeshPair(NamedTuple):
    """A pair of a mesh: the nodes in alphabetical (byte) order, the first is end a."""

    mesh: str
    a: str
    b: str

    def __str__(self) -> str:
        return f"{self.mesh}.{self.a}.{self.b}"


def pair_of(mesh: str, one: str, other: str) -> MeshPair:
    """The pair of two nodes, given in any order."""
    return MeshPair(mesh, *sorted((one, other)))


def mesh_pair(name: str) -> MeshPair | None:
    """What the name of a mesh's pair says; None for any other pair's."""
    match name.split("."):
        case [mesh, a, b]:
            return MeshPair(mesh, a, b)
    return None


def placeholders(pair: str, end: str) -> dict[str, str]:
    """What templates and hooks know of an end before a link, by placeholder."""
    known = {"pair": pair, "end": end}
    if mesh := mesh_pair(pair):
        node, partner = (mesh.a, mesh.b) if end == "a" else (mesh.b, mesh.a)
        known |= {"mesh": mesh.mesh, "node": node, "partner": partner}
    return known
