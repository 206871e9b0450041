"""Key texts, and reading secrets from where the site file says they are.

A v2 key is one line of text: `npk1:` (a pair's key) or `npc1:` (what a control node needs of it),
then base64url, without padding, of 32 bytes and a checksum. A classic secret is any bytes.
"""

import base64
import hashlib
import hmac
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from netpunch.config.document.problems import Problem, SiteError
from netpunch.config.files import read_regular
from netpunch.config.model import SECRET_KEYS, SecretSource, Site
from netpunch.core.settings import Protocol
from netpunch.errors import PermissionsError, lack_behind
from netpunch.redacted import redacted

SecretKind = Literal["pair", "control", "classic"]
Role = Literal["end", "control"]

KEY_SIZE = 32
"""Bytes: as long as the output of the hash that derives everything from it."""

_CHECKSUM_SIZE = 4
"""Bytes: one mistake in four billion goes unnoticed, and 36 bytes need no base64 padding."""

_PREFIXES: dict[SecretKind, str] = {"pair": "npk1:", "control": "npc1:"}
_KINDS = {prefix: kind for kind, prefix in _PREFIXES.items()}
KEY_PREFIXES = tuple(_KINDS)
_V2_KEYS = tuple(prefix.encode() for prefix in _PREFIXES.values())
_KEY_TEXT = re.compile(r"(np[kc]1:)([A-Za-z0-9_-]{48})")

MAX_SECRET_FILE = 4096
"""Bytes. A longer file is not a secret, but something like a log file."""

UNSAFE_MODE = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP if os.name == "posix" else 0
"""The group may read: that is how systemd passes credentials to a service's user."""


class Secret(NamedTuple):
    """A secret in memory. For v2 `value` has 32 bytes, for classic any number.

    `warnings` do not repeat the secret."""

    kind: SecretKind
    value: bytes
    warnings: tuple[Problem, ...] = ()

    def __repr__(self) -> str:
        return redacted(self, "value")


def format_key(secret: Secret) -> str:
    """The text of a v2 key, without a newline. Raises ValueError for a classic secret."""
    if secret.kind not in _PREFIXES or len(secret.value) != KEY_SIZE:
        raise ValueError("only a v2 key has a text form")
    prefix = _PREFIXES[secret.kind]
    checked = secret.value + _checksum(prefix, secret.value)
    return prefix + base64.urlsafe_b64encode(checked).decode("ascii")


def parse_key(text: str) -> Secret:
    """The key in a text; whitespace around it is ignored.

    Raises ValueError with the reason, without repeating any of the text."""
    match = _KEY_TEXT.fullmatch(text.strip())
    if match is None:
        if text.strip().startswith(tuple(_KINDS)):
            raise ValueError("damaged key: wrong length; copy it again")
        raise ValueError(
            "not a v2 key: make one with `netpunch key new` "
            "(a password, as in the Go netpunch, needs `protocol: classic`)"
        )
    prefix, encoded = match.groups()
    checked = base64.urlsafe_b64decode(encoded)
    value, checksum = checked[:KEY_SIZE], checked[KEY_SIZE:]
    if not hmac.compare_digest(checksum, _checksum(prefix, value)):
        raise ValueError("damaged key: wrong checksum; copy it again")
    return Secret(_KINDS[prefix], value)


def decode(data: bytes, protocol: Protocol, role: Role) -> Secret:
    """The secret in the bytes of a file or of an inline text, for an end or for a control.

    Raises ValueError with the reason, without repeating any of the secret."""
    if protocol == "classic":
        if not data:
            raise ValueError("the secret is empty")
        return Secret("classic", data)
    secret = parse_key(data.decode("ascii", "replace"))
    if role == "end" and secret.kind == "control":
        raise ValueError(
            "this is control's key (npc1:), but an end needs the pair's own key (npk1:): copy it "
            "from the other end"
        )
    return secret


def generate(protocol: Protocol) -> Secret:
    """A new secret for a pair that runs in this process as a whole. Call it once for the pair."""
    value = os.urandom(KEY_SIZE)
    return Secret("pair", value) if protocol == "v2" else Secret("classic", value.hex().encode())


class _Place(NamedTuple):
    """Where the file names a secret, for errors about it."""

    source: SecretSource
    site: Site
    pair: str
    by_systemd: bool
    """Whether a credential comes from systemd."""

    def problem(self, message: str) -> Problem:
        owner = f"meshes.{self.source.mesh}" if self.source.mesh else f"pairs.{self.pair}"
        key = f"{owner}.{SECRET_KEYS[self.source.kind]}"
        return self.site.problem(self.source.position, key, message)

    def error(self, message: str) -> SiteError:
        return SiteError((self.problem(message),))

    def forbidden(self, message: str) -> PermissionsError:
        return PermissionsError(str(self.problem(message)))


def read_secrets(
    source: SecretSource,
    protocol: Protocol,
    *,
    site: Site,
    pair: str,
    role: Role,
    environ: Mapping[str, str],
    credentials: Path | None = None,
) -> tuple[Secret, ...]:
    """The secret that `source` names; two of them while a key is rotated. `role` is `control` only
    on a node that runs no end of that pair. `credentials` is the folder in a unit's
    LoadCredential=, to read from instead of the service's own.

    Raises SiteError (a ConfigurationError) if there is no secret or an unsuitable one,
    PermissionsError if this user may not read it or others may, ResourcesError."""
    secrets = tuple(
        _read_secret(
            _Place(each, site, pair, by_systemd=credentials is None),
            protocol,
            role,
            environ,
            credentials,
        )
        for each in source.all
    )
    if len(set(secrets)) < len(secrets):
        place = _Place(source, site, pair, by_systemd=credentials is None)
        raise place.error("both keys are the same: `netpunch key new` makes a new one")
    return secrets


def _read_secret(
    place: _Place,
    protocol: Protocol,
    role: Role,
    environ: Mapping[str, str],
    credentials: Path | None,
) -> Secret:
    source = place.source
    if source.kind == "generate":
        return generate(protocol)
    if source.kind == "inline":
        data = source.text.encode()
    else:
        path = _path(source, environ, credentials, place)
        data = _read_file(path, place, protocol, role)
    try:
        secret = decode(data, protocol, role)
    except ValueError as error:
        raise place.error(str(error)) from None
    advice = _advice(secret, source, role)
    warnings = (place.problem(f"warning: {advice}"),) if advice else ()
    return Secret(secret.kind, secret.value, warnings)


def rotation_note(source: SecretSource, site: Site, pair: str) -> Iterator[Problem]:
    """How far a pair or mesh with two keys is in a rotation: what is to do next."""
    if source.other is None:
        return
    whose = f"mesh {source.mesh}" if source.mesh else f"pair {pair}"
    yield _Place(source, site, pair, by_systemd=True).problem(
        f"note: {whose} has two keys: once all its nodes and controls have the new one, remove the "
        "old one; until then whoever has that is believed"
    )


def _path(
    source: SecretSource, environ: Mapping[str, str], credentials: Path | None, place: _Place
) -> Path:
    if source.kind == "file":
        return Path(source.path)
    if credentials is not None:
        return _loaded_from(credentials, source.path)
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise place.error(
            "$CREDENTIALS_DIRECTORY is not set: expected to run as a systemd service with "
            f"LoadCredential={_load_credential(source.path)}; use `secret_file` elsewhere"
        )
    return Path(directory, source.path)


def _loaded_from(folder: Path, name: str) -> Path:
    """The file that becomes the credential `name`: LoadCredential=ID:FOLDER prepends `ID_` to the
    name of each file in the folder."""
    path = folder / name
    return path if os.access(path, os.F_OK) else folder / (name.partition("_")[2] or name)


def _load_credential(name: str) -> str:
    """The LoadCredential= that provides the credential `name`: by a folder of keys, as in our
    units, if the name allows that."""
    identifier, _, file = name.partition("_")
    return f"{identifier}:FOLDER (with a file {file} in it)" if file else f"{name}:FILE"


def _read_file(path: Path, place: _Place, protocol: Protocol, role: Role) -> bytes:
    try:
        data, mode = read_regular(path, MAX_SECRET_FILE)
    except FileNotFoundError:
        if place.source.kind == "credential" and place.by_systemd:
            raise place.error(
                f"systemd did not load the credential {path.name}: it loads credentials only when "
                "the service starts. Put the key where LoadCredential="
                f"{_load_credential(path.name)} finds it and restart the service, or use "
                "`secret_file`, which each reload reads again"
            ) from None
        advice = _how_to_get(path, place, protocol, role)
        raise place.error(f"there is no file {path}: {advice}") from None
    except OSError as error:
        if lack := lack_behind(error, str(path)):
            raise lack from None
        advice = "`chown` it to the user that runs netpunch"
        if place.source.kind == "credential":
            advice = "run this as root"  # which owns such keys
        raise place.forbidden(f"{path} can't be read ({error.strerror}): {advice}") from None
    except ValueError as error:
        raise place.error(f"{path} {error}, so it can't be a secret") from None
    if mode & UNSAFE_MODE:
        raise place.forbidden(
            f"others may read {path}, or its group may write it: `chmod 600 {path}`"
        )
    return data


def _how_to_get(path: Path, place: _Place, protocol: Protocol, role: Role) -> str:
    """Advice that does not lead to a different new key on every node."""
    mesh = place.source.mesh
    owner, other, name = (
        ("mesh", "another node's", mesh) if mesh else ("pair", "the other end's", place.pair)
    )
    if protocol == "classic":
        return "copy the secret from another node: control and both ends share it"
    if role == "control":
        return (
            f"make it with `netpunch key control {name} FILE -o {path.name}` where the {owner}'s "
            "own key is, and copy it here"
        )
    return (
        f"copy {other}, or make the first one with `netpunch key new -o {path}` "
        f"(and from it control's, with `netpunch key control {name} {path}`)"
    )


def _advice(secret: Secret, source: SecretSource, role: Role) -> str | None:
    """About what is allowed, but probably a mistake."""
    if secret.kind == "classic" and secret.value.startswith(_V2_KEYS):
        return (
            "this is the key of a v2 pair, but `protocol: classic` is set: leave that out, as on "
            "the pair's other hosts (or use a password on all of them)"
        )
    if secret.kind == "classic" and secret.value.endswith(b"\n") and source.kind != "inline":
        return (
            "the secret ends with a newline, which is part of it: "
            "the partner needs exactly the same bytes"
        )
    if secret.kind == "pair" and role == "control":
        return (
            f"this is the {'mesh' if source.mesh else 'pair'}'s own key (npk1:); a control needs "
            f"only the key (npc1:) that `netpunch key control {source.mesh or 'PAIR'} FILE` "
            "derives from it, and with which it can't read along"
        )
    return None


def _checksum(prefix: str, value: bytes) -> bytes:
    return hashlib.sha256(prefix.encode("ascii") + value).digest()[:_CHECKSUM_SIZE]
