"""The issuers file: what it may say, and that a mistake in it is named and stops the server."""

import json

import pytest

from cds.caller import SpecVersion
from cds.card import SelectionBehavior
from cds.trust.issuer import CertificateUse
from cds.trust.issuers import load, read
from cds.trust.presets import PRESETS
from fhir_adapters.allow_list import Network
from fhir_adapters.trust.jwk import Algorithm
from fhir_adapters.trust.testing import Signer
from fhir_adapters.trust.toml_file import FileWrong

JKU = 'jku = ["https://ehr.example/jwks.json"]\n'
ONE = '[[issuer]]\nname = "ehr"\niss = "https://ehr.example"\n'


@pytest.fixture
def write(tmp_path):
    def to_file(text):
        (tmp_path / "issuers.toml").write_text(text)
        return tmp_path / "issuers.toml"

    return to_file


def jwk_toml(jwk):
    return "keys = [{ " + ", ".join(f'{name} = "{value}"' for name, value in jwk.items()) + " }]\n"


def test_an_issuer_needs_a_name_an_iss_and_keys_and_the_rest_is_careful(write):
    (profile,) = load(write(ONE + JKU))
    assert (profile.name, profile.iss, profile.jku) == (
        "ehr",
        "https://ehr.example",
        ("https://ehr.example/jwks.json",),
    )
    assert profile.algorithms == {Algorithm.ES384, Algorithm.RS384}
    assert (profile.max_life_s, profile.leeway_s) == (300, 60)
    assert (profile.fhir_bases, profile.network, profile.tenants) == ((), Network.PUBLIC, frozenset())
    assert not profile.capabilities.system_actions


def test_everything_can_be_said(write, signers):
    text = f"""
        [client_certificate]
        header = "X-Client-Cert"
        proxies = ["10.1.2.3/32", "fd00::/8"]

        [[issuer]]
        name = "ehr"
        iss = "https://ehr.example"
        {jwk_toml(signers["ES384"].jwk)}
        jku = ["https://ehr.example/jwks.json"]
        algorithms = ["ES384", "PS384"]
        aud_aliases = ["our-cds"]
        aud_bases = ["https://inside.example/cds/"]
        max_life_s = 900
        leeway_s = 30
        tenants = ["north"]
        fhir_bases = ["https://ehr.example/fhir"]
        network = "private"
        certificates = {{ sha256 = ["{"ab" * 32}"], use = "alone" }}

        [issuer.capabilities]
        version = "3.0"
        selection_behaviors = ["any"]
        actions = ["create"]
        system_actions = true
    """
    trust = read(write(text))
    (profile,) = trust.issuers
    assert profile.keys[0].kid == "kid-ES384"
    assert profile.aud_bases == ("https://inside.example/cds",)
    assert profile.certificate_use is CertificateUse.ALONE
    assert profile.fhir_bases[0].network is Network.PRIVATE
    assert profile.capabilities.version is SpecVersion.V3
    assert profile.capabilities.selection_behaviors == (SelectionBehavior.ANY,)
    assert profile.capabilities.actions == {"create"}
    assert trust.certificate_header.proxies == ("10.1.2.3/32", "fd00::/8")


def test_keys_may_stand_in_a_file_beside_it(write, tmp_path, signers):
    (tmp_path / "ehr.jwks.json").write_text(json.dumps({"keys": [signers["RS384"].jwk]}))
    (profile,) = load(write(ONE + 'keys_file = "ehr.jwks.json"\n'))
    assert [key.kid for key in profile.keys] == ["kid-RS384"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "issuer: expected at least one"),
        ("hunter2", "expected TOML"),
        ("issuers = []\n" + ONE + JKU, "issuers: not known at the top"),
        ("issuer = 7\n", "issuer: expected at least one"),
        (ONE, "issuer 1: expected keys, keys_file, jku"),
        ("[[issuer]]\nname = 'ehr'\n" + JKU, "issuer 1: iss: Field required"),
        ("[[issuer]]\nname = 'Hunter2'\niss = 'x'\n" + JKU, "issuer 1: name: String should match"),
        ("[[issuer]]\nname = 'anonymous'\niss = 'x'\n" + JKU, "name: anonymous is taken"),
        (ONE + JKU + "max_lief_s = 900\n", "issuer 1: max_lief_s: not known here"),
        (ONE + JKU + "max_life_s = 10\n", "issuer 1: max_life_s: Input should be greater"),
        (ONE + JKU + "max_life_s = 86400\n", "issuer 1: max_life_s: Input should be less"),
        (ONE + JKU + 'max_life_s = "hunter2"\n', "issuer 1: max_life_s: Input should be a valid integer"),
        (ONE + JKU + "leeway_s = 3000\n", "issuer 1: leeway_s"),
        (ONE + JKU + 'algorithms = ["HS256"]\n', "issuer 1: algorithms.0: Input should be 'ES384'"),
        (ONE + JKU + 'algorithms = ["none"]\n', "issuer 1: algorithms.0"),
        (ONE + JKU + "algorithms = []\n", "issuer 1: algorithms"),
        (
            ONE + 'jku = ["http://hunter2.example/jwks"]\n',
            "issuer 1: jku, fhir_bases: an allowed FHIR server is https",
        ),
        (
            ONE + 'jku = ["https://user:hunter2@ehr.example/jwks"]\n',
            "issuer 1: jku.0: expected an absolute https URL",
        ),
        (ONE + 'jku = ["file:///etc/hunter2"]\n', "issuer 1: jku.0"),
        (ONE + JKU + 'fhir_bases = ["http://ehr.example/fhir"]\n', "https; plain http is for loopback only"),
        (ONE + JKU + 'fhir_bases = ["https://ehr.example/a/../b"]\n', "issuer 1: fhir_bases.0"),
        (ONE + JKU + 'network = "everywhere"\n', "issuer 1: network"),
        (ONE + JKU + 'preset = "hunter2"\n', "issuer 1: preset: expected one of epic, cerner"),
        (ONE + JKU + "capabilities = 7\n", "issuer 1: capabilities: expected a table"),
        (ONE + JKU + "capabilities = { hmtl = true }\n", "issuer 1: capabilities: hmtl is not a capability"),
        (
            ONE + JKU + 'capabilities = { actions = ["hunter2"] }\n',
            "issuer 1: capabilities: expected actions among",
        ),
        (ONE + JKU + "capabilities = { selection_behaviors = [] }\n", "at least one of the selection behaviors"),
        (ONE + JKU + 'certificates = { sha256 = ["hunter2"] }\n', "issuer 1: certificates.sha256.0"),
        (
            ONE + JKU + f'certificates = {{ sha256 = ["{"ab" * 32}"] }}\n',
            "client_certificate: expected with issuers",
        ),
        (
            '[client_certificate]\nproxies = ["hunter2"]\n' + ONE + JKU,
            "client_certificate: proxies: expected addresses",
        ),
        ("[client_certificate]\nproxies = []\n" + ONE + JKU, "client_certificate: proxies"),
        (ONE + 'keys = [{ kty = "oct", kid = "a", k = "hunter2" }]\n', "keys, number 1: a private or secret key"),
        (ONE + 'keys = [{ kty = "EC", crv = "P-384", x = "hunter2" }]\n', "keys, number 1: a key has a `kid`"),
        (
            ONE + 'keys = [{ kty = "EC", kid = "a", crv = "secp256k1", x = "", y = "" }]\n',
            "number 1: expected the curve",
        ),
        (
            ONE + 'keys = [{ kty = "EC", kid = "a", crv = "P-384", x = "AA", y = "AA" }]\n',
            "number 1: the key cannot be read",
        ),
        (
            ONE + 'keys = [{ kty = "OKP", kid = "a", crv = "Ed25519", x = "AA" }]\n',
            "expected a key of kty EC or RSA",
        ),
        (
            ONE + 'keys = [{ kty = "RSA", kid = "a", n = "AQAB", e = "AQAB" }]\n',
            "expected an RSA key of 2048 to 8192 bits",
        ),
        (
            ONE + 'keys = [{ kty = "EC", kid = "a", use = "enc" }]\n',
            "number 1: the key is not meant for signatures",
        ),
        (ONE + 'keys_file = "hunter2.json"\n', "issuer 1: keys_file: the file cannot be read"),
        (ONE + JKU + ONE + JKU, "name: ehr is given twice"),
        (ONE + JKU + ONE.replace('"ehr"', '"two"') + JKU, "issuers that share one iss are told apart by tenants"),
        (
            ONE + JKU + "tenants = ['a']\n" + ONE.replace('"ehr"', '"two"') + JKU + "tenants = ['a']\n",
            "a tenant belongs to two",
        ),
    ],
)
def test_a_mistake_is_named_by_its_place_and_never_by_what_was_written(text, expected, write):
    with pytest.raises(FileWrong) as wrong:
        load(write(text))
    assert any(expected in line for line in wrong.value.lines), wrong.value.lines
    assert "hunter2" not in str(wrong.value)


def test_every_mistake_is_told_at_once(write):
    with pytest.raises(FileWrong) as wrong:
        load(write(ONE + ONE.replace('"ehr"', '"Two"') + JKU))
    assert [line.split(":")[0] for line in wrong.value.lines] == ["issuer 1", "issuer 2"]


def test_a_private_key_in_the_file_is_refused(write):
    private = Signer("a").key.as_dict(private=True) | {"kid": "a"}
    with pytest.raises(FileWrong, match="whoever reads it can sign"):
        load(write(ONE + jwk_toml(private)))


def test_a_file_that_is_away_is_named(tmp_path):
    with pytest.raises(FileWrong, match="cannot be read"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_loaded_with_what_a_site_adds(name, write):
    iss = "" if "iss" in PRESETS[name].values else 'iss = "https://ehr.example/fhir"\n'
    (profile,) = load(write(f'[[issuer]]\nname = "one"\npreset = "{name}"\n{iss}{JKU}'))
    assert profile.test_only == (name in {"sandbox", "inferno"})


def test_epic_is_what_its_documentation_says(write):
    (profile,) = load(write(ONE + JKU + 'preset = "epic"\n'))
    assert profile.algorithms == {Algorithm.RS384}
    assert profile.max_life_s == 900
    assert profile.capabilities.selection_behaviors == (SelectionBehavior.ANY,)


def test_what_the_entry_says_goes_before_the_preset(write):
    text = ONE + JKU + 'preset = "epic"\nmax_life_s = 300\ncapabilities = { system_actions = true }\n'
    (profile,) = load(write(text))
    assert profile.max_life_s == 300
    assert profile.capabilities.system_actions
    assert profile.capabilities.selection_behaviors == (SelectionBehavior.ANY,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'[[issuer]]\nname = "s"\npreset = "sandbox"\n{JKU}', "everybody can sign"),
        (f'[[issuer]]\nname = "s"\niss = "https://sandbox.cds-hooks.org"\n{JKU}', "everybody can sign"),
        (
            f'[[issuer]]\nname = "i"\npreset = "inferno"\niss = "https://inferno.example"\n{JKU}',
            "everybody can sign",
        ),
        (ONE + 'jku = ["http://127.0.0.1:1/jwks"]\nnetwork = "loopback"\n', "not for the production profile"),
    ],
)
def test_what_is_for_tests_alone_stays_out_of_production(text, expected, write):
    assert load(write(text))
    with pytest.raises(FileWrong, match=expected):
        load(write(text), production=True)
