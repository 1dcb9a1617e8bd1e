"""Settings: read once, frozen; a bad value stops start-up with its name and never its content."""

import base64
import json

import pytest
from pydantic import ValidationError

from consilium.settings import Settings, SettingsError, load_settings
from consilium.wiring import House

pytestmark = pytest.mark.usefixtures("no_settings")

SECRET = "hunter2-hunter2-hunter2-hunter2-hunter2"
PRODUCTION = {
    "PROFILE": "production",
    "BEARER_TOKEN": SECRET,
    "SECRET_KEY": SECRET,
    "PUBLIC_BASE_URL": "https://cds.example.org",
    "CALLING_AES": '{"PACS": ["10.0.0.0/8"]}',
    "PATIENT_ISSUERS": '{"HOSP": "urn:oid:1.2.3"}',
    "TLS": "proxy",
    "DICOM_PLAIN": "1",
    "HTTP_HOST": "0.0.0.0",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PORT", "hunter2"),
        ("HTTP_PORT", "70000"),
        ("PACS", "hunter2"),
        ("PACS", '[{"name": "hunter2"}]'),
        ("CALLING_AES", '{"hunter2\\\\": []}'),
        ("CALLING_AES", '{"PACS": ["hunter2"]}'),
        ("CALLING_AES", '{"PACS": ["sha256:hunter2"]}'),
        ("DICOM_TLS_PROFILE", "hunter2"),
        ("DICOM_PRIVATE_SYNTAXES", '{"hunter2": "explicit"}'),
        ("DICOM_PRIVATE_SYNTAXES", '{"1.2.840.10008.1.2.1": "explicit"}'),
        ("DICOM_PRIVATE_SYNTAXES", '{"1.2.840.113619.5.2": "hunter2"}'),
        ("SECRET_KEY", "hunter2"),
        ("PROFILE", "hunter2"),
        ("FHIR_SERVERS", '["ftp://hunter2"]'),
        ("AE_TITLE", "hunter2 is far too long"),
        ("STUDY_QUIET_S", "hunter2"),
        ("DATABASE_URL", "mysql://hunter2@127.0.0.1/x"),
        ("DATABASE_URL", "sqlite:///relative/hunter2.db"),
        ("BLOB_URL", "ftp://hunter2"),
        ("MODEL_KEYS", "hunter2"),
        ("MODEL_KEYS", '["hunter2"]'),
        ("MODEL_CPU_FALLBACK", "hunter2"),
        ("HOOK_BUDGETS", "hunter2"),
        ("HOOK_BUDGETS", '{"hunter2": 500}'),
        ("HOOK_BUDGETS", '{"patient-view/hunter2": 500}'),
        ("HOOK_BUDGETS", '{"patient-view": 1}'),
        ("BENCHMARK_SERVICES", "hunter2"),
    ],
)
def test_a_bad_value_is_named_and_never_shown(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"CONSILIUM_{name}", value)
    with pytest.raises(SettingsError) as stopped:
        load_settings()
    assert any(line.startswith(f"CONSILIUM_{name}") for line in stopped.value.lines)
    assert "hunter2" not in str(stopped.value)
    assert stopped.value.__cause__ is None


def test_a_short_secret_is_refused_without_telling_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_SECRET_KEY", "hunter2")
    with pytest.raises(SettingsError) as stopped:
        load_settings()
    assert stopped.value.lines == ["CONSILIUM_SECRET_KEY: expected at least 32 characters"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "sqlite:////var/lib/consilium.db"),
        ("DATABASE_URL", "postgresql+psycopg://user:password@host/name"),
        ("DATABASE_URL", "postgresql:///name?host=/run/postgresql"),
        ("BLOB_URL", "file:///srv/objects"),
        ("BLOB_URL", "s3://bucket/prefix"),
    ],
)
def test_every_kind_of_store_is_accepted(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"CONSILIUM_{name}", value)
    load_settings()


def test_a_misspelt_setting_stops_start_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_HTTP_PROT", "8080")
    expected = "CONSILIUM_HTTP_PROT: expected a known setting; is CONSILIUM_HTTP_PORT meant"
    with pytest.raises(SettingsError, match=expected):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PACS", '{"name": "pacs"}', "expected a JSON list"),
        ("CALLING_AES", '{"CT1": "10.0.0.1"}', "expected a JSON list"),
        ("CALLING_AES", '["CT1"]', "expected a JSON object"),
        ("PACS", '["pacs"]', "expected a JSON object"),
    ],
)
def test_json_of_another_shape_is_told_in_words_of_json(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(f"CONSILIUM_{name}", value)
    with pytest.raises(SettingsError, match=rf"CONSILIUM_{name}.*: {expected}"):
        load_settings()


@pytest.mark.parametrize("name", ["DATA_DIR", "RULES_FILE", "AE_TITLE", "BEARER_TOKEN"])
def test_a_setting_that_is_empty_is_neither_a_value_nor_left_out(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"CONSILIUM_{name}", " ")
    with pytest.raises(SettingsError, match=f"CONSILIUM_{name}: is empty; give it a value, or leave it out"):
        load_settings()


def test_production_refuses_to_start_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_PROFILE", "production")
    with pytest.raises(SettingsError) as stopped:
        load_settings()
    expected = ("BEARER_TOKEN", "SECRET_KEY", "PUBLIC_BASE_URL", "CALLING_AES", "PATIENT_ISSUERS", "TLS")
    for name in (*expected, "DICOM_TLS_PORT"):
        assert f"CONSILIUM_{name}:" in str(stopped.value)


def test_production_speaks_plain_dicom_only_when_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(f"CONSILIUM_{name}", value)
    monkeypatch.setenv("CONSILIUM_PACS", '[{"name": "pacs", "host": "pacs", "port": 104, "ae_title": "PACS"}]')
    assert load_settings().takes_plain_dicom
    monkeypatch.delenv("CONSILIUM_DICOM_PLAIN")
    with pytest.raises(SettingsError) as stopped:
        load_settings()
    assert [line.split(":")[0] for line in stopped.value.lines] == ["CONSILIUM_DICOM_TLS_PORT", "CONSILIUM_PACS"]


def test_production_with_tls_opens_no_plain_port(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(f"CONSILIUM_{name}", value)
    monkeypatch.delenv("CONSILIUM_DICOM_PLAIN")
    pacs = [{"name": "pacs", "host": "pacs", "port": 2762, "ae_title": "PACS", "tls": True}]
    files = {f"dicom_tls_{one}_file": "x" for one in ("cert", "key", "ca")}
    settings = load_settings(pacs=pacs, dicom_tls_port=2762, **files)
    assert not settings.takes_plain_dicom
    assert settings.pacs[0].secured is not None


def test_a_secured_port_without_its_files_stops_start_up() -> None:
    with pytest.raises(SettingsError) as stopped:
        load_settings(dicom_tls_port=2762)
    assert [line.split(":")[0] for line in stopped.value.lines] == [
        f"CONSILIUM_DICOM_TLS_{name}_FILE" for name in ("CERT", "KEY", "CA")
    ]


def test_an_archive_that_need_not_prove_anything_is_refused() -> None:
    one = {"name": "pacs", "host": "pacs", "port": 2762, "ae_title": "PACS", "tls": {"check_name": False}}
    with pytest.raises(SettingsError, match="expected ca_file or sha256"):
        load_settings(pacs=[one])


def test_cards_lead_to_https_addresses_only_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(f"CONSILIUM_{name}", value)
    for name in ("SMART_VIEWER_URL", "MODEL_CARDS_URL"):
        monkeypatch.setenv(f"CONSILIUM_{name}", "http://viewer.example.org/launch")
    with pytest.raises(SettingsError) as stopped:
        load_settings()
    assert [line.split(":")[0] for line in stopped.value.lines] == [
        "CONSILIUM_SMART_VIEWER_URL",
        "CONSILIUM_MODEL_CARDS_URL",
    ]


def test_production_starts_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(f"CONSILIUM_{name}", value)
    settings = load_settings()
    assert settings.calling_aes == {"PACS": ("10.0.0.0/8",)}
    assert SECRET not in repr(settings)
    with pytest.raises(SettingsError, match="CONSILIUM_BENCHMARK_SERVICES: expected 0"):
        load_settings(benchmark_services=True)


def test_a_hook_or_a_service_on_it_may_be_given_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_HOOK_BUDGETS", '{"patient-view": 800, "patient-view/diabetes-risk": 900}')
    assert load_settings().hook_budgets == {"patient-view": 800, "patient-view/diabetes-risk": 900}


def test_development_listens_on_loopback_only() -> None:
    with pytest.raises(SettingsError, match="loopback"):
        load_settings(http_host="0.0.0.0")


def test_a_secret_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "key").write_text(SECRET + "\n")
    monkeypatch.setenv("CONSILIUM_SECRET_KEY_FILE", str(tmp_path / "key"))
    settings = load_settings()
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == SECRET


def test_an_unreadable_secret_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_SECRET_KEY_FILE", "/nonexistent/hunter2")
    with pytest.raises(SettingsError) as stopped:
        load_settings()
    assert str(stopped.value) == "CONSILIUM_SECRET_KEY_FILE: expected the path of a readable text file"


def test_what_the_site_knows_of_its_senders_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_BODY_PARTS", '[{"body_part": "BREAST", "description": "mamma"}]')
    (rule,) = load_settings().body_parts
    assert (rule.body_part, rule.calling_ae, rule.description) == ("BREAST", None, "mamma")


@pytest.mark.parametrize(
    "value",
    ['[{"body_part": "BREAST"}]', '[{"body_part": "breast", "calling_ae": "US1"}]', '[{"calling_ae": "US1"}]'],
)
def test_a_body_part_without_a_condition_or_a_name_stops_start_up(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("CONSILIUM_BODY_PARTS", value)
    with pytest.raises(SettingsError, match="CONSILIUM_BODY_PARTS at 0"):
        load_settings()


def test_settings_cannot_be_changed_after_start() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.http_port = 1  # type: ignore[misc]


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_HTTP_PORT", "9000")
    assert load_settings(http_port=0).http_port == 0
    assert load_settings().http_port == 9000


def test_every_setting_has_a_default_that_starts_a_development_server() -> None:
    assert Settings().profile == "development"


def test_a_public_key_of_32_bytes_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    monkeypatch.setenv("CONSILIUM_MODEL_KEYS", json.dumps([key]))
    assert load_settings().model_keys == (key,)


def test_what_the_issuers_file_lacks_stops_start_up_and_is_named(monkeypatch, tmp_path) -> None:
    (tmp_path / "issuers.toml").write_text('[[issuer]]\nname = "ehr"\niss = "https://hunter2.example"\n')
    monkeypatch.setenv("CONSILIUM_CDS_ISSUERS_FILE", str(tmp_path / "issuers.toml"))
    with pytest.raises(SettingsError) as stopped:
        load_settings()
    assert stopped.value.lines == [
        "CONSILIUM_CDS_ISSUERS_FILE: issuer 1: expected keys, keys_file, jku, or certificates with use = 'alone'"
    ]


def test_production_starts_with_issuers_and_without_a_bearer_token(monkeypatch, tmp_path) -> None:
    entry = '[[issuer]]\nname = "ehr"\niss = "https://ehr.example"\njku = ["https://ehr.example/jwks.json"]\n'
    (tmp_path / "issuers.toml").write_text(entry)
    for name, value in PRODUCTION.items():
        if name != "BEARER_TOKEN":
            monkeypatch.setenv(f"CONSILIUM_{name}", value)
    monkeypatch.setenv("CONSILIUM_CDS_ISSUERS_FILE", str(tmp_path / "issuers.toml"))
    assert load_settings().bearer_token is None


@pytest.mark.parametrize("origins", ['["*"]', '["null"]', '["https://hunter2.example/path"]', '"https://hunter2"'])
def test_pages_are_let_in_by_origin_and_never_all_of_them(monkeypatch, origins) -> None:
    monkeypatch.setenv("CONSILIUM_CORS_ORIGINS", origins)
    with pytest.raises(SettingsError, match="CONSILIUM_CORS_ORIGINS") as stopped:
        load_settings()
    assert "hunter2" not in str(stopped.value)


FAR = {"name": "far", "host": "far", "port": 104, "ae_title": "FAR", "deidentify": True}


def test_pseudonyms_need_a_key() -> None:
    with pytest.raises(SettingsError, match="CONSILIUM_PSEUDONYM_KEY: expected"):
        load_settings(pacs=[FAR])
    assert load_settings(pacs=[FAR], pseudonym_key=SECRET).pacs[0].disguised is not None


def test_a_destination_that_knows_no_object_by_name_cannot_commit() -> None:
    with pytest.raises(SettingsError, match="commitment or deidentify"):
        load_settings(pacs=[{**FAR, "commitment": True}], pseudonym_key=SECRET)


def test_destinations_have_pseudonyms_of_their_own() -> None:
    pacs = [FAR, {**FAR, "name": "further"}]
    first, second = House(load_settings(pacs=pacs, pseudonym_key=SECRET)).disguises.values()
    assert first.names.patient_id("1") != second.names.patient_id("1")
