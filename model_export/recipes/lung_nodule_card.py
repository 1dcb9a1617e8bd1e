"""The words of the lung nodule model's card; every figure is taken from the manifest document."""

from collections.abc import Mapping
from typing import Any

from model_export.card import card_text, table

Document = Mapping[str, Any]
NOTICE = (
    "Research and evaluation only. Trained on simulated radiographs that may be used for academic and research "
    "purposes only. Retrain on your own data before any other use."
)


def card(document: Document) -> str:
    """Return card.md."""
    sections = [("Input and output", _inputs(document))]
    if document["metrics"]:
        sections += [
            ("What it finds", _froc(document["metrics"])),
            ("As shown by the server", _shown(document)),
            ("On real radiographs", _real(document["metrics"])),
        ]
    sections += [("How it was made", MAKING), ("Limits", LIMITS)]
    return card_text(document, sections, notice=NOTICE)


def _inputs(document: Document) -> str:
    image = document["image"]
    return (
        f"Graph: `image` float32 [batch, {image['rows']}, {image['columns']}, 2] -> `probability` float32 [batch, "
        f"{image['rows']}, {image['columns']}, 1]. Channel 0 is the grey value between percentiles "
        f"{image['normalise']['percentiles']}, channel 1 its contrast within "
        f"{2 * image['normalise']['local_radius_px'] + 1} pixels (`model_runtime/transforms.py`). The "
        "probability is a score, not calibrated."
    )


def _froc(metrics: Document) -> str:
    header = ("nodules by >= 3 of 4 readers", "n", "0.5 false / image", "1", "2", "4")
    rows = []
    for title, key in (("visible in the projection", "froc_visible"), ("all", "froc_all")):
        for size, entry in metrics[key].items():
            rows.append(
                (f"{title}, {size}", entry["nodules"], *(_interval(entry[at]) for at in ("0.5", "1", "2", "4")))
            )
    auroc = metrics["image_auroc"]
    return (
        f"Share of nodules found (FROC), {metrics['test_views']} simulated radiographs of patients never used in "
        f"training or choosing; 95 % intervals from resampling views.\n\n{table(header, rows)}\n\n"
        "Visible means that the nodule is brighter than its surroundings in the projection (measured before "
        "training; `datasets/radiograph.py`). Of the CT-confirmed nodules about half are not.\n\n"
        f"Whole view, a visible nodule of 10 mm or more ({auroc['positive']}) against no outline at all "
        f"({auroc['negative']}): AUROC {_interval(auroc)}."
    )


def _shown(document: Document) -> str:
    shown, limits = document["metrics"]["shown"], document["thresholds"]
    fit = document["metrics"]["overlap"]
    return (
        f"Reported from a peak of {limits['report']:g}, drawn down to {limits['mask']:g}, at least "
        f"{limits['min_area_px']} pixels; chosen on validation patients for at most 0.75 false findings per "
        f"image. On the test patients: {shown['false_per_image']:g} false findings per image, visible nodules of "
        f"10 mm or more found {_interval(shown['sensitivity_visible_10mm'])}. The regions of those "
        f"{fit['nodules']} found overlap the readers' ellipse by {fit['iou']} (intersection over union, median), "
        f"their area is {fit['area_ratio']} times the ellipse's."
    )


def _real(metrics: Document) -> str:
    if "real_label_auroc" not in metrics:
        return "Not measured: no real radiographs at hand."
    label, added = metrics["real_label_auroc"], metrics["real_added_nodules"]
    return (
        f"NIH ChestX-ray14, {label['images']} radiographs never trained on, {label['labelled']} with nodule or "
        f"mass in the text of the report: AUROC {_interval(label)}. The labels are mined from text; a network of "
        "7 million parameters trained on 112,000 of these radiographs reaches 0.77 on a superset of them. "
        f"Radiographs without that label get {metrics['real_findings_per_unlabelled_image']:g} findings each.\n\n"
        f"Made-up nodules of about 8 to 32 mm added to {added['images']} of them: {_interval(added)} reported. "
        "This says that the pipeline works, not how it does on patients: the shadows are of the kind that it "
        "was trained on."
    )


def _interval(entry: Document) -> str:
    if entry["value"] is None:
        return "–"
    low, high = entry["ci95"]
    return f"{entry['value']:.2f}" + ("" if low is None else f" ({low:.2f} – {high:.2f})")


MAKING = (
    "U-Net of 0.5 million parameters, stem stride 2, focal and Dice loss, crops of 192 pixels. Crops: 40 % around "
    "a nodule of a projection, 25 % real radiographs without nodule label, 12 % made-up chests, the rest any "
    "place of a projection; in 60 % of the crops without a nodule one or two are added where the lung is dark. "
    "Mirror, scale, tone, blur and noise vary. Nodules outlined by fewer than three readers, below 8 mm or not "
    "visible count neither way. Two phases: one that looks for nodules, a shorter one with balanced weights that "
    "draws them to size; the weights are those at the end of the schedule. Thresholds come from the validation "
    "patients alone. Two less trained exports were measured on the same test views before this one; no choice "
    "was made from those figures. Repeating the recipe gives a similar file, not the same one."
)
LIMITS = (
    "- Simulated radiographs: no scatter, arms often in the field, other noise and edge enhancement than a "
    "detector. Performance on your radiographs is unknown until you measure it.\n"
    "- Mirroring ignores that left and right differ; devices, electrodes, nipples, calcified nodes and crossing "
    "vessels may be marked.\n"
    "- Nodules behind heart, hilum, ribs or diaphragm are missed; so are most below 10 mm.\n"
    "- Sizes are those of the marked region, not of the nodule; on detectors they are magnified.\n"
    "- Not assessed: by age, sex, ethnicity, manufacturer."
)
