"""Signatures: what a trusted key signed is used, and nothing else is, whatever was done to a bundle."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_victim import Victim
from small_models import DETAILS, fitted, scores

from acoustic_ad.errors import BundleError, UsageError
from acoustic_ad.models.registry import Registry
from acoustic_ad.models.signing import (
    SIGNATURE_NAME,
    SigningKey,
    Trust,
    make_keys,
    read_signing_key,
    read_trust,
    signature_of,
)

OURS, THEIRS = SigningKey(b"o" * 32), SigningKey(b"t" * 32)
TRUST = Trust(frozenset({OURS.public}))


@pytest.fixture
def signed(tmp_path: Path) -> Victim:
    """A healthy bundle with our signature."""
    victim = Victim(tmp_path / "models")
    victim.registry.sign("m", None, OURS)
    return victim


def refused(victim: Victim, words: str) -> None:
    """By every way in, with one line, where signatures are wanted."""
    registry = Registry(victim.registry.models, TRUST)
    for read in (registry.load, registry.info):
        with pytest.raises(BundleError, match=words) as caught:
            read("m")
        assert "\n" not in str(caught.value) and str(victim.path) in str(caught.value)
    assert [problem is None for _, _, problem in registry.verify()] == [False]


def test_a_signed_model_is_the_same_model(signed: Victim) -> None:
    model, info = Registry(signed.registry.models, TRUST).load("m")
    assert scores(model) == scores(fitted())
    (signed.path / SIGNATURE_NAME).unlink()
    assert signed.registry.info("m").digest == info.digest  # its identity in the store
    assert signed.registry.verify() == [("m", "v0001", None)]


def test_what_is_trained_can_be_signed_before_it_is_used(tmp_path: Path) -> None:
    registry = Registry(tmp_path, TRUST)
    registry.save("m", fitted(), DETAILS, key=OURS)
    assert registry.load("m")[1].version == "v0001" and registry.verify() == [("m", "v0001", None)]


def test_several_keys_can_be_trusted(signed: Victim) -> None:
    Registry(signed.registry.models, Trust(frozenset({THEIRS.public, OURS.public}))).load("m")


def test_an_unsigned_model_is_refused(tmp_path: Path) -> None:
    refused(Victim(tmp_path / "models"), "it is not signed")


def test_a_model_that_somebody_else_signed_is_refused(signed: Victim) -> None:
    signed.registry.sign("m", None, THEIRS)
    refused(signed, "signed by key [0-9a-f]{16}, which is not trusted")


def test_a_model_that_was_changed_and_sealed_again_is_refused(signed: Victim) -> None:
    """Hashes are anybody's to make; without signatures such a bundle is a good one."""
    signed.seal({**signed.document(), "n_clips": 999})
    assert signed.registry.load("m")[1].n_clips == 999
    refused(signed, "not a signature of this bundle")
    assert "not a signature of this bundle" in str(signed.registry.verify()[0][2])  # said also where nobody insists


def test_the_signature_of_another_version_or_machine_is_refused(signed: Victim) -> None:
    registry = signed.registry
    registry.save("m", fitted(1), DETAILS)
    registry.save("other", fitted(), DETAILS, key=OURS)
    for where in (signed.path, registry.models / "other" / "v0001"):
        shutil.copy(where / SIGNATURE_NAME, registry.models / "m" / "v0002" / SIGNATURE_NAME)
        with pytest.raises(BundleError, match="not a signature of this bundle"):
            Registry(registry.models, TRUST).load("m")
    # The whole signed bundle in another's place: its own words say where it belongs.
    shutil.rmtree(registry.models / "m" / "v0002")
    shutil.copytree(registry.models / "other" / "v0001", registry.models / "m" / "v0002")
    with pytest.raises(BundleError, match="whose place is elsewhere"):
        Registry(registry.models, TRUST).load("m")


def test_a_rolled_back_pointer_is_no_way_around(signed: Victim) -> None:
    """The pointer is not signed: it can only choose among versions that are."""
    signed.registry.save("m", fitted(1), DETAILS)
    refused_registry = Registry(signed.registry.models, TRUST)
    with pytest.raises(BundleError, match="it is not signed"):
        refused_registry.load("m")
    with pytest.raises(BundleError, match="it is not signed"):
        refused_registry.promote("m", "v0002")
    assert refused_registry.rollback("m") == "v0001"


SIGNATURES: dict[str, Callable[[Victim], object]] = {
    "empty": lambda v: (v.path / SIGNATURE_NAME).write_bytes(b""),
    "not JSON": lambda v: (v.path / SIGNATURE_NAME).write_bytes(b"\xff\xfe"),
    "another format": lambda v: edit(v, format=2),
    "an unknown key": lambda v: edit(v, more=1),
    "a short key": lambda v: edit(v, key="00"),
    "a key that is no point": lambda v: edit(v, key="ff" * 32),
    "the key of zeros": lambda v: edit(v, key="00" * 32, signature="00" * 64),
    "a key in capitals": lambda v: edit(v, key=OURS.public.hex().upper()),
    "a line more": lambda v: edit(v, key=OURS.public.hex() + "\n"),
    "no signature": lambda v: edit(v, signature=""),
    "zeros": lambda v: edit(v, signature="00" * 64),
    "a signature of the bare text": lambda v: edit(v, signature=bare(v)),
    "somebody's signature under our name": lambda v: edit(v, signature=theirs(v)),
    "too large": lambda v: (v.path / SIGNATURE_NAME).write_bytes(b" " * 5000),
    "a link": lambda v: link(v),
    "a folder": lambda v: ((v.path / SIGNATURE_NAME).unlink(), (v.path / SIGNATURE_NAME).mkdir()),
    "a pipe": lambda v: ((v.path / SIGNATURE_NAME).unlink(), os.mkfifo(v.path / SIGNATURE_NAME)),
}


def edit(victim: Victim, **changes: object) -> None:
    file = victim.path / SIGNATURE_NAME
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def bare(victim: Victim) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(OURS.raw).sign(victim.json.read_bytes()).hex()


def theirs(victim: Victim) -> str:
    return str(json.loads(signature_of(victim.json.read_bytes(), THEIRS))["signature"])


def link(victim: Victim) -> None:
    file = victim.path / SIGNATURE_NAME
    file.rename(victim.path.parent / "elsewhere")
    file.symlink_to(victim.path.parent / "elsewhere")


@pytest.mark.parametrize("case", SIGNATURES)
def test_hostile_signatures(signed: Victim, case: str) -> None:
    SIGNATURES[case](signed)
    refused(signed, "was refused")
    if case != "the key of zeros":  # for which anybody can find signatures: it is no key that one would trust
        assert signed.registry.verify()[0][2] is not None  # said also where nobody insists


@pytest.mark.parametrize("name", ["bundle.json", "weights.safetensors", SIGNATURE_NAME, "current"])
def test_verify_finds_a_flipped_bit_in_every_file(signed: Victim, name: str) -> None:
    """Any bit of any byte that counts: thirty are tried, and the first and the last."""
    file = signed.path / name if name != "current" else signed.path.parent / name
    good = file.read_bytes()
    rng = random.Random(name)
    places = {0, len(good) - 1, *rng.sample(range(len(good)), min(30, len(good)))}
    registry = Registry(signed.registry.models, TRUST)
    missed = []
    for place in sorted(places):
        bad = bytearray(good)
        bad[place] ^= 1 << rng.randrange(8)
        file.write_bytes(bad)
        same = name != "weights.safetensors" and is_same_json(good, bytes(bad))
        if not same and [problem for _, _, problem in registry.verify()] == [None]:
            missed.append((place, good[place : place + 1], bytes(bad[place : place + 1])))
    file.write_bytes(good)
    assert registry.verify() == [("m", "v0001", None)]
    if name == "current":  # not signed: a number of it may become another good one
        missed = [one for one in missed if not one[1].isdigit()]
    assert missed == []


def is_same_json(good: bytes, bad: bytes) -> bool:
    """Whether a flip left the document as it is: white space for white space."""
    try:
        return bool(json.loads(good) == json.loads(bad)) and good.split() == bad.split()
    except ValueError:
        return False


def test_without_cryptography_nothing_passes_for_checked(signed: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    refused(signed, r"pip install 'acoustic-ad\[sign\]'")
    assert "cannot be checked" in str(signed.registry.verify()[0][2])
    with pytest.raises(UsageError, match="pip install"):
        read_trust([signed.path])


# --- keys ------------------------------------------------------------------------------------------------------------


def test_keys_come_back_and_are_those_that_openssl_reads(tmp_path: Path) -> None:
    public_file, public = make_keys(tmp_path / "key")
    assert public_file == tmp_path / "key.pub"
    key = read_signing_key(tmp_path / "key")
    assert key.public == public and read_trust([public_file]).keys == {public}
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert key.raw.hex() not in repr(key) and repr(key.raw) not in repr(key)
    if shutil.which("openssl"):
        shown = subprocess.run(["openssl", "pkey", "-in", tmp_path / "key", "-pubout"], capture_output=True, check=True)
        assert shown.stdout == public_file.read_bytes()


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    make_keys(tmp_path / "key")
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        make_keys(tmp_path / "key")
    (tmp_path / "new.pub").symlink_to("nowhere")
    with pytest.raises(UsageError, match="exists already"):
        make_keys(tmp_path / "new")
    assert (tmp_path / "key").read_bytes() == before and not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="cannot be written"):
        make_keys(tmp_path / "no" / "folder")


def test_what_is_no_key_is_named_and_not_shown(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as how
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public_file, _ = make_keys(tmp_path / "key")
    private = Ed25519PrivateKey.generate()
    locked = private.private_bytes(how.Encoding.PEM, how.PrivateFormat.PKCS8, how.BestAvailableEncryption(b"x"))
    other = ec.generate_private_key(ec.SECP256R1())
    wrong = {
        "text": b"correct-horse-battery",
        "large": b"x" * 100_000,
        "locked": locked,
        "other": other.private_bytes(how.Encoding.PEM, how.PrivateFormat.PKCS8, how.NoEncryption()),
        "other.pub": other.public_key().public_bytes(how.Encoding.PEM, how.PublicFormat.SubjectPublicKeyInfo),
    }
    for name, content in wrong.items():
        (tmp_path / name).write_bytes(content)
    for read, name, words in (
        (read_signing_key, "text", "holds no private key"),
        (read_signing_key, "large", "more than"),
        (read_signing_key, "locked", "encrypted"),
        (read_signing_key, "other", "another kind than ed25519"),
        (read_signing_key, public_file.name, "holds no private key"),
        (read_signing_key, "gone", "cannot be read"),
        (lambda file: read_trust([file]), "text", "holds no public key"),
        (lambda file: read_trust([file]), "key", "is a private key"),
        (lambda file: read_trust([file]), "other.pub", "another kind than ed25519"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            read(tmp_path / name)
        said = str(caught.value)
        assert name in said and "correct-horse" not in said and "\n" not in said
    with pytest.raises(UsageError, match="needs --trust"):
        read_trust([])
