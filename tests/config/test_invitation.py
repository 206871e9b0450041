"""netpunch.config.invitation: what goes in comes out; anything else is refused with a reason."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.config.blueprint import TUNNELS, VPNS, Blueprint, Identity, Vpn, site_text
from netpunch.config.invitation import (
    MAX_TEXT,
    PREFIX,
    ROLES,
    Invitation,
    Role,
    format_invitation,
    parse_invitation,
)
from netpunch.config.loading import load
from netpunch.config.values import HostPort

KEY = bytes(range(32))
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
HOST_NAME = (
    st.lists(LABEL, min_size=1, max_size=3).map(".".join).filter(lambda t: not t[-1].isdigit())
)
HOST = st.one_of(HOST_NAME, st.ip_addresses().map(str).filter(lambda t: t not in ("0.0.0.0", "::")))
CONTROL = st.builds(HostPort, HOST_NAME, st.integers(1, 65533))
NODE = st.one_of(LABEL, st.sampled_from(["null", "on", "1e5", "0x1f", "12.5", "_", "y", "n"]))
BYTES_32 = st.binary(min_size=32, max_size=32)
NETWORK = st.integers(0, 2**20 - 1).map(
    lambda place: ipaddress.IPv4Network((TUNNELS.network_address + 4 * place, 30))
)
PAIR = st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True)


@st.composite
def invitations(draw: st.DrawFn) -> Invitation:
    vpn = draw(st.sampled_from(VPNS))
    node, a, b = draw(st.lists(NODE, min_size=3, max_size=3, unique=True))
    site = Blueprint(draw(PAIR), draw(CONTROL), node, a, b, vpn)
    role = draw(st.sampled_from(ROLES))
    if vpn == "none":
        return Invitation(role, site, draw(BYTES_32))
    site = site._replace(
        network=draw(NETWORK),
        port=draw(st.integers(1, 65534)),
        known_by=(draw(BYTES_32), draw(BYTES_32)),
    )
    identity = None
    if role != "control":
        certificate = draw(st.binary(min_size=1, max_size=500)) if vpn == "openvpn" else b""
        identity = Identity(draw(BYTES_32), certificate)
    return Invitation(role, site, draw(BYTES_32), identity)


def example(role: Role = "b", vpn: Vpn = "wireguard-share") -> Invitation:
    control = HostPort("vps.example.net", 10001)
    site = Blueprint("home-office", control, "vps", "home", "office", vpn)
    if vpn == "none":
        return Invitation(role, site, KEY)
    network = ipaddress.IPv4Network("10.200.0.4/30")
    site = site._replace(network=network, port=51820, known_by=(KEY, KEY[::-1]))
    identity = None if role == "control" else Identity(KEY, b"der" if vpn == "openvpn" else b"")
    return Invitation(role, site, KEY, identity)


def sealed(body: bytes) -> str:
    """An invitation with the right length and checksum, whatever is in it."""
    body = (len(body) + 4).to_bytes(2, "big") + body
    checksum = hashlib.sha256(PREFIX.encode() + body).digest()[:4]
    return PREFIX + base64.urlsafe_b64encode(body + checksum).decode().rstrip("=")


@given(invitations())
def test_an_invitation_survives_its_way(invitation: Invitation) -> None:
    text = format_invitation(invitation)
    assert len(text) < MAX_TEXT
    assert text.isascii()
    assert text.isprintable()
    assert parse_invitation(f" {text}\r\n") == invitation


@pytest.mark.parametrize("role", ROLES)
def test_the_longest_invitation_fits_a_line_of_a_terminal(role: Role) -> None:
    name = ".".join(["a" * 62] * 4)
    site = Blueprint("p" * 32, HostPort(name, 65533), f"1{name}", f"2{name}", f"3{name}", "openvpn")
    network = ipaddress.IPv4Network("10.200.0.4/30")
    site = site._replace(network=network, port=5000, known_by=(KEY, KEY))
    identity = None if role == "control" else Identity(KEY, bytes(500))
    invitation = Invitation(role, site, KEY, identity)
    text = format_invitation(invitation)
    assert len(text) < MAX_TEXT
    assert parse_invitation(text) == invitation


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invitation"):
        parse_invitation(text)


@given(st.text(alphabet="ABCxyz019_-", max_size=400))
def test_random_digits_behind_the_prefix_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="damaged invitation"):
        parse_invitation(PREFIX + text)


@given(st.binary(max_size=300))
def test_random_content_with_a_right_checksum_is_refused_or_harmless(body: bytes) -> None:
    """Only a program makes such; it must not be able to do more than an invitation can."""
    with suppress(ValueError):
        assert format_invitation(parse_invitation(sealed(body))) == sealed(body)


@given(invitations(), st.data())
def test_a_cut_invitation_is_refused(invitation: Invitation, data: st.DataObject) -> None:
    text = format_invitation(invitation)
    length = data.draw(st.integers(len(PREFIX), len(text) - 1))
    with pytest.raises(ValueError, match="its end is missing; copy the whole line again"):
        parse_invitation(text[:length])


@given(invitations(), st.data())
def test_an_altered_invitation_is_refused(invitation: Invitation, data: st.DataObject) -> None:
    text = format_invitation(invitation)
    place = data.draw(st.integers(len(PREFIX), len(text) - 1))
    digit = data.draw(st.sampled_from("ABCXYZabcxyz0189_-").filter(lambda it: it != text[place]))
    with pytest.raises(ValueError, match="damaged invitation"):
        parse_invitation(text[:place] + digit + text[place + 1 :])


@pytest.mark.parametrize("role", ROLES)
def test_no_alteration_of_one_digit_goes_unnoticed(role: Role) -> None:
    """The unused bits of the last digit included."""
    text = format_invitation(example(role, "none"))
    for place in range(len(PREFIX), len(text)):
        for digit in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
            if digit != text[place]:
                with pytest.raises(ValueError, match="damaged"):
                    parse_invitation(text[:place] + digit + text[place + 1 :])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "got nothing"),
        ("npk1:AAAA", "this is a key, not an invitation"),
        ("npc1:AAAA", "this is a key, not an invitation"),
        ("npi2:AAAA", "a newer netpunch made this invitation"),
        ("hello", "which begins with npi1:"),
        ("npi1:AAA A", "other characters"),
        ("npi1:" + "A" * MAX_TEXT, "too long"),
        ("npi1:", "its end is missing"),
    ],
)
def test_the_reason_of_a_refusal_says_what_to_do(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_invitation(text)


def test_a_refusal_and_a_repr_repeat_no_secret() -> None:
    text = format_invitation(example())
    with pytest.raises(ValueError) as refusal:
        parse_invitation(text[:-5])
    assert text[10:30] not in str(refusal.value)
    shown = repr(example())
    assert repr(KEY) not in shown.replace(repr((KEY, KEY[::-1])), "")


@pytest.mark.parametrize("vpn", VPNS)
def test_controls_invitation_holds_controls_key_and_no_identity(vpn: Vpn) -> None:
    taken = parse_invitation(format_invitation(example("control", vpn)))
    assert taken.identity is None
    assert taken.site == example("a", vpn).site


def with_names(
    pair: str = "p", host: str = "v", nodes: Sequence[str] = "vab", vpn: int = 3, port: int = 1
) -> str:
    """For control."""
    texts = b"".join(bytes((len(each),)) + each.encode() for each in (pair, host, *nodes))
    return sealed(bytes((0, vpn, 0, port)) + texts + KEY)


def test_an_invitation_made_by_hand_is_accepted_if_its_values_are() -> None:
    assert parse_invitation(with_names()).site.control == HostPort("v", 1)


@pytest.mark.parametrize(
    "text",
    [
        with_names(pair="a\nb"),
        with_names(pair="../p"),
        with_names(pair="lan.a.b"),
        with_names(port=0),
        with_names(host='v"\n'),
        with_names(host=""),
        with_names(host="::"),
        with_names(nodes="vaa"),
        with_names(nodes="aab"),
        with_names(nodes=["v", "a", "{b}"]),
        with_names(vpn=4),
        with_names(vpn=0),
    ],
)
def test_values_that_could_do_harm_in_a_file_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not accept"):
        parse_invitation(text)


@pytest.mark.parametrize("network", ["1.1.1.0/30", "192.168.1.0/30", "10.0.0.0/30", "0.0.0.0/30"])
def test_an_invitation_cannot_lead_traffic_for_others_into_the_tunnel(network: str) -> None:
    honest = example()
    site = honest.site._replace(network=ipaddress.IPv4Network(network))
    with pytest.raises(ValueError, match="does not accept"):
        parse_invitation(format_invitation(honest._replace(site=site)))


@given(invitations())
def test_every_invitation_makes_a_site_file_that_is_right(invitation: Invitation) -> None:
    """Whoever made it: no value can break out of its place in the file."""
    site = invitation.site
    with TemporaryDirectory() as folder:
        path = Path(folder) / "site.yaml"
        path.write_text(site_text(site, invitation.node))
        loaded = load(path)
    (pair,) = loaded.pairs
    assert (pair.name, pair.a.node, pair.b.node) == (site.pair, site.a, site.b)
    assert loaded.controls[0].address == site.control
    assert loaded.node == invitation.node
    assert pair.secret.path.endswith(site.key_file)
