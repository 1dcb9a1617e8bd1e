"""Mutual TLS: a certificate that the proxy saw, and only if the proxy says so."""

import base64
import hashlib
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cds.trust.client_certificate import fingerprint
from cds.trust.issuer import CertificateHeader, CertificateUse
from clinical.errors import Denied

URL = "https://cds.example/cds-services/one-card"
RULE = CertificateHeader("Client-Cert", ("10.1.2.3/32", "::1/128"))
PROXY = "10.1.2.3"


def certificate(now):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ehr.example")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now()).not_valid_after(now() + timedelta(days=1))
    return builder.sign(key, hashes.SHA256())


@pytest.fixture
def shown(now):
    """(RFC 9440, escaped PEM, SHA-256) of one certificate."""
    one = certificate(now)
    der = one.public_bytes(serialization.Encoding.DER)
    pem = one.public_bytes(serialization.Encoding.PEM).decode()
    return f":{base64.b64encode(der).decode()}:", quote(pem), hashlib.sha256(der).hexdigest()


def test_both_spellings_are_read(shown):
    structured, escaped, expected = shown
    assert fingerprint({"Client-Cert": structured}, PROXY, RULE) == expected
    assert fingerprint({"Client-Cert": escaped}, PROXY, RULE) == expected
    assert fingerprint({"Client-Cert": structured}, "::1", RULE) == expected
    assert fingerprint({"Client-Cert": structured}, f"::ffff:{PROXY}", RULE) == expected


@pytest.mark.parametrize("peer", ["10.1.2.4", "", "unix", "10.1.2.3, 1.1.1.1", "::ffff:10.1.2.4"])
def test_from_anybody_but_the_proxy_the_header_is_nothing(peer, shown):
    assert fingerprint({"Client-Cert": shown[0]}, peer, RULE) is None


def test_without_the_setting_the_header_is_nothing(shown):
    assert fingerprint({"Client-Cert": shown[0]}, PROXY, None) is None


@pytest.mark.parametrize(
    "value", ["", "::", "AAAA", ":not base64!:", "-----BEGIN%20CERTIFICATE-----", "x" * 20_000, "CN=ehr.example"]
)
def test_what_is_no_certificate_is_none(value):
    assert fingerprint({"Client-Cert": value}, PROXY, RULE) is None


def test_two_certificates_in_one_header_are_none(shown):
    assert fingerprint({"Client-Cert": shown[1] + shown[1]}, PROXY, RULE) is None


def test_a_certificate_may_be_enough_alone(make_house, hospital, shown):
    profile = replace(hospital, certificates=frozenset({shown[2]}), certificate_use=CertificateUse.ALONE)
    door = make_house(profile, header=RULE).door
    assert door.admit({"Client-Cert": shown[0]}, URL, PROXY).name == "hospital"
    with pytest.raises(Denied):
        door.admit({"Client-Cert": shown[0]}, URL, "10.9.9.9")
    with pytest.raises(Denied):  # whoever shows a token is judged by it
        door.admit({"Client-Cert": shown[0], "Authorization": "Bearer nonsense"}, URL, PROXY)


def test_or_be_asked_for_beside_the_token(make_house, hospital, shown, mint, now):
    profile = replace(hospital, certificates=frozenset({shown[2]}), certificate_use=CertificateUse.WITH_TOKEN)
    house = make_house(profile, header=RULE)
    token = {"Authorization": f"Bearer {mint()}"}
    assert house.door.admit(token | {"Client-Cert": shown[0]}, URL, PROXY).name == "hospital"
    for headers, peer in (
        ({}, PROXY),
        ({"Client-Cert": shown[0]}, "10.9.9.9"),
        ({"Client-Cert": f":{base64.b64encode(b'another').decode()}:"}, PROXY),
    ):
        with pytest.raises(Denied):
            house.door.admit({"Authorization": f"Bearer {mint()}"} | headers, URL, peer)
    with pytest.raises(Denied):  # the certificate without a token
        house.door.admit({"Client-Cert": shown[0]}, URL, PROXY)
    assert [row["detail"].count("certificate-missing") for row in house.told()] == [1, 1, 1, 0]
