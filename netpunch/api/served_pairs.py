"""The pairs that a control serves, of both protocols, by name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from netpunch import arguments
from netpunch.api.end_arguments import classic_secret, classic_slot
from netpunch.config import values
from netpunch.core.control.node import ControlNode
from netpunch.errors import ResourcesError, UsageError
from netpunch.keys import read_key, value_for_control
from netpunch.wire.classic import pair_of

Keys = tuple[bytes, bytes | None]
"""Control's key of a pair, and maybe a second one."""
Classic = dict[str, dict[str, bytes]]
"""The secrets of classic pairs: by name, then by slot letter."""


class ServedPairs(Collection[str]):
    """The names of the pairs. Adds and removes them at the machine; whoever does so then lets the
    machine's driver drain it."""

    def __init__(self, machine: ControlNode, classic: Classic) -> None:
        self._machine = machine
        self._classic = classic
        self._serve_classic(classic)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str) or not values.PAIR_NAME.fullmatch(name):
            return False
        return name in self._classic or self._machine.v2.serves(name)

    def __iter__(self) -> Iterator[str]:
        yield from self._machine.v2.names()
        yield from self._classic

    def __len__(self) -> int:
        return self._machine.v2.pairs_served + len(self._classic)

    def __repr__(self) -> str:
        return f"<{len(self)} pairs>"

    def add(self, name: str, keys: Keys, most: int) -> None:
        """One more v2 pair, if fewer than `most` are served."""
        self._check_new(name)
        if self._machine.v2.pairs_served >= most:
            raise ResourcesError(
                f"{most} pairs are served, as many as `max_pairs` allows: remove some, or raise it"
            )
        self._machine.v2.add_pair(name, *keys)

    def add_classic(self, name: str, secrets: Mapping[str, bytes]) -> None:
        """One more classic pair."""
        self._check_new(name)
        for other, taken in self._classic.items():
            if letter := next((each for each in secrets if each in taken), None):
                raise UsageError(
                    f"slots: slot {letter!r} belongs to pair {other!r}: expected two that are free"
                )
        self._serve_classic({**self._classic, name: dict(secrets)})

    def rekey(self, name: object, key: object, other: object) -> None:
        """Other keys for a v2 pair."""
        known = self._known(name)
        if known in self._classic:
            raise UsageError(f"name: {known!r} is a classic pair: remove it, and add it anew")
        self._machine.v2.add_pair(known, *control_keys(known, key, other))

    def remove(self, name: object) -> str:
        """A pair of either protocol. Returns its name."""
        known = self._known(name)
        if known in self._classic:
            self._serve_classic({k: v for k, v in self._classic.items() if k != known})
        else:
            self._machine.v2.remove_pair(known)
        return known

    def _known(self, name: object) -> str:
        return arguments.known("name", name, self, "the name of a pair that is served")

    def _check_new(self, name: str) -> None:
        if name in self:
            raise UsageError(
                f"name: {name!r} is served already: remove_pair() takes it away, rekey_pair() "
                "gives it other keys"
            )

    def _serve_classic(self, classic: Classic) -> None:
        """Raises ConfigurationError for a secret that can't sign; then nothing has changed."""
        secrets = {letter: secret for each in classic.values() for letter, secret in each.items()}
        names = {letter: name for name, each in classic.items() for letter in each}
        self._machine.classic.replace_secrets(secrets, names=names)
        self._classic = classic


def control_keys(name: str, key: object, other: object = None) -> Keys:
    """What a caller passed as `key` and `other_key` of this pair."""
    first = value_for_control(read_key("key", key, "control"), name)
    if other is None:
        return first, None
    second = value_for_control(read_key("other_key", other, "control"), name)
    if first == second:
        raise UsageError("other_key: expected another key than `key`, got the same")
    return first, second


def classic_pair(key: object, slots: object) -> dict[str, bytes]:
    """What a caller passed as `key` and `slots`: the secret by slot letter."""
    wanted = "the two slots of a classic pair, such as 'a-b' or 'c-d'"
    try:
        letters = values.slots(slots if isinstance(slots, str) else "")
    except ValueError as error:
        message = values.complaint(wanted, arguments.shown_value(slots), str(error))
        raise UsageError(f"slots: {message}") from None
    return dict.fromkeys(letters, classic_secret("key", key))


def control_keys_by_name(pairs: object) -> dict[str, bytes]:
    """What a caller passed as `pairs`."""
    wanted = "a mapping of pair names to keys, such as {'home-office': 'npc1:...'}"
    keys = {}
    for pair, key in arguments.mapping("pairs", pairs, wanted).items():
        name = arguments.pair_name("pairs", pair)
        keys[name] = value_for_control(read_key(f"pairs[{name!r}]", key, "control"), name)
    return keys


def classic_by_name(classic: object) -> Classic:
    """What a caller passed as `classic`; a pair is called `a-b`."""
    wanted = "a mapping of slot letters to their secret, such as {'ab': b'...'}"
    found: Classic = {}
    for slots, value in arguments.mapping("classic", classic, wanted).items():
        if not isinstance(slots, str) or not slots:
            raise arguments.wrong("classic", slots, wanted)
        secret = classic_secret(f"classic[{slots!r}]", value)
        for letter in slots:
            pair = found.setdefault(pair_of(classic_slot("classic", letter)), {})
            if letter in pair:
                raise UsageError(f"classic: slot {letter!r} is given twice: remove one")
            pair[letter] = secret
    return found
