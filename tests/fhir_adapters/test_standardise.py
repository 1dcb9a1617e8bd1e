"""Local codes into standard ones: the file, ConceptMaps, $translate."""

import pytest

from clinical.codes import LOINC
from clinical.errors import IncorrectInput
from fhir_adapters.rest import translate
from fhir_adapters.standardise import EMPTY, from_concept_maps, from_csv, joined

HEAD = "system,code,target_system,target_code,target_display\n"
LAB = "urn:lab"
MAP = {
    "resourceType": "ConceptMap",
    "url": "http://example.org/map",
    "status": "active",
    "group": [
        {
            "source": LAB,
            "target": LOINC,
            "element": [
                {
                    "code": "WBC",
                    "target": [{"code": "6690-2", "display": "Leukocytes", "equivalence": "equivalent"}],
                },
                {"code": "GLU", "target": [{"code": "2345-7", "equivalence": "wider"}]},
                {"code": "OLD", "target": [{"equivalence": "unmatched"}]},
            ],
        }
    ],
}


def test_a_line_gives_a_code_its_standard_one():
    table = from_csv(HEAD + "urn:lab,WBC,LN,6690-2,Leukocytes\nurn:lab,DM,I10C,E119,\nurn:lab,WBC,SCT,73211009\n")
    assert [(one.code, one.display) for one in table.codes(LAB, "WBC")] == [
        ("6690-2", "Leukocytes"),
        ("73211009", ""),
    ]
    (diabetes,) = table.codes(LAB, "DM")
    assert (diabetes.code, diabetes.display) == ("E11.9", "Type 2 diabetes mellitus without complications")
    assert table.codes(LAB, "X") == ()


def test_lines_that_are_not_filled_in_and_comments_are_left_for_later():
    assert len(from_csv(HEAD + "urn:lab,WBC,,,\n\n# urn:lab,X,LN,6690-2,\n")) == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1"),
        (HEAD + 'urn:lab,"WBC,LN,6690-2,\n' + "x" * 200_000, "line 3"),
        ("a,b\n", "line 1"),
        (HEAD + "urn:lab,WBC,LN,6690-3,", "line 2: expected a LOINC code"),
        (HEAD + "urn:lab,WBC,SCT,73211008,", "line 2: expected a SNOMED CT code"),
        (HEAD + "urn:lab,A,LN,6690-2,\nurn:lab,WBC,I10C,E99.99,", "line 3: expected a code of ICD-10-CM"),
        (HEAD + "urn:lab,,LN,6690-2,", "line 2: expected a system and a code"),
        (HEAD + "urn:lab,WBC,LN,,", "line 2: expected a target_system and a target_code"),
        (HEAD + "urn:lab,WBC,LOINK,6690-2,", "line 2"),
    ],
)
def test_a_line_that_is_wrong_is_named(text, told):
    with pytest.raises(IncorrectInput) as caught:
        from_csv(text)
    assert caught.value.message.startswith(told)


def test_a_concept_map_gives_what_means_the_same_and_tells_the_rest():
    table = from_concept_maps([MAP])
    assert [one.code for one in table.codes(LAB, "WBC")] == ["6690-2"]
    assert table.codes(LAB, "GLU") == ()
    assert [one.equivalence for one in table.translate(LAB, "GLU")] == ["wider"]
    assert from_concept_maps([MAP | {"status": "retired"}]).matches == EMPTY.matches


def test_of_two_tables_the_first_is_believed():
    table = joined([from_csv(HEAD + "urn:lab,WBC,LN,6690-2,Ours\n"), from_concept_maps([MAP])])
    assert [one.display for one in table.codes(LAB, "WBC")] == ["Ours"]


def test_translate_asks_the_maps_that_are_stored(client):
    assert client.post("/fhir/ConceptMap", json=MAP).status_code == 201
    asked = client.get(f"/fhir/ConceptMap/$translate?system={LAB}&code=WBC").json
    result, match = asked["parameter"]
    assert result == {"name": "result", "valueBoolean": True}
    assert {part["name"]: part for part in match["part"]}["concept"]["valueCoding"] == {
        "system": LOINC,
        "code": "6690-2",
        "display": "Leukocytes",
    }
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "coding", "valueCoding": {"system": LAB, "code": "WBC"}},
            {"name": "url", "valueUri": MAP["url"]},
            {"name": "targetsystem", "valueUri": LOINC},
        ],
    }
    assert client.post("/fhir/ConceptMap/$translate", json=body).json == asked
    none = client.get(f"/fhir/ConceptMap/$translate?system={LAB}&code=NONE").json
    assert none["parameter"][0]["valueBoolean"] is False


def test_a_map_is_found_however_many_others_there_are(client, monkeypatch):
    monkeypatch.setattr(translate, "MOST_MAPS", 1)
    others = [{**MAP, "url": f"http://example.org/{number}", "id": f"a{number}"} for number in range(2)]
    for one in others:
        one["group"] = [{**MAP["group"][0], "element": [{**MAP["group"][0]["element"][0], "code": "A,B"}]}]
        assert client.put(f"/fhir/ConceptMap/{one['id']}", json=one).status_code == 201
    assert client.put("/fhir/ConceptMap/z", json={**MAP, "id": "z"}).status_code == 201
    query = f"/fhir/ConceptMap/$translate?system={LAB}"
    for asked in ("&code=WBC", f"&code=WBC&url={MAP['url']}", "&code=A,B&url=http://example.org/1"):
        assert client.get(query + asked).json["parameter"][0]["valueBoolean"] is True
    # What is not looked at is not told as "no map".
    assert client.get(f"{query}&code=A,B").status_code == 400


@pytest.mark.parametrize(
    ("query", "status"), [("", 400), ("?code=WBC", 400), ("?system=a&code=b&url=http://nobody", 404)]
)
def test_a_translation_that_cannot_be_made_is_refused(client, query, status):
    reply = client.get(f"/fhir/ConceptMap/$translate{query}")
    assert (reply.status_code, reply.json["resourceType"]) == (status, "OperationOutcome")
