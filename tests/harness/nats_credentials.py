"""Credentials as an operator of NATS gives them out: each a signed claim that whoever signed it is trusted.

The operator signs accounts, an account signs its users, and servers know the operator. What is in a claim:
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
    """Somebody with a new key.

    Args:
        kind: what it is, one of the prefixes in nkeys.
    """

    def __init__(self, kind: int) -> None:
        self._seed: bytes = nkeys.encode_seed(os.urandom(32), kind)
        self._key = nkeys.from_seed(self._seed)

    @property
    def seed(self) -> str:
        """The private key, as files have it."""
        return self._seed.decode()

    @property
    def name(self) -> str:
        """The public key, by which others know it."""
        return str(self._key.public_key.decode())

    def sign(self, subject: str, claim: Mapping[str, object]) -> str:
        """Say something of somebody.

        Args:
            subject: of whom.
            claim: what NATS is to know.
        """
        said = {
            "jti": os.urandom(16).hex(),
            "iat": int(time()),
            "iss": self.name,
            "sub": subject,
            "name": subject,
        }
        text = f"{_encoded_json(_HEADER)}.{_encoded_json({**said, 'nats': {**claim, 'version': 2}})}"
        return f"{text}.{_encoded(self._key.sign(text.encode()))}"


class Operator:
    """Who says which clients a server lets in, with an account that may use JetStream as it likes.

    Args:
        folder: where the files of the users are written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._operator = _Signer(nkeys.PREFIX_BYTE_OPERATOR)
        self._system = _Signer(nkeys.PREFIX_BYTE_ACCOUNT)  # a server wants one, and nobody else does
        self._account = _Signer(nkeys.PREFIX_BYTE_ACCOUNT)

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """What a server has to be told."""
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
        """Let somebody in; return the file to connect with.

        Args:
            name: what the file is called.
            publish: the subjects it may publish to; None for all.
            subscribe: the subjects it may subscribe to; None for all.
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
