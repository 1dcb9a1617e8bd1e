"""Make a servable copy of the published build of @ohif/app for one path. `make viewer` runs it.

The build has its root "/" compiled in, so a sub-path needs exact edits, and each is counted: another layout
stops here and not as a black page. What the viewer does not need (in-browser models, whole-slide, service
worker, source maps) stays behind. Each text gets a .gz beside it.
"""

import argparse
import gzip
import re
import shutil
import sys
from pathlib import Path

LEFT_OUT = frozenset(
    (
        "_headers", "_redirects", "customizations", "dicom-microscopy-viewer", "es6-shim.min.js", "google.js",
        "init-service-worker.js", "oidc-client.min.js", "ort", "polyfill.min.js", "serve.json",
        "silent-refresh.html", "sw.js",
    )
)  # fmt: skip
CONFIG = Path(__file__).with_name("app-config.js")
_TEXT = re.compile(r"\.(js|css|html|svg|json|wasm)$")
_INLINE = re.compile(rb"<script>(?:(?!</script>).)*</script>", re.DOTALL)
_WORKER = re.compile(rb'<script[^>]*init-service-worker\.js"></script>')


def mount(source: Path, target: Path, prefix: str) -> dict[str, int]:
    """Copy the build and return how often each edit was made. prefix: "/viewer", as browsers see it.

    Raises ValueError when an edit matches nothing: this build has another layout.
    """
    edits = {"public path": 0, "import": 0, "style": 0, "page": 0}
    shutil.rmtree(target, ignore_errors=True)
    for path in sorted(source.rglob("*")):
        within = path.relative_to(source)
        if within.parts[0] in LEFT_OUT or path.suffix == ".map" or not path.is_file():
            continue
        data = _edited(within, path.read_bytes(), prefix.encode(), edits)
        copy = target / within
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(data)
        if _TEXT.search(path.name):
            Path(f"{copy}.gz").write_bytes(gzip.compress(data, 6, mtime=0))
    if not all(edits.values()):
        raise ValueError(f"an edit matched nothing: this build has another layout ({edits})")
    return edits


def configuration(prefix: bytes) -> bytes:
    """Return our configuration of the viewer below a path."""
    dicomweb = prefix.rsplit(b"/", 1)[0] + b"/dicom-web"
    return CONFIG.read_bytes().replace(b"__PREFIX__", prefix).replace(b"__DICOMWEB__", dicomweb)


def _edited(within: Path, data: bytes, prefix: bytes, edits: dict[str, int]) -> bytes:
    def edit(name: str, pattern: bytes, by: bytes) -> None:
        nonlocal data
        data, count = re.subn(pattern, by, data)
        edits[name] += count

    name = within.as_posix()
    if name == "app-config.js":
        return configuration(prefix)
    if name.endswith(".js"):
        edit("public path", rb'__webpack_require__\.p = "/";', b'__webpack_require__.p = "%s/";' % prefix)
        edit("import", rb"browserImportFunction\('/", b"browserImportFunction('%s/" % prefix)
    elif name.endswith(".css"):
        edit("style", rb"url\(/(?!/)", b"url(%s/" % prefix)
    elif name == "index.html":
        edit("page", rb'((?:href|src|content)=")/(?!/)', rb"\g<1>%s/" % prefix)
        # The inline scripts' two lines are in app-config.js, so that the policy needs no hashes.
        data = _WORKER.sub(b"", _INLINE.sub(b"", data))
    elif name == "manifest.json":
        data = data.replace(b'"src": "/', b'"src": "%s/' % prefix)
    return data


def main(arguments: list[str] | None = None) -> int:
    """Mount as the command line says; 1 when the build has another layout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="the folder dist of the unpacked package")
    parser.add_argument("target", type=Path, help="replaced as a whole")
    parser.add_argument("--prefix", default="/viewer", help="path of the viewer as browsers see it")
    given = parser.parse_args(arguments)
    try:
        edits = mount(given.source, given.target, given.prefix.rstrip("/"))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"mounted below {given.prefix}: {edits}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
