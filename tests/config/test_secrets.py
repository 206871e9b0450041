"""Key texts, and reading secrets from files, credentials and the site file itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.config.display import show
from netpunch.config.document.problems import SiteError
from netpunch.config.loading import load, select
from netpunch.config.model import EndConfig, Pair, SecretSource, Site
from netpunch.config.secrets import (
    Role,
    Secret,
    format_key,
    generate,
    parse_key,
    read_secrets,
)
from netpunch.core.settings import Protocol
from netpunch.errors import ConfigurationError, NetpunchError, PermissionsError

PAIR_KEY = "npk1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9juQUJ"
CONTROL_KEY = "npc1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh85Q9Q3"
VALUE = bytes(range(32))


def test_key_texts_have_the_format_of_the_documentation() -> None:
    """Made with openssl and base64: 0 to 31, then 4 bytes of SHA-256(prefix, 0 to 31)."""
    assert parse_key(PAIR_KEY) == Secret("pair", VALUE)
    assert parse_key(f"\t{CONTROL_KEY}\r\n") == Secret("control", VALUE)
    assert format_key(Secret("pair", VALUE)) == PAIR_KEY
    assert format_key(Secret("control", VALUE)) == CONTROL_KEY


@given(st.binary(min_size=32, max_size=32), st.sampled_from(["pair", "control"]))
def test_a_key_formatted_and_parsed_is_the_same_key(value: bytes, kind: str) -> None:
    secret = Secret("pair" if kind == "pair" else "control", value)
    assert parse_key(format_key(secret)) == secret


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a v2 key: make one with `netpunch key new`"),
        ("hunter2", "not a v2 key: make one with `netpunch key new`"),
        (PAIR_KEY[5:], "not a v2 key: make one with `netpunch key new`"),
        (PAIR_KEY[:-1], "damaged key: wrong length"),
        (f"{PAIR_KEY}\n{PAIR_KEY}", "damaged key: wrong length"),
        (PAIR_KEY + "=", "damaged key: wrong length"),
        (PAIR_KEY[:-1] + "Z", "damaged key: wrong checksum"),
        (PAIR_KEY.replace("AAEC", "AAED"), "damaged key: wrong checksum"),
        ("npc1" + PAIR_KEY[4:], "damaged key: wrong checksum"),
    ],
)
def test_a_text_that_is_no_key_is_refused_without_repeating_it(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        parse_key(text)
    assert "AAE" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_only_v2_keys_have_a_text_form() -> None:
    with pytest.raises(ValueError, match="only a v2 key"):
        format_key(Secret("classic", VALUE))
    with pytest.raises(ValueError, match="only a v2 key"):
        format_key(Secret("pair", b"short"))


def test_the_repr_of_a_secret_hides_it() -> None:
    assert repr(Secret("classic", b"hunter2")) == "Secret(kind='classic', warnings=())"


def test_generated_secrets_differ_and_have_the_kind_of_their_protocol() -> None:
    one, other = generate("v2"), generate("v2")
    assert (one.kind, len(one.value)) == ("pair", 32)
    assert one.value != other.value
    text = generate("classic")
    assert text.kind == "classic"
    assert len(bytes.fromhex(text.value.decode("ascii"))) == 32


SITE = """\
version: 1
control: {address: "127.0.0.1:10001"}
pairs:
  p:
    SECRET
    a: {}
    b: {}
"""


class Folder:
    """A site file and its secret in a folder of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key = path / "p.key"

    def site(self, secret: str = "secret_file: p.key", protocol: Protocol = "v2") -> Site:
        slots = "\n    protocol: classic\n    slots: a-b" if protocol == "classic" else ""
        file = self.path / "site.yaml"
        file.write_text(SITE.replace("SECRET", secret + slots))
        return load(file)

    def write(self, content: str | bytes, mode: int = 0o600) -> None:
        self.key.write_bytes(content.encode() if isinstance(content, str) else content)
        self.key.chmod(mode)

    def read(
        self,
        site: Site | None = None,
        role: Role = "end",
        environ: dict[str, str] | None = None,
    ) -> Secret:
        site = site or self.site()
        pair: Pair = site.pairs[0]
        source: SecretSource = pair.secret
        (secret,) = read_secrets(
            source, pair.protocol, site=site, pair=pair.name, role=role, environ=environ or {}
        )
        return secret

    def refusal(
        self,
        error: type[NetpunchError],
        site: Site | None = None,
        role: Role = "end",
        environ: dict[str, str] | None = None,
    ) -> str:
        """What is said instead of a secret, without the place."""
        with pytest.raises(error) as caught:
            self.read(site, role, environ)
        first, line, caret = str(caught.value).splitlines()
        place = f"{self.path}/site.yaml:5:{caret.index('^') + 1}: "
        assert line.startswith("    secret_file:" if "secret_file" in line else "    credential:")
        assert first.startswith(place)
        return first.removeprefix(place).replace(str(self.path), "DIR")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
@pytest.mark.parametrize("space", ["", "\n", " \r\n\n"])
def test_a_key_file_is_read_whatever_whitespace_follows_the_key(
    folder: Folder, mode: int, space: str
) -> None:
    folder.write(PAIR_KEY + space, mode)
    assert folder.read() == Secret("pair", VALUE)
    assert folder.read().warnings == ()


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o602, 0o666])
def test_a_key_file_that_others_may_read_or_write_is_refused(folder: Folder, mode: int) -> None:
    folder.write(PAIR_KEY, mode)
    assert folder.refusal(PermissionsError) == (
        "pairs.p.secret_file: others may read DIR/p.key, or its group may write it: "
        "`chmod 600 DIR/p.key`"
    )


def test_the_advice_for_a_missing_key_of_control_does_not_make_another_key(folder: Folder) -> None:
    assert folder.refusal(SiteError, role="control") == (
        "pairs.p.secret_file: there is no file DIR/p.key: make it with `netpunch key control p "
        "FILE -o p.key` where the pair's own key is, and copy it here"
    )


def test_the_advice_for_a_missing_classic_secret_is_to_copy_it(folder: Folder) -> None:
    refused = folder.refusal(SiteError, folder.site(protocol="classic"), role="control")
    assert "copy the secret from another node" in refused
    assert "netpunch key" not in refused


def test_the_report_about_a_missing_key_file_is_complete(folder: Folder) -> None:
    with pytest.raises(SiteError) as caught:
        folder.read()
    assert str(caught.value) == (
        f"{folder.path}/site.yaml:5:18: pairs.p.secret_file: there is no file {folder.key}: "
        "copy the other end's, or make the first one with "
        f"`netpunch key new -o {folder.key}` (and from it control's, with "
        f"`netpunch key control p {folder.key}`)\n"
        "    secret_file: p.key\n"
        "                 ^"
    )
    assert caught.value.problems[0].key == "pairs.p.secret_file"


def test_a_secret_file_that_cannot_be_read_is_refused_with_the_reason(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.key.mkdir()
    told = "pairs.p.secret_file: DIR/p.key is a directory, so it can't be a secret"
    assert folder.refusal(SiteError) == told
    folder.key.rmdir()
    os.mkfifo(folder.key)
    told = "pairs.p.secret_file: DIR/p.key is not a regular file, so it can't be a secret"
    assert folder.refusal(SiteError) == told
    folder.key.unlink()
    folder.write("x" * 4097)
    told = "pairs.p.secret_file: DIR/p.key is longer than 4,096 bytes, so it can't be a secret"
    assert folder.refusal(SiteError) == told

    site = folder.site()
    monkeypatch.setattr(os, "open", deny)
    assert folder.refusal(PermissionsError, site) == (
        "pairs.p.secret_file: DIR/p.key can't be read (Permission denied): "
        "`chown` it to the user that runs netpunch"
    )


def deny(*_: object) -> int:
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("content", [b"hunter2\n", b"", b"\xff\x00", b"npk1:AAEC", b"a\nb\n"])
def test_a_file_without_a_key_is_refused_without_repeating_it(
    folder: Folder, content: bytes
) -> None:
    folder.write(content)
    told = folder.refusal(SiteError)
    assert told.startswith(
        (
            "pairs.p.secret_file: not a v2 key: make one with `netpunch key new` (",
            "pairs.p.secret_file: damaged key: wrong length; copy it again",
        )
    )
    assert "hunter2" not in told
    assert "AAEC" not in told


def test_control_s_key_is_accepted_for_a_control_and_refused_for_an_end(folder: Folder) -> None:
    folder.write(CONTROL_KEY)
    assert folder.read(role="control") == Secret("control", VALUE)
    assert folder.read(role="control").warnings == ()
    assert folder.refusal(SiteError).startswith(
        "pairs.p.secret_file: this is control's key (npc1:), but an end needs the pair's own key"
    )


PAIR_OF_KEY = f'''\
version: 1
control: {{node: vps, address: "vps:10001"}}
pairs:
  p: {{secret: "{CONTROL_KEY}", a: {{node: %s}}, b: {{node: office}}}}
'''


def in_place(site: Site, owner: Pair | EndConfig, role: Role) -> Secret:
    (secret,) = read_secrets(owner.secret, "v2", site=site, pair="p", role=role, environ={})
    return secret


def test_control_s_own_site_file_may_contain_its_key(tmp_path: Path) -> None:
    """Its ends run elsewhere; where one is started from this file, it is refused."""
    path = tmp_path / "site.yaml"
    path.write_text(PAIR_OF_KEY % "home")
    path.chmod(0o600)
    site = load(path)
    (pair,) = site.pairs
    assert in_place(site, pair, "control").value == VALUE
    with pytest.raises(SiteError, match="this is control's key") as caught:
        in_place(site, pair.a, "end")
    assert CONTROL_KEY[5:] not in str(caught.value)


def test_an_end_on_the_node_of_its_control_needs_the_pair_s_key(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(PAIR_OF_KEY % "vps")
    with pytest.raises(SiteError, match=r"pairs\.p\.secret: this is control's key"):
        load(path)


def test_an_end_s_own_secret_must_be_the_pair_s_key(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    own = f'{{node: home, secret: "{CONTROL_KEY}"}}'
    path.write_text((PAIR_OF_KEY % "home").replace("{node: home}", own))
    with pytest.raises(SiteError, match=r"pairs\.p\.a\.secret: this is control's key"):
        load(path)


def test_a_pair_s_key_on_a_node_with_only_a_control_is_warned_of(folder: Folder) -> None:
    folder.write(PAIR_KEY)
    secret = folder.read(role="control")
    assert (secret.kind, secret.value) == ("pair", VALUE)
    (warning,) = secret.warnings
    assert str(warning).startswith(
        f"{folder.path}/site.yaml:5:18: pairs.p.secret_file: warning: this is the pair's own key"
    )
    assert PAIR_KEY[5:] not in str(warning)


def test_classic_secrets_are_read_byte_for_byte(folder: Folder) -> None:
    site = folder.site(protocol="classic")
    for content in (b"hunter2", b"\xff\0", b" x "):
        folder.write(content)
        assert folder.read(site) == Secret("classic", content)
        assert folder.read(site).warnings == ()
    folder.write(PAIR_KEY)
    secret = folder.read(site)
    assert secret.value == PAIR_KEY.encode()
    assert "the key of a v2 pair" in secret.warnings[0].message
    assert PAIR_KEY[5:] not in str(secret.warnings)
    folder.write("hunter2\n")
    secret = folder.read(site)
    assert (secret.kind, secret.value) == ("classic", b"hunter2\n")
    assert "the secret ends with a newline, which is part of it" in str(secret.warnings[0])
    assert "hunter2" not in str(secret.warnings[0])
    folder.write("")
    assert folder.refusal(SiteError, site) == "pairs.p.secret_file: the secret is empty"


def test_credentials_are_read_from_the_directory_of_systemd(folder: Folder) -> None:
    site = folder.site('credential: "{pair}.key"')
    folder.write(PAIR_KEY, 0o440)
    environ = {"CREDENTIALS_DIRECTORY": str(folder.path)}
    assert folder.read(site, environ=environ) == Secret("pair", VALUE)
    for unset in ({}, {"CREDENTIALS_DIRECTORY": ""}):
        assert folder.refusal(SiteError, site, environ=unset).startswith(
            "pairs.p.credential: $CREDENTIALS_DIRECTORY is not set: expected to run as a systemd "
            "service with LoadCredential=p.key:FILE; use `secret_file` elsewhere"
        )


def test_inline_secrets_are_read_from_the_site_file(folder: Folder) -> None:
    assert folder.read(folder.site(f'secret: "{PAIR_KEY}"')) == Secret("pair", VALUE)
    classic = folder.site('secret: "hunter2\\n"', protocol="classic")
    assert folder.read(classic) == Secret("classic", b"hunter2\n")
    assert folder.read(classic).warnings == ()
    assert folder.read(folder.site("secret: generate")).kind == "pair"


def test_an_inline_control_key_is_refused_for_an_end(folder: Folder) -> None:
    with pytest.raises(SiteError, match=r"pairs\.p\.secret: this is control's key") as caught:
        folder.site(f'secret: "{CONTROL_KEY}"')
    assert CONTROL_KEY[5:] not in str(caught.value)


class TestTwoKeys:
    """While a key is rotated."""

    OTHER = format_key(Secret("pair", bytes(32)))

    def read(self, folder: Folder, line: str) -> list[bytes]:
        site = folder.site(line)
        (pair,) = site.pairs
        secrets = read_secrets(
            pair.a.secret,
            "v2",
            site=site,
            pair="p",
            role="end",
            environ={},
            credentials=folder.path,
        )
        return [each.value for each in secrets]

    @pytest.mark.parametrize(
        "line", ["secret_file: [new.key, p.key]", "credential: [new.key, p.key]"]
    )
    def test_are_read_in_their_order(self, folder: Folder, line: str) -> None:
        folder.write(PAIR_KEY)
        (folder.path / "new.key").write_text(self.OTHER)
        (folder.path / "new.key").chmod(0o600)
        assert self.read(folder, line) == [bytes(32), VALUE]

    def test_may_stand_in_the_file(self, folder: Folder) -> None:
        line = f'secret: ["{PAIR_KEY}", "{self.OTHER}"]'
        assert self.read(folder, line) == [VALUE, bytes(32)]
        shown = show(select(folder.site(line), None, "", None))
        assert "npk1" not in shown

    def test_are_not_the_same(self, folder: Folder) -> None:
        folder.write(PAIR_KEY)
        (folder.path / "new.key").write_text(PAIR_KEY)
        (folder.path / "new.key").chmod(0o600)
        with pytest.raises(ConfigurationError, match="both keys are the same"):
            self.read(folder, "secret_file: [new.key, p.key]")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("secret_file: [a.key, b.key, c.key]", "expected one or two, the new and the old one"),
            ("secret_file: [a.key, a.key]", "expected two different ones"),
            ("secret_file: []", "an empty list"),
            (f'secret: ["{PAIR_KEY}", generate]', "not a v2 key"),
        ],
    )
    def test_other_lists_are_refused(self, folder: Folder, line: str, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            folder.site(line)

    def test_a_classic_pair_has_one(self, folder: Folder) -> None:
        with pytest.raises(ConfigurationError, match="a classic pair has one secret"):
            folder.site("secret_file: [a, b]", "classic")
