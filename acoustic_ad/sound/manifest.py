"""DATA, a folder or a manifest CSV -> Manifest: which clips there are, and of which machine.

What a clip is, is decided here once; nothing downstream reads a machine or a label out of a file name. Standard
library only: the command line imports this at its start.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from acoustic_ad.errors import ManifestError, UsageError, refusal
from acoustic_ad.sound.clip import LABELS, SPLITS, Clip, one_line, printable, printable_text, recording_time, sha256_of
from acoustic_ad.sound.folder_clips import FolderClips, own_name
from acoustic_ad.sound.folders import NOT_AUDIO, Found, is_audio, is_inside, scan_folder
from acoustic_ad.sound.layouts import FolderNames, Named
from acoustic_ad.sound.manifest_csv import absolute, read_clips, relative_to, write_clips

__all__ = [
    "LABELS",
    "SPLITS",
    "Clip",
    "Manifest",
    "count_labels",
    "printable",
    "read_manifest",
    "recording_time",
    "sha256_of",
    "write_manifest",
]

MANIFEST_NAME: Final = "manifest.csv"
NOT_IN_MANIFEST: Final = "not in the manifest"

# A folder counts as DCASE or MIMII when this share of its names says so: a stray file must not rename machines.
NEARLY_ALL: Final = 0.8


@dataclass(frozen=True)
class Manifest:
    """The clips of one DATA, sorted by clip_id."""

    root: Path  # absolute; clip_ids are relative to it
    layout: str  # "csv", "dcase", "mimii", "dcase+mimii", "plain", "flat"
    clips: Sequence[Clip]
    ignored: Mapping[str, int] = field(default_factory=dict)  # reason -> number of files that are no clips
    description: str = ""  # one line for people: what was recognised

    @property
    def machines(self) -> tuple[str, ...]:
        """The machines' names, sorted."""
        return tuple(sorted({clip.machine for clip in self.clips}))


def read_manifest(data: Path, *, machine: str | None = None, use_csv: bool = True) -> Manifest:
    """Reads DATA: a folder (a `manifest.csv` at its root wins, unless `use_csv=False`) or a manifest CSV.

    `machine` names the one machine of a flat folder (clips directly in it). No audio is opened. A clip that cannot
    be used (missing, outside the root) is listed with its `problem`; an empty folder gives a manifest of no clips.
    Raises ManifestError when DATA is missing, unreadable or breaks the manifest's rules, UsageError when `machine`
    is given for anything but a flat folder of one machine.
    """
    data = absolute(Path(data))
    shown = one_line(str(data))
    try:
        mode = data.stat().st_mode
    except FileNotFoundError as error:
        raise ManifestError(f"{shown}: no such folder or manifest; check the path, and that it is mounted") from error
    except (OSError, ValueError) as error:
        raise ManifestError(f"{shown}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(mode):
        csv_file = data / MANIFEST_NAME
        if use_csv and os.path.lexists(csv_file):
            return _listed_folder(data, csv_file, machine)
        return _named_folder(data, machine)
    if not stat.S_ISREG(mode):
        raise ManifestError(f"{shown}: neither a folder nor a manifest CSV")
    if is_audio(data.name):
        raise ManifestError(f"{shown}: an audio file; give the folder that it lies in, or a manifest CSV")
    return _from_csv(data, machine, f"manifest {one_line(data.name)}")


# --- manifests -------------------------------------------------------------------------------------------------------


def _from_csv(file: Path, machine: str | None, what: str, in_folder: bool = False) -> Manifest:
    if machine is not None:
        raise UsageError(f"{one_line(str(file))} names its machines itself; leave out --machine {one_line(machine)}")
    clips = tuple(sorted(read_clips(file), key=lambda clip: (clip.clip_id, clip.row or 0)))
    ignored = _ignored_beside(file.parent, clips) if in_folder else {}
    return Manifest(file.parent, "csv", clips, ignored, describe(what, clips, ignored))


def _listed_folder(root: Path, file: Path, machine: str | None) -> Manifest:
    if not is_inside(os.path.realpath(file), os.path.realpath(root)):
        raise ManifestError(f"{one_line(str(file))} is a link that leaves the folder; give its target as DATA instead")
    if not file.is_file():
        raise ManifestError(f"{one_line(str(file))} is no regular file; move it away, or make it a manifest")
    return _from_csv(file, machine, f"{MANIFEST_NAME} in the folder", in_folder=True)


def _ignored_beside(root: Path, clips: Iterable[Clip]) -> dict[str, int]:
    """Who gives a folder expects all its clips to be used: says how many of them its manifest omits."""
    listed = {clip.clip_id for clip in clips}
    scan = scan_folder(root)
    scan.ignored[NOT_AUDIO] -= 1  # the manifest itself
    scan.ignored[NOT_IN_MANIFEST] += sum(printable(name) not in listed for name in scan.names)
    return dict(+scan.ignored)


# --- folders ---------------------------------------------------------------------------------------------------------


def _named_folder(root: Path, machine: str | None) -> Manifest:
    scan = scan_folder(root)
    names = _read_names(root, scan.names)
    known = [name for name in names if name is not None]
    recognised = bool(known) and len(known) >= NEARLY_ALL * len(names)
    clips: Sequence[Clip]
    if recognised:
        layout = "+".join(sorted({name.layout for name in known}))
        found = [_recognised(root, file, name) for file, name in zip(scan.files(), names, strict=True)]
        clips = tuple(sorted(found, key=lambda clip: clip.clip_id))
    else:
        layout = "plain" if any("/" in name for name in scan.names) else "flat"
        # Everything is normal here, save what its own name calls an anomaly: that must not be learnt from.
        said = zip(scan.names, names, strict=True)
        anomalies = frozenset(file for file, name in said if name is not None and name.label == "anomaly")
        clips = FolderClips(root, scan.names, scan.problems, anomalies)
    if machine is not None:
        _check_flat(root, clips, machine)
        if isinstance(clips, FolderClips):
            clips = FolderClips(root, scan.names, scan.problems, anomalies, printable_text(machine))
        else:
            clips = tuple(replace(clip, machine=printable_text(machine)) for clip in clips)
    what = _layout_in_words(layout)
    if known and len(known) < len(names):
        what += f" ({len(known)} of {len(names)} names look like {_upper(sorted({n.layout for n in known}))})"
    ignored = dict(scan.ignored)
    return Manifest(root, layout, clips, ignored, describe(what, clips, ignored))


def _read_names(root: Path, files: Iterable[str]) -> list[Named | None]:
    above = tuple(printable(part) for part in root.parts[1:])
    folders: dict[str, FolderNames] = {}
    names = []
    for file in files:
        folder, _, name = printable(file).rpartition("/")
        if folder not in folders:
            folders[folder] = FolderNames(above + tuple(filter(None, folder.split("/"))))
        names.append(folders[folder].read(name.rpartition(".")[0]))
    return names


def _recognised(root: Path, found: Found, name: Named | None) -> Clip:
    clip_id, folder = printable(found.relative), sys.intern(str(root))
    if name is None:  # a stray file among DCASE or MIMII names: a machine of its own, never trained on as normal
        parts = (*map(printable, root.parts[1:]), *clip_id.split("/")[:-1])
        machine = FolderNames(parts).machine_type or own_name(root)
        return Clip(clip_id, found.relative, machine, problem=found.problem, folder=folder)
    said = (name.machine, name.split, name.label, None, name.condition, "", name.extra)
    return Clip(clip_id, found.relative, *said, found.problem, folder=folder)


def _check_flat(root: Path, clips: Sequence[Clip], machine: str) -> None:
    """Raise UsageError unless `machine` can be the name of the one machine of all clips."""
    if not machine.strip():
        raise UsageError("--machine is empty; give the machine's name")
    machines = sorted({clip.machine for clip in clips})
    if len(machines) > 1 or any("/" in clip.clip_id for clip in clips):
        shown = ", ".join(one_line(name) for name in machines[:5]) + (", ..." if len(machines) > 5 else "")
        raise UsageError(
            f"--machine {one_line(machine)} is for a flat folder, whose clips are all of one machine; "
            f"{one_line(str(root))} has subfolders or several machines ({shown}): leave --machine out, "
            "or give the folder that the clips lie in"
        )


# --- words -----------------------------------------------------------------------------------------------------------


def _layout_in_words(layout: str) -> str:
    plain = {"plain": "plain folders, one per machine, all normal", "flat": "one flat folder, one machine, all normal"}
    return plain.get(layout) or f"{_upper(layout.split('+'))} folder names"


def _upper(layouts: Iterable[str]) -> str:
    return " and ".join(layout.upper() for layout in layouts)


def describe(what: str, clips: Sequence[Clip], ignored: Mapping[str, int]) -> str:
    """One line for people: "DCASE folder names: 4 machines, 295 clips (103 train, 192 test)"."""
    machines: set[str] = set()
    splits: Counter[str] = Counter()
    problems = 0
    for clip in clips:
        machines.add(clip.machine)
        splits[clip.split or "without split"] += 1
        problems += clip.problem is not None
    line = f"{what}: {_count(len(machines), 'machine')}, {_count(len(clips), 'clip')}"
    if any(splits[split] for split in SPLITS):
        line += f" ({', '.join(f'{splits[s]} {s}' for s in (*SPLITS, 'without split') if splits[s])})"
    if problems:
        line += f"; {problems} of them cannot be read"
    if ignored:
        line += f"; ignored: {', '.join(f'{number} {reason}' for reason, number in sorted(ignored.items()))}"
    return line


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def count_labels(manifest: Manifest) -> dict[str, dict[str, dict[str, int]]]:
    """Clips per machine, split ("" where not assigned) and label: `counts["fan/id_00"]["test"]["anomaly"]`."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for clip in sorted(manifest.clips, key=lambda clip: clip.machine):
        splits = counts.setdefault(clip.machine, {})
        labels = splits.setdefault(clip.split, dict.fromkeys(LABELS, 0))
        labels[clip.label] += 1
    return counts


# --- writing ---------------------------------------------------------------------------------------------------------


def write_manifest(manifest: Manifest, file: Path) -> None:
    """Writes `manifest` as CSV, whole or not at all; reading it back gives the same clips.

    Paths are relative to `file`'s folder, which must hold all clips: a manifest reaches nothing outside its folder.
    Raises ManifestError when it does not, or when the file cannot be written.
    """
    folder = absolute(Path(file)).parent
    shown = one_line(str(file))
    base = os.path.relpath(os.path.realpath(manifest.root), os.path.realpath(folder))
    if base == ".." or base.startswith("../"):
        raise ManifestError(
            f"{shown}: the clips lie in {one_line(str(manifest.root))}, outside the manifest's folder, and a manifest "
            "reaches nothing outside its folder; write it there or above"
        )
    root = str(manifest.root)
    rows = [(os.path.normpath(f"{base}/{relative_to(str(clip.path), root)}"), clip) for clip in manifest.clips]
    temporary = folder / f".manifest-{os.urandom(8).hex()}.tmp"
    try:
        with temporary.open("x", encoding="utf-8", newline="") as stream:
            write_clips(rows, stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise ManifestError(f"{shown}: the manifest cannot be written: {refusal(error)}") from error
