"""A radiograph to be read, and a canned answer of the model that marks one nodule in it."""

import numpy as np

from dicom_node.testing import dx_dataset, radiograph_phantom


def one_nodule(_inputs):
    probability = np.zeros((1, 16, 16, 1), np.float32)
    probability[0, 4:8, 5:9, 0] = 0.9
    return {"probability": probability}


def radiograph(seed, **attributes):
    pixels, _ = radiograph_phantom(1, rows=64, columns=64)
    return dx_dataset(pixels, seed=seed, **attributes)
