"""Shapes of nodules from outlines: a ball's are known, and the shipped file holds shapes and nothing else."""

import sqlite3

import numpy as np
import pytest

from model_export.datasets import nodule_shapes
from model_export.datasets.nodule_shapes import GRID, build, load, project

RADIUS_MM = 10.0


def ball(spacing=1.0):
    """Outlines of a ball of 10 mm, a slice every 2 mm."""
    turns = np.linspace(0, 2 * np.pi, 73)
    for z in np.arange(-9.0, 10.0, 2.0):
        r = np.sqrt(RADIUS_MM**2 - z**2)
        yield z, True, spacing * np.column_stack([100 + r * np.cos(turns), 100 + r * np.sin(turns)])


def test_a_ball_is_as_thick_as_its_diameter_in_the_middle_and_thin_at_the_rim():
    shape, height, width, diameter = project(list(ball()))
    assert shape.shape == (GRID, GRID)
    assert shape.max() == pytest.approx(20, abs=1)
    assert diameter == pytest.approx(20, abs=1)
    assert height == pytest.approx(24)  # ten slices and an empty one at either end, 2 mm each
    assert width == pytest.approx(20, abs=0.6)
    middle = shape[GRID // 2]
    assert middle[0] < 0.5 * middle[GRID // 2]


def test_a_hole_takes_its_chord_away():
    outlines = list(ball())
    whole = project(outlines)[0].max()
    square = np.array([[98, 98], [102, 98], [102, 102], [98, 102]], np.float64)
    holed = project([*outlines, *((z, False, square) for z, _, _ in outlines)])[0]
    assert holed[GRID // 2, GRID // 2] == pytest.approx(whole - 4, abs=1.2)


def test_one_nodule_of_two_readers_is_taken_once_and_early_patients_never(tmp_path):
    base = sqlite3.connect(tmp_path / "p.sqlite")
    base.execute("create table scans (id, patient_id, pixel_spacing)")
    base.execute("create table annotations (id, scan_id, texture)")
    base.execute("create table contours (annotation_id, image_z_position, inclusion, coords)")
    for number, patient in enumerate(("LIDC-IDRI-0600", "LIDC-IDRI-0601")):
        base.execute("insert into scans values (?, ?, 0.5)", (number, patient))
        for reader in (1, 2):
            name = 10 * number + reader
            base.execute("insert into annotations values (?, ?, 5)", (name, number))
            for z, _, points in ball():
                text = "\n".join(f"{round(2 * x)},{round(2 * y)}" for x, y in points)
                base.execute("insert into contours values (?, ?, 1, ?)", (name, z, text))
    base.commit()
    base.close()
    assert build(tmp_path / "p.sqlite", tmp_path / "out.npz") == 1
    assert load(tmp_path / "out.npz").diameter_mm[0] == pytest.approx(20, abs=1)


def test_the_shipped_file_holds_shapes_sizes_and_nothing_else():
    with np.load(nodule_shapes.FILE, allow_pickle=False) as file:
        assert set(file.files) == {"thickness", *nodule_shapes.NUMBERS}
    shapes = load()
    assert len(shapes.thickness) > 400
    assert shapes.thickness.dtype == np.uint8
    assert 6 <= shapes.diameter_mm.min() <= shapes.diameter_mm.max() <= 40
    assert nodule_shapes.FILE.stat().st_size < 500_000
