"""What one web worker is made of, built from the settings."""

import secrets
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import g, request

import cds.services
from cds.links import LinkSigner
from cds.services import bench
from consilium import drift_metrics, health, metrics
from consilium.app import WebParts
from consilium.dicomweb import MAX_BODY_BYTES, ROOT, LazyDoor
from consilium.fhir_parts import fhir_parts
from consilium.hook_parts import hook_context
from consilium.keys import derived_key
from consilium.pages.views import PagesContext
from consilium.settings import Settings
from consilium.wiring import House
from model_runtime.engine import LocalEngine, State
from model_runtime.manifest import Manifest
from record_store.exchanges import Party

if TYPE_CHECKING:
    from consilium.explain.reader import Explainer
    from dicom_node.web import Archive

SEARCH_WAITS_S = 2.0  # for the index of headers; a search after that is a 503


def build_parts(house: House, *, supervised: bool = False) -> WebParts:
    """Return the web process's collaborators. supervised: a `consilium serve` is our parent."""
    settings = house.settings
    engine = LocalEngine(house.library)
    links = _links(house)
    ready = _readiness(house, engine, supervised=supervised)
    bearer_token = _bearer_token(settings)
    fhir = fhir_parts(house, bearer_token, engine)
    services = cds.services.SERVICES + (bench.services() if settings.benchmark_services else ())
    return WebParts(
        services=services,
        cds=hook_context(house, engine, links),
        fhir=fhir.fhir,
        oauth=fhir.endpoint,
        dicomweb=LazyDoor(lambda: _archive(house)),
        pages=_pages(house, links, ready, engine),
        readiness=ready,
        metrics=lambda: drift_metrics.exposition(_manifests(engine)),
        observe=_observe,
        base_url=house.base_url,
        viewer=settings.viewer,
        bearer_token=bearer_token,
    )


def _archive(house: House) -> "Archive":
    from dicom_node.intake import Intake  # noqa: PLC0415 - when DICOMweb is first used
    from dicom_node.pixels import Decoder  # noqa: PLC0415
    from dicom_node.web import Archive  # noqa: PLC0415

    @cache
    def decoder() -> Decoder:
        # Of its own: a study that is put into another transfer syntax must not keep an overlay page waiting.
        return Decoder(house.decode_limits)

    return Archive(
        db=house.db,
        blobs=house.blobs,
        root=f"{house.base_url}{ROOT}",
        scope=lambda: g.get("dicom_study"),
        intake=Intake(house.db, house.blobs, house.issuers, house.now, restore=house.homecoming),
        classes=lambda: house.image_classes,
        low_water_bytes=house.low_water_bytes,
        max_body_bytes=MAX_BODY_BYTES,
        decoder=decoder,
        private_syntaxes=house.settings.private_encodings,
        set_aside=house.quarantine.keep_bytes,
        catch_up=lambda: house.header_index.catch_up(within_s=SEARCH_WAITS_S),
        note=house.trail.note,
        us=Party(house.settings.ae_title),
        caller=_caller,
    )


def _caller() -> Party:
    """Return who calls: the bearer of the token, of a card's link, or nobody known (development)."""
    name = "link" if g.get("dicom_study") else "bearer" if request.headers.get("Authorization") else "unknown"
    return Party(name, request.remote_addr or "", application=False)


def _pages(
    house: House, links: LinkSigner, ready: Callable[[], health.Readiness], engine: LocalEngine
) -> PagesContext:
    settings = house.settings
    return PagesContext(
        db=house.db,
        blobs=house.blobs,
        decoder=lambda: house.decoder,
        links=links,
        readiness=ready,
        manifests=lambda: _manifests(engine),
        root=urlsplit(house.base_url).path,
        facts={"ae_title": settings.ae_title, "dicom_port": settings.dicom_port},
        explainer=lambda: _explainer(house, engine),
    )


def _explainer(house: House, engine: LocalEngine) -> "Explainer":
    from consilium.explain.reader import explainer_of  # noqa: PLC0415 - pydicom takes time that most workers save

    return explainer_of(house, engine)


def _links(house: House) -> LinkSigner:
    settings = house.settings
    return LinkSigner(
        derived_key(house.key, "overlay-link"),
        house.base_url,
        house.now,
        settings.link_life_s,
        viewer=settings.smart_viewer_url,
        model_cards=settings.model_cards_url,
        icon=f"{house.base_url}/static/icon.png",
        studies=settings.viewer_links,
    )


def _bearer_token(settings: Settings) -> str | None:
    """Return what opens FHIR, pages and metrics. None leaves them open, which only development may."""
    if settings.bearer_token is not None:
        return settings.bearer_token.get_secret_value()
    # With issuers alone the hooks have their door, and nobody has a key to the rest.
    return secrets.token_urlsafe(48) if settings.profile == "production" else None


def _manifests(engine: LocalEngine) -> list[Manifest]:
    return [engine.manifest(state.name) for state in engine.ready() if state.version]


def _readiness(house: House, engine: LocalEngine, *, supervised: bool) -> Callable[[], health.Readiness]:
    checks = {
        "database": health.database_check(house.db),
        "migrations": health.migrations_check(house.db),
        "models": health.models_check(lambda: _model_problems(engine), house.settings.required_models),
        "blobs": health.blob_space_check(house.blobs, house.low_water_bytes),
    }
    if supervised:  # else a file that a killed parent left behind would be believed
        checks["children"] = health.children_check(house.settings.data_dir)
    return lambda: health.readiness(checks)


def _model_problems(engine: LocalEngine) -> dict[str, str | None]:
    return {state.name: state.problem if state.state is State.BROKEN else None for state in engine.ready()}


def _observe(route: str, status: int, _seconds: float) -> None:
    metrics.HTTP_REQUESTS.labels(route, str(status)).inc()
