"""QIDO-RS: what is held is found by what is asked, and by nothing else."""

import pytest

JSON = "application/dicom+json"


def values(row, tag):
    return row[tag].get("Value")


@pytest.fixture
def three(held, radiograph):
    held.put(
        radiograph("a", PatientID="P1", StudyDate="20260101", PatientName="Müller^Änne", SeriesInstanceUID="1.1")
    )
    held.put(radiograph("b", PatientID="P2", StudyDate="20260201", PatientName="Smith^John", AccessionNumber="A7"))
    two = radiograph("b", PatientID="P2", StudyDate="20260201", PatientName="Smith^John", AccessionNumber="A7")
    two.SOPInstanceUID = two.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    two.SeriesInstanceUID, two.Modality = "1.2", "DX"
    held.put(two)
    return held


def test_a_study_says_what_it_holds_and_where(three, radiograph):
    (row,) = three.get("/studies", JSON, PatientID="P2").get_json()
    study = str(radiograph("b").StudyInstanceUID)
    assert values(row, "0020000D") == [study]
    assert values(row, "00080061") == ["CR", "DX"]
    assert (values(row, "00201206"), values(row, "00201208")) == ([2], [2])
    assert values(row, "00100010") == [{"Alphabetic": "Smith^John"}]
    assert values(row, "00081190") == [f"https://cds.example/dicom-web/studies/{study}"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"PatientName": "smith*"}, ["Smith^John"]),
        ({"PatientName": "müller^?nne"}, ["Müller^Änne"]),
        ({"00100010": "Smith"}, []),
        ({"StudyDate": "20260115-"}, ["Smith^John"]),
        ({"StudyDate": "-20260101"}, ["Müller^Änne"]),
        ({"StudyDate": "20260102-20260131"}, []),
        ({"AccessionNumber": "A7"}, ["Smith^John"]),
        ({"AccessionNumber": "a7"}, []),
        ({"ModalitiesInStudy": "DX"}, ["Smith^John"]),
        ({"PatientID": "P*"}, ["Müller^Änne", "Smith^John"]),
        ({"PatientID": "P"}, []),
        ({"PatientID": ""}, ["Müller^Änne", "Smith^John"]),
        ({"StudyInstanceUID": "1.2.3.4"}, []),
    ],
)
def test_matching_is_that_of_ps3_4(three, query, names):
    answer = three.get("/studies", JSON, **query)
    rows = answer.get_json() if answer.status_code == 200 else []
    assert answer.status_code == (200 if names else 204)
    assert sorted(values(row, "00100010")[0]["Alphabetic"] for row in rows) == names


def test_series_and_instances_are_found_below_a_study_and_across_all(three, radiograph):
    study = f"/studies/{radiograph('b').StudyInstanceUID}"
    assert len(three.get(study + "/series").get_json()) == 2
    (series,) = three.get(study + "/series", Modality="DX").get_json()
    assert (values(series, "0020000E"), values(series, "00201209")) == (["1.2"], [1])
    (instance,) = three.get(study + "/series/1.2/instances").get_json()
    assert values(instance, "00080018") == ["1.2.3"]
    assert values(instance, "00280010") == [16]
    assert len(three.get("/instances").get_json()) == 3
    assert len(three.get("/series", PatientID="P2").get_json()) == 2
    assert three.get(study + "/series/1.9/instances").status_code == 204


def test_pages_are_disjoint_and_the_client_hears_that_there_is_more(three):
    first, second = three.get("/studies", limit=1), three.get("/studies", limit=1, offset=1)
    assert first.headers["Warning"].startswith("299 ")
    assert "Warning" not in second.headers
    assert first.get_json() != second.get_json()
    assert three.get("/studies", limit=1, offset=2).status_code == 204


def test_what_is_not_matched_or_included_is_said_and_what_is_asked_for_is_included(three):
    answer = three.get(
        "/studies", PatientWeight="80", fuzzymatching="true", includefield="00200010,BodyPartExamined"
    )
    assert answer.headers["Warning"].count("299") == 2
    assert values(answer.get_json()[0], "00180015") == ["CHEST"]
    assert "00280010" in three.get("/studies", includefield="all").get_json()[0]


@pytest.mark.parametrize(
    "query", [{"limit": "x"}, {"offset": "-1"}, {"StudyDate": "yesterday"}, {"PatientName": "x" * 2000}]
)
def test_a_query_that_is_none_is_400_in_words_without_the_value(held, query):
    answer = held.get("/studies", **query)
    assert answer.status_code == 400
    assert answer.get_json().keys() == {"status", "message"}
    assert next(iter(query.values())) not in answer.text


def test_a_client_that_takes_no_json_reads_406(three):
    assert three.get("/studies", 'multipart/related; type="application/dicom+xml"').status_code == 406
    assert three.get("/studies", "text/html, application/json;q=0.5").content_type == "application/json"


def test_who_may_see_one_study_finds_no_other(three, radiograph):
    three.scope = str(radiograph("a").StudyInstanceUID)
    assert len(three.get("/studies").get_json()) == 1
    assert three.get("/studies", PatientID="P2").status_code == 204
    assert three.get(f"/studies/{radiograph('b').StudyInstanceUID}/series").status_code == 204
    assert three.get(f"/studies/{radiograph('b').StudyInstanceUID}/metadata").status_code == 404


@pytest.mark.parametrize(
    ("path", "status"), [("/nothing", 404), ("/studies/x", 400), ("/studies/1.2", 404), ("", 404)]
)
def test_errors_are_status_reports(held, path, status):
    answer = held.get(path)
    assert (answer.status_code, answer.get_json()["status"]) == (status, status)


def test_a_method_that_a_resource_has_not_is_405(held):
    answer = held.client.delete("/dicom-web/studies/1.2")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, POST")
