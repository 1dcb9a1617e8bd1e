"""Task `segmentation`: a map of probabilities over an image, from which findings are measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clinical.errors import IncorrectInput
from clinical.finding import FindingTerms
from model_runtime.graphs import MODEL, GraphSpec
from model_runtime.json_fields import Faults, Fields
from model_runtime.tasks.coding import read_coding
from model_runtime.transforms import ImageSpec, image_spec


@dataclass(frozen=True, slots=True)
class Thresholds:
    """mask: probability from which a pixel belongs to a lesion; report: peak from which a lesion is a finding.

    min_area_px: smallest area of a finding, in pixels of the source image. rule: how these were set.
    """

    mask: float
    report: float
    min_area_px: int
    rule: str


@dataclass(frozen=True, slots=True)
class Segmentation:
    """What only segmentation models say; their graph is called `model`."""

    image: ImageSpec
    terms: FindingTerms
    thresholds: Thresholds


def read(top: Fields) -> Segmentation:
    """Read the keys of this task from a manifest's top level."""
    return Segmentation(
        image=read_image(top), terms=read_terms(top.child("segment")), thresholds=read_thresholds(top)
    )


def read_terms(segment: Fields) -> FindingTerms:
    """Read what a segment and its observation are called."""
    terms = FindingTerms(
        category=read_coding(segment.child("category")),
        kind=read_coding(segment.child("kind")),
        observation=read_coding(segment.child("observation")),
        body_site=read_coding(segment.child("body_site")),
        label=segment.text("label"),
    )
    segment.end()
    return terms


def read_thresholds(top: Fields) -> Thresholds:
    """Read the key "thresholds"."""
    fields = top.child("thresholds")
    thresholds = Thresholds(
        mask=fields.number("mask", 0.0, 1.0),
        report=fields.number("report", 0.0, 1.0),
        min_area_px=fields.whole("min_area_px", 1, 1 << 24),
        rule=fields.text("rule"),
    )
    fields.end()
    return thresholds


def read_image(top: Fields) -> ImageSpec:
    """Read the key "image" (model_runtime.transforms.image_spec)."""
    nothing: dict[str, Any] = {}
    node = top.take("image", "an object, not empty", lambda v: isinstance(v, dict) and bool(v), nothing)
    modalities = node.get("modalities", [])
    if not (isinstance(modalities, list) and all(isinstance(item, str) and item for item in modalities)):
        top.faults.add(f"{top.path}.image.modalities", "expected a list of texts")
    try:
        if node:
            return image_spec(node)
    except IncorrectInput as problem:
        top.faults.add(f"{top.path}.image", problem.message)
    return ImageSpec((), 1, 1, 0.0, 100.0, None)


def cross_check(part: Segmentation, graphs: Mapping[str, GraphSpec], faults: Faults) -> None:
    """Note what contradicts itself."""
    if MODEL not in graphs:
        faults.add("$.graphs", f"expected a graph named {MODEL}")
        return
    shape = (part.image.rows, part.image.columns, part.image.channels)
    if len(graphs[MODEL].inputs) != 1 or graphs[MODEL].inputs[0].shape[1:] != shape:
        faults.add(f"$.graphs.{MODEL}.inputs", "expected one input of the image's rows, columns and channels")
