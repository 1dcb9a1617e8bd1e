"""DICOMweb alone, for tests: an application that has nothing but the door."""

from flask import Flask

from dicom_node.web import Archive, Door

PATH = "/dicom-web"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def app_of(archive: Archive) -> Flask:
    """Return an application whose every address is DICOMweb's, as `consilium.dicomweb` mounts it."""
    app, door = Flask("dicomweb"), Door(archive, PATH)
    for rule in ("/", "/<path:_rest>"):
        app.add_url_rule(
            rule,
            endpoint=rule,
            view_func=lambda **_rest: door.answer(),
            methods=_METHODS,
            provide_automatic_options=False,
        )
    return app
