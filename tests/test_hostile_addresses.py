"""Addresses as strangers may write them: nothing but an address ever reaches a template, an env
file or an argument, and no shell finds more in them."""

from __future__ import annotations

import ipaddress
import re
import shlex
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from random import Random

import pytest

from netpunch.address import Address, parse_address
from netpunch.config.model import EndConfig
from netpunch.core.events import Linked, PathKind
from netpunch.errors import OutputError
from netpunch.node.publish import describe
from netpunch.output.envfile import link_variables, write_env_file
from netpunch.template import render
from netpunch.wire.classic import parse_introduction
from netpunch.wire.v2 import ADDRESS_LENGTH, Malformed, pack_address, unpack_address
from tests.hostile import TEXTS, meddled, nothing_ran, texts
from tests.node.recorder import end_with

VALUE = re.compile(r"[A-Za-z0-9_.:/@%+,\-\[\]]*", re.ASCII)
"""What an env file may hold, as documented."""

WORDS = ["{pair}", "{end}", "{laddr}", "{lhost}", "{lport}", "{raddr}", "{rhost}", "{rport}"]
WRITTEN = [
    "192.0.2.1:5000",
    "0.0.0.0:0",
    "[2001:db8::1]:65535",
    "[::ffff:192.0.2.1]:7",
    "[fe80::1%eth0]:1",
]
ODD_BYTES = [b"\0", b"\4", b"\6", b"\xff", b"\x0a", b"$", b"\x1b"]
LOCAL = Address("0.0.0.0", 5000)
HOSTS = ["192.0.2.1", "2001:db8::1"]
SHELLS = [shell for shell in ("sh", "bash", "dash") if shutil.which(shell)]
LEGAL = 200
"""Files of legal addresses: each waits for the disk."""
Addresses = Iterator[Address | None]
AT = "2026-01-01T00:00:00.250000Z"


def introduced() -> Iterator[Address | None]:
    """By a hostile control, in the text of classic."""
    for text in meddled("introductions", WRITTEN):
        found = parse_introduction(b"i|b|" + text.encode("utf-8", "surrogatepass"))
        yield found.address if found else None


def unpacked() -> Iterator[Address | None]:
    """By a hostile control or partner, in the 19 bytes of v2."""
    random = Random("packed")
    for _ in range(TEXTS):
        address = Address(random.choice(["192.0.2.1", "2001:db8::1", "::", "::1"]), 5000)
        data = bytearray(pack_address(address))
        for _ in range(random.randrange(4)):
            data[random.randrange(ADDRESS_LENGTH)] = random.choice(ODD_BYTES)[0]
        if random.random() < 0.3:
            mapped = bytes(10) + b"\xff\xff" + random.randbytes(4)
            data = bytearray(struct.pack("!B16sH", 6, mapped, random.randrange(65536)))
        try:
            yield unpack_address(bytes(data))
        except Malformed:
            yield None


def assert_canonical(address: Address) -> None:
    ip = ipaddress.ip_address(address.host)
    assert address.host == str(ip)
    assert not (ip.version == 6 and ip.ipv4_mapped)
    assert 0 <= address.port <= 65535
    assert parse_address(str(address)) == address


def assert_harmless(address: Address, end: EndConfig) -> None:
    """In everything that is derived from a link."""
    variables = link_variables("p", "a", LOCAL, address, AT)
    assert all(map(VALUE.fullmatch, variables.values()))
    values = describe(end, linked(address), 0.0).values
    argv = [render(f"--x={word}", values) for word in WORDS]
    line = render(" ".join(f"--x={word}" for word in WORDS), values)
    assert line.split() == shlex.split(line) == argv


def linked(remote: Address) -> Linked:
    return Linked(0, LOCAL, remote, PathKind.OBSERVED, 0.01, 0.1)


@pytest.mark.parametrize("told", [introduced, unpacked])
def test_addresses_from_the_network_are_canonical_and_harmless_everywhere(
    tmp_path: Path, told: Callable[[], Addresses]
) -> None:
    verdicts: Counter[str] = Counter()
    end = end_with(tmp_path)
    for address in told():
        verdicts["refused" if address is None else "taken"] += 1
        if address is not None:
            assert_canonical(address)
            assert_harmless(address, end)
    assert verdicts.total() == TEXTS
    assert len(verdicts) == 2
    print(f"addresses {told.__name__}: {dict(verdicts)}, 0 that are not canonical")


def test_shells_find_nothing_but_values_in_an_env_file(tmp_path: Path) -> None:
    """Every accepted file is sourced: a hostile value would be executed or changed."""
    folder = tmp_path / "env"
    folder.mkdir()
    written: dict[str, dict[str, str]] = {}
    addresses = [address for address in unpacked() if address][:LEGAL]
    hosts = (Address(host, 5000) for host in chain(texts("hosts"), meddled("more", HOSTS)))
    for number, remote in enumerate(chain(addresses, hosts)):
        variables = link_variables("p", "a", LOCAL, remote, AT)
        name = f"{number}.env"
        with suppress(OutputError):
            write_env_file(folder / name, variables)
            written[name] = variables
    assert len(written) >= LEGAL
    refused = LEGAL + 2 * TEXTS - len(written)
    assert refused > TEXTS
    for shell in SHELLS:
        assert sourced(shell, folder, list(written)) == list(written.values())
    assert nothing_ran(tmp_path)
    print(
        f"env files: {refused} texts refused, {len(written)} files read back by"
        f" {' and '.join(SHELLS)}, 0 values changed, 0 run"
    )


def sourced(shell: str, folder: Path, names: list[str]) -> list[dict[str, str]]:
    """What a shell knows after each of these files, read one after the other."""
    variables = list(link_variables("p", "a", LOCAL, LOCAL, AT))
    show = " ".join(f'"${name}"' for name in variables)
    script = f"for file; do . ./\"$file\"; printf '%s\\0' {show}; done"
    told = subprocess.run(
        [shell, "-euc", script, shell, *names], cwd=folder, capture_output=True, timeout=60
    )
    assert (told.returncode, told.stderr) == (0, b"")
    values = told.stdout.decode().split("\0")[:-1]
    each = len(variables)
    return [
        dict(zip(variables, values[begin : begin + each], strict=True))
        for begin in range(0, len(values), each)
    ]


def test_a_link_is_published_only_as_a_whole(tmp_path: Path) -> None:
    """If a hostile address ever gets that far, the env file refuses it, and nothing is written."""
    (tmp_path / "vpn.in").write_text("remote {rhost}\n")
    files = {"files": [{"template": "vpn.in", "to": "{pair}.conf"}], "env_file": "p.env"}
    end = end_with(tmp_path, **files)
    before = sorted(tmp_path.iterdir())
    for text in meddled("published", HOSTS, LEGAL):
        if not VALUE.fullmatch(text):
            with pytest.raises(OutputError, match="would need quoting"):
                describe(end, linked(Address(text, 5000)), 0.0).write()
    assert sorted(tmp_path.iterdir()) == before
