"""The VPN of a new site: who its ends are, and their configuration files."""

from __future__ import annotations

import re

from netpunch.config.blueprint import Blueprint, Identity, base64_of
from netpunch.core.settings import EndName

TUNNEL_MTU = 1420
"""As contrib/wireguard.conf says why."""


def wireguard_identity() -> tuple[Identity, bytes]:
    """A new key of WireGuard, and the public key to it."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    key = X25519PrivateKey.generate()
    return Identity(key.private_bytes_raw()), key.public_key().public_bytes_raw()


def openvpn_identity(pem: bytes) -> tuple[Identity, bytes]:
    """The P-256 key and the certificate in a PEM text, and the certificate's fingerprint."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, EllipticCurvePrivateKey)
    certificate = x509.load_pem_x509_certificate(pem)
    private = key.private_numbers().private_value.to_bytes(32, "big")
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Identity(private, der), certificate.fingerprint(hashes.SHA256())


def wireguard_conf(site: Blueprint, end: EndName, identity: Identity) -> str:
    """For `wg-quick`."""
    partner: EndName = "b" if end == "a" else "a"
    assert site.known_by is not None
    endpoint = (
        "# No Endpoint and no PersistentKeepalive: the hook sets both.\n"
        if site.vpn == "wireguard-share"
        else f"# netpunch, which relays to {site.node_of(partner)}.\n"
        f"Endpoint = 127.0.0.1:{site.port + 1}\n"
    )
    return f"""\
# WireGuard of {site.node_of(end)}, end {end} of the pair {site.pair}, for wg-quick.

[Interface]
PrivateKey = {base64_of(identity.private_key)}
Address = {site.address_of(end)}/30
ListenPort = {site.port}
# wg-quick would derive it from the route to the endpoint.
MTU = {TUNNEL_MTU}

[Peer]
# {site.node_of(partner)}
PublicKey = {base64_of(site.known_by[partner == "b"])}
AllowedIPs = {site.address_of(partner)}/32
{endpoint}"""


def openvpn_conf(site: Blueprint, end: EndName, identity: Identity, example: str) -> str:
    """From the example in contrib/ for this end. Raises ValueError if the certificate is none."""
    partner: EndName = "b" if end == "a" else "a"
    assert site.known_by is not None
    fingerprint = site.known_by[partner == "b"].hex(":").upper()
    key, certificate = _pem(identity)
    addresses = f"{site.address_of(end)} {site.address_of(partner)}"
    head = (
        f"# OpenVPN of {site.node_of(end)}, end {end} of the pair {site.pair}. netpunch runs it.\n"
    )
    _, _, body = example.partition("\n\n")
    body = re.sub(r"(?<=^ifconfig )\S+ \S+", addresses, body, flags=re.MULTILINE)
    body = re.sub(r"^cert .*$", f"<cert>\n{certificate}</cert>", body, flags=re.MULTILINE)
    body = re.sub(r"^key .*$", f"<key>\n{key}</key>", body, flags=re.MULTILINE)
    return f"{head}\n{body.replace('PEER-FINGERPRINT', fingerprint)}"


def _pem(identity: Identity) -> tuple[str, str]:
    """Of key and certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.derive_private_key(int.from_bytes(identity.private_key, "big"), ec.SECP256R1())
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    certificate = x509.load_der_x509_certificate(identity.certificate)
    return key_pem.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode()
