"""FHIR tests: the REST door over a store, and readings of every kind."""

import itertools
import threading
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from werkzeug.exceptions import HTTPException

from clinical.codes import LONG_AXIS, LUNG, NODULE_OF_LUNG, SHORT_AXIS, Coding
from clinical.finding import MILLIMETRE, PIXEL, Finding, FindingTerms, ImageRef, Measurement, ModelRef, Reading
from clinical.image import PixelSpacing, SpacingOrigin
from fhir_adapters.outcome import http_response
from fhir_adapters.rest import Fhir, blueprint

_makers = itertools.count(1)  # so that two servers on one store make different ids
BASE_URL = "http://127.0.0.1:8080/fhir"
START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
SNOMED_LESION = Coding("http://snomed.info/sct", "52988006", "Lesion")
MODEL = ModelRef("lung-nodule", "0.1.0", "ab" * 32)
TERMS = FindingTerms(SNOMED_LESION, SNOMED_LESION, NODULE_OF_LUNG, LUNG, "lung nodule")


class TickingClock:
    """Each look at it is a second later."""

    def __init__(self):
        self.at = START

    def __call__(self):
        self.at += timedelta(seconds=1)
        return self.at


@pytest.fixture
def now():
    return TickingClock()


@pytest.fixture
def fhir(sqlite_db, now):
    return make_fhir(sqlite_db, now)


@pytest.fixture
def client(fhir):
    return client_of(fhir)


_ROUTING = threading.Lock()


def make_fhir(db, now, base_url=BASE_URL):
    numbers = itertools.count(1)
    maker = next(_makers)
    return Fhir(
        db=db, now=now, new_id=lambda: f"made-{maker}-{next(numbers)}", page_key=b"k" * 32, base_url=base_url
    )


def client_of(fhir):
    # werkzeug parses Python for each route, which two threads of CPython 3.11 cannot do at once (SystemError);
    # an application comes with a route of its own.
    with _ROUTING:
        app = Flask("fhir-test")
        app.register_blueprint(blueprint(fhir))
    # As the server's own edge does: an address that no route of ours can match (a line feed in it).
    app.register_error_handler(HTTPException, lambda error: http_response(error.code))
    return app.test_client()


@pytest.fixture
def make_client(now):
    return lambda db: client_of(make_fhir(db, now))


@pytest.fixture(scope="session")
def make_client_for():
    """As make_client, for fixtures that live longer than a test."""
    return lambda db: client_of(make_fhir(db, TickingClock()))


@pytest.fixture
def make_reading():
    return reading_with


def reading_with(findings=1, spacing="patient", probability=0.873):
    pixel = {
        "patient": PixelSpacing(0.2, 0.2, SpacingOrigin.PIXEL_SPACING),
        "detector": PixelSpacing(0.2, 0.2, SpacingOrigin.IMAGER_PIXEL_SPACING),
        "uncalibrated": PixelSpacing(0.2, 0.2, SpacingOrigin.UNCALIBRATED),
        "none": None,
    }[spacing]
    unit = MILLIMETRE if pixel else PIXEL
    image = ImageRef("1.2.3", "1.2.3.4", "1.2.3.4.5", "1.2.840.10008.5.1.4.1.1.1.1", "DX", 512, 512, pixel)
    return Reading(image, MODEL, TERMS, 0.5, tuple(_finding(n + 1, probability, unit) for n in range(findings)))


def _finding(number, probability, unit):
    return Finding(
        number=number,
        probability=probability,
        centroid_px=(120.5, 88.0),
        box_px=(100, 70, 141, 106),
        outline_px=((100.0, 88.0), (120.0, 70.0), (140.0, 88.0)),
        long_axis=Measurement(LONG_AXIS, 12.3, unit),
        short_axis=Measurement(SHORT_AXIS, 8.1, unit),
    )
