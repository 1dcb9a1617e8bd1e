"""The viewer's files: mounted for one path with counted edits, served with a policy of their own."""

import gzip
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from clinical.errors import ClinicalError
from consilium.viewer.mount import main
from consilium.viewer.routes import blueprint
from fhir_adapters import outcome

PAGE = (
    '<html><head><script>window.PUBLIC_URL="/"</script><link href="/app.css" rel="stylesheet">'
    '<script src="/app-config.js"></script><script type="module" src="/init-service-worker.js"></script></html>'
)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build as @ohif/app publishes it, in small."""
    folder = tmp_path / "dist"
    files = {
        "index.html": PAGE,
        "app-config.js": "window.config = {}",
        "app.bundle.0123456789abcdef.js": "__webpack_require__.p = \"/\";browserImportFunction('/x.js')",
        "app.css": "a{background:url(/a.svg)}",
        "0123456789abcdef.wasm": "wasm",
        "app.js.map": "{}",
        "sw.js": "self",
        "ort/model.wasm": "large",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def client(build: Path, tmp_path: Path) -> FlaskClient:
    assert main([str(build), str(tmp_path / "viewer"), "--prefix", "/a/viewer"]) == 0
    return _client(tmp_path / "viewer")


def _client(folder: Path) -> FlaskClient:
    app = Flask("test")
    app.register_blueprint(blueprint(folder))
    app.register_error_handler(ClinicalError, outcome.response)
    return app.test_client()


def test_every_address_in_the_build_gets_the_prefix_and_inline_scripts_go(client: FlaskClient) -> None:
    page = client.get("/viewer/").text
    assert "<script>" not in page
    assert "service-worker" not in page
    assert 'href="/a/viewer/app.css"' in page
    script = client.get("/viewer/app.bundle.0123456789abcdef.js").text
    assert script == "__webpack_require__.p = \"/a/viewer/\";browserImportFunction('/a/viewer/x.js')"
    assert "url(/a/viewer/a.svg)" in client.get("/viewer/app.css").text
    configured = client.get("/viewer/app-config.js").text
    assert "routerBasename: '/a/viewer'" in configured
    assert "qidoRoot: '/a/dicom-web'" in configured


def test_a_build_with_another_layout_is_refused(build: Path, tmp_path: Path, capsys) -> None:
    (build / "app.bundle.0123456789abcdef.js").write_text("another bundler")
    assert main([str(build), str(tmp_path / "viewer")]) == 1
    assert "another layout" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["ort/model.wasm", "sw.js", "app.js.map", "missing.js", "../index.html", "viewer/../../x.js"]
)
def test_what_is_left_out_or_missing_is_404_and_never_the_page(client: FlaskClient, name: str) -> None:
    assert client.get(f"/viewer/{name}").status_code == 404


def test_the_viewer_s_own_addresses_are_the_page(client: FlaskClient) -> None:
    for address in ("/viewer/viewer?StudyInstanceUIDs=1.2", "/viewer/segmentation"):
        answer = client.get(address)
        assert answer.content_type.startswith("text/html")
        assert answer.headers["Cache-Control"] == "no-cache"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "connect-src 'self'" in policy


def test_files_come_packed_with_their_own_type_and_hashed_ones_are_kept(client: FlaskClient) -> None:
    answer = client.get("/viewer/0123456789abcdef.wasm", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(answer.data) == b"wasm"
    assert answer.content_type == "application/wasm"
    assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert "immutable" in answer.headers["Cache-Control"]
    plain = client.get("/viewer/0123456789abcdef.wasm")
    assert (plain.data, "Content-Encoding" in plain.headers) == (b"wasm", False)


def test_without_the_viewer_its_address_says_how_to_get_it(tmp_path: Path) -> None:
    answer = _client(tmp_path / "absent").get("/viewer/")
    assert answer.status_code == 404
    assert "make viewer" in answer.text
