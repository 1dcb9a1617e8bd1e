"""The index of headers says what the objects say, and a search finds the same in both databases."""

from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from clinical.errors import Busy, IncorrectInput
from dicom_node.query.attributes import ATTRIBUTES, BY_KEYWORD, Level
from dicom_node.query.indexing import HeaderIndex
from dicom_node.query.search import EVERYTHING, Question, Scope, search
from dicom_node.testing import dx_dataset
from record_store.readings import ResultObject, add_result_object
from record_store.tables import instance_header, series_header, study_header

PIXELS = np.zeros((8, 6), np.uint16)


def image(number, **attributes):
    """Image `number` of study `number // 10`."""
    uids = {
        "SOPInstanceUID": f"1.9.{number}",
        "SeriesInstanceUID": f"1.8.{number // 5}",
        "StudyInstanceUID": f"1.7.{number // 10}",
    }
    return dx_dataset(PIXELS, seed=str(number), **uids | {"InstanceNumber": number} | attributes)


def ask(store, level, scope=EVERYTHING, **keys):
    store.index.catch_up()
    wanted = {BY_KEYWORD[name].tag: value for name, value in keys.items()}
    return list(search(store.db, Question(level, wanted, scope)))


def said(rows, keyword):
    return sorted(row[BY_KEYWORD[keyword].tag] for row in rows)


def test_every_attribute_stands_in_the_table_of_its_level_under_its_dictionary_name() -> None:
    tables = {0: study_header, 1: study_header, 2: series_header, 3: instance_header}
    for one in ATTRIBUTES:
        assert one.column in tables[one.level].columns, one.keyword
        assert pydicom.datadict.keyword_for_tag(one.tag) == one.keyword
        assert pydicom.datadict.dictionary_VR(one.tag) == one.vr


def test_the_index_says_what_the_objects_say(kept) -> None:
    for name in FILES:
        ds = kept.put(pydicom.dcmread(get_testdata_file(name, download=False)))
        (row,) = ask(kept, Level.IMAGE, SOPInstanceUID=str(ds.SOPInstanceUID))
        for one in ATTRIBUTES:
            value = ds.get(one.keyword)
            text = str("" if value is None else value)
            if one.vr in {"DA", "TM"}:  # the forms of ACR-NEMA are brought to today's
                text = text.replace("." if one.vr == "DA" else ":", "")
            assert one.counted or row[one.tag] == text, (name, one.keyword)


FILES = (
    "MR_small_implicit.dcm",
    "ExplVR_BigEnd.dcm",
    "image_dfl.dcm",
    "CT_small.dcm",
    "JPEG2000.dcm",
    "rtplan.dcm",
)
NAMES = {
    "chrGreek.dcm": "Διονυσιος",
    "chrH31.dcm": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "chrH32.dcm": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "chrFren.dcm": "Buc^Jérôme",
    "chrX2.dcm": "Wang^XiaoDong=王^小东",
    "chrI2.dcm": "Hong^Gildong=洪^吉洞=홍^길동",
}


def test_names_are_decoded_by_their_character_set(kept) -> None:
    for number, (name, text) in enumerate(NAMES.items()):
        example = pydicom.dcmread(next(iter(pydicom.data.get_charset_files(name))))
        ds = image(10 * number)
        ds.SpecificCharacterSet, ds.PatientName = example.SpecificCharacterSet, example.PatientName
        kept.put(ds)
        found = ask(kept, Level.STUDY, PatientName=text.split("=")[-1])
        assert text in said(found, "PatientName"), name


def test_each_level_is_found_once_with_its_counts(store) -> None:
    for number in range(10, 30):
        store.put(image(number))
    assert said(ask(store, Level.PATIENT), "PatientID") == ["ZZCANARY-4711"]
    studies = ask(store, Level.STUDY)
    assert said(studies, "StudyInstanceUID") == ["1.7.1", "1.7.2"]
    assert said(studies, "NumberOfStudyRelatedInstances") == ["10", "10"]
    assert said(studies, "NumberOfStudyRelatedSeries") == ["2", "2"]
    assert said(ask(store, Level.SERIES, StudyInstanceUID="1.7.2"), "NumberOfSeriesRelatedInstances") == ["5", "5"]
    assert len(ask(store, Level.IMAGE)) == 20
    found = ask(store, Level.IMAGE, SeriesInstanceUID="1.8.5", StudyInstanceUID="1.7.2")
    assert said(found, "InstanceNumber") == ["25", "26", "27", "28", "29"]


def test_pages_go_on_where_they_ended(store, monkeypatch) -> None:
    monkeypatch.setattr("dicom_node.query.search.PAGE", 3)
    for number in range(10, 18):
        store.put(image(number))
    assert len(set(said(ask(store, Level.IMAGE), "SOPInstanceUID"))) == 8


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"PatientName": "ZZCANARY*"}, ["1.7.1", "1.7.2", "1.7.3"]),
        ({"PatientName": "straße*"}, ["1.7.4"]),
        ({"PatientName": "STRASSE^K?M"}, ["1.7.4"]),
        ({"PatientID": "P-4"}, ["1.7.4"]),
        ({"PatientID": "p-4"}, []),
        ({"PatientID": "P_4"}, []),
        ({"StudyDate": "20260101-20260103"}, ["1.7.1", "1.7.2", "1.7.3"]),
        ({"StudyDate": "20270101"}, ["1.7.4"]),
        ({"StudyDate": "-20251231"}, []),
        ({"AccessionNumber": "A*"}, ["1.7.4"]),
        ({"StudyDescription": "Th%rax"}, []),
        ({"StudyDescription": "Th?rax*"}, ["1.7.4"]),
        ({"ModalitiesInStudy": "MG"}, ["1.7.3"]),
        ({"ModalitiesInStudy": "MG\\DX"}, ["1.7.1", "1.7.2", "1.7.3", "1.7.4"]),
        ({"StudyInstanceUID": "1.7.1\\1.7.4\\1.7.9"}, ["1.7.1", "1.7.4"]),
        ({"StudyTime": "1011", "PatientBirthDate": "19601231"}, ["1.7.1", "1.7.2", "1.7.3", "1.7.4"]),
    ],
)
def test_studies_are_found_by_their_attributes(store, keys, found) -> None:
    for number in (10, 20):
        store.put(image(number))
    store.put(image(30, Modality="MG"))
    store.put(
        image(
            40, PatientName="Straße^Kim", PatientID="P-4", StudyDate="20270101", AccessionNumber="A4",
            StudyDescription="Thorax ap",
        )
    )  # fmt: skip
    assert said(ask(store, Level.STUDY, **keys), "StudyInstanceUID") == found


def test_a_scope_shows_nothing_else(store) -> None:
    store.put(image(10), sender="XRAY")
    store.put(image(20), sender="XRAY")
    store.put(image(21), sender="OTHER")
    assert said(ask(store, Level.STUDY, Scope(sender="XRAY")), "StudyInstanceUID") == ["1.7.1"]
    assert said(ask(store, Level.IMAGE, Scope(sender="XRAY")), "SOPInstanceUID") == ["1.9.10"]
    assert said(ask(store, Level.STUDY, Scope(frozenset({"1.7.2"}))), "StudyInstanceUID") == ["1.7.2"]
    assert ask(store, Level.STUDY, Scope(frozenset())) == []


def test_an_impossible_key_is_refused_before_the_first_row(kept) -> None:
    with pytest.raises(IncorrectInput):
        ask(kept, Level.STUDY, StudyDate="yesterday")


def test_results_of_ours_are_found_beside_what_was_received(store) -> None:
    store.put(image(10))
    made = image(11, Modality="SEG", SeriesInstanceUID="1.8.77")
    store.put(made)  # for its bytes; its row goes
    with store.db.write() as conn:
        conn.exec_driver_sql("DELETE FROM instance WHERE sop_instance_uid = '1.9.11'")
        conn.exec_driver_sql("UPDATE study SET instances = 1")
        result = ResultObject("1.9.11", "job", "SEG", made.SOPClassUID, "1.7.1", list(store.blobs.stored)[-1],
                              datetime.now(UTC))  # fmt: skip
        add_result_object(conn, result)
    (study,) = ask(store, Level.STUDY)
    assert study[BY_KEYWORD["ModalitiesInStudy"].tag] == "DX\\SEG"
    assert study[BY_KEYWORD["NumberOfStudyRelatedInstances"].tag] == "2"
    assert said(ask(store, Level.IMAGE, SeriesInstanceUID="1.8.77", StudyInstanceUID="1.7.1"), "SOPInstanceUID")


def test_an_object_that_cannot_be_read_is_found_by_what_its_row_says(kept) -> None:
    kept.put(image(10))
    for sha256 in kept.blobs.stored:
        kept.blobs.stored[sha256] = b"damaged"
    (row,) = ask(kept, Level.IMAGE)
    assert (row[BY_KEYWORD["SOPInstanceUID"].tag], row[BY_KEYWORD["Modality"].tag]) == ("1.9.10", "DX")
    assert kept.index.catch_up() == 0


def test_what_came_before_this_process_and_after_its_last_look_is_indexed_once(kept) -> None:
    kept.put(image(10))
    assert [kept.index.catch_up(), kept.index.catch_up()] == [1, 0]
    kept.put(image(11))
    assert kept.index.catch_up() == 1
    another = HeaderIndex(kept.db, kept.blobs, lambda: datetime.now(UTC))
    assert another.catch_up() == 0
    assert another.rebuild() == 2
    assert len(ask(kept, Level.IMAGE)) == 2


def test_an_index_that_is_not_complete_in_time_is_busy_and_never_half_an_answer(kept, monkeypatch) -> None:
    monkeypatch.setattr("dicom_node.query.indexing.BATCH", 1)
    for number in (10, 11, 12):
        kept.put(image(number))
    with pytest.raises(Busy):
        kept.index.catch_up(within_s=0.0)
    assert kept.index.catch_up() < 3  # what was done stays done
