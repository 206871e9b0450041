"""Site files as people, editors and clipboards damage them, each with its secrets.

    python -m tests.config.mutants [--count 100000] [--seed 0]

loads so many and tells how many were refused, how long the slowest took, and every one that tells
four or more characters in a row of a secret.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from typing import NamedTuple

from netpunch.cli import main as netpunch

FRAGMENT = 4
"""Characters in a row: that many of a secret are none's business."""

MOST_CHANGES = 3
"""To one file. More of them make it no site file, of which less is told."""

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9juQUJ"

SECRETS = [
    f"npk1:{KEY}",
    f"npc1:{KEY}",
    "Zq7xKw9Vj3",
    "Zq7x Kw9V jTb4 Yd2W",
    "Zq7x: Kw9V, jTb4",
    "Zq7x #Kw9V 'jTb4\"",
    "Zq7xü\u2028Kw9Vß jTb4",
    "{Zq7x} [Kw9V] &jTb4",
    "Zq7x-Kw9V_jTb4=",
    "Zq7x\\Kw9V/jTb4%",
]
"""Fragments of none of them stand in a message of ours or in the rest of the file."""

WRITTEN: list[Callable[[str], str]] = [
    lambda secret: secret,
    lambda secret: '"' + secret.replace("\\", "\\\\").replace('"', '\\"') + '"',
    lambda secret: "'" + secret.replace("'", "''") + "'",
    lambda secret: f"|\n      {secret}",
    lambda secret: f">-\n      {secret}",
    lambda secret: f'"{secret}"  # once {secret}x',
    lambda secret: f"&anchor {secret}",
    lambda secret: f"!!str {secret}",
]

LAYOUTS = [
    """\
version: 1
control: {node: vps, address: "vps.example.net:10001"}  # the only one
defaults:
  deadline: 60s
pairs:
  home-office:
    protocol: classic
    slots: a-b
    secret: SECRET
    a: {node: home, local: ":5000"}
    b:
      node: office
      check: [ping, -c1, 10.8.0.2]
  other:
    secret_file: keys/other.key
    a: {node: branch, mode: keep}
    b: {node: office, mode: keep}
""",
    """\
version: 1
control:
  - {name: one, address: "192.0.2.1:10001"}
pairs:
  home: {protocol: classic, slots: c-d, secret: SECRET, a: {env_file: "/run/{pair}.env"}, b: {}}
  next: {secret: generate, a: {}, b: {}}
""",
    """\
{
  "version": "1",
  "control": {"address": "192.0.2.1:10001"},
  "pairs": {
    "home": {
      "protocol": "classic", "slots": "a-b", "secret": SECRET,
      "hooks": {"up": ["/bin/echo", "hello"]},
      "a": {}, "b": {"local": "[::1]:5000"}
    }
  }
}
""",
    """\
version: 1
control: {address: "192.0.2.1:10001"}
pairs:
  first:
    a: {}
    b: {}
    hooks:
      up:
        - /bin/echo
        - linked
    secret: SECRET
  second:
    secret: SECRET
    a: {}
    b: {}
""",
]

TYPED = [
    *(":", ": ", " ", "  ", "\n", "\n  ", "\n      ", "\t", "#", " #", ",", ", ", "-", "- ", "? "),
    *("'", '"', "{", "}", "[", "]", "|", ">", "&", "*", "!", "%", "@", "`", "\\", "=", "<<", "~"),
    *("\ufeff", "\u00a0", "\u200b", "\u2028", "\x85", "\0", "\x1b", "\r", "é", "ı", "е", "0"),
    *("---\n", "...\n", "x", "key", "secret", "npk1:"),
]


class Mutant(NamedTuple):
    """A damaged file, and the secret that stands in it."""

    text: str
    secret: str


def mutants(seed: int) -> Iterator[Mutant]:
    """Without end; the same for the same seed."""
    random = Random(seed)
    while True:
        secret = random.choice(SECRETS)
        text = random.choice(LAYOUTS).replace("SECRET", random.choice(WRITTEN)(secret))
        for _ in range(random.randint(1, MOST_CHANGES)):
            text = random.choice(CHANGES)(random, text)
        yield Mutant(text, secret)


def _place(random: Random, text: str) -> int:
    """Every second time near a secret."""
    if random.random() < 0.5 and (at := text.find("secret")) >= 0:
        return min(len(text), max(0, at + random.randint(-8, 40)))
    return random.randint(0, len(text))


def _type(random: Random, text: str) -> str:
    at = _place(random, text)
    return text[:at] + random.choice(TYPED) + text[at:]


def _mistype(random: Random, text: str) -> str:
    at = _place(random, text)
    return text[:at] + random.choice(TYPED) + text[at + 1 :]


def _delete(random: Random, text: str) -> str:
    at = _place(random, text)
    return text[:at] + text[at + random.randint(1, 4) :]


def _swap(random: Random, text: str) -> str:
    at = _place(random, text)
    return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]


def _misspell(random: Random, text: str) -> str:
    """A letter of the key itself."""
    word = list("secret")
    at = random.randrange(len(word))
    word[at] = random.choice(["", word[at] * 2, *TYPED])
    return text.replace("secret", "".join(word), 1)


def _lines(random: Random, text: str) -> str:
    """One is lost, doubled, joined with the next, or indented otherwise; or two are swapped. But
    a secret keeps its place below its key: without it, it is a text like any other."""
    lines = text.split("\n")
    at = random.randrange(len(lines))
    around = "\n".join(lines[at : at + 3])
    holds_secret = any(secret[:FRAGMENT] in around for secret in SECRETS)
    match random.randrange(5):
        case 0 if not holds_secret:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case 2:
            lines[at : at + 2] = [" ".join(lines[at : at + 2])]
        case 3:
            lines[at] = " " * random.randrange(8) + lines[at].lstrip(" ")
        case 4 if not holds_secret:
            lines[at : at + 2] = lines[at : at + 2][::-1]
    return "\n".join(lines)


def _cut(random: Random, text: str) -> str:
    """The rest was not saved."""
    return text[: random.randint(0, len(text))]


CHANGES = [_type, _mistype, _delete, _swap, _misspell, _misspell, _lines, _cut]


class Verdict(NamedTuple):
    """What `netpunch check --show` makes of a file: all that it says, its exit code, seconds."""

    said: str
    code: int
    seconds: float


def verdict(folder: Path, mutant: Mutant) -> Verdict:
    file = folder / "s.yaml"
    file.write_bytes(mutant.text.encode("utf-8", "surrogatepass"))
    said = io.StringIO()
    begun = time.perf_counter()
    with redirect_stdout(said), redirect_stderr(said):
        code = netpunch(["check", "--show", str(file)])
    return Verdict(said.getvalue(), code, time.perf_counter() - begun)


def told(mutant: Mutant, said: str) -> set[str]:
    """The fragments of the secret in what was said, also as Python or YAML would escape them."""
    secret = mutant.secret
    plain = {secret[at : at + FRAGMENT] for at in range(len(secret) - FRAGMENT + 1)} - HARMLESS
    pieces = plain | {repr(piece)[1:-1] for piece in plain} | {p.replace("'", "''") for p in plain}
    return {piece for piece in pieces if piece in said}


HARMLESS = {"npk1", "npc1", "pk1:", "pc1:"}
"""How key texts begin: messages say so."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.config.mutants")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["NETPUNCH_NODE"] = "home"  # of no matter to files without nodes
    refused, leaks, slowest = 0, 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for _, mutant in zip(range(options.count), mutants(options.seed), strict=False):
            seen = verdict(Path(folder), mutant)
            refused += seen.code != 0
            slowest = max(slowest, seen.seconds)
            if found := told(mutant, seen.said):
                leaks += 1
                print(f"--- tells {found}\n{mutant.text}\n--- said\n{seen.said}")
    print(f"{options.count:,} files: {refused:,} refused, {leaks} tell of a secret")
    print(f"the slowest took {slowest * 1000:.0f} ms")
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
