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
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from netpunch.config.files import read_regular
from netpunch.config.model import SecretSource, Site
from netpunch.config.problems import Problem, SiteError, problem_at
from netpunch.config.source import source_of
from netpunch.core.settings import Protocol
from netpunch.errors import PermissionsError, lack_behind
from netpunch.redacted import redacted

SecretKind = Literal["pair", "control", "classic"]
Role = Literal["end", "control"]

KEY_SIZE = 32
"""Bytes: as long as the output of the hash that derives everything from it."""

_CHECKSUM_SIZE = 4
"""Bytes: one slip in four billion goes unnoticed, and 36 bytes need no base64 padding."""

_PREFIXES: dict[SecretKind, str] = {"pair": "npk1:", "control": "npc1:"}
_KINDS = {prefix: kind for kind, prefix in _PREFIXES.items()}
_KEY_TEXT = re.compile(r"(np[kc]1:)([A-Za-z0-9_-]{48})")

MAX_SECRET_FILE = 4096
"""Bytes. Nobody's secret is longer; somebody's log file is."""

UNSAFE_MODE = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP if os.name == "posix" else 0
"""Group may read: that is how systemd hands credentials to a service's user."""


class Secret(NamedTuple):
    """A secret in memory. For v2 `value` is 32 bytes, for classic it is as long as it is.

    `warnings` are for people, without the secret."""

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

    Raises ValueError, which says what is wrong without repeating any of the text."""
    match = _KEY_TEXT.fullmatch(text.strip())
    if match is None:
        if text.strip().startswith(tuple(_KINDS)):
            raise ValueError("the key is damaged: it is not as long as a key, copy it anew")
        raise ValueError(
            "is no v2 key: make one with `netpunch key new` "
            "(a password, as the Go program takes it, needs `protocol: classic`)"
        )
    prefix, encoded = match.groups()
    checked = base64.urlsafe_b64decode(encoded)
    value, checksum = checked[:KEY_SIZE], checked[KEY_SIZE:]
    if not hmac.compare_digest(checksum, _checksum(prefix, value)):
        raise ValueError("the key is damaged: its checksum does not fit, copy it anew")
    return Secret(_KINDS[prefix], value)


def decode(data: bytes, protocol: Protocol, role: Role) -> Secret:
    """The secret in the bytes of a file or of an inline text, for an end or for a control.

    Raises ValueError, which says what is wrong without repeating any of it."""
    if protocol == "classic":
        if not data:
            raise ValueError("the secret is empty")
        return Secret("classic", data)
    secret = parse_key(data.decode("ascii", "replace"))
    if role == "end" and secret.kind == "control":
        raise ValueError(
            "is control's key (npc1:), with which an end can do nothing: "
            "it needs the pair's own key (npk1:)"
        )
    return secret


def generate(protocol: Protocol) -> Secret:
    """A fresh secret for a pair all of which runs in this process. Call it once for the pair."""
    value = os.urandom(KEY_SIZE)
    return Secret("pair", value) if protocol == "v2" else Secret("classic", value.hex().encode())


def read_secret(
    source: SecretSource,
    protocol: Protocol,
    *,
    site: Site,
    key: str,
    role: Role,
    environ: Mapping[str, str],
    credentials: Path | None = None,
) -> Secret:
    """The secret that `source` names. `key` is where it stands, as `pairs.home.secret_file`;
    `role` is `control` only on a node that runs no end of that pair. `credentials` is a folder
    that a unit's LoadCredential= names, to read from instead of the service's own.

    Raises SiteError (a ConfigurationError) if there is none or it is no such secret,
    PermissionsError if it can't be read or others can, ResourcesError."""
    place = _Place(source, site, key, by_systemd=credentials is None)
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


class _Place(NamedTuple):
    """Where a secret is named, for errors about it."""

    source: SecretSource
    site: Site
    key: str
    by_systemd: bool
    """Whether a credential comes from systemd."""

    @property
    def pair(self) -> str:
        return self.key.split(".")[1]

    def problem(self, message: str) -> Problem:
        text = source_of(str(self.site.path), self.site.source)
        return problem_at(text, self.source.position, self.key, message)

    def error(self, message: str) -> SiteError:
        return SiteError((self.problem(message),))

    def forbidden(self, message: str) -> PermissionsError:
        return PermissionsError(str(self.problem(message)))


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
    """The file that becomes the credential `name`: LoadCredential=ID:FOLDER puts `ID_` before the
    name of each file in the folder."""
    path = folder / name
    return path if os.access(path, os.F_OK) else folder / (name.partition("_")[2] or name)


def _load_credential(name: str) -> str:
    """What a unit loads the credential `name` with: a folder of keys, as our units do it, where
    the name allows that."""
    identifier, _, file = name.partition("_")
    return f"{identifier}:FOLDER (which has a file {file})" if file else f"{name}:FILE"


def _read_file(path: Path, place: _Place, protocol: Protocol, role: Role) -> bytes:
    try:
        data, mode = read_regular(path, MAX_SECRET_FILE)
    except FileNotFoundError:
        if place.source.kind == "credential" and place.by_systemd:
            raise place.error(
                f"systemd did not load the credential {path.name}: it loads credentials only when "
                "the service starts. Put the key where LoadCredential="
                f"{_load_credential(path.name)} finds it and restart the service, or use "
                "`secret_file`, which a reload reads anew"
            ) from None
        advice = _how_to_get(path, place.pair, protocol, role)
        raise place.error(f"there is no file {path}: {advice}") from None
    except OSError as error:
        if lack := lack_behind(error, str(path)):
            raise lack from None
        advice = "`chown` it to the user who runs netpunch"
        if place.source.kind == "credential":
            advice = "run this as root"  # to whom such keys belong
        raise place.forbidden(f"{path} can't be read ({error.strerror}): {advice}") from None
    except ValueError as error:
        raise place.error(f"{path} {error}: it can't be a secret") from None
    if mode & UNSAFE_MODE:
        raise place.forbidden(
            f"others may read {path}, or its group may write it: `chmod 600 {path}`"
        )
    return data


def _how_to_get(path: Path, pair: str, protocol: Protocol, role: Role) -> str:
    """A new key on every node would be as many keys that don't match."""
    if protocol == "classic":
        return "copy the secret of the other nodes: control and both ends share it"
    if role == "control":
        return (
            f"make it with `netpunch key control {pair} FILE -o {path.name}` where the pair's own "
            "key is, and copy it here"
        )
    return (
        f"copy the other end's, or make the pair's first one with `netpunch key new -o {path}` "
        f"(and control's from it, with `netpunch key control {pair} {path}`)"
    )


def _advice(secret: Secret, source: SecretSource, role: Role) -> str | None:
    """What is allowed, but probably not meant."""
    if secret.kind == "classic" and secret.value.endswith(b"\n") and source.kind != "inline":
        return (
            "the secret ends with a newline, which is part of it: "
            "the partner needs the very same bytes"
        )
    if secret.kind == "pair" and role == "control":
        return (
            "this is the pair's own key (npk1:); a control needs only what "
            "`netpunch key control PAIR FILE` derives from it (npc1:), and can't read along then"
        )
    return None


def _checksum(prefix: str, value: bytes) -> bytes:
    return hashlib.sha256(prefix.encode("ascii") + value).digest()[:_CHECKSUM_SIZE]
