"""Programs' datagrams, one in a buffer or several."""

from __future__ import annotations

import pytest

from netpunch.net.datagrams import Datagrams, one, separate

SEVERAL = Datagrams((b"aabbc", b"", b"dddd", b"eeff"), (5, 0, 4, 4), (2, 0, 0, 2))


@pytest.mark.parametrize(
    ("datagrams", "expected"),
    [
        (SEVERAL, [b"aa", b"bb", b"c", b"", b"dddd", b"ee", b"ff"]),
        (separate([b"a", b"", b"bcd"]), [b"a", b"", b"bcd"]),
        (one(b""), [b""]),
        (separate([]), []),
    ],
    ids=["several in some buffers", "each has a buffer", "an empty one", "none"],
)
def test_datagrams_are_the_same_whether_they_share_buffers_or_not(
    datagrams: Datagrams, expected: list[bytes]
) -> None:
    assert list(datagrams.each) == expected
    assert datagrams.total == len(expected)
    assert [each for some in datagrams.by_part for each in some.each] == expected
    if expected:
        assert datagrams.longest == max(map(len, expected))


def test_those_of_one_buffer_come_at_a_time() -> None:
    assert [list(some.each) for some in SEVERAL.by_part] == [
        [b"aa", b"bb", b"c"],
        [b""],
        [b"dddd"],
        [b"ee", b"ff"],
    ]
