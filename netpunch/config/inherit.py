"""What a pair takes over from `defaults`, and an end from its pair."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from netpunch.config.keys import DEFAULTS, SECRET_KEYS
from netpunch.config.model import Control, EndConfig, Position
from netpunch.config.problems import Problems
from netpunch.config.schema import Settings

P = TypeVar("P", Control, EndConfig)


def inherit(upper: Settings, own: Settings) -> Settings:
    """`own` wins, mappings are merged, and an own secret replaces an upper one of any kind."""
    if any(name in own for name in SECRET_KEYS):
        upper = {name: found for name, found in upper.items() if name not in SECRET_KEYS}
    merged = upper | own
    for name in upper.keys() & own.keys():
        above, below = upper[name].value, own[name].value
        if isinstance(above, dict) and isinstance(below, dict):
            merged[name] = own[name]._replace(value=inherit(above, below))
    return merged


def setting(settings: Settings, name: str) -> Any:
    """The value of a key, or its default."""
    return settings[name].value if name in settings else DEFAULTS[name]


class Draft(Generic[P]):
    """A control or an end that was built, with the settings it came from: rules that compare
    parts point at the place in the file."""

    __slots__ = ("part", "path", "position", "settings")

    def __init__(self, part: P, settings: Settings, path: str, position: Position) -> None:
        self.part: P = part
        self.settings = settings
        self.path = path
        self.position = position

    def place(self, *keys: str) -> tuple[Position, str]:
        """Where a (nested) setting stands; without it, where the part does."""
        position, path, settings = self.position, self.path, self.settings
        for key in keys:
            if key not in settings:
                break
            found = settings[key]
            position, path, settings = found.position, found.path, found.value
        return position, path

    def complain(self, problems: Problems, message: str, *keys: str) -> None:
        """Record a problem with that setting; where it was inherited, say by whom."""
        position, path = self.place(*keys)
        inherited = not path.startswith(self.path)
        problems.add(position, path, message, example=self.path if inherited else "")
