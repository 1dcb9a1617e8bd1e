"""What a model said (`clinical.said`) as JSON and back, without loss: it is told from this, and computed again."""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from clinical.codes import Coding
from clinical.conformal import Answer
from clinical.errors import ClinicalError, Fault
from clinical.finding import FindingTerms, ModelRef
from clinical.forecast import HeartRateForecast, Step, UsualRange
from clinical.inputs import InputUsed
from clinical.risk import RiskScore
from clinical.said import HeartRateSummary, ModelInputs, Said, SaidForecast, SaidRisk

SCHEMA = 1
Json = dict[str, Any]


def to_json(said: Said) -> str:
    """Return it as JSON with a schema number."""
    document = {"schema": SCHEMA, "kind": "risk" if isinstance(said.what, SaidRisk) else "forecast", "said": said}
    return orjson.dumps(document, default=_plain).decode()


def from_json(body: str | bytes) -> Said:
    """Return what `to_json` wrote. Raises Fault for anything else."""
    try:
        document = orjson.loads(body)
        if document["schema"] != SCHEMA:
            raise Fault("a stored result has a schema that this version does not know")
        said = document["said"]
        read = _risk if document["kind"] == "risk" else _forecast
        return Said(
            model=ModelRef(**said["model"]),
            input_sha256=said["input_sha256"],
            inputs=_inputs(said["inputs"]),
            at=datetime.fromisoformat(said["at"]),
            what=read(said["what"]),
            sources=tuple(said["sources"]),
            own_sources=tuple(said["own_sources"]),
        )
    except (KeyError, TypeError, ValueError, ClinicalError) as exc:
        if isinstance(exc, Fault):
            raise
        raise Fault("a stored result cannot be read") from None


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value)
        return {
            "dtype": data.dtype.str,
            "shape": list(data.shape),
            "data": base64.b64encode(data.tobytes()).decode(),
        }
    if isinstance(value, frozenset):
        return {"names": sorted(value)}
    if isinstance(value, Mapping):  # a read-only view
        return dict(value)
    raise TypeError


def _array(value: Json) -> NDArray[Any]:
    data = base64.b64decode(value["data"], validate=True)
    return np.frombuffer(data, np.dtype(value["dtype"])).reshape(value["shape"])


def _inputs(value: Json) -> ModelInputs:
    tensors = {name: _array(array) for name, array in value["tensors"].items()}
    values = {
        name: frozenset(one["names"]) if isinstance(one, dict) else float(one)
        for name, one in value["values"].items()
    }
    return ModelInputs(value["graph"], tensors, values)


def _risk(value: Json) -> SaidRisk:
    risk, terms = value["risk"], value["terms"]
    return SaidRisk(
        risk=RiskScore(
            outcome=Coding(**risk["outcome"]),
            probability=risk["probability"],
            model=ModelRef(**risk["model"]),
            inputs=tuple(_input(one) for one in risk["inputs"]),
            missing=tuple(risk["missing"]),
        ),
        answer=Answer(value["answer"]),
        judged=value["judged"],
        mitigation=value["mitigation"],
        terms=None if terms is None else _terms(terms),
    )


def _terms(value: Json) -> FindingTerms:
    codes = {name: Coding(**value[name]) for name in ("category", "kind", "observation", "body_site")}
    return FindingTerms(**codes, label=value["label"])


def _input(value: Json) -> InputUsed:
    taken_at = value["taken_at"]
    return InputUsed(**value | {"taken_at": None if taken_at is None else datetime.fromisoformat(taken_at)})


def _forecast(value: Json) -> SaidForecast:
    said, summary = value["forecast"], value["summary"]
    forecast = HeartRateForecast(
        newest=said["newest"],
        at=datetime.fromisoformat(said["at"]),
        steps=tuple(Step(**one | {"chances": tuple(one["chances"])}) for one in said["steps"]),
        usual=UsualRange(**said["usual"]),
        model=ModelRef(**said["model"]),
    )
    times = {name: datetime.fromisoformat(summary[name]) for name in ("start", "end")}
    return SaidForecast(
        forecast,
        HeartRateSummary(**summary | times),
        value["judged"],
        value["mitigation"],
        value.get("plan", ""),
        tuple(value.get("advice", ())),
    )
