"""docs/manifest.md lists every key that a manifest of each task has, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_runtime import testing
from model_runtime.manifest import Task

PAGE = (Path(__file__).parents[2] / "docs" / "manifest.md").read_text(encoding="utf-8")
COMMON, *SECTIONS = re.split(r"^## Task `(\w+)`", PAGE, flags=re.M)
TASKS = dict(zip(SECTIONS[::2], SECTIONS[1::2], strict=True))
NAMED_FREELY = {"graphs", "arrays", "metrics", "training.versions", "reference.features", "graphs.*.opset"}
CONCEPT = {"system", "code", "display"}


def rows(text: str) -> set[str]:
    return set(re.findall(r"^\| `([^`]+)` \|", text, re.M))


def keys(node: Any, path: str = "") -> Iterator[str]:
    """Yield the path of every key as the page writes it; what a concept holds is said once."""
    if isinstance(node, list):
        for item in node:
            yield from keys(item, f"{path}[]") if isinstance(item, dict) else ()
        return
    for key, value in node.items():
        here = f"{path}.*" if path in NAMED_FREELY else f"{path}.{key}".removeprefix(".")
        yield here
        is_concept = isinstance(value, dict) and set(value) == CONCEPT
        if here not in {"transparency", "metrics"} and not is_concept and isinstance(value, dict | list):
            concepts = isinstance(value, list) and any(isinstance(v, dict) and set(v) == CONCEPT for v in value)
            yield from () if concepts else keys(value, here)


@pytest.mark.parametrize("task", [task.value for task in Task])
def test_every_key_of_a_manifest_is_documented_and_no_other(task: str) -> None:
    document = getattr(testing, f"{task}_document")()
    document["arrays"] = {"explain": {"file": "explain.npz", "sha256": testing.NO_DIGEST}}
    next(iter(document["graphs"].values()))["batch_rows"] = 1  # may be absent
    shared = set(keys(testing.segmentation_document())) if task == "lesion" else set()
    shared = {key for key in shared if key.split(".")[0] in {"image", "segment"}} | (
        {"outcome"} if task == "lesion" else set()
    )
    assert rows(COMMON) | rows(TASKS[task]) | shared == set(keys(document))
