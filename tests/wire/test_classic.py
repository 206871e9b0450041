"""The classic codec: Go's golden datagrams, what is refused, what can't be signed."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from netpunch.address import Address, canonical_host
from netpunch.errors import ConfigurationError
from netpunch.wire import classic
from netpunch.wire.classic import Codec, Introduction, UnsignableError
from netpunch.wire.drop import Drop

SECRET = b"correct horse battery staple"

GOLDEN = [
    # Captured from michurin/netpunch 0.2 (Go).
    (SECRET, b"a", rb"R<-[F_1Z*pkSt*)P4N>faC#.8QU5[^B35/%K<fmi a"),
    (SECRET, b"x", rb":dB<OGi_'+[o;gUqV:nHd7XgLqgF\i,'(5qAe_gB x"),
    (SECRET, b"y", rb"W@.KAjmM,[X]<B']W1=XK$<g(LbrGAK\g((ZtTPm y"),
    (SECRET, b"z", rb")+_%hTDOjuT)$==m1dnK&L6ApI1?i638/IXHauDP z"),
    (SECRET, b"b", rb"7cXB!WarojYQYHODfMQ7k]HiG@JgHM>kg_V2:=jA b"),
    (
        SECRET,
        b"i|a|127.0.0.1:15000",
        rb""""^X:D"3TKg)Y,@\M13DB<G>5!bK)!='u.NC_#`h^ i|a|127.0.0.1:15000""",
    ),
    (b"MORN", b"data", rb"""VS2/W:Yo^Bl5K]QY&_nAD;I>W!Xe!?PY"r>0pm"S data"""),
]

ZERO_WORD_PAYLOAD = b"i|b|203.0.157.95:39689"
"""Its digest under SECRET has a zero word (found by search)."""
ZERO_WORD_SECRET = b"zero-4515748"
"""The digest of `p` under it has a zero word (found by search)."""

SECRETS = st.binary(min_size=1, max_size=80)
PAYLOADS = st.binary(min_size=1, max_size=1024)


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(SECRET, "axyz")


class TestGolden:
    @pytest.mark.parametrize(("secret", "payload", "datagram"), GOLDEN)
    def test_signed_datagram_equals_that_of_go(
        self, secret: bytes, payload: bytes, datagram: bytes
    ) -> None:
        assert classic.sign(secret, payload) == datagram

    @pytest.mark.parametrize(("secret", "payload", "datagram"), GOLDEN)
    def test_datagram_of_go_is_authentic(
        self, secret: bytes, payload: bytes, datagram: bytes
    ) -> None:
        assert classic.verify(secret, datagram) == payload

    @pytest.mark.parametrize(("secret", "payload", "datagram"), GOLDEN[:-1])
    def test_codec_signs_and_verifies_like_go(
        self, codec: Codec, secret: bytes, payload: bytes, datagram: bytes
    ) -> None:
        assert codec.sign(payload) == datagram
        assert codec.verify(datagram) == payload

    def test_codec_has_its_letters_signed(self, codec: Codec) -> None:
        assert codec.fixed("a") == GOLDEN[0][2]

    @pytest.mark.parametrize("separator", [b"\x00", b"|", b"\xff"])
    @pytest.mark.parametrize(("secret", "payload", "datagram"), GOLDEN[:-1])
    def test_any_separator_is_accepted(
        self, codec: Codec, separator: bytes, secret: bytes, payload: bytes, datagram: bytes
    ) -> None:
        odd = datagram[:40] + separator + datagram[41:]
        assert codec.verify(odd) == payload
        assert classic.verify(secret, odd) == payload


class TestRefusals:
    @given(SECRETS, PAYLOADS)
    def test_verifying_a_signed_payload_gives_the_payload(
        self, secret: bytes, payload: bytes
    ) -> None:
        assert classic.verify(secret, classic.sign(secret, payload)) == payload

    @given(SECRETS, PAYLOADS, st.data())
    def test_datagram_with_a_flipped_bit_is_refused(
        self, secret: bytes, payload: bytes, data: st.DataObject
    ) -> None:
        datagram = bytearray(classic.sign(secret, payload))
        positions = [at for at in range(len(datagram)) if at != classic.SIGNATURE_SIZE]
        datagram[data.draw(st.sampled_from(positions))] ^= 1 << data.draw(st.integers(0, 7))
        assert classic.verify(secret, bytes(datagram)) is Drop.BAD_MAC
        assert Codec(secret, "axyz").verify(bytes(datagram)) is Drop.BAD_MAC

    @given(SECRETS, PAYLOADS, st.data())
    def test_truncated_datagram_is_refused(
        self, secret: bytes, payload: bytes, data: st.DataObject
    ) -> None:
        datagram = classic.sign(secret, payload)
        cut = datagram[: data.draw(st.integers(0, len(datagram) - 1))]
        expected = Drop.MALFORMED if len(cut) < classic.FIXED_SIZE else Drop.BAD_MAC
        assert classic.verify(secret, cut) is expected

    @given(st.binary(max_size=1200))
    def test_any_bytes_are_refused_without_an_exception(self, data: bytes) -> None:
        codec = Codec(SECRET, "axyz")
        assert isinstance(codec.verify(data), Drop)
        assert classic.verify(SECRET, data) is codec.verify(data)

    @given(SECRETS, SECRETS)
    def test_datagram_of_another_secret_is_refused(self, ours: bytes, theirs: bytes) -> None:
        # HMAC pads keys with zero bytes: those that differ by them alone are one.
        assume(ours.rstrip(b"\x00") != theirs.rstrip(b"\x00"))
        assert Codec(ours, "a").verify(classic.sign(theirs, b"a")) is Drop.BAD_MAC

    def test_datagram_longer_than_go_reads_is_refused_unhashed(self) -> None:
        largest = classic.sign(SECRET, b"#" * 1024)
        assert classic.verify(SECRET, largest) == b"#" * 1024
        assert classic.verify(SECRET, classic.sign(SECRET, b"#" * 1025)) is Drop.MALFORMED

    def test_signature_with_a_shortened_zero_word_is_refused(self) -> None:
        # What a careless ASCII85 decoder would take for the right digest.
        shortened = classic.sign(SECRET, b"a").replace(b"R<-[F", b"z!!!!", 1)
        assert classic.verify(SECRET, shortened) is Drop.BAD_MAC


class TestUnsignable:
    def test_signing_an_unsignable_payload_raises(self) -> None:
        with pytest.raises(UnsignableError):
            classic.sign(SECRET, ZERO_WORD_PAYLOAD)

    def test_verifying_an_unsignable_payload_is_a_bad_signature(self) -> None:
        # The datagram that ends Go's control process.
        assert classic.verify(SECRET, b"!" * 41 + ZERO_WORD_PAYLOAD) is Drop.BAD_MAC

    def test_secret_that_cannot_sign_a_letter_is_a_configuration_error(self) -> None:
        with pytest.raises(ConfigurationError, match="choose another") as caught:
            Codec(ZERO_WORD_SECRET, "op")
        assert "4515748" not in str(caught.value)

    def test_secret_that_cannot_sign_one_letter_signs_the_others(self) -> None:
        assert Codec(ZERO_WORD_SECRET, "axyz").fixed("a").endswith(b" a")

    def test_empty_classic_secret_is_a_configuration_error(self) -> None:
        with pytest.raises(ConfigurationError, match="empty"):
            Codec(b"", "a")


class TestSecrecy:
    def test_repr_of_a_codec_hides_its_secret(self, codec: Codec) -> None:
        assert "horse" not in repr(codec)

    def test_codec_knows_its_own_secret(self, codec: Codec) -> None:
        assert codec.same_secret(SECRET)
        assert not codec.same_secret(SECRET + b"\n")


class TestSlots:
    def test_partner_letters_are_adjacent(self) -> None:
        partners = "".join(map(classic.partner_letter, classic.LETTERS))
        assert partners == "badcfehgjilknmporqtsvuxwzy"

    @pytest.mark.parametrize(
        ("letter", "end", "pair"),
        [("a", "a", "a-b"), ("b", "b", "a-b"), ("y", "a", "y-z"), ("z", "b", "y-z")],
    )
    def test_slot_letter_names_its_end_and_pair(self, letter: str, end: str, pair: str) -> None:
        assert (classic.end_of(letter), classic.pair_of(letter)) == (end, pair)

    @pytest.mark.parametrize("letter", ["", "A", "1", "ab", "ä", "{", "`"])
    def test_other_strings_are_no_slot_letters(self, letter: str) -> None:
        with pytest.raises(ValueError, match="expected a slot letter, a to z"):
            classic.partner_letter(letter)


class TestPayloads:
    @pytest.mark.parametrize(
        ("payload", "address"),
        [
            (b"i|c|192.0.2.1:5000", Address("192.0.2.1", 5000)),
            (b"i|c|[2001:db8::1]:65535", Address("2001:db8::1", 65535)),
            (b"i|c|[::ffff:192.0.2.1]:5000", Address("192.0.2.1", 5000)),
            (b"i|c|[fe80::1%eth0]:5000", Address("fe80::1", 5000)),
        ],
    )
    def test_introduction_is_packed_and_parsed(self, payload: bytes, address: Address) -> None:
        assert classic.parse_introduction(payload) == Introduction("c", address)

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"i",
            b"x",
            b"i|a",
            b"i|a|",
            b"i|a|192.0.2.1",
            b"i|a|192.0.2.1:",
            b"i|a|192.0.2.1:65536",
            b"i|a|192.0.2.1:5000|",
            b"i|a|example.net:5000",
            b"i|a|2001:db8::1:5000",
            b"i|A|192.0.2.1:5000",
            b"i||192.0.2.1:5000",
            b"j|a|192.0.2.1:5000",
            b"i|a|192.0.2.1:\xb2",
            "i|a|192.0.2.1:٣".encode(),
        ],
    )
    def test_payload_that_is_no_introduction_is_not_parsed(self, payload: bytes) -> None:
        assert classic.parse_introduction(payload) is None

    @given(st.binary(max_size=60))
    def test_parsing_any_bytes_as_an_introduction_raises_nothing(self, payload: bytes) -> None:
        for address in (payload, b"192.0.2.1:" + payload):
            introduction = classic.parse_introduction(b"i|a|" + address)
            assert introduction is None or introduction.letter == "a"

    @given(
        st.sampled_from(classic.LETTERS),
        st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
        st.integers(0, 65535),
    )
    def test_parsing_a_packed_introduction_gives_its_content(
        self, letter: str, ip: object, port: int
    ) -> None:
        payload = classic.introduction_payload(letter, Address(str(ip), port))
        expected = Introduction(letter, Address(canonical_host(str(ip)), port))
        assert classic.parse_introduction(payload) == expected

    @pytest.mark.parametrize(
        ("payload", "words"),
        [
            (b"a", "announce a"),
            (b"x", "announce x"),
            (b"i|b|192.0.2.1:5000", "introduce b 192.0.2.1:5000"),
            (b"A", "unknown message of 1 bytes"),
            (b"\xff", "unknown message of 1 bytes"),
            (b"\x1b[31mred", "unknown message of 8 bytes"),
        ],
    )
    def test_classic_payload_is_described(self, payload: bytes, words: str) -> None:
        assert classic.describe(payload) == words

    @pytest.mark.parametrize(
        ("payload", "words"), [(b"x", "ping"), (b"y", "pong"), (b"z", "close"), (b"a", None)]
    )
    def test_classic_peer_message_is_described(self, payload: bytes, words: str | None) -> None:
        assert classic.describe_peer_message(payload) == words
