"""What an end says and hears under one key of its pair.

While a key is rotated, an end has two, and does not know which of them its partner and its controls
have. It announces itself under both at once, to each control: as if there were twice as many
controls. So it needs neither patience nor turns to meet a partner that has only one of them, the
old or the new. A partner attempt is spoken to under the key under which it was heard first; end a
decides, by its nomination, under which key the link is."""

from __future__ import annotations

from netpunch.core import describe as words
from netpunch.core.settings import EndSettings
from netpunch.wire.envelope import ControlChannel, EndName, PeerChannel
from netpunch.wire.keys import control_key, peer_key


class Channels:
    """Of one end, under one key. They are equal only to themselves, and show no key."""

    __slots__ = ("_secret", "control", "peer", "peer_key")

    def __init__(self, secret: bytes, pair: str, end: EndName) -> None:
        self._secret = secret
        self.peer_key = peer_key(secret, pair)
        self.peer = PeerChannel(self.peer_key, pair, end)
        self.control = ControlChannel(control_key(secret, pair), pair, end)

    def are_of(self, secret: bytes) -> bool:
        """Whether this is their key."""
        return self._secret == secret


def channels_of(settings: EndSettings, known: tuple[Channels, ...] = ()) -> tuple[Channels, ...]:
    """Those of an end's keys, the first key's first; of the `known` ones those that stay."""
    return tuple(
        next((each for each in known if each.are_of(secret)), None)
        or Channels(secret, settings.pair, settings.end)
        for secret in settings.secrets
    )


def describe(data: bytes, known: tuple[Channels, ...]) -> str:
    """A datagram in words, under whichever key."""
    return words.describe(data, [each.control for each in known], [each.peer for each in known])
