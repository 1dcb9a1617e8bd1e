"""How long the index of headers takes to be made anew, and how long searches of it take.

    python -m benchmarks.header_index --objects 100000 [--database URL] [--json]

Writes so many small CT slices (a real header of 223 elements) into a store of its own, 200 to a study, and
removes it afterwards.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node.query.attributes import BY_KEYWORD, Level
from dicom_node.query.indexing import HeaderIndex
from dicom_node.query.search import Question, search
from record_store.blobs import open_blobs
from record_store.database import Database, open_database
from record_store.instances import ReceivedInstance, record_instance
from record_store.migrate import migrate

PER_STUDY, PER_SERIES = 200, 100


def fill(db: Database, blobs, count: int) -> None:
    """Store `count` slices; not flushed, this is not what is measured."""
    template = _template()
    for start in range(0, count, 500):
        rows = []
        for number in range(start, min(start + 500, count)):
            study, series = number // PER_STUDY, number // PER_SERIES
            uids = [f"1.2.840.99999.1{study:07}", f"1.2.840.99999.2{series:07}", f"1.2.840.99999.3{number:07}"]
            data = template
            for place, text in zip(PLACES, (*uids, f"P{study // 2:05}", f"Bench^Patient{study // 2:05}",
                                            f"20{study % 25:02}{1 + study % 12:02}{1 + study % 28:02}",
                                            f"A{study:05}"), strict=True):  # fmt: skip
                data = data.replace(place.encode(), text.encode())
            sha256 = f"{number % 256:02x}{number:062x}"
            target = blobs._path(sha256)  # noqa: SLF001 - the names are not hashes, to save hashing
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            rows.append(
                ReceivedInstance(uids[2], CTImageStorage, ExplicitVRLittleEndian, *uids[:2], "CT", None, sha256,
                                 len(data), "BENCH", "CONSILIUM")
            )  # fmt: skip
        with db.write(durable=False) as conn:
            for row in rows:
                record_instance(conn, row, datetime.now(UTC))


# As long as what stands in their place.
PLACES = (
    "1.1.840.99999.10000000", "1.1.840.99999.20000000", "1.1.840.99999.30000000", "Q00000", "Place^Patient00000",
    "19010101", "B00000",
)  # fmt: skip


def _template() -> bytes:
    """Return a CT slice of 223 elements and 2 KiB of pixels, with PLACES in it."""
    ds = dcmread(get_testdata_file("CT_small.dcm", download=False))
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = PLACES[:3]
    ds.file_meta.MediaStorageSOPInstanceUID = PLACES[2]
    ds.PatientID, ds.PatientName, ds.StudyDate, ds.AccessionNumber = PLACES[3:]
    ds.PixelData = ds.PixelData[:2048]
    file = io.BytesIO()
    ds.save_as(file)
    return file.getvalue()


def timed(db: Database, level: Level, **keys: str) -> dict[str, float]:
    """Return the median time of a search in ms and its number of answers."""
    wanted = {BY_KEYWORD[name].tag: value for name, value in keys.items()}
    times, found = [], 0
    for _ in range(7):
        began = time.perf_counter()
        found = sum(1 for _ in search(db, Question(level, wanted)))
        times.append(1000 * (time.perf_counter() - began))
    return {"ms": round(statistics.median(times), 1), "answers": found}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--database")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        db = open_database(given.database or f"sqlite:///{folder}/consilium.db")
        migrate(db)
        blobs = open_blobs(f"file://{folder}/blobs", folder / "incoming")
        fill(db, blobs, given.objects)
        began, cpu = time.perf_counter(), time.process_time()
        count = HeaderIndex(db, blobs, lambda: datetime.now(UTC)).rebuild()
        said = {
            "objects": count,
            "rebuild_s": round(time.perf_counter() - began, 1),
            "rebuild_cpu_s": round(time.process_time() - cpu, 1),
            "study_by_patient_id": timed(db, Level.STUDY, PatientID="P00007"),
            "study_by_accession": timed(db, Level.STUDY, AccessionNumber="A00042"),
            "study_by_name": timed(db, Level.STUDY, PatientName="bench^patient0012*"),
            "study_by_month": timed(db, Level.STUDY, StudyDate="20110101-20110131"),
            "series_of_study": timed(db, Level.SERIES, StudyInstanceUID="1.2.840.99999.10000009"),
            "images_of_series": timed(
                db,
                Level.IMAGE,
                StudyInstanceUID="1.2.840.99999.10000009",
                SeriesInstanceUID="1.2.840.99999.20000018",
            ),
        }
        db.dispose()
    print(json.dumps(said) if given.json else "\n".join(f"{key:<22} {value}" for key, value in said.items()))


if __name__ == "__main__":
    main()
