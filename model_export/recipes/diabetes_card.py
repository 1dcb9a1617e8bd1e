"""The words of the diabetes risk model's card; every figure is taken from the manifest document."""

from collections.abc import Mapping
from typing import Any

from model_export.card import card_text, feature_table, table, with_interval

Document = Mapping[str, Any]
PARTS = {
    "as_charted": "as charted (glucose where it was measured)",
    "no_lab": "without laboratory",
    "lab": "with fasting glucose",
}


def card(document: Document) -> str:
    """Return card.md."""
    metrics = document["metrics"]
    sections = (
        ("Inputs and output", _inputs(document)),
        ("How good it is", _figures(metrics)),
        ("Who is told", _policy(document)),
        ("By group", _groups(metrics)),
        ("What it looks at", _importance(document)),
        ("How it was made", _making(metrics)),
        ("Limits", LIMITS),
    )
    return card_text(document, sections)


def _inputs(document: Document) -> str:
    return (
        f"{feature_table(document)}\n\n"
        "Graph: `features` float64 [batch, 7] in this order, NaN for missing -> `probability` float64 [batch, 1]. "
        "Race and ethnicity are not inputs. Ages above 80 count as 80 (the survey writes them so)."
    )


def _figures(metrics: Document) -> str:
    rows = [
        (
            title,
            f"{metrics[key]['rows']} / {metrics[key]['positives']}",
            with_interval(metrics[key], "auroc"),
            with_interval(metrics[key], "auprc"),
            with_interval(metrics[key], "brier"),
            with_interval(metrics[key], "ece"),
            f"{metrics[key]['accuracy']:.3f} / {metrics[key]['majority']:.3f}",
        )
        for key, title in PARTS.items()
    ]
    header = ("held-out persons", "n / diagnosed", "AUROC", "AUPRC", "Brier", "ECE", "accuracy / majority class")
    undiagnosed = metrics["undiagnosed"]
    return (
        "A quarter of the persons, chosen by a hash of their number, was never seen in training; brackets are "
        f"95 % bootstrap intervals.\n\n{table(header, rows)}\n\n"
        "Accuracy says little here: calling nobody diabetic is right as often as the majority class. Without "
        "laboratory the model ranks people but is no more often right than that.\n\n"
        f"Undiagnosed: among {undiagnosed['rows']} held-out persons whom nobody told and whose fasting glucose is "
        f"known, {undiagnosed['positives']} have >= 126 mg/dL; the risk without laboratory finds them with AUROC "
        f"{undiagnosed['auroc']:.3f}. This, and not the table above, is the number that matters for case finding."
    )


def _policy(document: Document) -> str:
    policy, metrics = document["policy"], document["metrics"]
    keys = ("true_positive", "false_positive", "false_negative", "true_negative")
    rates = ("sensitivity", "specificity", "ppv", "npv")
    rows = [
        (title, *(metrics[key]["at_threshold"][name] for name in (*keys, *rates))) for key, title in PARTS.items()
    ]
    return (
        f"A card is shown from {policy['report_from']:g}: the highest hundredth that finds three in four of the "
        f"diagnosed, in cross-validation on the training persons. It is a warning from {policy['warn_from']:g}: "
        "the lowest hundredth from which at least every second person above is diagnosed. A prompt to test costs "
        "little, a missed person costs years; a warning that is mostly wrong is ignored.\n\n"
        f"At {policy['report_from']:g}, held out:\n\n{table(('', 'TP', 'FP', 'FN', 'TN', *rates), rows)}"
    )


def _groups(metrics: Document) -> str:
    keys = ("rows", "positives", "auroc", "observed", "predicted", "sensitivity", "specificity")
    rows = [
        (f"{title.replace('_', '/')}: {name}", *(group[key] for key in keys))
        for title, groups in metrics["subgroups"].items()
        for name, group in groups.items()
    ]
    return (
        "As charted, at the threshold of the card. Observed and predicted are mean rates: where they part, the "
        f"model is off for that group.\n\n{table(('group', *keys), rows)}"
    )


def _importance(document: Document) -> str:
    labels = {feature["name"]: feature["label"] for feature in document["features"]}
    falls = sorted(document["metrics"]["importance"].items(), key=lambda item: -item[1])
    rows = [(labels[name], f"{fall:.4f}") for name, fall in falls]
    return (
        f"Fall of AUROC when one input is shuffled between held-out persons:\n\n{table(('input', 'fall'), rows)}"
    )


def _making(metrics: Document) -> str:
    chosen = metrics["chosen"]
    rows = list(chosen["cv_brier"].items())
    return (
        f"Random forest, {chosen['trees']} trees, {chosen['rows']} training persons, missing values routed by the "
        f"trees. Smallest leaf {chosen['min_samples_leaf']}, by the lowest Brier score of five-fold "
        f"cross-validation:\n\n{table(('smallest leaf', 'Brier'), rows)}\n\n"
        "No calibration step: leaves of this size are averages over many persons (see ECE). Exported as one "
        "float64 `ai.onnx.ml` 5 TreeEnsemble; the file agrees with scikit-learn within "
        "1e-12 on every row of the gate."
    )


LIMITS = (
    "- Cross-sectional: values were taken after diagnosis in those who have one, often under treatment (a "
    "treated glucose looks better than the disease).\n"
    "- Unweighted survey rows: the rates are not those of the United States, nor of your clinic; recalibrate "
    "before use elsewhere.\n"
    "- One threshold finds unequal shares of unequal groups: see sensitivity by age and by race/ethnicity.\n"
    "- A forest is not monotone: one more kilogram may lower the number slightly.\n"
    "- Glucose was missing by the survey's design, the other inputs where an examination was missed; a chart "
    "misses values for other reasons.\n"
    "- Not assessed: pregnancy, acute illness, steroid treatment, type 1 diabetes apart from type 2."
)
