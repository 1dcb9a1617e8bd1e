"""breast-cytology: malignancy from 30 numbers of cell nuclei (WDBC), for machines without data.

The table comes with scikit-learn. Another model than breast-lesion and no stand-in for it: it reads a fine needle
aspirate, not an ultrasound or a chart. It shows that training, gate, card and evaluation run.
"""

import importlib.metadata
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clinical.codes import MALIGNANT_NEOPLASM_OF_BREAST
from clinical.conformal import conformal_of
from clinical.errors import IncorrectInput
from model_export import metrics, plots
from model_export.card import card_text, image, with_interval
from model_export.datasets import splits, wdbc
from model_export.onnx.gate import TREES, Candidate, GraphCandidate, release, tabular_rows
from model_export.onnx.variants import runner
from model_export.recipe import Progress, Recipe, TrainOptions
from model_export.transparency import answers
from model_runtime.graphs import MODEL
from model_runtime.histogram import histogram_of
from model_runtime.library import Library
from model_runtime.tasks.coding import coding_document

NAME, VERSION = "breast-cytology", "1.0.0"
SEED = 20261122
FOLDS = 10
ALPHA = 0.05
STRENGTH = 0.3  # inverse of the L2 penalty, on standardised numbers
LEXICON = "urn:consilium:wdbc"
JUDGED = "cross-validation, out of fold"
NOTICE = (
    "Package data, for trying the software: numbers of cell nuclei that no chart holds. It is not the model "
    "breast-lesion and says nothing of an ultrasound."
)


def train(data: Path | None, out: Path, *, seed: int, progress: Progress, options: TrainOptions) -> Path:
    """Cross-validate, fit on everything and export. data: must be None. See model_export.recipe.Train."""
    started = time.monotonic()
    _refuse(data)
    table = wdbc.load()
    probability = out_of_fold(table, seed, progress)
    model = fit(table.features, table.malignant)
    found = metrics.summary(table.malignant, probability, threshold=0.5, seed=seed)
    minutes = round((time.monotonic() - started) / 60, 2)
    document = _document(table, probability, {"cross_validation": {"judged": JUDGED, **found}}, seed, minutes)
    made = [
        plots.roc({"cell nuclei": (table.malignant, probability)}),
        plots.calibration({"cell nuclei": (table.malignant, probability)}),
    ]
    extra = {f"plots/{plot.name}.{kind}": getattr(plot, kind) for plot in made for kind in ("png", "svg")}
    progress("export gate", 0, 1)
    folder, _ = release(Candidate(document, {MODEL: _graph(table, model, document)}, card, extra=extra), out)
    if options.keep_trainer:
        _keep(model, folder)
    progress("export gate", 1, 1)
    return folder


def evaluate(folder: Path, data: Path | None, *, progress: Progress, plots: Path | None) -> Mapping[str, Any]:
    """Return the figures out of fold: there is no other data. See model_export.recipe.Evaluate."""
    _refuse(data)
    manifest = Library(folder.parent).manifest(folder.name)
    progress("measuring", 1, 1)
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        for path in sorted((folder / "plots").glob("*")):
            (plots / path.name).write_bytes(path.read_bytes())
    head = {"model": manifest.name, "version": manifest.version, "sha256": manifest.digest, "sets": {}}
    return {**head, **manifest.metrics["cross_validation"]}


def fit(features: NDArray[np.float64], malignant: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Return weights (30,) and intercept of the log odds, the scaling already in them."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000)).fit(
        features, malignant
    )
    scaler, line = pipeline[0], pipeline[1]
    weights = line.coef_[0] / scaler.scale_
    return weights, float(line.intercept_[0] - weights @ scaler.mean_)


def out_of_fold(table: wdbc.Aspirates, seed: int, progress: Progress) -> NDArray[np.float64]:
    """Return each patient's probability from a file that has not seen her, run by ONNX Runtime."""
    probability = np.zeros(len(table.malignant))
    groups = splits.groups_of(table.features)
    for number, split in enumerate(splits.folds(groups, table.malignant, count=FOLDS, seed=seed)):
        weights, intercept = fit(table.features[split.train], table.malignant[split.train])
        run = runner(graph_of(weights, intercept).SerializeToString())
        probability[split.test] = run({"features": table.features[split.test]})["probability"][:, 0]
        progress("cross-validation", number + 1, FOLDS)
    return probability


def graph_of(weights: NDArray[np.float64], intercept: float) -> Any:  # noqa: ANN401 - onnx is untyped
    """Return `features` float64 [batch, n] -> `probability` float64 [batch, 1] as onnx.ModelProto."""
    nodes = [
        helper.make_node("MatMul", ["features", "weights"], ["weighed"]),
        helper.make_node("Add", ["weighed", "intercept"], ["log_odds"]),
        helper.make_node("Sigmoid", ["log_odds"], ["probability"]),
    ]
    constants = {"weights": weights[:, None], "intercept": np.array([intercept])}
    graph = helper.make_graph(
        nodes,
        "cytology",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["batch", len(weights)])],
        [helper.make_tensor_value_info("probability", TensorProto.DOUBLE, ["batch", 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _graph(
    table: wdbc.Aspirates, model: tuple[NDArray[np.float64], float], document: Mapping[str, Any]
) -> GraphCandidate:
    weights, intercept = model
    low, high = _range(table)
    policy = document["variants"][0]["policy"]
    required = np.zeros(len(low), np.bool_)
    return GraphCandidate(
        model=graph_of(weights, intercept),
        reference=lambda rows: {
            "probability": 1 / (1 + np.exp(-(rows["features"] @ weights[:, None] + intercept)))
        },
        rows={"features": tabular_rows(low, high, required, table.features, seed=SEED)},
        limits=TREES,
        output="probability",
        thresholds=(policy["report_from"], policy["warn_from"]),
        tensors={
            "features": {"axes": ["aspirate", "number"], "unit": "", "range": [0.0, None]},
            "probability": {"axes": ["aspirate", "malignant"], "unit": "", "range": [0.0, 1.0]},
        },
        precision="float64",
    )


def _range(table: wdbc.Aspirates) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.zeros(wdbc.FEATURES), np.ceil(table.features.max(axis=0) * 1.5 * 1000) / 1000


def _document(
    table: wdbc.Aspirates, probability: NDArray[np.float64], found: Mapping[str, Any], seed: int, minutes: float
) -> dict[str, Any]:
    low, high = _range(table)
    conformal = conformal_of(table.malignant, probability, ALPHA)
    features = [
        {
            "name": name,
            "label": name.replace("_", " "),
            "unit": "",
            "required": True,
            "minimum": float(low[n]),
            "maximum": float(high[n]),
            "codes": [{"system": LEXICON, "code": name.replace("_", "-"), "display": name.replace("_", " ")}],
            "look_back_days": None,
            "imputation": "none",
        }
        for n, name in enumerate(table.names)
    ]
    return {
        "schema": 2,
        "name": NAME,
        "version": VERSION,
        "title": "Fine needle aspirate of the breast: malignancy from cell nuclei",
        "task": "risk",
        "notice": NOTICE,
        "intended_use": "Trying the software: probability that an aspirate is malignant, from numbers of its "
        "nuclei.",
        "population": "Patients of one hospital (Wisconsin) with a breast mass, about 1990.",
        "not_for": "Any patient.",
        "features": features,
        "outcome": coding_document(MALIGNANT_NEOPLASM_OF_BREAST),
        "variants": [
            {
                "graph": MODEL,
                "features": list(table.names),
                "requires": list(table.names),
                "policy": {
                    "report_from": 0.1,
                    "warn_from": 0.5,
                    "rule": "one in ten to be shown; warn where malignancy is as likely as not",
                },
                "conformal": {
                    "alpha": conformal.alpha,
                    "negative": conformal.negative,
                    "positive": conformal.positive,
                    "rows": conformal.rows,
                },
            }
        ],
        "training": {
            "data": [
                {
                    "name": wdbc.TABLE,
                    "citation": wdbc.CITATION,
                    "licence": wdbc.LICENCE,
                    "subjects": len(table.malignant),
                    "rows": len(table.malignant),
                    "sha256": table.sha256,
                }
            ],
            "seed": seed,
            "recipe": "Logistic regression on standardised numbers, L2; ten folds.",
            "minutes": minutes,
            "versions": {name: importlib.metadata.version(name) for name in ("scikit-learn", "numpy", "onnx")},
        },
        "metrics": dict(found),
        "reference": {
            "features": {
                name: histogram_of(table.features[:, n]).document() for n, name in enumerate(table.names)
            },
            "score": histogram_of(probability).document(),
        },
        "transparency": answers(
            output_value="Probability (0..1) that an aspirate is malignant.",
            output_type="Prediction (probability of malignancy).",
            intended_use="Trying the software.",
            out_of_scope="Any patient.",
        ),
    }


def card(document: Mapping[str, Any]) -> str:
    """Return card.md."""
    found = document["metrics"]["cross_validation"]
    body = (
        f"Ten folds, {found['rows']} patients: AUROC {with_interval(found, 'auroc')}, accuracy "
        f"{with_interval(found, 'accuracy')} (majority class {found['majority']}), ECE {found['ece']}.\n\n"
        + "\n\n".join(image(name, alt) for name, alt in (("roc", "ROC curve"), ("calibration", "Calibration")))
    )
    return card_text(document, [("How good it is", body)])


def _keep(model: tuple[NDArray[np.float64], float], folder: Path) -> None:
    (folder / "trainer").mkdir()
    np.savez(folder / "trainer" / "model.npz", weights=model[0], intercept=model[1])


def _refuse(data: Path | None) -> None:
    if data is not None:
        raise IncorrectInput(f"{NAME} is made from scikit-learn's own table and reads no data")


RECIPE = Recipe(
    name=NAME,
    title="Logistic regression on WDBC cytology (package data, record only, for trying)",
    data_sets=(),
    seed=SEED,
    train=train,
    evaluate=evaluate,
)
