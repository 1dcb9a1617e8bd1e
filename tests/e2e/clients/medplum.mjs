// Medplum's client (npm @medplum/core) as an EHR in front of our server: discovery, a hook whose prefetch comes from
// our FHIR API, feedback. Arguments: base URL, file of a private JWK, issuer. Prints what came back as one JSON object.
import { readFileSync } from 'node:fs';
import { MedplumClient, buildCdsRequest } from '@medplum/core';

const [, , baseUrl, keyFile, iss] = process.argv;
const jwk = JSON.parse(readFileSync(keyFile, 'utf8'));
const key = await crypto.subtle.importKey('jwk', jwk, { name: 'ECDSA', namedCurve: jwk.crv }, false, ['sign']);
const encoded = (value) => Buffer.from(value).toString('base64url');

async function authorized(path) {
  const now = Math.floor(Date.now() / 1000);
  const header = { alg: 'ES384', typ: 'JWT', kid: jwk.kid };
  const claims = { iss, aud: `${baseUrl}${path}`, iat: now, exp: now + 300, jti: crypto.randomUUID() };
  const message = [header, claims].map((part) => encoded(JSON.stringify(part))).join('.');
  const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-384' }, key, Buffer.from(message));
  return { headers: { Authorization: `Bearer ${message}.${encoded(new Uint8Array(signature))}` } };
}

const medplum = new MedplumClient({ baseUrl: `${baseUrl}/`, fhirUrlPath: 'fhir/', cdsServicesUrl: 'cds-services' });
const patient = await medplum.createResource({ resourceType: 'Patient', gender: 'male', birthDate: '1958-04-03' });
const measured = [
  ['39156-5', 34.6, 'kg/m2'],
  ['8280-0', 118, 'cm'],
  ['14771-0', 8.4, 'mmol/L'],
];
for (const [code, value, unit] of measured) {
  await medplum.createResource({
    resourceType: 'Observation',
    status: 'final',
    code: { coding: [{ system: 'http://loinc.org', code }] },
    subject: { reference: `Patient/${patient.id}` },
    effectiveDateTime: new Date(Date.now() - 30 * 86400e3).toISOString(),
    valueQuantity: { value, unit, system: 'http://unitsofmeasure.org', code: unit },
  });
}

const { services } = await medplum.getCdsServices(await authorized('/cds-services'));
const service = services.find((one) => one.id === 'diabetes-risk' && one.hook === 'patient-view');
const user = { resourceType: 'Practitioner', id: 'd1' };
const context = { userId: 'Practitioner/d1', patientId: patient.id };
// Our FHIR API keeps no FamilyMemberHistory. A client may leave a key out; the service says on its card what it lacked.
const { 'family-history': _left, ...prefetch } = service.prefetch;
const request = await buildCdsRequest(medplum, user, { ...service, prefetch }, context);
const path = `/cds-services/${service.id}`;
const response = await medplum.callCdsService(service.id, request, await authorized(path));
const feedback = response.cards.map((card) => ({
  card: card.uuid,
  outcome: 'overridden',
  outcomeTimestamp: new Date().toISOString(),
}));
const told = await medplum.post(
  `${baseUrl}${path}/feedback`,
  { feedback },
  'application/json',
  await authorized(`${path}/feedback`),
);
const prefetched = Object.fromEntries(
  Object.entries(request.prefetch).map(([name, value]) => [name, value?.entry?.length ?? (value ? 1 : 0)]),
);
console.log(JSON.stringify({ services: services.map((one) => one.id), prefetched, response, told }));
