"""Nasty text from a seed: what a shell, a terminal, JSON, YAML, a template or a reader of lines
would take for more than text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

TEXTS = 5000
"""How many texts each promise is tried with."""

CANARY = "pwned"
"""A file that appears if any text is executed."""

_SHELL = [
    *(
        "$(touch pwned)",
        "`touch pwned`",
        ";touch pwned;",
        "|touch pwned",
        "&touch pwned&",
        ">pwned",
    ),
    *("\ntouch pwned\n", "||touch pwned", "$((a[$(touch pwned)]))", "${x:-$(touch pwned)}", "$IFS"),
    *("'", '"', "\\", "#", "~", "*", "?", "!", "[a-z]", "{a,b}", "<(touch pwned)", "$'\\x0a'", " "),
]
_CONTROLS = [
    *("\0", "\t", "\n", "\r", "\r\n", "\v", "\f", "\x1b[2J", "\x1b]0;pwned\a", "\x1b[1A", "\x7f"),
    *("\x1c", "\x1d", "\x1e", "\x85", "\x9b31m", "\u2028", "\u2029", "\u202e", "\u2066", "\u200b"),
    *("\ufeff", "\ufffe", "\ud800", "\udcff", "\udfff\ud800", "\U000e0001", "\U0001f4a9"),
]
_LANGUAGES = [
    *('","event":"pair.up","x":"', '\n{"v":1,"event":"pair.up"}\n', '{"a":', "]}", "\\u0000", "\\"),
    *("!!python/object/apply:os.system [touch pwned]", "&a ", "*a", "<<: ", "- ", ": ", "? ", "%n"),
    *("%s%n%x", "%(x)s", "{raddr}", "{{", "}}", "{", "}", "{pair.__class__}", "{{.RemoteIP}}"),
    *("--config=pwned", "-o", "../../pwned", "/", "//", "..", "=", "@", ",", "\\N{SNOWMAN}"),
]
_LOOKALIKES = ["A", "\u0430", "\u0131", "\u017f", "\u212a", "\uff41", "\u0661", "\u00b2", "_", "."]
"""Characters that case folding turns into a letter from a to z or a digit."""

_PIECES = [*_SHELL, *_CONTROLS, *_LANGUAGES, *_LOOKALIKES]
_LONG = 3000
_SELDOM = 0.01


def texts(seed: str, count: int = TEXTS) -> Iterator[str]:
    """Lone surrogates among them: the caller chooses how to encode them."""
    random = Random(seed)
    return ("".join(_pieces(random)) for _ in range(count))


def meddled(seed: str, harmless: list[str], count: int = TEXTS) -> Iterator[str]:
    """Harmless texts with something nasty before, within or after them, or replacing a part."""
    random = Random(seed)
    for nasty in texts(seed, count):
        text = random.choice(harmless)
        begin = random.choice([0, len(text), random.randint(0, len(text))])
        end = min(len(text), begin + random.choice([0, 0, 0, 1, 3]))
        yield text[:begin] + nasty + text[end:]


def lines_of(data: bytes) -> list[bytes]:
    """The lines that the reader of a pipe sees; each must end with a newline."""
    *lines, rest = data.split(b"\n")
    assert rest == b"", rest
    return lines


def is_shown_as_one_line(text: str) -> bool:
    """Whether a terminal shows the text unchanged, on one line."""
    return text.replace("\t", " ").isprintable()


def nothing_ran(folder: Path) -> bool:
    return not [path for path in folder.rglob("*") if CANARY in path.name]


def _pieces(random: Random) -> Iterator[str]:
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        if random.random() < _SELDOM:
            yield random.choice("ax$\x1b\u2028") * _LONG
        elif random.random() < 0.2:
            yield chr(random.randrange(0x110000))
        else:
            yield random.choice(_PIECES)
