"""What a query of the collector looks at: how far back, and whose samples. Wrong ones are answered 400 in one line."""

from __future__ import annotations

from typing import Annotated, NamedTuple, TypeAlias

from fastapi import Depends, Query, Request
from fastapi.exceptions import RequestValidationError

from trunkline.core.events import MAX_NAME_CHARS, is_call_id
from trunkline.core.latency import METRICS


class _LookBack(NamedTuple):
    """The arguments of the collector's questions, checked."""

    window_s: float
    call: str | None
    worker: str | None


def _look_back(
    request: Request,
    window_sec: Annotated[float | None, Query(gt=0, allow_inf_nan=False)] = None,
    call: Annotated[str | None, Query()] = None,
    worker: Annotated[str | None, Query(min_length=1, max_length=MAX_NAME_CHARS)] = None,
) -> _LookBack:
    kept_s: float = request.app.state.collector.window_s
    window_s = kept_s if window_sec is None else window_sec
    if window_s > kept_s:
        raise _wrong("window_sec", f"only the last {kept_s:g} s are kept; see METRICS_WINDOW_S")
    if call is not None and not is_call_id(call):
        raise _wrong("call", "not a call's id")
    return _LookBack(window_s, call, worker)


def _metric(metric: Annotated[str | None, Query()] = None) -> str | None:
    if metric is not None and metric not in METRICS:
        raise _wrong("metric", f"not one of {', '.join(METRICS)}")
    return metric


LookBack: TypeAlias = Annotated[_LookBack, Depends(_look_back)]
"""?window_sec=, ?call= and ?worker= of a request to an app whose state holds the collector."""

Metric: TypeAlias = Annotated[str | None, Depends(_metric)]
"""?metric=, one of `METRICS`; None where it is not given."""


def _wrong(field: str, problem: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("query", field), "msg": problem}])
