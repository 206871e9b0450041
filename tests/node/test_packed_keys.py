from __future__ import annotations

import pytest

from netpunch.node.packed_keys import PackedKeys

MANY = {f"lan.home.n{number}": bytes([number]) * 32 for number in range(200)}


@pytest.mark.parametrize("keys", [{}, {"p": bytes(32)}, MANY], ids=["none", "one", "many"])
def test_packed_keys_are_unpacked_as_they_were(keys: dict[str, bytes]) -> None:
    packed = PackedKeys(keys)
    assert packed.unpacked() == keys
    assert list(packed.unpacked()) == list(keys), "in their order"
    assert bool(packed) == bool(keys)


def test_packed_keys_are_equal_if_names_and_keys_are() -> None:
    assert PackedKeys({"p": b"1", "q": b"2"}) == PackedKeys({"p": b"1", "q": b"2"})
    assert PackedKeys({"p": b"1"}) != PackedKeys({"p": b"2"})
    assert PackedKeys({"p": b"1"}) != PackedKeys({"q": b"1"})
