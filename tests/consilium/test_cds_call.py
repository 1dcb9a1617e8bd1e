"""`consilium cds call` and `keys`, against a service on loopback."""

import io
import json
import stat

import pytest
from flask import Flask
from rich.console import Console
from typer.testing import CliRunner

from cds.caller import ANONYMOUS
from cds.card import Card, Source
from cds.client.fhir_mock import fhir_mock
from cds.client.record import record_of
from cds.client.testing import live
from cds.client.tokens import FLAWS
from cds.hooks import PATIENT_VIEW
from cds.http import blueprint
from cds.links import LinkSigner
from cds.prefetch import PrefetchTemplate
from cds.service import CdsContext, Service
from cds.testing import counting_uuids
from clinical.clock import utc_now
from clinical.codes import Coding
from clinical.errors import ClinicalError, Denied
from clinical.risk import Indicator
from consilium.cli import app
from consilium.commands.cards import show
from model_runtime.testing import CannedEngine
from record_store.testing import database

TOPIC = Coding("http://example.org/topics", "age", "Age")


class Door:
    """Lets in whoever shows a token, once, and remembers what it saw."""

    def __init__(self):
        self.seen = []

    def admit(self, headers, url, peer):
        token = headers.get("Authorization", "")
        if not token or (url, token) in self.seen:
            raise Denied("no", unauthenticated=True)
        self.seen.append((url, token))
        return ANONYMOUS


def born(call, context):
    patient = call.prefetch["patient"].value
    source = Source("A service for tests", TOPIC)
    return (Card(context.new_uuid(), f"Born {patient['birthDate']}", Indicator.WARNING, source, "| a |\n|---|"),)


SERVICE = Service(
    "born",
    PATIENT_VIEW,
    "Born",
    "Says when.",
    (PrefetchTemplate("patient", "Patient/{{context.patientId}}", True),),
    born,
)
BUNDLE = {
    "resourceType": "Bundle",
    "entry": [{"resource": {"resourceType": "Patient", "id": "p9", "birthDate": "1980-02-03"}}],
}


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    made = database(tmp_path_factory.mktemp("call"))
    yield made
    made.dispose()


@pytest.fixture
def serve(db):
    """serve(door) -> context manager giving a base URL."""

    def start(**more):
        links = LinkSigner(b"k" * 32, "https://cds.example", utc_now)
        context = CdsContext(CannedEngine({}, {}), db, utc_now, links, counting_uuids(), **more)
        web = Flask("call")
        web.register_blueprint(blueprint((SERVICE,), context))
        return live(web)

    return start


@pytest.fixture
def bundle(tmp_path):
    file = tmp_path / "bundle.json"
    file.write_text(json.dumps(BUNDLE))
    return str(file)


def run(*arguments):
    return CliRunner().invoke(app, ["cds", *arguments])


def test_without_a_service_those_that_are_there_are_listed(serve):
    with serve() as url:
        shown = run("call", "--url", url).output
    assert "born" in shown
    assert "patient-view" in shown


def test_a_call_with_a_bundle_shows_the_card_and_how_long_it_took(serve, bundle):
    with serve() as url:
        done = run("call", "born", "--url", url, "--bundle", bundle)
    assert done.exit_code == 0
    assert "Born 1980-02-03" in done.output
    assert "1 card, in" in done.output


def test_a_call_with_a_fhir_server_fills_the_prefetch_from_it_with_its_token(serve, tmp_path):
    (tmp_path / "token").write_text("granted\n")
    with fhir_mock(record_of(BUNDLE)) as fhir, serve() as url:
        how = ("--fhir", fhir.base, "--fhir-token-file", str(tmp_path / "token"))
        done = run("call", "born", "--url", url, "--patient", "p9", *how)
        assert [(one.query, one.token) for one in fhir.asked()] == [("Patient/p9", "granted")]
    assert "Born 1980-02-03" in done.output


def test_the_invented_patient_is_enough_for_a_first_call(serve):
    with serve() as url:
        assert "Born 1958-04-03" in run("call", "born", "--url", url, "--example").output


def test_an_answer_cannot_write_to_the_terminal_but_as_text():
    console = Console(file=io.StringIO(), width=80)
    escape = "\x1b]0;owned\x07\x1b[31m"
    card = {"summary": f"{escape}x", "detail": f"{escape}y", "indicator": "info", "source": {"label": escape}}
    show(console, 200, {"cards": [card]}, 1.0)
    show(console, 400, {"issue": [{"details": {"text": escape}, "diagnostics": escape}]}, 1.0)
    assert "\x1b" not in console.file.getvalue()
    assert "owned" in console.file.getvalue()


def test_json_is_the_answer_as_it_came_and_nothing_else(serve, bundle):
    with serve() as url:
        done = run("call", "born", "--url", url, "--bundle", bundle, "--json")
    assert json.loads(done.stdout)["cards"][0]["indicator"] == "warning"


def test_a_refusal_is_told_in_the_words_of_its_operation_outcome(serve):
    with serve() as url:
        done = run("call", "born", "--url", url, "--patient", "p9")
    assert done.exit_code == 1
    assert "HTTP 412" in done.output
    assert "prefetch.patient" in done.output


def test_more_of_the_context_is_sent_along(serve, bundle):
    with serve() as url:
        done = run("call", "born", "--url", url, "--patient", "p9", "--context", '{"encounterId": "e/1"}')
    assert "context.encounterId" in done.output


def test_tokens_are_signed_for_each_url_and_a_replayed_one_is_shown_twice(serve, bundle, tmp_path):
    assert run("keys", str(tmp_path / "keys")).exit_code == 0
    door, key = Door(), str(tmp_path / "keys" / "private.jwk")
    with serve(door=door) as url:
        good = run("call", "born", "--url", url, "--bundle", bundle, "--key", key)
        again = run("call", "born", "--url", url, "--bundle", bundle, "--key", key, "--token", "replayed")
        without = run("call", "born", "--url", url, "--bundle", bundle)
    assert (good.exit_code, again.exit_code) == (0, 1)
    assert "HTTP 401" in again.output
    assert isinstance(without.exception, ClinicalError)
    assert len(door.seen) == len(set(door.seen))


def test_the_private_key_is_for_its_owner_and_is_never_written_over(tmp_path):
    assert run("keys", str(tmp_path)).exit_code == 0
    private = tmp_path / "private.jwk"
    before = private.read_bytes()
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert "already" in str(run("keys", str(tmp_path)).exception)
    assert private.read_bytes() == before
    assert json.loads((tmp_path / "jwks.json").read_text())["keys"][0]["kid"] == "test-1"


def test_the_flaws_are_listed():
    assert set(run("call", "--token", "list").stdout.split()) == {"replayed", *FLAWS}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("call", "nobody"), "it has born"),
        (("call", "born"), "--patient"),
        (("call", "born", "--token", "expired"), "--key"),
        (("call", "born", "--patient", "p9", "--context", "[1]"), "JSON object"),
        (("call", "born", "--bundle", "absent.json"), "readable"),
    ],
)
def test_a_mistake_of_the_user_is_said_in_words(serve, arguments, said):
    with serve() as url:
        done = run(*arguments, "--url", url)
    assert isinstance(done.exception, ClinicalError)
    assert said in str(done.exception)


def test_a_server_that_is_away_is_said_in_words():
    done = run("call", "--url", "http://127.0.0.1:9")
    assert "no answer" in str(done.exception)
