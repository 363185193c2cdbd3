"""Signatures: who vouches for the bytes. Optional; where a signer is configured, an unsigned or otherwise signed component is refused.

``component.sig`` in the root holds ``ed25519:`` and the hexadecimal signature of ``twinkle-component`` + the h1 of all other files.
A hash in the same repository would show integrity only; a signature shows who; neither shows that code is harmless.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from twinkle.core.errors import InvalidConfig, MissingExtra
from twinkle.hub_loader.errors import UntrustedComponent
from twinkle.hub_loader.tree import ComponentTree, h1_of

FILE_NAME = "component.sig"
_PREFIX = "ed25519:"


def signed_message(tree: ComponentTree) -> bytes:
    """What is signed: the digest of every file but the signature itself."""
    return b"twinkle-component\n" + h1_of({path: digest for path, digest in tree.digests.items() if path != FILE_NAME}).encode()


def read_signers(home: Path) -> Mapping[str, str]:
    """``[signers]`` of ``$TWINKLE_HOME/signers.toml``: ``"ms://owner/*" = "ed25519:<public key>"``.

    Raises:
        InvalidConfig: it is malformed; a policy that cannot be read must not become none.
    """
    path = home / "signers.toml"
    if not path.is_file():
        return {}
    try:
        signers = tomllib.loads(path.read_text(encoding="utf-8"))["signers"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError) as error:
        raise InvalidConfig(f"{path}: expected a table [signers]: {error}") from error
    for name, key in signers.items():
        if not isinstance(key, str) or not key.startswith(_PREFIX) or len(key) != len(_PREFIX) + 64:
            raise InvalidConfig(f"{path}: {name!r}: expected 'ed25519:' and 64 hexadecimal digits, got {key!r}")
    return dict(signers)


def signer_for(signers: Mapping[str, str], repo: str) -> str | None:
    """The key that has to have signed ``repo``; the repository's own line beats its owner's."""
    return signers.get(repo, signers.get(repo.rpartition("/")[0] + "/*"))


def check_signature(tree: ComponentTree, key: str, where: str) -> None:
    """Raises :class:`UntrustedComponent` unless ``component.sig`` is a signature by ``key`` of all other files."""
    data = tree.files.get(FILE_NAME)
    if data is None:
        raise UntrustedComponent(f"{where}: it is not signed, and your signers.toml asks for {key}")
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise MissingExtra("checking signatures needs the package 'cryptography': pip install 'twinkle-workbench[signatures]'") from error
    try:
        signature = bytes.fromhex(data.decode("ascii").strip().removeprefix(_PREFIX))
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.removeprefix(_PREFIX))).verify(signature, signed_message(tree))
    except (InvalidSignature, ValueError) as error:
        raise UntrustedComponent(f"{where}: {FILE_NAME} is no signature of these files by {key}") from error


def sign(tree: ComponentTree, private_key: bytes) -> bytes:
    """The contents of ``component.sig`` for ``tree``; ``private_key`` is 32 raw bytes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    signature = Ed25519PrivateKey.from_private_bytes(private_key).sign(signed_message(tree))
    return f"{_PREFIX}{signature.hex()}\n".encode()
