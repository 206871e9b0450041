"""Keys of pairs and meshes: make, derive and read them, by the rules of site files."""

from __future__ import annotations

from pathlib import Path

from netpunch.arguments import checked, pair_name
from netpunch.config.files import read_regular
from netpunch.config.secrets import (
    KEY_PREFIXES,
    KEY_SIZE,
    MAX_SECRET_FILE,
    UNSAFE_MODE,
    Role,
    Secret,
    decode,
    format_key,
    generate,
)
from netpunch.core.settings import Protocol
from netpunch.errors import (
    ConfigurationError,
    MissingFileError,
    PermissionsError,
    UsageError,
    lack_behind,
)
from netpunch.mesh import mesh_pair


@checked
def new_key() -> str:
    """Return a fresh pair key as text, `npk1:` and 48 characters.

    Give it to both ends of the pair and to nobody else."""
    return format_key(generate("v2"))


@checked
def control_key(key: bytes | str | Path, pair: str) -> str:
    """Derive what a control needs of a pair's key: a text, `npc1:` and 48 characters.

    With it a control introduces the ends, but can neither read nor forge what they say to each
    other. `pair` is the pair's name, which is part of the derivation. For a mesh, or any of its
    pairs, this is the one key of all of them. `key` is as for `load_key`.

    Raises UsageError and what reading a file raises: see `load_key`."""
    pair_name("pair", pair)
    if mesh := mesh_pair(pair):
        pair = mesh.mesh
    if isinstance(key, bytes) and len(key) == KEY_SIZE:
        secret = Secret("pair", key)
    else:
        secret = read_key("key", key, "control")
    if secret.kind == "control":
        message = "already is a key for control (npc1:): copy it as it is, or give the pair's key"
        if isinstance(key, Path):
            raise ConfigurationError(f"{key}: {message} (npk1:)")
        raise UsageError(f"key: {message} (npk1:)")
    return format_key(Secret("control", value_for_control(secret, pair)))


@checked
def load_key(key: bytes | str | Path) -> bytes:
    """Return the 32 bytes of a pair's key, as `EndSettings.secret` takes them.

    `key` is the Path of a key file, the key's text (`npk1:...`), or its 32 bytes. Only the file's
    owner and group may read the file.

    Raises UsageError if `key` is no pair's key, MissingFileError, PermissionsError (the file can't
    be read, or others can read it), ConfigurationError (it holds no such key) and ResourcesError.
    No message repeats any part of a key."""
    return read_key("key", key, "end").value


@checked
def load_control_key(key: bytes | str | Path, pair: str) -> bytes:
    """Return the 32 bytes of control's key of a pair, as `ControlV2` takes them.

    `key` is as for `load_key`, but control's key (`npc1:...`); from a pair's key (`npk1:...`)
    control's is derived. 32 bytes are control's key. For a pair of a mesh (MESH.NODE.NODE), `key`
    is the mesh's, and that pair's is derived. Raises what `load_key` raises."""
    pair_name("pair", pair)
    return value_for_control(read_key("key", key, "control"), pair)


def value_for_control(secret: Secret, pair: str) -> bytes:
    """The bytes of control's key of a pair: the secret itself, or derived from the pair's or the
    mesh's."""
    from netpunch.wire import keys  # imports cryptography

    derive = keys.pair_control_key if secret.kind == "control" else keys.control_key
    return derive(secret.value, pair)


def read_key(name: str, value: object, role: Role) -> Secret:
    """The v2 key that a caller passes as the argument `name`. 32 bytes don't show which kind of
    key they are: they are taken for what `role` needs."""
    if isinstance(value, Path):
        return read_secret_file(value, "v2", role)
    if isinstance(value, bytes) and len(value) == KEY_SIZE:
        return Secret("pair" if role == "end" else "control", value)
    prefix = "npk1:" if role == "end" else "npc1:"
    wanted = f"a v2 key: {KEY_SIZE} bytes, its text ({prefix}...), or the pathlib.Path of its file"
    if isinstance(value, bytes):
        if not value.startswith(tuple(each.encode() for each in KEY_PREFIXES)):
            raise UsageError(
                f"{name}: expected {wanted}, got {len(value)} bytes; `netpunch key new` makes one"
            )
        value = value.decode("ascii", "replace")
    if not isinstance(value, str):
        raise UsageError(f"{name}: expected {wanted}, got {type(value).__name__}")
    if not value.strip().startswith(KEY_PREFIXES):
        raise UsageError(
            f"{name}: expected {wanted}, got a text that is no key; pass a file by its Path, as "
            "in Path('chat.key'); `netpunch key new` makes a key"
        )
    try:
        return decode(value.encode(errors="replace"), "v2", role)
    except ValueError as error:
        raise UsageError(f"{name}: {error}; expected {wanted}") from None


def read_secret_file(file: str | Path, protocol: Protocol, role: Role) -> Secret:
    """The secret in a file, for an end or for a control.

    Raises MissingFileError, PermissionsError (it can't be read, or others can read it),
    ConfigurationError (it holds no such secret) and ResourcesError; no message repeats any part
    of it."""
    try:
        data, mode = read_regular(Path(file), MAX_SECRET_FILE)
        if mode & UNSAFE_MODE:
            raise PermissionsError(
                f"{file}: others may read it, or its group may write it: `chmod 600 {file}`"
            )
        return decode(data, protocol, role)
    except FileNotFoundError:
        raise MissingFileError(
            f"{file}: no such file (`netpunch key new -o FILE` makes a key)"
        ) from None
    except OSError as error:
        if lack := lack_behind(error, str(file)):
            raise lack from None
        raise PermissionsError(f"{file}: can't be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{file}: {error}") from None
