"""Signatures of bundles on the command line: keys, `models sign`, and the options of commands that sign or insist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acoustic_ad.console import answer, answer_json, command

if TYPE_CHECKING:
    from acoustic_ad.models.signing import SigningKey, Trust

SignKey = Annotated[
    Path | None,
    typer.Option("--sign-key", envvar="ACOUSTIC_AD_SIGN_KEY", help="Sign what is made by this private key (a file)."),
]
RequireSigned = Annotated[
    bool,
    typer.Option(
        "--require-signed", envvar="ACOUSTIC_AD_REQUIRE_SIGNED", help="Refuse models that no trusted key signed."
    ),
]
TrustedKeys = Annotated[
    list[Path] | None,
    typer.Option("--trust", envvar="ACOUSTIC_AD_TRUST", help="A public key (.pub file) that is trusted; repeatable."),
]
Models = Annotated[Path, typer.Option("--models", envvar="ACOUSTIC_AD_MODELS", help="Folder of the model bundles.")]


def signing_key(file: Path | None) -> SigningKey | None:
    """The key of --sign-key; raises UsageError."""
    from acoustic_ad.models.signing import read_signing_key

    return None if file is None else read_signing_key(file)


def trust_of(require_signed: bool, files: list[Path] | None) -> Trust | None:
    """The keys of --trust; None where nobody insists on signatures. Raises UsageError for one without the other."""
    from acoustic_ad.errors import UsageError
    from acoustic_ad.models.signing import read_trust

    if not require_signed:
        if files:
            raise UsageError("--trust says whose signatures count: add --require-signed, so that others are refused")
        return None
    return read_trust(files or ())


def add_signing(models_app: typer.Typer) -> None:
    """Put `keygen` and `sign` among the commands of `models`."""
    models_app.command("keygen")(keygen)
    models_app.command("sign")(sign)


@command
def keygen(
    file: Annotated[Path, typer.Argument(help="Where the private key goes; the public one goes to FILE.pub.")],
) -> None:
    """Make a pair of ed25519 keys: the private one signs models, the public one is for `score --trust`."""
    from acoustic_ad.models.signing import key_name, make_keys
    from acoustic_ad.sound.clip import one_line

    public_file, public = make_keys(file)
    answer(f"{one_line(str(file))}: the private key {key_name(public)}; keep it away from where models are used")
    answer(f"{one_line(str(public_file))}: the public key, for `acoustic-ad score --require-signed --trust`")


@command
def sign(
    machine: Annotated[str | None, typer.Argument(help="Only this machine; else the current model of each.")] = None,
    key: Annotated[
        Path | None, typer.Option("--key", envvar="ACOUSTIC_AD_SIGN_KEY", help="The private key: a file of `keygen`.")
    ] = None,
    version: Annotated[str | None, typer.Option("--version", help="Instead of the current one.")] = None,
    models: Models = Path("models"),
    as_json: Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")] = False,
) -> None:
    """Sign models that are there, after they have loaded. Look at them first: a signature says that they are yours.

    Exit codes: 0 signed, 1 a model is refused (those before it are signed), 2 usage, 5 a training writes there.
    """
    from acoustic_ad.errors import BundleError, UsageError
    from acoustic_ad.jobs.lock import hold_lock
    from acoustic_ad.models.registry import Registry
    from acoustic_ad.models.signing import key_name, read_signing_key
    from acoustic_ad.sound.clip import one_line

    if key is None:
        raise UsageError("say what to sign with: --key FILE, a private key that `acoustic-ad models keygen` made")
    if version is not None and machine is None:
        raise UsageError("--version is that of one machine: name it")
    private, registry = read_signing_key(key), Registry(models)
    machines = registry.machines() if machine is None else [machine]
    if not machines:
        raise BundleError(f"no models in {one_line(str(models))}: pass --models, or make them with `acoustic-ad train`")
    with hold_lock(models / ".train"):
        signed = [{"machine": name, "version": registry.sign(name, version, private)} for name in machines]
    if as_json:
        answer_json({"key": key_name(private.public), "signed": signed})
        return
    for one in signed:
        answer(f"{one_line(one['machine'])}: {one['version']} is signed by {key_name(private.public)}")
