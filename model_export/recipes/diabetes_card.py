"""The words of `diabetes-risk`'s card; every figure is taken from the manifest document."""

from collections.abc import Mapping
from typing import Any

from model_export.card import card_text, feature_table, table, with_interval
from model_export.transparency import answers

Document = Mapping[str, Any]
PARTS = {"no_lab": "without laboratory", "lab": "with fasting glucose"}
CHARTS = {
    "bmi": "age, sex, body mass index",
    "vitals_smoking": "the same and diastolic pressure, smoking",
    "vitals_smoking_family": "the same and family history",
    "all_but_waist": "everything but the waist",
    "all_but_insulin": "everything but insulin",
}
PLOTS = (
    ("roc", "ROC curves"),
    ("precision_recall", "precision and recall"),
    ("calibration", "calibration"),
    ("selective", "accuracy against the share that is answered"),
    ("confusion", "confusion matrix with fasting glucose"),
    ("comparison", "models beside each other"),
    ("importance_no_lab", "importance without laboratory"),
    ("importance_lab", "importance with fasting glucose"),
)


def card(document: Document) -> str:
    """Return card.md."""
    metrics = document["metrics"]
    validated = metrics["cross_validation"]
    sections = (
        ("Inputs and output", _inputs(document)),
        ("How good it is", _figures(validated)),
        ("External test", _external(metrics["external"])),
        ("When the chart holds less", _charts(validated)),
        ("Who is told, and when it does not answer", _policy(document)),
        ("By group", _groups(validated)),
        ("What it looks at", _importance(document)),
        ("Beside other models", _comparison(validated)),
        ("Plots", "\n\n".join(f"![{text}](plots/{name}.png)" for name, text in PLOTS)),
        ("Limits", LIMITS),
    )
    return card_text(document, sections)


def _inputs(document: Document) -> str:
    return (
        f"{feature_table(document)}\n\n"
        "Two graphs: `lab` where a fasting glucose is known, else `no_lab`. Each: `features` float64 [batch, n], "
        "NaN for missing -> `probability` and `log_odds` float64 [batch, 1]. Race, ethnicity, education and "
        "insurance are not inputs. Monotone rising by construction in the trees: body mass index, waist for its "
        "body mass index, family history, worse self-rated health. `*_explanation.npz` holds the trees' paths "
        "and the lines, from which the server computes exact Shapley values of the log-odds."
    )


def _figures(validated: Document) -> str:
    rows = [
        (
            title,
            f"{validated[key]['rows']} / {validated[key]['positives']}",
            *(with_interval(validated[key], name) for name in ("auroc", "auprc", "brier", "ece", "accuracy")),
            validated[key]["majority"],
        )
        for key, title in PARTS.items()
    ]
    header = ("out of fold", "n / diagnosed", "AUROC", "AUPRC", "Brier", "ECE", "accuracy", "majority class")
    found = validated["undiagnosed"]
    at = found["at_threshold"]
    return (
        "Five-fold cross-validation by person; every fold's graphs ran as ONNX in the server's runtime, on rows "
        "that its feature code read from FHIR resources, and were calibrated on the other folds. Brackets: 95 % "
        f"bootstrap intervals. ECE: ten bins of equal count.\n\n{table(header, rows)}\n\n"
        "Accuracy says little without laboratory: calling nobody diabetic is almost as often right.\n\n"
        f"**Undiagnosed.** Among {found['rows']} persons whom nobody told and whose fasting glucose is known, "
        f"{found['positives']} have >= 126 mg/dL; the risk without laboratory finds them with AUROC "
        f"{with_interval(found, 'auroc')}, at the card's threshold {at['sensitivity']} of them (specificity "
        f"{at['specificity']}). This, and not the table above, is the number that matters for case finding."
    )


def _external(external: Document | None) -> str:
    if external is None:
        return "Not assessed: the earlier cycle was not there when the model was made."
    names = ("auroc", "brier", "ece", "accuracy")
    rows = [(f"{external['rows']} / {external['positives']}", *(with_interval(external, name) for name in names))]
    return (
        f"NHANES {external['cycle']}, other persons, `no_lab`; the extract lacks {external['missing']}, so this "
        f"is also a test with half of a chart.\n\n{table(('n / diagnosed', *names), rows)}"
    )


def _charts(validated: Document) -> str:
    keys = ("auroc", "brier", "ece", "predicted", "observed")
    rows = [
        (title, CHARTS[name], *(found[key] for key in keys))
        for part, title in PARTS.items()
        for name, found in validated[part]["charts"].items()
    ]
    return (
        "Charts miss more than the survey does, so inputs were struck out at random in training. Out of fold, "
        f"with nothing but what is named:\n\n{table(('graph', 'chart holds', *keys), rows)}"
    )


def _policy(document: Document) -> str:
    validated = document["metrics"]["cross_validation"]
    counts = ("true_positive", "false_positive", "false_negative", "true_negative")
    rates = ("sensitivity", "specificity", "ppv", "npv")
    told, sure = [], []
    for variant in document["variants"]:
        part, policy, conformal = validated[variant["graph"]], variant["policy"], variant["conformal"]
        told.append(
            (
                PARTS[variant["graph"]],
                policy["report_from"],
                policy["warn_from"],
                *(part["at_threshold"][name] for name in (*counts, *rates)),
            )
        )
        names = ("answered", "accuracy_answered", "negative_excluded", "positive_excluded")
        sure.append(
            (
                PARTS[variant["graph"]],
                f"{1 - conformal['positive']:.3f} to {conformal['negative']:.3f}",
                *(part["abstention"][name] for name in names),
            )
        )
    header = ("", "card from", "warning from", "TP", "FP", "FN", "TN", *rates)
    abstains = (
        "",
        "no answer from .. to",
        "answered",
        "accuracy of answers",
        "of those without diabetes, called likely",
        "of those with it, called unlikely",
    )
    return (
        f"{document['variants'][0]['policy']['rule']}. A prompt to test costs little, a missed person costs "
        f"years; a warning that is mostly wrong is ignored.\n\n{table(header, told)}\n\n"
        "**Abstention.** Split conformal prediction, per class, from the probabilities out of fold: each class is "
        'kept wherever it is the true one in nine of ten cases. Where both are kept, or none, the card says "not '
        f'sure enough, refer for a test" and names no class.\n\n{table(abstains, sure)}'
    )


def _groups(validated: Document) -> str:
    keys = ("rows", "positives", "auroc", "observed", "predicted", "sensitivity", "specificity")
    rows = [
        (PARTS[part], f"{kind.replace('_', '/')}: {name}", *(group[key] for key in keys))
        for part in PARTS
        for kind, groups in validated[part]["subgroups"].items()
        for name, group in groups.items()
    ]
    return (
        "At the threshold of the card. Observed and predicted are mean rates: where they part, the model is off "
        f"for that group. Race and ethnicity are reported here and are never an input.\n\n"
        f"{table(('graph', 'group', *keys), rows)}"
    )


def _importance(document: Document) -> str:
    labels = {feature["name"]: feature["label"] for feature in document["features"]}
    falls = document["metrics"]["cross_validation"]["importance"]
    rows = [(label, *(falls[part].get(name, "") for part in PARTS)) for name, label in labels.items()]
    header = ("input", *PARTS.values())
    return f"Fall of AUROC when one input is shuffled between persons, out of fold:\n\n{table(header, rows)}"


def _comparison(validated: Document) -> str:
    keys = ("setting", "auroc", "accuracy", "brier", "ece")
    rows = [
        (PARTS[part], model.replace("_", " "), *(found[key] for key in keys))
        for part in PARTS
        for model, found in validated["comparison"][part].items()
    ]
    return (
        "The same folds and columns for all; of each the best of a few settings by Brier score, the blend as it "
        f"is shipped.\n\n{table(('graph', 'model', *keys), rows)}"
    )


def transparency(metrics: Document) -> dict[str, str]:
    """Return the answers to the 31 source attributes. metrics: those of cross-validation, and `external`."""
    external = metrics["external"]
    no_lab, lab = metrics["no_lab"], metrics["lab"]
    figures = (
        f"Out of fold AUROC {no_lab['auroc']} without and {lab['auroc']} with laboratory, ECE {no_lab['ece']} and "
        f"{lab['ece']}, accuracy {lab['accuracy']} with laboratory beside {lab['majority']} of the majority class."
    )
    outside = (
        {}
        if external is None
        else {
            "external_source": f"NHANES {external['cycle']}, through the R package NHANES 2.1.1.",
            "external_party": "The developers; nobody independent.",
            "external_representativeness": "A survey sample of adults of the United States; not broken down.",
            "external_process": "The shipped file on all persons of that cycle, none of whom was in training; "
            "waist, family history, pregnancies and laboratory missing.",
            "validity_external": f"AUROC {external['auroc']}, ECE {external['ece']}, Brier {external['brier']}.",
        }
    )
    return answers(
        output_value="Probability (0 to 1) that a person has diagnosed diabetes, and its log-odds.",
        output_type="Prediction; the card may say that it is not sure enough.",
        intended_use="Research and demonstration: a prompt to test for diabetes. Not a medical device.",
        intended_population="Adults of 20 years and older, not pregnant, in primary care.",
        out_of_scope="Diagnosis, children, pregnancy, acute illness, types of diabetes, deciding not to test.",
        risks="Cross-sectional: values of those diagnosed are often under treatment. Rates are those of a survey; "
        "recalibrate elsewhere. Sensitivity is lower in the young.",
        inclusion_exclusion="All adults of NHANES 2011-2016 with an answer on diabetes; who was told borderline "
        "is measured on and not learnt from.",
        sensitive_inputs="Age and sex are inputs. Race, ethnicity, education, income and insurance are not.",
        training_representativeness="A national sample with oversampled minorities, not weighted; counts by sex, "
        "age and race/ethnicity stand under By group.",
        training_relevance="Examined in a mobile centre and not in care; a chart misses more values (When the "
        "chart holds less).",
        fairness_approach="No input of race or ethnicity; figures by sex, age band and race/ethnicity are "
        "reported.",
        bias_approach="None beyond leaving inputs out: one threshold for everybody, so sensitivity differs by "
        "group.",
        validity_internal=figures,
        fairness_internal="AUROC, observed and predicted rates, sensitivity and specificity stand under By group.",
        **outside,
    )


LIMITS = (
    "- Research demonstration, not a medical device.\n"
    "- Cross-sectional: values were taken after diagnosis in those who have one, often under treatment (a "
    "treated glucose looks better than the disease, so a low one does not rule it out).\n"
    "- It learnt who was told, and not who is ill: see Undiagnosed.\n"
    "- Unweighted survey rows: the rates are not those of the United States, nor of your clinic; recalibrate "
    "before use elsewhere.\n"
    "- One threshold finds unequal shares of unequal groups: see sensitivity by age and by race/ethnicity.\n"
    "- Smoking was asked of everybody in the survey; that a chart lacks it was only learnt from struck-out "
    "copies.\n- `activity` is 2 only where vigorous activity has its own code; days a week alone give 1.\n"
    "- A fasting insulin counts under its fasting code (LOINC 27873-9) only; a random insulin is not read.\n"
    "- Not assessed: pregnancy, acute illness, steroid treatment, type 1 diabetes apart from type 2."
)
