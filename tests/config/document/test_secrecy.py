"""What errors hide of a file: too much rather than too little."""

from __future__ import annotations

from itertools import chain, product

import pytest
import yaml

from netpunch.config.document.problems import SiteError
from netpunch.config.document.secrecy import hidden, may_be_named, sounds_secret, without_keys
from tests.config.conftest import LoadText

PASSWORD = "CanaryTweet9Qx"
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9juQUJ"
WHOLE = f"npk1:{KEY}"
KEY_TEXTS = (f"npk1:{KEY}", f"npc1:{KEY}", f"NPK1:{KEY}")
FRAGMENT = 8
"""Characters of a canary in a row: that many are found by nobody by chance."""

KEYS = ("secret:", "secret :", '"secret":', "Secret:", "sekret:", "psk:", "secret", "secret =")
KEYS_OF_PLACES = ("secret_file:", "credential:")
"""Where a key text may be pasted by mistake; any other text there is a name."""

SLIPS = [
    *("CANARY", '"CANARY', "'CANARY", '"CANARY\\p"', "!CANARY", "!CANARY!x y", "&CANARY x"),
    *("*CANARY", "%CANARY", "@CANARY", "`CANARY", "#CANARY", "x #CANARY", "x # CANARY"),
    *("CANARY: x", "CANARY : x", "[CANARY", "[CANARY]", "{CANARY", "{CANARY}", "|CANARY"),
    *("|\n      CANARY\n    x", "\n      CANARY\n     CANARY", "\n    CANARY", "\nCANARY"),
    *("\tCANARY", "- CANARY", "? CANARY", '"CANARY" CANARY', "'x\nCANARY' CANARY", "::CANARY"),
    *("x {pair} CANARY", "{pair}CANARY", "[::1]:CANARY", "CANARY, CANARY", "\0CANARY", "CANARY\7"),
]
PLACES = {
    "block": "    ENTRY\n    a: {}\n    b: {}\n",
    "flow": "    a: {ENTRY, node: x}\n    b: {}\n",
    "behind an error": "    a: {node: @, ENTRY}\n",
    "before an error": "    a: {ENTRY}} }\n",
    "an error below": "    ENTRY\n  x: @\n",
    "a tab below": "    ENTRY\n    \tx: 1\n",
}
HEAD = """\
version: 1
control: {address: "127.0.0.1:10001"}
pairs:
  p:
"""


@pytest.mark.parametrize("parser", ["C", "Python"])
@pytest.mark.parametrize("place", PLACES)
def test_no_report_shows_any_part_of_a_secret(
    load_text: LoadText, monkeypatch: pytest.MonkeyPatch, place: str, parser: str
) -> None:
    if parser == "Python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    reports = 0
    secrets = product([PASSWORD, KEY], KEYS, SLIPS)
    for canary, key, slip in chain(secrets, product(KEY_TEXTS, KEYS_OF_PLACES, SLIPS)):
        text = HEAD + PLACES[place].replace("ENTRY", f"{key} {slip.replace('CANARY', canary)}")
        report = report_of(load_text, text)
        reports += bool(report)
        told = fragments(canary.rpartition(":")[2]) & fragments(report)
        assert not told, f"{text}\n{report}"
    print(f"{place}, {parser} parser: {reports} reports, 0 canaries")
    assert reports > 500


def report_of(load_text: LoadText, text: str) -> str:
    """What is said of a file; empty if it happens to be right."""
    try:
        load_text(text)
    except SiteError as error:
        return str(error)
    return ""


def fragments(text: str) -> set[str]:
    return {text[begin : begin + FRAGMENT] for begin in range(len(text) - FRAGMENT + 1)}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        # A secret, however it is written.
        ("secret: hunter2", "secret: *******"),
        ("{secret: 'x', a: b}", "{secret: **********"),
        ("'secret' : x\nmode: c", "'secret' : *\nmode: c"),
        ("secret hunter2", "**************"),
        ("- secret = hunter2", "- ****************"),
        ("  secret: |\n    x\n\n   y: z\n  mode: b", "  secret: *\n    *\n\n   ****\n  mode: b"),
        ("secret: 'x\ny'\nmode: b", "secret: **\n**\nmode: b"),
        ("secret: #hunter2", "secret: ********"),
        ("secret: generated", "secret: *********"),
        ("secret: generate  # x", "secret: generate  ***"),
        ("{secret: generate, b: {secret: x}}", "{secret: generate, b: {secret: ***"),
        # Keys of ours, and what they say.
        ("secret_file: keys/x.key", "secret_file: keys/x.key"),
        ("secret_file: npk1:abc\n  def\nmode: c", "secret_file: npk1:***\n  ***\nmode: c"),
        ("check: [curl, password=x]", "check: [curl, password=**"),
        ("up:\n  - /bin/echo\n  - {x: y}", "up:\n  - /bin/echo\n  - {x: y}"),
        ("local: [::1]:5000", "local: [::1]:5000"),
        ("template: {pair} {raddr}", "template: {pair} {raddr}"),
        ('template: "a: b" # c', 'template: "a: b" ***'),
        ("{node: home, mode: keep}", "{node: home, mode: keep}"),
        ("mode: keep\n  hunter2", "mode: keep\n  *******"),
        ("# hunter2", "*********"),
        ("mode: keep\n# x\nfoo: hunter2", "mode: keep\n***\nfoo: *******"),
        ("mode: keep\n#secret: |\n  hunter: 2", "mode: keep\n**********\n  *********"),
        # Unknown keys: their names, but not right behind a secret or another unknown one.
        ("home-office:\n  dedline: 5s", "home-office:\n  dedline: 5s"),
        ("mode: keep\nsecre!t: hunter2", "mode: keep\n****************"),
        ("mode: keep\npzk2: hunter2\nhunter: 3", "mode: keep\npzk2: *******\n*********"),
        ("mode: keep\nfoo: |\n  hunter: 2", "mode: keep\nfoo: *\n  *********"),
        ("{node: x, foo: {bar: 1, mode: y}}", "{node: x, foo: {*****************"),
        ("{node: x, foo: {mode: keep, bar: 1}}", "{node: x, foo: {mode: keep, bar: 1}}"),
        ("key-west:\n  a: {node: x}", "key-west:\n  a: {node: x}"),
        ("secret: x\nhome:\n  a: {}", "secret: *\n*****\n  a: {}"),
        (f"secret: {WHOLE}\nhome:\n  a: {{}}", f"secret: {'*' * 53}\nhome:\n  a: {{}}"),
        # Key texts anywhere.
        ("no key: npk1:abc-_9=", "********************"),
        ("node: NPC1:abc-_9=", "node: NPC1:*******"),
    ],
)
def test_lines_are_shown_up_to_what_may_be_secret(text: str, shown: str) -> None:
    assert "\n".join(hidden(text.split("\n"))) == shown


@pytest.mark.parametrize("key", ["sceret", "secrte", "seecret", "sexret", "secrett", "secre"])
def test_misspelt_secret_is_named(key: str) -> None:
    assert may_be_named(key)


@pytest.mark.parametrize("key", ["secrZq7x", "secretZq7x", "secr-Zq7"])
def test_key_that_the_secret_became_part_of_is_not_named(key: str) -> None:
    """Its colon was lost, such as with `et: `."""
    assert not may_be_named(key)


def test_key_texts_in_messages_become_stars() -> None:
    assert without_keys("an npk1:abc, and npc1: de.") == "an npk1:***, and npc1:***."


def test_names_of_keys_that_sound_secret() -> None:
    assert all(map(sounds_secret, ["secret", "PSK", "api_key", "passwd", "secret_key", "sekret"]))
    assert not any(map(sounds_secret, ["secret_file", "session_key", "credential", "keepalive"]))
