"""The keys of a whole site at once: `netpunch key new --all` and `netpunch key control --all`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from netpunch.cli.new_files import SECRET_FILE_MODE, NewFile, write_new_files
from netpunch.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from netpunch.config.model import Pair, SecretSource, Site


class KeyFile(NamedTuple):
    """The key of a pair or mesh, and the name of its file, as the site file names it."""

    owner: str
    name: str


class Outcome(NamedTuple):
    """The files that were made, and how many were there already."""

    made: list[Path]
    kept: int


def make_keys(site_file: Path, folder: Path) -> Outcome:
    """A new key in `folder` for each pair and mesh of the site that has none there yet.

    Raises what reading a site file raises, ConfigurationError if a file there is no pair's key, and
    OutputError, having made nothing."""
    from netpunch.keys import load_key, new_key

    lacking: dict[str, str] = {}
    wanted = list(key_files(load_site(site_file)))
    for each in wanted:
        if (folder / each.name).exists():
            load_key(folder / each.name)
        else:
            lacking[each.name] = new_key()
    return write_keys(folder, lacking, len(wanted))


def derive_keys(site_file: Path, keys: Path, folder: Path, control: str | None) -> Outcome:
    """Control's key in `folder` for each pair and mesh of the site, from theirs in `keys`: for a
    `control`, only of those that it introduces. Raises as `make_keys` does."""
    from netpunch.keys import control_key

    lacking: dict[str, str] = {}
    wanted = list(key_files(load_site(site_file), control))
    for each in wanted:
        derived = control_key(keys / each.name, each.owner)
        path = folder / each.name
        if not path.exists():
            lacking[each.name] = derived
        elif path.read_bytes().strip() != derived.encode():
            raise ConfigurationError(
                f"{path}: expected the key that follows from {keys / each.name}, got another one: "
                "move it away"
            )
    return write_keys(folder, lacking, len(wanted))


def write_keys(folder: Path, texts: dict[str, str], wanted: int) -> Outcome:
    """Of `wanted` keys those that lack, by the name of their file."""
    place = folder.absolute()
    write_new_files(
        place.parent,
        [
            NewFile(f"{place.name}/{name}", f"{text}\n", SECRET_FILE_MODE, "")
            for name, text in texts.items()
        ],
    )
    return Outcome([folder / name for name in texts], wanted - len(texts))


def load_site(file: Path) -> Site:
    from netpunch.config.loading import load

    return load(file)


def key_files(site: Site, control: str | None = None) -> Iterator[KeyFile]:
    """Of all pairs and meshes that have a key in a file. Raises UsageError if there is none or no
    such control, ConfigurationError if two keys have one name."""
    from netpunch.config.loading import owner_of

    if control is not None and control not in (each.name for each in site.controls):
        names = ", ".join(each.name for each in site.controls)
        raise UsageError(f"{site.path}: expected --control {names}, got {control!r}")
    paths: dict[str, str] = {}
    owners: dict[str, str] = {}
    for pair in site.pairs:
        owner = owner_of(pair)
        if owner in owners or not _has_key_file(pair, control):
            continue
        name = file_name(pair.secret)
        if paths.setdefault(name, pair.secret.path) != pair.secret.path:
            raise ConfigurationError(
                f"{site.path}: {owner} names a second file {name}, in another folder than the "
                "first: in one folder their names have to differ"
            )
        if name in owners.values():
            raise ConfigurationError(
                f"{site.path}: {owner} has the same key file as another pair, {name}: give each "
                'one of its own, such as secret_file: "keys/{pair}.key"'
            )
        owners[owner] = name
        yield KeyFile(owner, name)
    if not owners:
        raise UsageError(f"{site.path}: no pair or mesh with a `secret_file` or `credential`")


def _has_key_file(pair: Pair, control: str | None) -> bool:
    """A classic pair has a password instead."""
    return (
        pair.protocol == "v2"
        and pair.secret.kind in ("file", "credential")
        and (control is None or control in pair.controls)
    )


def file_name(source: SecretSource) -> str:
    """LoadCredential=ID:FOLDER puts `ID_` in front of the names of the folder's files."""
    if source.kind == "credential":
        return source.path.partition("_")[2] or source.path
    return Path(source.path).name
