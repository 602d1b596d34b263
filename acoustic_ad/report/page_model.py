"""A machine's model as the page takes it: how it learnt, what its calibration promises, how faint a fault it finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.jobs.baselines import NEWEST_CLIP_AT
from acoustic_ad.jobs.model_story import Labelled, ModelStory
from acoustic_ad.models.bundle_info import BundleInfo
from acoustic_ad.report.limits import detection_lines
from acoustic_ad.scores.uniformity import largest_gap

Array = npt.NDArray[np.float64]

LIMIT_P: Final = 0.05
BARS: Final = 24
MOST_POINTS: Final = 120
WEAK_DB: Final = 4.0  # a fault that is found only from here on is a weak spot
FEW_CLIPS, FEW_GROUPS = 50, 5


def model_document(story: ModelStory | str) -> dict[str, Any]:
    """What the page shows of a model, or why it shows nothing."""
    if isinstance(story, str):
        return {"problem": story}
    info, calibration = story.info, story.calibration
    scores = calibration.scores
    document: dict[str, Any] = {
        "facts": model_facts(info),
        "promise": info.calibration.promise,
        "limit": _round(calibration.limit(LIMIT_P)),
        "typical": _round(calibration.typical),
        "histogram": histogram(scores, [one.score for one in story.labelled if one.label == "anomaly"]),
        "curve": _curve(info),
        "detection": [one.model_dump(mode="json") for one in info.detection],
        "detection_words": detection_lines(info.detection),
        "blind": blind_spots(info),
    }
    if story.held_out_p is not None:
        document["p"] = {
            "values": _thinned(np.sort(story.held_out_p)),
            "gap": round(largest_gap(story.held_out_p), 3),
            "n": len(story.held_out_p),
            "groups": info.sessions,
        }
    labelled = labelled_document(story.labelled)
    if labelled is not None:
        document["labelled"] = labelled
    return document


def model_facts(info: BundleInfo) -> list[tuple[str, str]]:
    """What it is and what it was trained on, for a table."""
    facts = [
        ("version", f"{info.version}, made {info.created_at}"),
        ("recipe", f"{info.recipe.name} (detector {info.recipe.detector.kind}, scorer {info.recipe.scorer.kind})"),
        ("learnt from", f"{info.n_clips} clips in {info.sessions} groups (recordings, where known)"),
        ("left out", _left_out(info)),
        ("training", f"{info.training.seconds:.0f} s, {info.training.steps} steps, seed {info.seed}"),
        ("model digest", info.digest),
        ("manifest digest", info.manifest_digest or "not known"),
        ("front-end digest", info.spec_digest or "features came from outside"),
        ("made with", ", ".join(f"{name} {version}" for name, version in info.versions.items())),
    ]
    newest = info.extra.get(NEWEST_CLIP_AT)
    if isinstance(newest, str):
        facts.insert(3, ("newest clip", newest))
    if info.calibration.conditions:
        facts.insert(3, ("conditions", ", ".join(info.calibration.conditions)))
    return facts


def _left_out(info: BundleInfo) -> str:
    if not info.left_out:
        return "no clip"
    named = ", ".join(f"{one.clip_id} ({one.code})" for one in info.left_out[:3])
    return f"{len(info.left_out)} clips: {named}{', ...' if len(info.left_out) > 3 else ''}"


def blind_spots(info: BundleInfo) -> list[str]:
    """What the model is known not to hear, or to know little of."""
    found = [
        f"does not find {one.words}, however loud up to {max(one.levels_db):g} dB"
        for one in info.detection
        if one.limit_db is None
    ]
    found += [
        f"finds {one.words} only from {one.limit_db:+.1f} dB on"
        for one in info.detection
        if one.limit_db is not None and one.limit_db >= WEAK_DB
    ]
    if not info.detection:
        found.append("no faults were planted when it was trained: how faint a fault it finds is not known")
    if info.n_clips < FEW_CLIPS:
        found.append(f"learnt from {info.n_clips} clips: what is normal but rare was hardly recorded")
    if info.sessions < FEW_GROUPS:
        found.append(f"learnt from {info.sessions} groups of clips: other days may sound different")
    if info.calibration.conditions:
        found.append("clips of other conditions than those in training are judged as if conditions did not matter")
    return found


def _curve(info: BundleInfo) -> dict[str, Any] | None:
    points = info.training.curve
    if not points:
        return None
    kept = [points[place] for place in np.unique(np.linspace(0, len(points) - 1, MOST_POINTS).astype(int))]
    return {
        "step": [one.step for one in kept],
        "loss": [_round(one.loss) for one in kept],
        "held": [_round(one.held_out_loss) for one in kept],
        "kept": info.training.steps,
    }


def histogram(normal: Array, anomalous: Sequence[float] = ()) -> dict[str, Any]:
    """Counts of held-out normal scores and, where known, of anomalous ones; the last bar is open to the right."""
    low = float(normal.min())
    high = max(float(normal.max()), float(np.quantile(normal, 0.99)) + 3 * float(normal.std() or 1.0))
    if len(anomalous):
        high = max(high, min(max(anomalous), 4 * high - low))
    edges = np.linspace(low, high if high > low else low + 1.0, BARS + 1)
    document = {"edges": [_round(float(edge)) for edge in edges], "normal": _counts(normal, edges)}
    return document | ({"anomalous": _counts(np.asarray(anomalous), edges)} if len(anomalous) else {})


def _counts(scores: Array, edges: Array) -> list[int]:
    counts: list[int] = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0].tolist()
    return counts


def labelled_document(clips: Sequence[Labelled]) -> dict[str, Any] | None:
    """ROC, and how each kind of fault scored; None unless both labels are there."""
    from acoustic_ad.scores.metrics import separation

    labels = np.array([one.label == "anomaly" for one in clips], np.int64)
    scores = np.array([one.score for one in clips], np.float64)
    if not len(clips) or labels.min() == labels.max():
        return None
    found = separation(labels, scores)
    false, true = roc(labels, scores)
    faults = sorted({one.fault for one in clips if one.label == "anomaly" and one.fault})
    normal = scores[labels == 0]
    return {
        "auc": round(found.auc, 3),
        "ci": [round(one, 3) for one in found.auc_ci],
        "pauc": round(found.pauc, 3),
        "n": [found.n_normal, found.n_anomaly],
        "roc": [_thinned(false), _thinned(true)],
        "faults": [_fault(fault, clips, normal) for fault in faults],
    }


def roc(labels: npt.NDArray[np.int64], scores: Array) -> tuple[Array, Array]:
    """False-positive and true-positive rates [k], from (0, 0) to (1, 1); equal scores are one step."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(labels, scores)
    return np.asarray(false, np.float64), np.asarray(true, np.float64)


def _fault(fault: str, clips: Sequence[Labelled], normal: Array) -> dict[str, Any]:
    from acoustic_ad.scores.metrics import auc

    own = np.array([one.score for one in clips if one.fault == fault and one.label == "anomaly"])
    labels = np.repeat([0, 1], [len(normal), len(own)])
    return {"fault": fault, "n": len(own), "auc": round(auc(labels, np.concatenate([normal, own])), 3)}


def _thinned(values: Array) -> list[float]:
    places = np.unique(np.linspace(0, len(values) - 1, MOST_POINTS).astype(int))
    return [round(float(value), 4) for value in values[places]]


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
