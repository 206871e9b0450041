"""Reading a secret from a file that a caller or the command line names, by the rules of site
files."""

from __future__ import annotations

from pathlib import Path

from netpunch.config.files import read_regular
from netpunch.config.model import Protocol
from netpunch.config.secrets import MAX_SECRET_FILE, UNSAFE_MODE, Role, Secret, decode
from netpunch.errors import ConfigurationError, MissingFileError, PermissionsError, lack_behind


def read_secret_file(file: str | Path, protocol: Protocol, role: Role) -> Secret:
    """The secret in a file, for an end or for a control.

    Raises MissingFileError, PermissionsError (it can't be read, or others can) and
    ConfigurationError (it holds no such secret); none of them repeats any of it."""
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


def control_key(secret: Secret, pair: str) -> bytes:
    """The key of a pair for control: itself, or derived from the pair's key."""
    if secret.kind == "control":
        return secret.value
    from netpunch.wire import keys  # imports cryptography

    return keys.control_key(secret.value, pair)
