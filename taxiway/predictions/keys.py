"""The keys of encrypted fields: as a config file names them, and as those who encrypt and decrypt hold them."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from taxiway.errors import ConfigError

KEY_BYTES = 32
KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FILE = "file:"
_EXPECTED = f"expected {KEY_BYTES} random bytes in base64, as `openssl rand -base64 {KEY_BYTES}` makes them"


@dataclass(frozen=True)
class FieldKeys:
    """Keys of 32 bytes by their ids; the first one encrypts, all of them decrypt. Their bytes are not shown."""

    secrets: Mapping[str, bytes] = field(repr=False)

    @property
    def first(self) -> str:
        return next(iter(self.secrets))


def read_keys(texts: Mapping[str, str]) -> FieldKeys:
    """Keys as a config file has them: base64, or `file:PATH` of a file that holds nothing else.

    Raises:
        ConfigError: there is none, a file can't be read, or a key is no key.
    """
    if not texts:
        raise ConfigError(f"encrypt_keys: there is no key; give one as ID: KEY, {_EXPECTED}")
    try:
        return FieldKeys({name: parse_key(name, _content(name, text)) for name, text in texts.items()})
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_key(name: str, text: str) -> None:
    """What can be said of a key without opening its file. Raises ValueError."""
    if not text.startswith(_FILE):
        parse_key(name, text)
    elif KEY_ID.fullmatch(name) is None:
        raise _bad_id(name)


def parse_key(name: str, text: str) -> bytes:
    """Raises ValueError, which does not show the key."""
    if KEY_ID.fullmatch(name) is None:
        raise _bad_id(name)
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"encrypt_keys.{name}: is no base64; {_EXPECTED}") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"encrypt_keys.{name}: has {len(key)} bytes; {_EXPECTED}")
    return key


def _content(name: str, text: str) -> str:
    if not text.startswith(_FILE):
        return text
    path = text.removeprefix(_FILE)
    try:
        return Path(path).read_text()
    except OSError as error:
        raise ConfigError(f"encrypt_keys.{name}: {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"encrypt_keys.{name}: {path} holds no text; {_EXPECTED}") from None


def _bad_id(name: str) -> ValueError:
    return ValueError(f"encrypt_keys: {name!r} can't be a key's id; use up to 64 letters, digits, `.`, `_` and `-`")
