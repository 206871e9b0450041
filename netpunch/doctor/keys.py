"""The keys of a node's pairs: read as `run` reads them, so what is wrong with them shows here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from netpunch.config.model import EndConfig, Pair, Site
from netpunch.config.secrets import Role, Secret, read_secrets
from netpunch.core.settings import EndSettings
from netpunch.doctor.finding import Finding, from_error, ok, warn
from netpunch.doctor.measuring import Asker
from netpunch.errors import NetpunchError
from netpunch.keys import value_for_control
from netpunch.wire.envelope import ControlChannel
from netpunch.wire.keys import fingerprint

CREDENTIAL_CURE = "`--credentials DIR`: the folder that the unit's LoadCredential= names"


class Key(NamedTuple):
    """What is known of the key of a pair or mesh (`owner`). `name`: its file or credential;
    `secret`: None with the `error`, or where only systemd can read it; `number`: 1 for the second
    key, while it is rotated."""

    owner: str
    pair: str
    name: str
    secret: Secret | None = None
    error: NetpunchError | None = None
    number: int = 0

    @property
    def asker_name(self) -> str:
        """What its `Asker` goes by."""
        return f"{self.owner} (second key)" if self.number else self.owner

    @property
    def fingerprint(self) -> str:
        """As `netpunch key id` prints it; empty for classic pairs."""
        if self.secret is None or self.secret.kind == "classic":
            return ""
        return fingerprint(value_for_control(self.secret, self.owner))

    def asker(self, settings: EndSettings, controls: tuple[str, ...]) -> Asker | None:
        """None without a key, or for classic pairs: to these control answers registrations only."""
        if self.secret is None or self.secret.kind == "classic":
            return None
        key = value_for_control(self.secret, self.pair)
        channel = ControlChannel(key, self.pair, settings.end)
        return Asker(self.asker_name, settings, channel, controls)


class Reader(NamedTuple):
    """How secrets are read; see `config.secrets.read_secret`."""

    site: Site
    environ: Mapping[str, str]
    credentials: Path | None

    def keys(self, owner: EndConfig | Pair, pair: str, role: Role) -> tuple[Key, ...]:
        """One, or two while the key is rotated. Never raises for a secret that cannot be had."""
        source = owner.secret
        names = [Path(each.path).name or each.kind for each in source.all]
        unread = tuple(
            Key(source.mesh or pair, pair, name, number=number) for number, name in enumerate(names)
        )
        if source.kind == "generate":
            return unread
        if source.kind == "credential" and not (
            self.credentials or self.environ.get("CREDENTIALS_DIRECTORY")
        ):
            return unread
        try:
            secrets = read_secrets(
                source,
                owner.protocol,
                site=self.site,
                pair=pair,
                role=role,
                environ=self.environ,
                credentials=self.credentials,
            )
        except NetpunchError as error:
            return (unread[0]._replace(error=error),)
        return tuple(
            key._replace(secret=secret) for key, secret in zip(unread, secrets, strict=True)
        )


def unusable(keys: Iterable[Key], credentials: Path | None) -> Iterator[Finding]:
    """Those that cannot be read here."""
    for key in keys:
        if key.error is not None:
            yield _unreadable(key, key.error)
        elif key.secret is None and key.name == "generate":
            yield ok("key", "made by the process that runs both ends", key.pair)
        elif key.secret is None and credentials is None:
            text = f"{key.name}: only the systemd service can open it"
            yield warn("key", text, CREDENTIAL_CURE, key.pair)
        elif key.secret is not None and key.secret.kind == "classic" and key.secret.warnings:
            message = key.secret.warnings[0].message.removeprefix("warning: ")
            what, _, cure = message.rpartition(": ")
            yield warn("key", f"{key.name}: {what}", cure, key.pair)
        elif key.secret is not None and key.secret.kind == "classic":
            text = f"{key.name}: classic; control cannot be asked without registering"
            yield ok("key", text, key.pair)


def _unreadable(key: Key, error: NetpunchError) -> Finding:
    """Without the place in the site file, which the message begins with."""
    text = str(error).partition("\n")[0]
    found = from_error("key", error, key.pair)
    _, marker, message = text.partition(f".{_key_name(text)}: ")
    if not marker:
        return found
    what, colon, cure = message.partition(": ")
    return found._replace(text=what, cure=cure) if colon else found._replace(text=message)


def _key_name(text: str) -> str:
    return next(
        (name for name in ("secret_file", "credential", "secret") if f".{name}: " in text), ""
    )
