"""The clients file: every mistake is told with its place and what was expected, never with the value."""

import json

import pytest

from fhir_adapters.access.clients import read
from fhir_adapters.trust.jwk import Algorithm
from fhir_adapters.trust.toml_file import FileWrong


@pytest.fixture
def written(tmp_path, signers):
    """written(text) -> the file; KEYS in it is a good key."""

    def write(text):
        jwk = signers["ES384"].jwk
        key = ", ".join(f'{name} = "{value}"' for name, value in jwk.items())
        (tmp_path / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
        path = tmp_path / "clients.toml"
        path.write_text(text.replace("KEYS", f"[{{ {key} }}]"))
        return path

    return write


GOOD = """
[[client]]
name = "warehouse"
client_id = "https://warehouse.example/id"
keys = KEYS
scopes = ["system/*.read", "patient/Observation.rs?category=laboratory"]
"""


def test_a_client_is_read_with_careful_defaults(written):
    (client,) = read(written(GOOD)).every
    assert [str(one) for one in client.scopes] == ["system/*.rs", "patient/Observation.rs?category=laboratory"]
    assert client.algorithms == {Algorithm.ES384, Algorithm.RS384}
    assert (client.token_life_s, client.leeway_s, client.purposes) == (300, 60, ("TREAT",))
    assert (client.patient, client.introspect) == ("", False)


def test_keys_may_stand_in_a_file_beside(written):
    (client,) = read(written(GOOD.replace("keys = KEYS", 'keys_file = "jwks.json"'))).every
    assert [key.kid for key in client.keys] == ["kid-ES384"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "client: expected at least one [[client]]"),
        ("[[client", "expected TOML"),
        (GOOD + "other = 1", "client 1: other: not known here"),
        ("x = 1\n" + GOOD, "x: not known at the top"),
        (GOOD.replace("name", "nome", 1), "client 1: name: Field required"),
        (GOOD.replace('"warehouse"', '"Ware House"'), "client 1: name"),
        (GOOD.replace('"warehouse"', '"operator"'), "name: operator is taken"),
        (GOOD.replace("keys = KEYS", ""), "expected keys, keys_file or jwks_uri"),
        (GOOD.replace("keys = KEYS", "keys = [{kid = 'a'}]"), "keys, number 1"),
        (GOOD.replace("keys = KEYS", 'keys_file = "absent.json"'), "keys_file: the file cannot be read"),
        (GOOD.replace("keys = KEYS", 'jwks_uri = "http://a.example/j"'), "jwks_uri"),
        (GOOD.replace("keys = KEYS", 'jwks_uri = "https://u:p@a.example/j"'), "jwks_uri"),
        (GOOD.replace("system/*.read", "system/*.sr"), "scopes.0: expected a scope"),
        (GOOD.replace("system/*.read", "system/Observation.rs?colour=red"), "scopes.0: "),
        (GOOD.replace("system/*.read", "system/*.rs?category=laboratory"), "scopes.0: "),
        (GOOD.replace("system/*.read", "system/Spaceship.rs"), "scopes.0: "),
        (GOOD.replace("system/*.read", "system/Observation.rs?_count=1"), "scopes.0: "),
        (GOOD + 'algorithms = ["none"]', "algorithms.0"),
        (GOOD + 'algorithms = ["ES512"]', "expected algorithms among"),
        (GOOD + "token_life_s = 86400", "token_life_s"),
        (GOOD + 'patient = "Patient/1"', "patient"),
        (GOOD + 'actor = "lab"', "actor"),
        (GOOD + 'purposes = ["treat"]', "purposes.0"),
        (GOOD + GOOD, "name: one is given twice; client_id: one is given twice"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_without_its_value(text, told, written):
    with pytest.raises(FileWrong) as wrong:
        read(written(text))
    assert told in wrong.value.message
    assert "warehouse.example" not in wrong.value.message


def test_a_private_key_does_not_belong_there(written, signers):
    jwk = signers["ES384"].key.as_dict(private=True)
    private = ", ".join(f'{name} = "{value}"' for name, value in (jwk | {"kid": "k"}).items())
    with pytest.raises(FileWrong, match="a private or secret key does not belong here"):
        read(written(GOOD.replace("KEYS", f"[{{ {private} }}]")))


def test_keys_on_loopback_are_for_development(written):
    text = GOOD.replace("keys = KEYS", 'jwks_uri = "http://127.0.0.1:9/j"\nnetwork = "loopback"')
    assert read(written(text)).every[0].jku
    with pytest.raises(FileWrong, match="not for the production profile"):
        read(written(text), production=True)
