"""The envelope: its layout, what it authenticates, and that no direction passes for another."""

from __future__ import annotations

from itertools import permutations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from netpunch.address import Address
from netpunch.wire import v2
from netpunch.wire.card import Card
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import ControlChannel, Direction, EndName, PeerChannel
from netpunch.wire.keys import control_key, derive, pair_tag, peer_key
from tests.wire.v2_strategies import between_ends, from_control, to_control

SECRET = bytes(range(32))
NAME = "home-office"
CONTROL_KEY = control_key(SECRET, NAME)
PEER_KEY = peer_key(SECRET, NAME)
NONCE = bytes(range(12))
ANY = Address("192.0.2.1", 5000)
ENDS: tuple[EndName, EndName] = ("a", "b")
CONTROLS = {end: ControlChannel(CONTROL_KEY, NAME, end) for end in ENDS}
PEERS = {end: PeerChannel(PEER_KEY, NAME, end) for end in ENDS}
DIRECTIONS = {
    "a>control": CONTROLS["a"].to_control,
    "b>control": CONTROLS["b"].to_control,
    "control>a": CONTROLS["a"].from_control,
    "control>b": CONTROLS["b"].from_control,
    "a>b": PEERS["a"].outgoing,
    "b>a": PEERS["b"].outgoing,
}
LEAVE = v2.Leave(b"attempt1", 7)
PING = v2.Ping(b"attempt1", b"attempt2", b"sequence", 0)
SAMPLES: dict[str, v2.Message] = {
    "a>control": LEAVE,
    "b>control": LEAVE,
    "control>a": v2.Challenge(b"attempt1", 7, bytes(16)),
    "control>b": v2.Challenge(b"attempt1", 7, bytes(16)),
    "a>b": PING,
    "b>a": PING,
}

nonces = st.binary(min_size=12, max_size=12)


@given(to_control, nonces, st.sampled_from(ENDS))
def test_control_opens_what_an_end_seals(message: v2.Message, nonce: bytes, end: EndName) -> None:
    datagram = CONTROLS[end].to_control.seal(message, nonce)
    assert len(datagram) == 384
    assert CONTROLS[end].to_control.open(datagram) == message


@given(from_control, nonces, st.sampled_from(ENDS))
def test_end_opens_what_control_seals(message: v2.Message, nonce: bytes, end: EndName) -> None:
    datagram = CONTROLS[end].from_control.seal(message, nonce)
    assert len(datagram) == 384
    assert CONTROLS[end].from_control.open(datagram) == message


@given(between_ends, nonces, st.sampled_from([("a", "b"), ("b", "a")]))
def test_end_opens_what_its_partner_seals(
    message: v2.Message, nonce: bytes, ends: tuple[EndName, EndName]
) -> None:
    sender, receiver = ends
    datagram = PEERS[sender].outgoing.seal(message, nonce)
    assert len(datagram) == 128
    assert PEERS[receiver].incoming.open(datagram) == message


def test_layout_of_the_envelope_is_fixed() -> None:
    datagram = CONTROLS["b"].to_control.seal(LEAVE, NONCE)
    assert datagram[0] == 0xF2
    assert datagram[1] == v2.Kind.LEAVE | 0x80  # the high bit: of b
    assert datagram[2:10] == pair_tag(NAME)
    assert datagram[10:22] == NONCE
    cipher = AESGCM(derive(CONTROL_KEY, "b>control"))
    body = cipher.decrypt(NONCE, datagram[22:], datagram[:10])
    assert body == v2.pack(LEAVE) + bytes(384 - 22 - 16 - 16)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_each_direction_has_the_key_of_its_label(name: str) -> None:
    parent = CONTROL_KEY if "control" in name else PEER_KEY
    datagram = DIRECTIONS[name].seal(SAMPLES[name], NONCE)
    assert AESGCM(derive(parent, name)).decrypt(NONCE, datagram[22:], datagram[:10])


@pytest.mark.parametrize(("sent", "taken"), [*permutations(DIRECTIONS, 2)])
def test_datagram_of_one_direction_does_not_open_in_another(sent: str, taken: str) -> None:
    """Reflected, relayed to the other end, or shown to control as if from the other end."""
    datagram = DIRECTIONS[sent].seal(SAMPLES[sent], NONCE)
    assert DIRECTIONS[taken].open(datagram) in (Drop.MALFORMED, Drop.BAD_MAC)
    renamed = datagram[:1] + bytes([datagram[1] ^ 0x80]) + datagram[2:]
    assert DIRECTIONS[taken].open(renamed) in (Drop.MALFORMED, Drop.BAD_MAC)


@pytest.mark.parametrize("name", DIRECTIONS)
@given(data=st.data())
def test_datagram_with_a_flipped_bit_does_not_open(name: str, data: st.DataObject) -> None:
    direction = DIRECTIONS[name]
    datagram = bytearray(direction.seal(SAMPLES[name], NONCE))
    bit = data.draw(st.integers(0, 8 * len(datagram) - 1))
    datagram[bit // 8] ^= 1 << bit % 8
    assert isinstance(direction.open(bytes(datagram)), Drop)


@pytest.mark.parametrize(
    ("position", "drop"),
    [(0, Drop.MALFORMED), (1, Drop.BAD_MAC), (2, Drop.UNKNOWN_PAIR), (9, Drop.UNKNOWN_PAIR)]
    + [(position, Drop.BAD_MAC) for position in (10, 21, 22, 111, 127)],
)
def test_drop_reason_of_a_damaged_byte(position: int, drop: Drop) -> None:
    datagram = bytearray(PEERS["a"].outgoing.seal(PING, NONCE))
    datagram[position] ^= 0x03  # of the kind: PONG instead of PING
    assert PEERS["b"].incoming.open(bytes(datagram)) is drop


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_malformed_in_every_direction(data: bytes) -> None:
    for direction in DIRECTIONS.values():
        assert direction.open(data) is Drop.MALFORMED


@given(st.binary(min_size=384, max_size=384), st.booleans())
def test_arbitrary_bytes_with_a_good_header_do_not_authenticate(data: bytes, for_b: bool) -> None:
    end = ENDS[for_b]
    header = bytes([0xF2, v2.Kind.ANNOUNCE | 0x80 * for_b]) + pair_tag(NAME)
    assert CONTROLS[end].to_control.open(header + data[10:]) is Drop.BAD_MAC


@pytest.mark.parametrize("length", [0, 1, 9, 10, 22, 127, 129, 383, 385])
def test_datagram_of_another_length_is_malformed(length: int) -> None:
    for name, direction in DIRECTIONS.items():
        datagram = direction.seal(SAMPLES[name], NONCE)
        assert direction.open(datagram.ljust(length, b"\0")[:length]) is Drop.MALFORMED


def test_other_pair_is_unknown_and_other_secret_does_not_authenticate() -> None:
    datagram = CONTROLS["a"].to_control.seal(LEAVE, NONCE)
    other_pair = ControlChannel(CONTROL_KEY, "other", "a")
    assert other_pair.to_control.open(datagram) is Drop.UNKNOWN_PAIR
    other_secret = ControlChannel(control_key(bytes(32), NAME), NAME, "a")
    assert other_secret.to_control.open(datagram) is Drop.BAD_MAC


def test_datagram_of_an_unknown_kind_is_malformed() -> None:
    datagram = PEERS["a"].outgoing.seal(PING, NONCE)
    for kind in range(0x80):
        if kind not in set(v2.Kind):
            assert (
                PEERS["b"].incoming.open(datagram[:1] + bytes([kind]) + datagram[2:])
                is Drop.MALFORMED
            )


def test_authentic_body_of_no_message_is_malformed() -> None:
    """Both of a partner that holds the key: an address of no family, and a message for control,
    which is longer than a datagram between ends."""
    pong = bytearray(v2.pack(v2.Pong(b"attempt1", b"attempt2", b"sequence", ANY)))
    pong[24] = 9
    for kind, body in ((v2.Kind.PONG, bytes(pong)), (v2.Kind.ANNOUNCE, b"")):
        header = bytes([0xF2, kind]) + pair_tag(NAME)
        cipher = AESGCM(derive(PEER_KEY, "a>b"))
        sealed = cipher.encrypt(NONCE, body.ljust(90, b"\0"), header)
        assert PEERS["b"].incoming.open(header + NONCE + sealed) is Drop.MALFORMED


def test_cards_of_both_ends_have_different_keys() -> None:
    card = Card(bytes(32), v2.NO_ATTEMPT, False)
    sealed = PEERS["a"].own_card.seal(card, b"attempt1", NONCE)
    assert PEERS["b"].partner_card.open(sealed, b"attempt1") == card
    assert PEERS["b"].own_card.open(sealed, b"attempt1") is Drop.BAD_MAC
    body = AESGCM(derive(PEER_KEY, "card a")).decrypt(NONCE, sealed[12:], b"a" + b"attempt1")
    assert body == card.pack()


def test_repr_of_a_direction_hides_its_key() -> None:
    direction = Direction(CONTROL_KEY, pair_tag(NAME), "a", 384)
    assert CONTROL_KEY.hex() not in repr(direction)
    assert repr(CONTROL_KEY) not in repr(direction)
