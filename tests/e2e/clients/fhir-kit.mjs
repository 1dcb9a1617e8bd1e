// All that fhir-kit-client does and this server offers: node fhir-kit.mjs BASE_URL. Prints one JSON object.
import { Client } from 'fhir-kit-client';

const client = new Client({ baseUrl: process.argv[2] });
const said = {};
const status = (answer) => Client.httpFor(answer).response.status;
const refusal = async (call) => {
  try {
    await call();
    return null;
  } catch (error) {
    return { status: error.response.status, type: error.response.data.resourceType };
  }
};

said.fhirVersion = (await client.capabilityStatement()).fhirVersion;
const smart = await client.smartAuthMetadata().catch((error) => ({ refused: error.message }));
said.smart = Object.keys(smart).length > 0;

const patient = { resourceType: 'Patient', identifier: [{ system: 'urn:oid:1.2.3', value: 'kit' }], gender: 'female' };
const made = await client.create({ resourceType: 'Patient', body: patient });
said.created = status(made);
const again = await client.create({
  resourceType: 'Patient',
  body: patient,
  options: { headers: { 'If-None-Exist': 'identifier=urn:oid:1.2.3|kit' } },
});
said.conditionalCreate = [status(again), again.id === made.id];

const observation = (day, status_ = 'preliminary') => ({
  resourceType: 'Observation',
  status: status_,
  code: { coding: [{ system: 'http://loinc.org', code: '4548-4' }] },
  subject: { reference: `Patient/${made.id}` },
  effectiveDateTime: `2026-01-0${day}`,
  valueQuantity: { value: 5 + day / 10, unit: '%', system: 'http://unitsofmeasure.org', code: '%' },
});
const bundle = (type, requests) => ({ resourceType: 'Bundle', type, entry: requests });
const post = (resource) => ({ resource, request: { method: 'POST', url: resource.resourceType } });
const days = [1, 2, 3, 4, 5];
const transaction = await client.transaction({ body: bundle('transaction', days.map((day) => post(observation(day)))) });
said.transaction = transaction.entry.map((one) => one.response.status.slice(0, 3));
const batch = await client.batch({
  body: bundle('batch', [
    { request: { method: 'GET', url: `Patient/${made.id}` } },
    { request: { method: 'GET', url: 'Patient/nobody' } },
  ]),
});
said.batch = batch.entry.map((one) => one.response.status.slice(0, 3));

const first = await client.resourceSearch({
  resourceType: 'Observation',
  searchParams: { patient: made.id, _sort: '-date', _count: '2' },
});
said.pages = [first.entry.length];
let page = first;
while ((page = await client.nextPage({ bundle: page }))) said.pages.push(page.entry.length);
const form = await client.resourceSearch({
  resourceType: 'Observation',
  searchParams: { patient: made.id, date: ['ge2026-01-02', 'le2026-01-04'] },
  options: { postSearch: true },
});
said.postSearch = form.entry.length;
const own = await client.compartmentSearch({
  resourceType: 'Observation',
  compartment: { resourceType: 'Patient', id: made.id },
});
said.compartment = own.entry.length;
const included = await client.search({
  resourceType: 'Observation',
  searchParams: { patient: made.id, _include: 'Observation:subject', _count: '1' },
});
said.included = included.entry.map((one) => one.search.mode);
const system = await client.systemSearch({ searchParams: { _type: 'Patient', _id: made.id } });
said.system = system.entry.length;

const one = first.entry[0].resource;
said.resolved = (await client.resolve({ reference: one.subject.reference })).id === made.id;
const patched = await client.patch({
  resourceType: 'Observation',
  id: one.id,
  jsonPatch: [{ op: 'replace', path: '/status', value: 'final' }],
});
said.patched = [patched.status, patched.meta.versionId];
const updated = await client.update({ resourceType: 'Observation', id: one.id, body: { ...patched, status: 'amended' } });
said.updated = updated.status;
const stale = { headers: { 'If-Match': 'W/"1"' } };
said.stale = await refusal(() => client.update({ resourceType: 'Observation', id: one.id, body: updated, options: stale }));
said.vread = (await client.vread({ resourceType: 'Observation', id: one.id, version: '1' })).status;
said.history = (await client.resourceHistory({ resourceType: 'Observation', id: one.id })).entry.length;
said.typeHistory = (await client.typeHistory({ resourceType: 'Patient' })).entry.length;

const everything = await client.operation({ name: '$everything', resourceType: 'Patient', id: made.id, method: 'GET' });
said.everything = everything.entry.length;
const latest = await client.operation({
  name: '$lastn',
  resourceType: 'Observation',
  method: 'GET',
  input: { patient: made.id },
});
said.lastn = latest.entry.length;
const judged = await client.operation({
  name: '$validate',
  resourceType: 'Observation',
  input: { ...observation(1), status: 'done' },
});
said.validate = judged.issue[0].expression;

said.wrong = await refusal(() => client.create({ resourceType: 'Observation', body: { resourceType: 'Observation' } }));
said.unknown = await refusal(() => client.resourceSearch({ resourceType: 'Patient', searchParams: { colour: 'red' } }));
await client.delete({ resourceType: 'Observation', id: one.id });
said.deleted = await refusal(() => client.read({ resourceType: 'Observation', id: one.id }));
console.log(JSON.stringify(said));
