"""Whom the dashboard answers: this machine alone, or, where that was asked for, those who know a password or sign in.

Imports neither torch nor Streamlit. The password itself is never kept: the server gets a salted digest through its environment.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import secrets
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path

from toast_core.errors import ToastError

OWN_HOSTS = ("localhost", "127.0.0.1")
PASSWORD_VARIABLE = "TOAST_PASSWORD"
MIN_PASSWORD_CHARS = 12
_SHARING_VARIABLE = "TOAST_DASHBOARD_SHARING"
_MAX_PASSWORD_BYTES = 1024
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,62})(\.[a-z0-9]([a-z0-9-]{0,62}))*")
_AUTHLIB = "pip install 'Authlib>=1.3.2'"


class SharingError(ToastError, ValueError):
    """The dashboard cannot be shared in the way asked for."""


@dataclass(frozen=True)
class Sharing:
    """Who is answered.

    hosts        names that a request's Host header may give
    salt, digest of the password, hex; None where none is asked for
    sign_in      whether every page asks to sign in with the identity provider of secrets.toml
    """

    hosts: tuple[str, ...] = OWN_HOSTS
    salt: str | None = None
    digest: str | None = None
    sign_in: bool = False

    @property
    def is_open(self) -> bool:
        """Whether requests from other machines are taken."""
        return self.digest is not None or self.sign_in

    def knows(self, authorization: str) -> bool:
        """Whether an Authorization header holds the password, with any user name; compared in constant time."""
        scheme, _, code = authorization.partition(" ")
        if scheme.lower() != "basic" or self.salt is None or self.digest is None:
            return False
        try:
            _, _, password = base64.b64decode(code.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(_digest(self.salt, password), self.digest)

    def to_environment(self) -> dict[str, str]:
        """What `from_environment` reads in the server's process."""
        return {_SHARING_VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> "Sharing":
        """What `launch` decided; this machine alone where the server was started by hand."""
        values = json.loads(os.environ.get(_SHARING_VARIABLE, "{}"))
        return cls(**values | {"hosts": tuple(values.get("hosts", OWN_HOSTS))})


def read_sharing(share: bool, password_file: Path | None, allowed_hosts: Sequence[str], folder: Path, home: Path) -> Sharing:
    """Decide who is answered from the command line's flags, TOAST_PASSWORD and secrets.toml.

    Args:
        share: whether other machines may ask at all.
        password_file: holds the password; goes before TOAST_PASSWORD.
        allowed_hosts: names, beside this machine's own, under which it is asked.
        folder, home: where .streamlit/secrets.toml is looked for.

    Raises:
        SharingError: flags that need --share, no name, no password and no identity provider, or a password that is too short.
    """
    if not share:
        if password_file is not None or allowed_hosts:
            flag = "--password-file" if password_file is not None else "--allowed-host"
            raise SharingError(f"{flag} is for a shared dashboard; add --share, or leave it out")
        return Sharing()
    if not allowed_hosts:
        raise SharingError("--share needs the name that others will type; add --allowed-host NAME, for example the name of this machine")
    hosts = (*OWN_HOSTS, *(_checked_host(name) for name in allowed_hosts))
    password, sign_in = _read_password(password_file), _has_provider(folder, home)
    if password is None and not sign_in:
        raise SharingError(
            f"--share needs a password of at least {MIN_PASSWORD_CHARS} characters; give --password-file FILE or set {PASSWORD_VARIABLE}, "
            "or configure an identity provider in .streamlit/secrets.toml under [auth]"
        )
    if password is None:
        return Sharing(hosts, sign_in=True)
    salt = secrets.token_hex(16)
    return Sharing(hosts, salt, _digest(salt, password), sign_in)


def _digest(salt: str, password: bytes) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + password).hexdigest()


def _checked_host(name: str) -> str:
    """A host name or address as browsers send it, in lower case; no scheme, port or wildcard."""
    plain = name.strip().lower().rstrip(".")
    try:
        return str(ip_address(plain.strip("[]")))
    except ValueError:
        pass
    if not _NAME.fullmatch(plain):
        raise SharingError(f"--allowed-host {name!r:.80} is no host name; write a name or an address alone, for example desk.example.org")
    return plain


def _read_password(file: Path | None) -> bytes | None:
    """The password, without the line break at its end; None where none is given."""
    if file is None:
        given, where = os.environ.get(PASSWORD_VARIABLE), PASSWORD_VARIABLE
        if given is None:
            return None
        password = given.encode("utf-8", "surrogateescape")
    else:
        where = f"password file {file}"
        try:
            with file.open("rb") as opened:
                password = opened.read(_MAX_PASSWORD_BYTES + 2)
        except OSError as error:
            raise SharingError(f"{where} cannot be read ({error.strerror}); check the path") from error
        password = password.removesuffix(b"\n").removesuffix(b"\r")
    try:
        text = password.decode("utf-8")
    except UnicodeDecodeError:
        raise SharingError(f"{where} is not UTF-8 text; write one line of text") from None
    if len(password) > _MAX_PASSWORD_BYTES or not text.isprintable():
        raise SharingError(f"{where} is not one line of at most {_MAX_PASSWORD_BYTES} printable characters; write one line of text")
    if len(text) < MIN_PASSWORD_CHARS:
        raise SharingError(f"{where} has {len(text)} characters, fewer than {MIN_PASSWORD_CHARS}; choose a longer password")
    return password


def _has_provider(folder: Path, home: Path) -> bool:
    """Whether secrets.toml configures an identity provider, as Streamlit reads it.

    Raises:
        SharingError: it cannot be read, or Authlib is missing.
    """
    for path in (home / ".streamlit" / "secrets.toml", folder / ".streamlit" / "secrets.toml"):
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except (OSError, ValueError) as error:
            raise SharingError(f"{path} cannot be read ({error}); mend it or move it away") from error
        if isinstance(values.get("auth"), dict):
            if find_spec("authlib") is None:
                raise SharingError(f"{path} configures an identity provider, which needs a package that is not installed; {_AUTHLIB}")
            return True
    return False
