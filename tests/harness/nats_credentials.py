"""NATS credentials: signed JSON Web Tokens and keys, as the tool nsc makes them.

The operator signs accounts, an account signs its users, and servers trust the operator. The claims:
https://docs.nats.io/running-a-nats-service/nats_admin/security/jwt
"""

import base64
import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from time import time
from typing import Any

import nkeys  # type: ignore[import-untyped]

_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_UNLIMITED = -1
_CONNECTIONS = {"subs": _UNLIMITED, "data": _UNLIMITED, "payload": _UNLIMITED}
_ACCOUNT = {
    "conn": _UNLIMITED,
    "leaf": _UNLIMITED,
    "imports": _UNLIMITED,
    "exports": _UNLIMITED,
    "wildcards": True,
}
_JETSTREAM = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), _UNLIMITED)
_FILE = """\
-----BEGIN NATS USER JWT-----
{claim}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""


class _Signer:
    """A new key pair that signs claims.

    Args:
        kind: operator, account or user, as a prefix of nkeys.
    """

    def __init__(self, kind: int) -> None:
        self._seed: bytes = nkeys.encode_seed(os.urandom(32), kind)
        self._key = nkeys.from_seed(self._seed)

    @property
    def seed(self) -> str:
        """The private key, in the encoding of credentials files."""
        return self._seed.decode()

    @property
    def name(self) -> str:
        """The public key, which identifies the signer."""
        return str(self._key.public_key.decode())

    def sign(self, subject: str, claim: Mapping[str, object]) -> str:
        """Return a signed token.

        Args:
            subject: the public key that the claim is about.
            claim: its NATS part.
        """
        common = {
            "jti": os.urandom(16).hex(),
            "iat": int(time()),
            "iss": self.name,
            "sub": subject,
            "name": subject,
        }
        text = f"{_encoded_json(_HEADER)}.{_encoded_json({**common, 'nats': {**claim, 'version': 2}})}"
        return f"{text}.{_encoded(self._key.sign(text.encode()))}"


class Operator:
    """An operator with one account, which may use JetStream without limits.

    Args:
        folder: for the credentials files of users.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._operator = _Signer(nkeys.PREFIX_BYTE_OPERATOR)
        self._system = _Signer(nkeys.PREFIX_BYTE_ACCOUNT)  # required, and not used
        self._account = _Signer(nkeys.PREFIX_BYTE_ACCOUNT)

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """The options of a server that trusts this operator."""
        return {
            "operator": self._operator.sign(self._operator.name, {"type": "operator"}),
            "system_account": self._system.name,
            "resolver": "MEMORY",
            "resolver_preload": {
                self._system.name: self._sign_account(self._system, {}),
                self._account.name: self._sign_account(self._account, _JETSTREAM),
            },
        }

    def user(
        self, name: str, *, publish: Sequence[str] | None = None, subscribe: Sequence[str] | None = None
    ) -> Path:
        """Create a user, and return the path of its credentials file.

        Args:
            name: of the file.
            publish: the subjects that it may publish to; None for all.
            subscribe: the subjects that it may subscribe to; None for all.
        """
        user = _Signer(nkeys.PREFIX_BYTE_USER)
        rights = {"pub": _allowed(publish), "sub": _allowed(subscribe)}
        claim = self._account.sign(user.name, {"type": "user", **rights, **_CONNECTIONS})
        path = self._folder / f"{name}.creds"
        path.write_text(_FILE.format(claim=claim, seed=user.seed))
        path.chmod(0o600)
        return path

    def _sign_account(self, account: _Signer, more: Mapping[str, object]) -> str:
        limits = {**_CONNECTIONS, **_ACCOUNT, **more}
        return self._operator.sign(account.name, {"type": "account", "limits": limits})


def _allowed(subjects: Sequence[str] | None) -> dict[str, list[str]]:
    return {} if subjects is None else {"allow": [*subjects]}


def _encoded_json(value: object) -> str:
    return _encoded(json.dumps(value, separators=(",", ":")).encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
