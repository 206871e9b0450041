"""The keys of a control's pairs, in one piece.

A mesh of 200 nodes is 19,900 pairs. Their names and keys come into being one by one while a site
file is read, among much that is freed afterwards; each of them would keep the memory around it from
being given back: 20 MB. As one text and one run of bytes they do not."""

from collections.abc import Mapping


class PackedKeys:
    """Keys of the same length, by name. No name has a newline in it. Its repr shows no key."""

    __slots__ = ("_keys", "_names")

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._names = "\n".join(keys)
        self._keys = b"".join(keys.values())

    def unpacked(self) -> dict[str, bytes]:
        """All of them, as new objects."""
        if not self._names:
            return {}
        names = self._names.split("\n")
        size = len(self._keys) // len(names)
        return {name: self._keys[at * size : (at + 1) * size] for at, name in enumerate(names)}

    def __bool__(self) -> bool:
        return bool(self._names)

    def __repr__(self) -> str:
        return f"PackedKeys({self._names!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PackedKeys):
            return NotImplemented
        return (self._names, self._keys) == (other._names, other._keys)

    __hash__ = None  # type: ignore[assignment]
