"""Who made a bundle: ed25519 signatures of bundle.json, which holds the hashes of all else, in `bundle.sig` beside it.

Hashes show damage; only a signature by a key that is trusted shows the origin. A signature is never part of a model's
digest, so that signing changes no score and no identity.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from acoustic_ad.errors import BundleError, UsageError, refusal
from acoustic_ad.models.bundle_facts import Facts
from acoustic_ad.models.bundle_files import read_regular, replace_durably, strict_json, write_durably
from acoustic_ad.models.bundle_info import validated

SIGNATURE_NAME: Final = "bundle.sig"
MOST_SIGNATURE_BYTES: Final = 4096
MOST_KEY_BYTES: Final = 65_536
# Stands before what is signed, so that a signature is good for nothing else, and none of another program for this.
PURPOSE: Final = b"acoustic-ad bundle 1\0"
_INSTALL: Final = "cryptography is not installed: pip install 'acoustic-ad[sign]'"


class _SignatureFile(Facts):
    """The content of bundle.sig."""

    format: Literal[1] = 1
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # the public key of whoever signed
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key: 32 bytes that no message ever shows."""

    raw: bytes = field(repr=False)

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return bytes(_private(self.raw).public_key().public_bytes_raw())


@dataclass(frozen=True, slots=True)
class Trust:
    """The public keys, 32 bytes each, whose signatures count."""

    keys: frozenset[bytes]

    def check(self, text: bytes, signature: bytes | None) -> None:
        """Raise BundleError unless `signature`, the content of bundle.sig, is one of `text` by a key of these."""
        if signature is None:
            raise BundleError(
                f"it is not signed, and only signed models are wanted: `models sign` makes {SIGNATURE_NAME}"
            )
        key = check_signature(text, signature)
        if key not in self.keys:
            raise BundleError(
                f"it is signed by key {key_name(key)}, which is not trusted: pass its --trust, or leave it"
            )


def read_trust(files: Sequence[Path]) -> Trust:
    """The public keys in these PEM files; raises UsageError, also where there is none."""
    if not files:
        raise UsageError("--require-signed needs --trust PUBKEY: the file that `acoustic-ad models keygen` made")
    return Trust(frozenset(_read_public(file) for file in files))


def key_name(public: bytes) -> str:
    """The short name of a public key, for people to compare."""
    return hashlib.sha256(public).hexdigest()[:16]


def check_signature(text: bytes, signature: bytes) -> bytes:
    """The public key that signed `text`, as the content of bundle.sig says and proves; else BundleError."""
    from_file = validated(_SignatureFile, strict_json(signature, SIGNATURE_NAME), SIGNATURE_NAME)
    key = bytes.fromhex(from_file.key)
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise BundleError(f"its signature cannot be checked: {_INSTALL}") from None
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(from_file.signature), PURPOSE + text)
    except (InvalidSignature, ValueError):
        raise BundleError(f"{SIGNATURE_NAME} is not a signature of this bundle by key {key_name(key)}") from None
    return key


def signature_of(text: bytes, key: SigningKey) -> bytes:
    """The content of bundle.sig for the content of bundle.json."""
    signature = _private(key.raw).sign(PURPOSE + text)
    return json.dumps({"format": 1, "key": key.public.hex(), "signature": signature.hex()}).encode() + b"\n"


def read_signature(bundle: Path) -> bytes | None:
    """The content of a bundle's bundle.sig; None where it has none. Raises BundleError for links and all else."""
    if not os.path.lexists(bundle / SIGNATURE_NAME):
        return None
    return read_regular(bundle / SIGNATURE_NAME, MOST_SIGNATURE_BYTES)


def put_signature(bundle: Path, signature: bytes) -> None:
    """Put a signature into a bundle, in place of one that was there; raises BundleError."""
    try:
        replace_durably(bundle / SIGNATURE_NAME, signature)
    except OSError as error:
        raise BundleError(f"{bundle / SIGNATURE_NAME} cannot be written: {refusal(error)}") from error


# --- keys ------------------------------------------------------------------------------------------------------------


def _write_keys(file: Path, private: bytes, public_file: Path, public: bytes) -> None:
    """Both of them or none: half a key would be refused where it is used, and be in the way of a whole one."""
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    try:
        file.write_bytes(private)
        write_durably(public_file, public)
    except OSError as error:
        theirs = isinstance(error, FileExistsError)  # who has just made a file of that name keeps it
        for path in (file,) if theirs else (file, public_file):
            with suppress(OSError):
                path.unlink()
        raise


def make_keys(file: Path) -> tuple[Path, bytes]:
    """A new pair of keys: the private one to `file`, for its owner's eyes only, the public one to `file`.pub.

    Returns the public key's file, and the key. Raises UsageError: nothing is ever overwritten.
    """
    serialization = _library()
    key = _generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    public_file = file.with_name(file.name + ".pub")
    for path in (file, public_file):
        if os.path.lexists(path):
            raise UsageError(f"{path} exists already: keys are never overwritten; name another file")
    try:
        _write_keys(file, private, public_file, public)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {refusal(error)}") from error
    return public_file, key.public_key().public_bytes_raw()


def read_signing_key(file: Path) -> SigningKey:
    """The private key in a PEM file; raises UsageError, which names the file and shows nothing of it."""
    serialization = _library()
    content = _read(file)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError:
        raise UsageError(f"{file}: the key is encrypted, which is not supported: guard the file instead") from None
    except Exception:
        raise UsageError(f"{file} holds no private key: `acoustic-ad models keygen` makes one") from None
    return SigningKey(_raw(file, key, "private_bytes_raw"))


def _read_public(file: Path) -> bytes:
    serialization = _library()
    content = _read(file)
    if b"PRIVATE KEY" in content:
        raise UsageError(f"{file} is a private key: --trust takes the public one, {file.name}.pub")
    try:
        key = serialization.load_pem_public_key(content)
    except Exception:
        raise UsageError(
            f"{file} holds no public key: --trust takes the .pub file of `acoustic-ad models keygen`"
        ) from None
    return _raw(file, key, "public_bytes_raw")


def _raw(file: Path, key: Any, method: str) -> bytes:
    if not type(key).__name__.lower().startswith("ed25519"):
        raise UsageError(f"{file}: a key of another kind than ed25519: `acoustic-ad models keygen` makes one")
    return bytes(getattr(key, method)())


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_KEY_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    if len(content) > MOST_KEY_BYTES:
        raise UsageError(f"{file} has more than {MOST_KEY_BYTES} bytes: is it the right file?")
    return content


def _library() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError:
        raise UsageError(_INSTALL) from None
    return serialization


def _private(raw: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(raw)


def _generate() -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()
