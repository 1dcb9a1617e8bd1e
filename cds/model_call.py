"""Asking a model on behalf of a hook: its failure is ours, and never the caller's mistake."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cds.deadline import Deadline
from clinical.errors import Busy, ClinicalError, Fault
from model_runtime.engine import Engine, Outputs
from model_runtime.graphs import MODEL
from model_runtime.manifest import Manifest


def manifest_of(engine: Engine, model: str) -> Manifest:
    """Return the manifest of a model that a service needs. Raises Fault when it is not there."""
    try:
        return engine.manifest(model)
    except ClinicalError as error:
        raise Fault(f"the model {model} is not available") from error


def outputs_of(
    engine: Engine, model: str, inputs: Mapping[str, NDArray[Any]], deadline: Deadline, graph: str = MODEL
) -> Outputs:
    """Return what a graph answers.

    Raises Busy when the model had no turn in time, Fault for everything else that is wrong with it: an engine
    that says NotFound or IncorrectInput speaks of us, and would be a 404 or 400 to the EHR.
    """
    try:
        return engine.run(model, inputs, graph=graph, timeout_s=deadline.left_s())
    except Busy:
        raise
    except ClinicalError as error:
        raise Fault(f"the model {model} could not be run") from error


def probabilities(
    engine: Engine, model: str, inputs: Mapping[str, NDArray[Any]], deadline: Deadline, graph: str = MODEL
) -> NDArray[np.float64]:
    """Return the output `probability`, one value a row; errors as outputs_of, and Fault for no probabilities."""
    rows = len(next(iter(inputs.values())))
    outputs = outputs_of(engine, model, inputs, deadline, graph)
    values = np.asarray(outputs.get("probability", ()), np.float64)
    if values.shape not in {(rows, 1), (rows,)}:
        raise Fault(f"the model {model} did not answer with one probability a row")
    values = values.reshape(rows)
    if not np.all((values >= 0) & (values <= 1)):
        raise Fault(f"the model {model} answered with something that is no probability")
    return values
