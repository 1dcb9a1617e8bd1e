"""fhirpy, sync and async, with all of its features that this server offers, over a real socket."""

import asyncio

import pytest
from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import MultipleResourcesFound, OperationOutcome, ResourceNotFound
from fhirpy.base.searchset import Raw

from record_store.testing import database
from tests.fhir_adapters.live import live

pytestmark = pytest.mark.slow
OID = "urn:oid:1.2.3"


@pytest.fixture(scope="module")
def base_url(tmp_path_factory):
    db = database(tmp_path_factory.mktemp("fhirpy"))
    with live(db) as url:
        yield url
    db.dispose()


def an_observation(client, patient, value, day):
    return client.resource(
        "Observation",
        status="preliminary",
        code={"coding": [{"system": "http://loinc.org", "code": "4548-4"}]},
        subject=patient.to_reference(),
        effectiveDateTime=f"2026-01-{day:02d}",
        valueQuantity={"value": value, "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"},
    )


def test_the_sync_client_writes_finds_changes_and_deletes(base_url):
    client = SyncFHIRClient(base_url)
    patient = client.resource("Patient", identifier=[{"system": OID, "value": "s"}], name=[{"family": "Sync"}])
    patient.save()
    assert patient.id
    for day in range(1, 8):
        an_observation(client, patient, 5 + day / 10, day).save()
    found = client.resources("Observation").search(patient=patient.id)

    assert found.count() == 7
    assert len(found.limit(3).fetch()) == 3
    assert [one["effectiveDateTime"][-2:] for one in found.sort("-date").limit(3).fetch_all()] == [
        f"0{day}" for day in range(7, 0, -1)
    ]
    assert len(list(found.limit(2))) == 7  # pages followed
    assert found.search(date__ge="2026-01-06").count() == 2
    assert found.search(Raw(**{"value-quantity": "gt5.5||%"})).count() == 2
    assert client.resources("Observation").search(patient__Patient__identifier=f"{OID}|s").count() == 7
    assert client.resources("Patient").has("Observation", "patient", code="4548-4").count() == 1
    assert found.first()["resourceType"] == "Observation"
    subset = found.elements("status").limit(1).fetch()[0]
    assert "valueQuantity" not in subset
    raw = found.include("Observation", "subject").limit(1).fetch_raw()
    assert {entry.resource.resourceType for entry in raw.entry} == {"Observation", "Patient"}
    with pytest.raises(MultipleResourcesFound):
        found.get()
    with pytest.raises(ResourceNotFound):
        client.resources("Patient").search(identifier="nobody").get()
    with pytest.raises(OperationOutcome):
        client.resources("Observation").search(colour="red").fetch()

    one = found.sort("date").limit(1).fetch()[0]
    one.patch(status="final")
    assert client.reference("Observation", one.id).to_resource()["status"] == "final"
    one.refresh()
    one["note"] = [{"text": "seen"}]
    one.save()
    one.save(fields=["note"])
    assert client.get("Observation", one.id)["note"] == [{"text": "seen"}]
    assert one.to_reference().to_resource().id == one.id
    assert one["subject"].to_resource()["name"][0]["family"] == "Sync"
    assert one.is_valid()
    one["status"] = "done"
    assert not one.is_valid()
    one.delete()
    with pytest.raises(ResourceNotFound):
        client.reference("Observation", one.id).to_resource()
    everything = patient.execute("$everything", method="get")
    assert len(everything["entry"]) == 7


def test_conditions_of_the_sync_client_mean_one_resource(base_url):
    client = SyncFHIRClient(base_url)
    mine = client.resources("Patient").search(identifier=f"{OID}|once")
    new = client.resource("Patient", identifier=[{"system": OID, "value": "once"}])
    first, made = mine.get_or_create(new)
    again, made_again = mine.get_or_create(new)
    assert (made, made_again, again.id) == (True, False, first.id)
    assert mine.count() == 1
    changed, made = mine.update(client.resource("Patient", identifier=new["identifier"], gender="female"))
    assert (changed.id, changed["gender"], made) == (first.id, "female", False)
    assert mine.patch(gender="male")["gender"] == "male"
    mine.delete()
    assert mine.count() == 0


def test_the_async_client_does_the_same(base_url):
    async def run():
        client = AsyncFHIRClient(base_url)
        patient = client.resource(
            "Patient", identifier=[{"system": OID, "value": "a"}], name=[{"family": "Async"}]
        )
        await patient.save()
        await asyncio.gather(*(an_observation(client, patient, 6, day).save() for day in range(1, 6)))
        found = client.resources("Observation").search(patient=patient.id)
        assert await found.count() == 5
        assert len([one async for one in found.limit(2)]) == 5
        assert len(await found.limit(2).fetch_all()) == 5
        one = await found.sort("-date").first()
        await one.patch(status="final")
        assert (await client.reference("Observation", one.id).to_resource())["status"] == "final"
        one["status"] = "amended"
        await one.save()
        assert (await found.search(status="amended").get()).id == one.id
        first, made = await client.resources("Patient").search(identifier=f"{OID}|a").get_or_create(patient)
        assert (first.id, made) == (patient.id, False)
        latest = await client.execute("Observation/$lastn", method="get", params={"patient": patient.id})
        assert len(latest["entry"]) == 1
        await one.delete()
        assert await found.count() == 4
        return True

    assert asyncio.run(run())
