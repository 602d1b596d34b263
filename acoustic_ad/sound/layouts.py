"""How public data sets name their files: the only place that reads a machine or a label out of a name.

- DCASE 2020: `fan/train/normal_id_00_00000000.wav`, for evaluation `fan/test/id_00_00000000.wav`. Machine `fan/id_00`,
  split from the folder.
- DCASE 2021 to 2025: `fan/train/section_00_source_train_normal_0000_<attributes>.wav`, for evaluation
  `fan/test/section_00_0000.wav`. Machine `fan/section_00`; the attributes become the condition, source or target the
  extra column `domain`.
- MIMII: `fan/id_00/abnormal/00000000.wav`, also below `6_dB_fan/`. Machine `fan/id_00`, condition 6_dB, no split.
- Anything else is plain, `<machine>/**/*.wav`: see `manifest.py`.

DCASE 2025 supplemental clips (the machine without noise, or noise alone) get no split and no label: they are no
samples of the machine as it is heard at work.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

# Folders between a DCASE type folder and its clips; never a machine type.
_BELOW_TYPE = re.compile(
    r"train|test|source|target|(?:source|target)_(?:train|test)|supplemental|(?:section|id)_\d+", re.IGNORECASE
)
_DCASE_2020 = re.compile(r"(?:(?P<label>normal|anomaly)_)?(?P<unit>id_\d+)_\d+", re.IGNORECASE)
_DCASE_2021 = re.compile(
    r"(?P<unit>section_\d+)(?:_(?P<domain>source|target))?(?:_(?P<split>train|test|supplemental))?"
    r"(?:_(?P<label>normal|anomaly|clean|noise))?_\d{4,}(?:_(?P<attributes>.*))?",
    re.IGNORECASE | re.DOTALL,
)
_MIMII_UNIT = re.compile(r"id_\d+", re.IGNORECASE)
_MIMII_LABELS: Final = {"normal": "normal", "abnormal": "anomaly"}
_MIMII_SNR = re.compile(r"(?P<snr>-?\d+_?dB)(?:_(?P<type>.+))?", re.IGNORECASE)


class Named(NamedTuple):
    """What a file's name and folders say."""

    layout: str
    machine: str
    split: str = ""
    label: str = "unknown"
    condition: str = ""
    extra: tuple[tuple[str, str], ...] = ()


class FolderNames:
    """The folders above a clip, read once per folder. `parts` are all of them, from the top of the file system.

    Folders above DATA's root count too, so that `fan/train` as DATA gives the same machines as the folder around it.
    """

    def __init__(self, parts: tuple[str, ...]) -> None:
        below: list[str] = []
        self.machine_type = ""
        for part in reversed(parts):
            if _BELOW_TYPE.fullmatch(part) is None:
                self.machine_type = part
                break
            below.append(part.lower())
        words = {word for part in below for word in part.split("_")}
        self.split = next((word for word in ("supplemental", "train", "test") if word in words), "")
        self.domain = next((word for word in ("source", "target") if word in words), "")
        self.mimii = _mimii(parts)

    def read(self, stem: str) -> Named | None:
        """What the clip `stem` (file name without extension) in this folder is; None for a name of no known layout."""
        match = _DCASE_2020.fullmatch(stem) or _DCASE_2021.fullmatch(stem)
        return self.mimii if match is None else self._dcase(match.groupdict(default=""))

    def _dcase(self, name: dict[str, str]) -> Named:
        split = name.get("split", "").lower() or self.split
        label = name["label"].lower() or "unknown"
        domain = name.get("domain", "").lower() or self.domain
        extra = [("domain", domain)] if domain else []
        if split == "supplemental" or label in ("clean", "noise"):
            extra.append(("supplemental", label if label in ("clean", "noise") else "yes"))
            split, label = "", "unknown"
        attributes = name.get("attributes", "")
        condition = "" if attributes.lower() == "noattribute" else attributes
        machine = f"{self.machine_type}/{name['unit']}" if self.machine_type else name["unit"]
        return Named("dcase", machine, split, label, condition, tuple(extra))


def _mimii(parts: tuple[str, ...]) -> Named | None:
    if len(parts) < 2 or parts[-1].lower() not in _MIMII_LABELS or _MIMII_UNIT.fullmatch(parts[-2]) is None:
        return None
    machine_type = snr = ""
    for part in reversed(parts[:-2]):  # fan/id_00, 6_dB_fan/fan/id_00, 6_dB_fan/id_00, fan/6dB/id_00
        match = _MIMII_SNR.fullmatch(part)
        if match:
            snr, machine_type = match["snr"], machine_type or match["type"] or ""
        if machine_type:
            break
        machine_type = "" if match else part
    machine = f"{machine_type}/{parts[-2]}" if machine_type else parts[-2]
    return Named("mimii", machine, "", _MIMII_LABELS[parts[-1].lower()], snr)
