"""What the DICOM tests share: peers' programs, data sets, a small phantom, a running SCP, a reading."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from clinical.breast_codes import BREAST_LESION_TERMS
from clinical.codes import (
    LONG_AXIS,
    LUNG,
    MALIGNANT_NEOPLASM_OF_BREAST,
    NODULE_OF_LUNG,
    SHORT_AXIS,
    SNOMED_CT,
    Coding,
)
from clinical.conformal import Answer
from clinical.finding import Finding, FindingTerms, ImageRef, Measurement, ModelRef, Reading, ReadingMask
from clinical.identity import IssuerTable
from clinical.image import PixelSpacing, SpacingOrigin
from clinical.lesion import Basis, LesionAssessment, image_tokens
from dicom_node.results import ENCODERS, ResultContext
from dicom_node.scp import ScpSettings, StorageScp
from dicom_node.testing import PhantomTruth, dx_dataset, radiograph_phantom
from record_store.blobs import open_blobs
from record_store.database import Database
from record_store.testing import database

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture
def program():
    """Return the path of a peer's program, or skip with the reason (with CI=true: fail)."""

    def find(name: str) -> str:
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
        if found is None:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{name} is not installed")
            pytest.skip(f"{name} is not installed")
        return found

    return find


@pytest.fixture
def pictures() -> list[Path]:
    """Return real radiographs as PNG files; none where the data set is not (it is never committed)."""
    base = os.environ.get("CONSILIUM_DATA_DIR") or Path(__file__).parents[3] / "shared" / "data"
    folder = Path(base) / "nih_cxr621" / "images"
    return sorted(folder.iterdir()) if folder.is_dir() else []


@pytest.fixture(scope="session")
def small_phantom() -> tuple[NDArray[np.uint16], PhantomTruth]:
    return radiograph_phantom(1, rows=128, columns=128)


class Node:
    """A running SCP with its stores, and what it observed."""

    def __init__(self, folder: Path, db: Database) -> None:
        self.folder, self.db = folder, db
        self.points: list[str] = []
        self.faults: dict[str, Exception] = {}
        self.blobs = open_blobs(f"file://{folder}/blobs", folder / "incoming", self.fault)
        self.seen: list[Any] = []
        self.ends: list[Any] = []
        self.scp: StorageScp | None = None
        self.port = 0

    def fault(self, point: str) -> None:
        self.points.append(point)
        if point in self.faults:
            raise self.faults.pop(point)

    def start(self, *, services: Any = (), **more: Any) -> "Node":
        """Run with collaborators of StorageScp and fields of ScpSettings."""
        given = {name: more.pop(name) for name in ("tls", "note", "restore", "set_aside") if name in more}
        settings = more
        settings = {"port": 0, "low_water_bytes": 0} | settings
        issuers = IssuerTable({"": "urn:hospital", "OTHER": "urn:other"})
        self.scp = StorageScp(
            ScpSettings(**settings),
            db=self.db,
            blobs=self.blobs,
            issuers=issuers,
            now=lambda: NOW,
            observe=self.seen.append,
            fault=self.fault,
            services=services,
            ended=self.ends.append,
            **given,
        )
        self.port = self.scp.start()
        return self

    def stored(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted((self.folder / "blobs").rglob("*")) if path.is_file()]

    def parts(self) -> list[Path]:
        return list(self.blobs.staging.glob("*.part"))


@contextmanager
def node_in(folder: Path) -> Iterator[Node]:
    """Yield a node that is not yet started; it is stopped and its database closed afterwards."""
    db = database(folder)
    one = Node(folder, db)
    yield one
    if one.scp is not None:
        one.scp.stop()
    db.dispose()


@pytest.fixture
def node(tmp_path):
    with node_in(tmp_path) as one:
        yield one


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory):
    """Yield a started node that all tests of a module share."""
    with node_in(tmp_path_factory.mktemp("shared")) as one:
        yield one.start()


def square_reading(
    count: int = 2, *, spacing: PixelSpacing | None, ref: ImageRef | None = None
) -> tuple[Reading, ReadingMask]:
    """Return a reading with square findings of known place, and its mask."""
    image = ref or ImageRef("1.2.3", "1.2.3.4", "1.2.3.4.5", "1.2.840.10008.5.1.4.1.1.1", "CR", 128, 128, spacing)
    labels = np.zeros((image.rows, image.columns), np.int16)
    unit = "mm" if image.spacing else "{pixel}"
    findings = []
    for number in range(1, count + 1):
        top, left = 20 * number, 30 * number
        labels[top : top + 8, left : left + 6] = number
        findings.append(
            Finding(
                number=number,
                probability=round(0.987 - 0.123 * number, 3),
                centroid_px=(top + 3.5, left + 2.5),
                box_px=(top, left, top + 8, left + 6),
                outline_px=((top, left), (top, left + 5), (top + 7, left + 5), (top + 7, left)),
                long_axis=Measurement(LONG_AXIS, 12.3 + number, unit),
                short_axis=Measurement(SHORT_AXIS, 7.1 + number, unit),
            )
        )
    terms = FindingTerms(
        category=Coding(SNOMED_CT, "49755003", "Morphologically Abnormal Structure"),
        kind=Coding(SNOMED_CT, "27925004", "Nodule"),
        observation=NODULE_OF_LUNG,
        body_site=LUNG,
        label="lung nodule",
    )
    model = ModelRef("lung-nodule", "0.1.0", "ab" * 32)
    return Reading(image, model, terms, 0.5, tuple(findings)), ReadingMask(labels)


@pytest.fixture
def a_reading():
    return square_reading


@pytest.fixture
def with_lesions():
    """with_lesions(reading) -> the reading of a lesion model: terms of the breast, each finding assessed."""

    def assess(reading: Reading) -> Reading:
        lesions = tuple(
            LesionAssessment(
                finding=finding.number,
                outcome=MALIGNANT_NEOPLASM_OF_BREAST,
                basis=Basis.IMAGE,
                probability=round(0.731 - 0.1 * finding.number, 3),
                image_probability=0.5,
                answer=Answer.UNSURE,
                inputs=(),
                missing=("Age",),
                tokens=image_tokens(np.zeros(3)),
            )
            for finding in reading.findings
        )
        return replace(reading, terms=BREAST_LESION_TERMS, lesions=lesions)

    return assess


@pytest.fixture
def half_millimetre():
    return PixelSpacing(0.5, 0.5, SpacingOrigin.IMAGER_PIXEL_SPACING)


@pytest.fixture
def source(small_phantom):
    """Return a radiograph with a spacing."""
    return dx_dataset(small_phantom[0], spacing_mm=0.5)


def ref_of(ds: Dataset, spacing: PixelSpacing | None = None) -> ImageRef:
    """Return which image a data set is."""
    uids = (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.SOPClassUID)
    return ImageRef(*map(str, uids), str(ds.get("Modality", "")), int(ds.Rows), int(ds.Columns), spacing)


@pytest.fixture
def reading_of(half_millimetre):
    """reading_of(ds, count, spacing) -> the reading of a data set with so many findings, and its mask."""

    def make(ds: Dataset, count: int = 2, spacing: PixelSpacing | None = half_millimetre) -> Any:
        return square_reading(count, spacing=spacing, ref=ref_of(ds, spacing))

    return make


@pytest.fixture
def result_context():
    """result_context(kind) -> a context whose UIDs belong to this kind."""

    def make(kind: str = "SEG", **more: Any) -> ResultContext:
        place = [one.kind for one in ENCODERS].index(kind)
        return ResultContext(
            sop_instance_uid=f"2.25.{place + 1}001",
            series_instance_uid=f"2.25.{place + 1}002",
            series_number=ENCODERS[place].series_number,
            tracking_uids={1: "2.25.71", 2: "2.25.72"},
            manufacturer="Consilium",
            software_version="0.1.0",
            device_serial="node-1",
            created=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
            **more,
        )

    return make
