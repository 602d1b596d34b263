"""The numbers of the page's panels, held against what was put in: histogram, ROC, blind spots, band x day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from plant import BAND, Plant, normal
from sklearn.metrics import roc_auc_score

from acoustic_ad.jobs.band_history import heard_history, stored_history
from acoustic_ad.jobs.model_story import Labelled
from acoustic_ad.jobs.store import Store
from acoustic_ad.models.bundle_facts import DetectionFacts
from acoustic_ad.models.registry import Registry
from acoustic_ad.report.page_machine import waterfall_document
from acoustic_ad.report.page_model import blind_spots, histogram, labelled_document
from acoustic_ad.scores.uniformity import largest_gap

BEGIN = datetime(2026, 2, 2, tzinfo=UTC)


def test_the_histogram_counts_every_clip_once() -> None:
    rng = np.random.default_rng(0)
    usual, odd = rng.normal(1.0, 0.1, 500), [1.5, 9.0, 1e9]
    document = histogram(usual, odd)
    assert sum(document["normal"]) == 500 and sum(document["anomalous"]) == 3
    edges = np.array(document["edges"])
    assert (np.diff(edges) > 0).all() and edges[0] == pytest.approx(usual.min(), rel=1e-4)
    assert document["anomalous"][-1] >= 1, "what lies beyond the last edge counts to the last bar"
    inside = ((usual >= edges[3]) & (usual < edges[4])).sum()
    assert abs(document["normal"][3] - inside) <= 1, "edges are rounded"


def test_one_score_for_all_is_a_histogram_too() -> None:
    document = histogram(np.full(20, 3.0))
    assert sum(document["normal"]) == 20 and "anomalous" not in document


def test_roc_and_faults_are_those_of_the_labels() -> None:
    rng = np.random.default_rng(1)
    clips = [Labelled(f"n{n}", float(score), "normal", "") for n, score in enumerate(rng.normal(0, 1, 60))]
    for fault, shift in (("bearing", 2.0), ("belt", 0.0)):
        clips += [Labelled(f"{fault}{n}", float(s), "anomaly", fault) for n, s in enumerate(rng.normal(shift, 1, 40))]
    clips.append(Labelled("same", clips[0].score, "anomaly", "belt"))
    document = labelled_document(clips)
    assert document is not None
    labels, scores = [one.label == "anomaly" for one in clips], [one.score for one in clips]
    assert document["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=6e-4)
    assert document["n"] == [60, 81] and document["roc"][0][0] == 0.0 and document["roc"][1][-1] == 1.0
    for found in document["faults"]:
        own = [one for one in clips if one.fault in ("", found["fault"])]
        alone = roc_auc_score([one.label == "anomaly" for one in own], [one.score for one in own])
        assert found["auc"] == pytest.approx(alone, abs=6e-4)
    assert [(one["fault"], one["n"]) for one in document["faults"]] == [("bearing", 40), ("belt", 41)]


def test_without_both_labels_there_is_no_roc() -> None:
    assert labelled_document([]) is None
    assert labelled_document([Labelled("n", 1.0, "normal", "")] * 5) is None


def test_p_values_of_healthy_clips_are_uniform_or_the_gap_says_so() -> None:
    even = (np.arange(200) + 0.5) / 200
    assert largest_gap(even) < 0.01
    assert largest_gap(even**2) == pytest.approx(0.25, abs=0.01), "at p = 1/4 half of the clips lie below"


def test_blind_spots_are_what_was_planted_and_not_found(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.add_machine("fan")
    info = Registry(plant.models).info("fan")
    assert any("no faults were planted" in one for one in blind_spots(info))
    curves = [
        DetectionFacts(
            kind="tone", words=words, low_hz=None, high_hz=None, levels_db=(2.0, 8.0), found=found, limit_db=limit
        )
        for words, found, limit in (
            ("a tone at 100 Hz", (0.0, 0.1), None),
            ("a tone at 1 kHz", (0.1, 0.9), 5.0),
            ("a tone at 4 kHz", (0.6, 1.0), 1.5),
        )
    ]
    said = blind_spots(info.model_copy(update={"detection": tuple(curves), "n_clips": 20}))
    assert "does not find a tone at 100 Hz, however loud up to 8 dB" in said
    assert "finds a tone at 1 kHz only from +5.0 dB on" in said
    assert not any("4 kHz" in one for one in said)
    assert any("20 clips" in one for one in said)


def test_a_band_that_stands_out_is_in_its_days_and_band_of_the_waterfall(tmp_path: Path) -> None:
    """Two usual days, one without a clip, and one on which every second clip has +9 dB around 3.4 kHz."""
    plant, every = Plant(tmp_path), timedelta(hours=2)
    plant.add_clips("fan", [min(z, 2.0) for z in normal(24)], begin=BEGIN, every=every)
    plant.add_clips("fan", [0.0, 5.0] * 6, begin=BEGIN + timedelta(days=3), every=every)
    with Store.open(plant.database, read_only=True) as store:
        history = stored_history(store, "fan", BEGIN, BEGIN + timedelta(days=3, hours=23), 8000.0)
    assert history is not None and [day.day for day in history.days] == [2, 3, 4, 5]
    assert np.isnan(history.db[2]).all() and not history.db[:2].any()
    edges = np.array(history.edges_hz)
    loud = (edges[:-1] < BAND["high_hz"]) & (edges[1:] > BAND["low_hz"])
    assert loud.any()
    assert history.db[3][loud] == pytest.approx(BAND["db"] / 2) and not history.db[3][~loud].any()
    document = waterfall_document(history)
    assert document is not None
    assert (document["first"], document["days"], document["heard"]) == ("2026-02-02", 4, 0)
    assert document["limit"] >= 4.0, "one cell in 500 may lie beyond the colours, and no more"


def test_clips_that_are_heard_again_give_the_mean_of_their_day() -> None:
    edges = np.geomspace(50.0, 8000.0, 65)
    loud = (edges[:-1] >= 1000.0) & (edges[1:] <= 2000.0)
    clips = [(BEGIN, np.where(loud, 6.0, 0.0)), (BEGIN + timedelta(hours=5), np.where(loud, 2.0, 0.0))]
    history = heard_history(clips, edges.tolist(), BEGIN, BEGIN + timedelta(days=1))
    assert history is not None and history.heard_again == 2 and np.isnan(history.db[1]).all()
    thirds = np.array(history.edges_hz)
    inside = (thirds[:-1] >= 1000.0) & (thirds[1:] <= 2016.0)
    outside = (thirds[1:] <= 950.0) | (thirds[:-1] >= 2100.0)
    assert inside.sum() == 3
    assert np.nanmax(history.db[0]) == pytest.approx(4.0)
    assert np.nanmin(history.db[0][inside]) > 2.0, "4 dB, but for bands that lie across an edge"
    assert not np.nan_to_num(history.db[0][outside]).any()
