"""A store of studies that a live model reads, and a model that reads them in shadow."""

from datetime import timedelta

import numpy as np
import pytest

from consilium.selection import Selecting
from consilium.shadow.models import OneModel
from consilium.shadow.reading import ShadowReader
from model_runtime.testing import CannedEngine, manifest_of, segmentation_document
from record_store import shadow_readings, shadows
from record_store.instances import close_study
from tests.consilium.conftest import ISSUERS
from tests.consilium.nodule import one_nodule, radiograph

LIVE, SHADOW = "lung-nodule", "lung-nodule@2.0.0"


def nothing(_inputs):
    return {"probability": np.zeros((1, 16, 16, 1), np.float32)}


class Shadowed:
    """study: its live side. model: the one in shadow, which answers as `engine` says."""

    def __init__(self, study, decoder) -> None:
        self.study, self.db, self.decoder = study, study.db, decoder
        self.manifest = manifest_of(segmentation_document(version="2.0.0"))
        self.engine = CannedEngine({SHADOW: nothing}, {SHADOW: self.manifest})
        self.model = OneModel(self.engine, SHADOW)

    @property
    def now(self):
        return self.study.now

    def passes(self, **time) -> None:
        self.study.now += timedelta(**time)

    def answers(self, answer) -> None:
        self.engine._answers[SHADOW] = answer

    def stored(self, uid, *seeds, **attributes) -> str:
        """Store a closed study of images made from these seeds."""
        self.study.uid = uid
        for seed in seeds:
            self.study.arrives(seed, **attributes)
        with self.db.write() as conn:
            close_study(conn, uid, self.now + timedelta(seconds=1))
        return uid

    def is_read_live(self) -> None:
        self.study.is_read()

    def reader(self, **changes) -> ShadowReader:
        selecting = Selecting(self.study.blobs, ISSUERS)
        usual = {"decoder": lambda: self.decoder, "now": lambda: self.now, "owner": "here:1"}
        return ShadowReader(**{"db": self.db, "selecting": selecting, "blobs": self.study.blobs} | usual | changes)

    def row(self, uid):
        with self.db.read() as conn:
            return shadows.row_of(conn, self.manifest.ref, uid)

    def readings(self) -> list:
        with self.db.read() as conn:
            its = shadow_readings.by_image(conn, self.manifest.name, self.manifest.version).values()
            return [
                shadow_readings.by_id(conn, one.reading_id) for one in sorted(its, key=lambda one: one.study_uid)
            ]


@pytest.fixture
def shadowed(make_study, decoder):
    engine = CannedEngine({LIVE: one_nodule}, {LIVE: manifest_of(segmentation_document())})
    return Shadowed(make_study(LIVE, engine, radiograph), decoder)
