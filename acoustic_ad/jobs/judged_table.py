"""The clips of a machine as the store has them, as columns: each a `Judged` where somebody asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.health.clip_table import (
    STATUSES,
    Array,
    Keys,
    Micros,
    Numbers,
    ascends,
    coded,
    keys_of,
    micros_of,
    time_of,
)
from acoustic_ad.jobs.day_traces import Judged
from acoustic_ad.jobs.schema import utc_text

Codes = npt.NDArray[np.int32]
_PLAIN: Final = ("micros", "scored_at", "status", "score", "p_value", "level_db", "keys")  # columns without codes


@dataclass(frozen=True, slots=True, eq=False)
class JudgedTable:
    """Clips [T] that are not failed."""

    micros: Micros  # when they were recorded
    scored_at: Micros
    status: npt.NDArray[np.int8]  # places in STATUSES
    score: Array  # NaN: None, as in all that are numbers
    p_value: Array
    level_db: Array
    keys: Keys  # sha256
    model: Codes  # places in `models`
    reason: Codes
    models: tuple[str, ...]  # ascending
    reasons: tuple[str | None, ...]

    @classmethod
    def of(cls, clips: Iterable[Judged]) -> JudgedTable:
        """The table of clips, in their order."""
        return cls.of_rows([clip._replace(recorded_at=utc_text(clip.recorded_at)) for clip in clips])  # type: ignore[arg-type]

    @classmethod
    def of_rows(cls, rows: Sequence[Sequence[Any]]) -> JudgedTable:
        """Of rows with the columns of `Judged`, whose times are texts."""
        columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)] or [[]] * len(Judged._fields)
        recorded_at, status, score, p_value, sha256, model, level_db, reason, scored_at = columns
        (model_codes, models), (reason_codes, reasons) = coded(model), coded(reason)
        places = {name: place for place, name in enumerate(STATUSES)}
        return cls(
            micros=_micros(recorded_at),
            scored_at=_micros(scored_at),
            status=np.fromiter(map(places.__getitem__, status), np.int8, len(status)),
            score=np.array(score, np.float64),  # None becomes NaN
            p_value=np.array(p_value, np.float64),
            level_db=np.array(level_db, np.float64),
            keys=keys_of(sha256),
            model=model_codes,
            reason=reason_codes,
            models=models,
            reasons=reasons,
        )

    @classmethod
    def joined(cls, tables: Sequence[JudgedTable]) -> JudgedTable:
        """All clips of tables, one after the other."""
        filled = [table for table in tables if len(table)] or list(tables[:1])
        if len(filled) == 1:
            return filled[0]
        columns: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in filled]) for name in _PLAIN}
        columns["models"], columns["model"] = _recoded([(one.models, one.model) for one in filled])
        columns["reasons"], columns["reason"] = _recoded([(one.reasons, one.reason) for one in filled])
        return cls(**columns)

    def __len__(self) -> int:
        return self.micros.size

    def __getitem__(self, number: int) -> Judged:
        return Judged(
            self.at(number),
            STATUSES[self.status[number]],
            _number(self.score[number]),
            _number(self.p_value[number]),
            bytes(self.keys[number]).decode(),
            self.models[self.model[number]],
            _number(self.level_db[number]),
            self.reasons[self.reason[number]],
            utc_text(time_of(self.scored_at[number])),
        )

    def __iter__(self) -> Iterator[Judged]:
        return map(self.__getitem__, range(len(self)))

    def at(self, number: int) -> datetime:
        """When a clip was recorded."""
        return time_of(self.micros[number])

    def until(self, as_of: datetime | None) -> int:
        """How many of the clips, which are in the order of recording, were recorded up to a moment; None: all."""
        return len(self) if as_of is None else int(np.searchsorted(self.micros, micros_of(as_of), side="right"))

    def take(self, which: Numbers | slice) -> JudgedTable:
        """Some of the clips, by number."""
        columns: dict[str, Any] = {name: getattr(self, name)[which] for name in (*_PLAIN, "model", "reason")}
        return replace(self, **columns)

    def current_models(self) -> set[str]:
        """The digests of the models that judged these clips; `models` may have more."""
        return {self.models[place] for place in np.flatnonzero(np.bincount(self.model)).tolist()}

    def equals(self, other: JudgedTable) -> bool:
        """Whether these are the same clips in the same order."""
        if len(self) != len(other):
            return False
        whole = JudgedTable.joined([self, other])  # whose codes have the same meaning
        one, two = whole.take(slice(len(self))), whole.take(slice(len(self), None))
        numbers = ("score", "p_value", "level_db")
        return all(
            np.array_equal(getattr(one, name), getattr(two, name), equal_nan=name in numbers)
            for name in (*_PLAIN, "model", "reason")
        )

    def in_order(self) -> JudgedTable:
        """By time and content."""
        if ascends(self.micros, self.keys):
            return self
        order = np.argsort(self.micros, kind="stable")  # quick, as they are nearly in order
        if ascends(self.micros[order], self.keys[order]):
            return self.take(order)
        return self.take(np.lexsort((self.keys, self.micros)))


def _micros(texts: list[str]) -> Micros:
    """Times as `schema.utc_text` writes them."""
    try:
        return np.array([text.removesuffix("Z") for text in texts], "M8[us]").astype(np.int64)
    except ValueError:  # written by hand
        return np.array([micros_of(datetime.fromisoformat(text)) for text in texts], np.int64)


def _number(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)


def _recoded(parts: Sequence[tuple[tuple[Any, ...], Codes]]) -> tuple[tuple[Any, ...], Codes]:
    """Names of all parts, ascending, and their codes one after the other."""
    _, names = coded([name for some, _ in parts for name in some])
    places = {name: place for place, name in enumerate(names)}
    codes = [np.array([places[name] for name in some], np.int32)[part] for some, part in parts]
    return names, np.concatenate(codes)
