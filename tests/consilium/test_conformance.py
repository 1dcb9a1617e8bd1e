"""The checklist against our own application as the settings wire it: shipped services, and one on every hook."""

import json
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from cds.client.keys import new_key, public_set
from cds.client.remote import remote
from cds.client.testing import live
from cds.client.tokens import Client
from cds.conformance import report
from cds.conformance.bench import Options
from cds.conformance.checks import CHECKS
from cds.conformance.model import Check, Level, Result, Verdict
from cds.conformance.record import invented_record as record_at
from cds.conformance.run import bench, passes, rows, run
from cds.conformance.testing import every_hook
from clinical.clock import utc_now
from consilium.app import create_app
from consilium.hook_parts import GuardedReaders
from consilium.settings import load_settings
from consilium.web_parts import build_parts
from consilium.wiring import House, prepare_storage
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_settings")]
# How fast we are is measured elsewhere (C7 at 500 ms in docs/conformance/consilium.md): this machine may be busy.
BUSY_MS = 60_000
NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
ISS, ORIGIN, BASE = "https://client.example", "https://ehr.example", "https://cds.example"
KEY = new_key("ES384", "k1")


def issuers_file(folder: Path, **more: object) -> Path:
    (folder / "jwks.json").write_text(json.dumps(public_set([KEY])))
    entry = {"name": "conformance", "iss": ISS, "keys_file": str(folder / "jwks.json"), "max_life_s": 900, **more}
    lines = [f"{name} = {json.dumps(value)}" for name, value in entry.items()]
    (folder / "issuers.toml").write_text("\n".join(["[[issuer]]", *lines]) + "\n")
    return folder / "issuers.toml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("conformance")
    prepare_storage(load_settings(data_dir=made))
    return made


@pytest.fixture(scope="module")
def check_out(folder: Path) -> Callable[..., list[Result]]:
    """check_out(options, settings, checks=...) -> results on the application with these settings."""

    def look(
        options: Options, port: int = 0, *, checks: Sequence[Check] = CHECKS, **settings: object
    ) -> list[Result]:
        made = load_settings(
            data_dir=folder,
            low_water_mb=0,
            public_base_url=BASE,
            cors_origins=(ORIGIN,),
            hook_budget_ms=BUSY_MS,
            **settings,
        )
        parts = build_parts(House(made))
        app = create_app(replace(parts, services=(*every_hook(), *parts.services)))
        readers = parts.cds.reader_for
        assert isinstance(readers, GuardedReaders)
        with (
            closing(readers),
            live(app) as url,
            remote(url, Client(ISS, KEY, utc_now), BASE) as server,
            bench(server, record_at(utc_now()), options, port) as on,
        ):
            return run(on, checks)

    return look


@pytest.fixture(scope="module")
def in_development(check_out: Callable[..., list[Result]], folder: Path) -> list[Result]:
    """The profile that may call a FHIR server on loopback, and is open to who shows no token."""
    port = free_port()
    file = issuers_file(folder, fhir_bases=[f"http://127.0.0.1:{port}/fhir"], network="loopback")
    return check_out(Options(origin=ORIGIN, open_on_purpose=True, target_ms=BUSY_MS), port, cds_issuers_file=file)


@pytest.fixture(scope="module")
def in_production(check_out: Callable[..., list[Result]], folder: Path) -> list[Result]:
    """The profile that is closed, and calls no FHIR server on loopback: what does not depend on fetching."""
    settings = {
        "profile": "production",
        "tls": "proxy",
        "secret_key": "a-secret-of-more-than-thirty-two-characters",
        "calling_aes": {"PACS": ["127.0.0.1"]},
        "dicom_plain": True,
        "patient_issuers": {"": "urn:oid:2.999.1"},
        "cds_issuers_file": issuers_file(folder),
    }
    checks = [check for check in CHECKS if check.row[0] in "DTKJF" or check.row in {"C1", "C2"}]
    return check_out(Options(origin=ORIGIN, reaches_fhir=False, target_ms=BUSY_MS), checks=checks, **settings)


@pytest.fixture(scope="module")
def both(in_development: list[Result], in_production: list[Result]) -> list[Result]:
    return [*in_development, *in_production]


def ids(results: list[Result], verdict: Verdict) -> set[str]:
    return {one.check.id for one in results if one.verdict is verdict}


def reasons(results: list[Result], verdict: Verdict) -> dict[str, str]:
    return {one.check.id: one.reason for one in results if one.verdict is verdict}


def test_nothing_fails_in_either_profile(both: list[Result]) -> None:
    assert reasons(both, Verdict.FAIL) == {}
    assert passes(both)


def test_every_check_passes_in_one_of_the_profiles_but_those_that_need_another_machine(both: list[Result]) -> None:
    assert {check.id for check in CHECKS} - ids(both, Verdict.PASS) == {
        "T1.1",  # TLS: the server is on loopback here
        "J6.1",  # client certificates: the site's terminator; tests/cds/trust has the mapping
    }


def test_every_row_of_level_m_but_tls_is_passed_and_every_row_of_level_s(both: list[Result]) -> None:
    passed = {row for row, verdict in rows(both).items() if verdict is Verdict.PASS}
    of = {level: {check.row for check in CHECKS if check.level is level} for level in Level}
    assert of[Level.MUST] - passed == set()
    assert of[Level.SHOULD] - passed == set()


def test_the_closed_server_is_judged_on_trust_without_exception(in_production: list[Result]) -> None:
    trust = [one for one in in_production if one.check.id.startswith(("D7", "J"))]
    assert ids(trust, Verdict.PASS) == {one.check.id for one in trust} - {"J6.1", "J9.1", "J9.2", "J9.3"}


def test_the_open_server_leaves_out_only_what_being_open_and_on_loopback_means(
    in_development: list[Result],
) -> None:
    assert ids(in_development, Verdict.NOT_APPLICABLE) == {"D7.1", "J1.1", "T1.1"}
    assert ids(in_development, Verdict.SKIPPED) == {"J6.1"}


def test_the_page_of_the_report_has_a_line_for_every_check_and_the_counts(in_development: list[Result]) -> None:
    page = report.markdown(in_development, "ours | here", NOW)
    assert page.startswith("# CDS Hooks conformance: ours | here\n")
    lines = [line for line in page.splitlines() if re.match(r"\| [A-Z]\d+\.\d+ \|", line)]
    assert len(lines) == len(CHECKS)
    assert all(line.count(" | ") == 5 for line in lines)
    passed = sum(one.verdict is Verdict.PASS and one.check.level is Level.MUST for one in in_development)
    assert f"| M (SHALL) | {passed} | 0 |" in page


def test_the_junit_report_counts_what_was_skipped_with_its_reason(in_development: list[Result]) -> None:
    suite = Xml.fromstring(report.junit(in_development))
    assert (int(suite.attrib["tests"]), suite.attrib["failures"]) == (len(CHECKS), "0")
    skipped = suite.findall("testcase/skipped")
    assert len(skipped) == int(suite.attrib["skipped"]) == 4
    assert all(":" in one.attrib["message"] for one in skipped)
