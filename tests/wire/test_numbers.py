"""Every number and label on the wire, spelt out: a change of any of them is a new protocol."""

from __future__ import annotations

from enum import IntEnum

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from netpunch.address import Address
from netpunch.core.events import PathKind
from netpunch.wire import card, classic, envelope, keys, portmap, sealed, v2
from tests.wire.test_keys import hkdf

KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("enumeration", "numbers"),
    [
        (
            v2.Kind,
            {
                "ANNOUNCE": 0x01,
                "WAITING": 0x02,
                "INTRODUCE": 0x03,
                "CHALLENGE": 0x04,
                "LEAVE": 0x05,
                "OBSERVE": 0x06,
                "OBSERVED": 0x07,
                "KNOCK": 0x08,
                "BIND": 0x09,
                "BOUND": 0x0A,
                "PING": 0x11,
                "PONG": 0x12,
                "NOMINATE": 0x13,
                "ACCEPT": 0x14,
                "DONE": 0x15,
                "BYE": 0x16,
            },
        ),
        (v2.Purpose, {"PUNCH": 0, "STANDBY": 1}),
        (
            card.NatClass,
            {"UNKNOWN": 0, "OPEN": 1, "EASY": 2, "HARD_STEP": 3, "HARD_RANDOM": 4, "BLOCKED": 5},
        ),
        (
            portmap.PcpResult,
            {
                "SUCCESS": 0,
                "UNSUPP_VERSION": 1,
                "NOT_AUTHORIZED": 2,
                "MALFORMED_REQUEST": 3,
                "UNSUPP_OPCODE": 4,
                "UNSUPP_OPTION": 5,
                "MALFORMED_OPTION": 6,
                "NETWORK_FAILURE": 7,
                "NO_RESOURCES": 8,
                "UNSUPP_PROTOCOL": 9,
                "USER_EX_QUOTA": 10,
                "CANNOT_PROVIDE_EXTERNAL": 11,
                "ADDRESS_MISMATCH": 12,
                "EXCESSIVE_REMOTE_PEERS": 13,
            },
        ),
        (
            portmap.NatPmpResult,
            {
                "SUCCESS": 0,
                "UNSUPPORTED_VERSION": 1,
                "NOT_AUTHORIZED": 2,
                "NETWORK_FAILURE": 3,
                "OUT_OF_RESOURCES": 4,
                "UNSUPPORTED_OPCODE": 5,
            },
        ),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_numbers_of_an_enumeration_on_the_wire(
    enumeration: type[IntEnum], numbers: dict[str, int]
) -> None:
    assert {member.name: member.value for member in enumeration} == numbers


def test_numbers_of_paths_and_probes() -> None:
    paths = {
        "host": 0,
        "ipv6": 1,
        "observed": 2,
        "predicted": 3,
        "spray": 4,
        "mapped": 5,
        "relay": 6,
    }
    assert paths == v2.PATH_NUMBERS
    assert v2.PROBE_NUMBERS == {"predicted": 1, "spray": 2}
    assert set(v2.PATH_NUMBERS) == set(PathKind), "every kind of path has its number"


def test_lengths_and_places_in_a_v2_datagram() -> None:
    assert (envelope.VERSION, envelope.END_B) == (0xF2, 0x80)
    assert (envelope.CONTROL_DATAGRAM, envelope.CONTROL_BODY) == (384, 384 - 22 - 16)
    assert (envelope.PEER_DATAGRAM, envelope.PEER_BODY) == (128, 128 - 22 - 16)
    parts = (envelope.HEADER, envelope.TAG_SLICE, envelope.NONCE, envelope.SEALED)
    assert parts == (slice(0, 10), slice(2, 10), slice(10, 22), slice(22, None))
    assert (envelope.NONCE_LENGTH, keys.TAG_LENGTH, keys.KEY_LENGTH) == (12, 8, 32)


def test_lengths_of_the_fields_of_v2() -> None:
    assert (v2.ATTEMPT_LENGTH, v2.ECHO_LENGTH) == (8, 8)
    assert (v2.COOKIE_LENGTH, v2.ADDRESS_LENGTH) == (15, 19)
    assert (v2.MAX_MILLISECONDS, v2.NEVER_HEARD) == (0xFFFFFFFF, 0xFFFFFFFF)
    assert (bytes(8), bytes(15)) == (v2.NO_ATTEMPT, v2.NO_COOKIE)
    assert (card.MAX_HOSTS, card.MAX_OBSERVED) == (6, 4)
    assert (card.CARD_LENGTH, card.NONCE_LENGTH, v2.SEALED_CARD_LENGTH) == (240, 12, 12 + 240 + 16)


@pytest.mark.parametrize(
    ("message", "layout"),
    [
        (v2.Announce, "!8sQ15sB268s"),
        (v2.Waiting, "!8sQ19sI8s15sB"),
        (v2.Introduce, "!8sQ19s8s19s268s15sB"),
        (v2.Knock, "!8sQ19s8s19s268s15sB"),
        (v2.Challenge, "!8sQ15sB"),
        (v2.Leave, "!8sQ"),
        (v2.Observe, "!8s"),
        (v2.Observed, "!8s19sHH"),
        (v2.Bind, "!8sQ15s"),
        (v2.Bound, "!8sQ19sBI"),
        (v2.Ping, "!8s8s8sB"),
        (v2.Pong, "!8s8s8s19s"),
        (v2.Nominate, "!8s8s8sBI"),
        (v2.Accept, "!8s8s8s"),
        (v2.Done, "!8s8s8s"),
        (v2.Bye, "!8s8s"),
    ],
)
def test_layout_of_a_v2_message(message: type[v2.Message], layout: str) -> None:
    assert v2.LAYOUTS[message].struct.format == layout
    assert v2.TYPES[v2.LAYOUTS[message].kind] is message


def test_layout_of_a_card() -> None:
    assert card.LAYOUT.format == "!32s8sBBHhBBBB190s"
    assert (card.QUEUED, card.SEALED) == (0x80, 0x40)
    full = card.Card(
        public_key=bytes(range(32)),
        partner_attempt=b"attempt1",
        holds=True,
        nat_class=card.NatClass.HARD_STEP,
        bracket_port=0x0102,
        bracket_step=-2,
        bracket_count=3,
        bracket_round=4,
        hosts=(Address("10.0.0.1", 1), Address("2001:db8::1", 2)),
        observed=(Address("192.0.2.1", 3),),
        mapped=(Address("192.0.2.2", 4),),
        queued=True,
    )
    expected = bytes(range(32)) + b"attempt1" + bytes.fromhex("01 83 0102 fffe 03 04 02 11")
    expected += b"".join(map(v2.pack_address, full.hosts + full.mapped + full.observed))
    assert full.pack() == expected.ljust(240, b"\0")
    assert full._replace(sealed=True).pack()[40:42] == bytes((0x00, 0xC3))


def test_numbers_of_what_a_sealed_forward_carries() -> None:
    assert (sealed.VERSION, sealed.HEADER.format, sealed.OVERHEAD) == (0xF3, "!BBQ", 26)
    assert sealed.NONCE.format == "!BBQ2x"
    assert (sealed.PADDING, sealed.GENERATION_BITS, sealed.WINDOW) == (b"\0\0", 32, 1024)


def test_a_sealed_datagram_is_what_aes_gcm_makes_of_its_parts() -> None:
    for counter, generation in ((1, 0), (2**32 - 1, 0), (2**32, 1), (2**33 + 5, 2)):
        [made] = sealed.Sealer(KEY, 0xE0, counter=counter - 1).seal([b"text"])
        header = bytes((0xF3, 0xE0)) + counter.to_bytes(8, "big")
        key = hkdf(KEY, b"generation %d" % generation, b"netpunch/2")
        assert made == header + AESGCM(key).encrypt(header + bytes(2), b"text", None)


def test_label_of_every_derived_key() -> None:
    def derived(info: bytes, salt: bytes = b"netpunch/2") -> bytes:
        return hkdf(KEY, info, salt)

    assert keys.control_key(KEY, "pair") == derived(b"control|pair")
    assert keys.peer_key(KEY, "pair") == derived(b"peer|pair")
    assert keys.control_channel_keys(KEY, "a") == derived(b"a>control") + derived(b"control>a")
    assert keys.control_channel_keys(KEY, "b") == derived(b"b>control") + derived(b"control>b")
    assert keys.peer_direction_key(KEY, "a", "b") == derived(b"a>b")
    assert keys.peer_direction_key(KEY, "b", "a") == derived(b"b>a")
    assert keys.card_key(KEY, "a") == derived(b"card a")
    assert keys.card_key(KEY, "b") == derived(b"card b")
    assert keys.session_key(KEY, b"salt", "pair", b"+") == derived(b"session|pair+", b"salt")
    assert keys.forward_key(KEY, "a", "b") == derived(b"forward a>b")
    assert keys.forward_key(KEY, "b", "a") == derived(b"forward b>a")
    assert keys.forward_epoch(KEY) == derived(b"forward epoch")[0]
    assert keys.generation_key(KEY, 7) == derived(b"generation 7")


def test_numbers_of_the_classic_protocol() -> None:
    assert classic.LETTERS == "abcdefghijklmnopqrstuvwxyz"
    messages = {message.name: message.value for message in classic.PeerMessage}
    assert messages == {"PING": "x", "PONG": "y", "CLOSE": "z"}
    assert (classic.SIGNATURE_SIZE, classic.PAYLOAD_OFFSET, classic.FIXED_SIZE) == (40, 41, 42)
    assert (classic.SEPARATOR, classic.LARGEST_SIZE) == (b" ", 1065)


def test_numbers_of_port_mapping() -> None:
    assert (portmap.SERVER_PORT, portmap.PCP_VERSION, portmap.NAT_PMP_VERSION) == (5351, 2, 0)
    assert (portmap.RESPONSE, portmap.ADDRESS, portmap.MAP, portmap.UDP) == (0x80, 0, 1, 17)
    assert (portmap.NONCE_LENGTH, portmap.MAX_PCP_LENGTH) == (12, 1100)
    layouts = {
        message.__name__: layout.struct.format for message, layout in portmap.LAYOUTS.items()
    }
    assert layouts == {
        "PcpRequest": "!2xI16s12sB3xHH16s",
        "PcpResponse": "!xBII12x12sB3xHH16s",
        "PcpAnnounce": "!2xI16s",
        "PcpAnnounced": "!xBII12x",
        "AddressRequest": "!",
        "AddressResponse": "!HI4s",
        "PortRequest": "!2xHHI",
        "PortResponse": "!HIHHI",
    }
