"""Why a datagram is dropped: silently towards the network, and counted by reason."""

from __future__ import annotations

from enum import StrEnum


class Drop(StrEnum):
    """The reasons, in the order in which a datagram meets them."""

    MALFORMED = "malformed"
    """Wrong length, version, kind or field: not from a netpunch, or damaged."""
    OTHER_VERSION = "other_version"
    """Has the length of a netpunch's, and a first byte that this version does not use."""
    UNKNOWN_PAIR = "unknown_pair"
    """Well formed, for a pair (tag, slot letter) that is not configured here."""
    BAD_MAC = "bad_mac"
    """Of a known pair, but it does not authenticate: wrong secret, or forged."""
    UNEXPECTED_SOURCE = "unexpected_source"
    """Authentic, but not from an address that may say this."""
    WRONG_ATTEMPT = "wrong_attempt"
    """Authentic, but of another attempt: a recording, or late."""
    STALE = "stale"
    """Authentic, but its counter or sequence was already used: a recording, or duplicated."""
    UNEXPECTED = "unexpected"
    """Authentic, but this state takes no such message."""
    HOSTILE_ADDRESS = "hostile_address"
    """Names an address that is never pinged."""
    OVER_LIMIT = "over_limit"
    """Above a bound on memory or rate."""
