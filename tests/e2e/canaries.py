"""Secrets that are looked for wherever a process may have left them, in every form in which one
would recognize them, and in part."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote

from netpunch.wire import keys
from netpunch.wire.envelope import EndName

FRAGMENT = 16
"""Consecutive bytes of a secret's form: so many are no coincidence, and worth something."""

ENDS: tuple[EndName, EndName] = ("a", "b")


class Canaries:
    """Add secrets, then search."""

    def __init__(self) -> None:
        self.forms = 0
        self.secrets = 0
        self.searched = 0
        """Bytes."""
        self._fragments: dict[bytes, str] = {}

    def add(self, name: str, secret: bytes) -> None:
        self.secrets += 1
        for form in forms(secret):
            self.forms += 1
            for fragment in fragments(form):
                self._fragments.setdefault(fragment, name)

    def add_pair_key(self, pair: str, value: bytes) -> None:
        """A v2 secret with everything that is derived from it."""
        control, peer = keys.control_key(value, pair), keys.peer_key(value, pair)
        self.add(f"{pair}: secret", value)
        self.add(f"{pair}: control key", control)
        self.add(f"{pair}: peer key", peer)
        for end, other in (ENDS, ENDS[::-1]):
            for info in (f"{end}>control", f"control>{end}"):
                self.add(f"{pair}: {info}", keys.derive(control, info))
            for info in (f"{end}>{other}", f"card {end}"):
                self.add(f"{pair}: {info}", keys.derive(peer, info))

    def found_in(self, sources: Mapping[str, bytes]) -> list[str]:
        """Which secrets are where."""
        found = {}
        for where, data in sources.items():
            self.searched += len(data)
            for fragment in fragments(data):
                if fragment in self._fragments:
                    found[f"{self._fragments[fragment]} in {where}"] = fragment
        return [f"{what}: {fragment!r}" for what, fragment in found.items()]

    def __str__(self) -> str:
        return (
            f"{self.secrets} secrets in {self.forms} forms,"
            f" looked for in {self.searched:,} bytes: 0 occurrences"
        )


def forms(secret: bytes) -> Iterator[bytes]:
    """How a secret may be written down."""
    yield secret
    for skipped in range(3):  # within a longer text it begins at any of three places
        encoded = base64.b64encode(secret[skipped : len(secret) - (len(secret) - skipped) % 3])
        yield encoded
        yield encoded.translate(bytes.maketrans(b"+/", b"-_"))
    yield base64.b32encode(secret)
    yield base64.a85encode(secret)
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield secret.hex(":").encode()
    yield quote(secret).encode()
    yield repr(secret)[2:-1].encode()
    yield repr(list(secret))[1:-1].encode()
    yield secret.decode("latin-1").encode()
    yield secret.decode("utf-8", "replace").encode()


def fragments(data: bytes) -> Iterable[bytes]:
    return (data[begin : begin + FRAGMENT] for begin in range(len(data) - FRAGMENT + 1))
