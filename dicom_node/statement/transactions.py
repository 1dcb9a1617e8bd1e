"""Which transaction of PS3.18 table 10.1-1 a resource of DICOMweb is."""

from dicom_node.web.archive import Resource

_LAST = {
    "metadata": "Retrieve Metadata",
    "rendered": "Retrieve Rendered",
    "thumbnail": "Retrieve Thumbnail",
    "studies": "Search",
    "series": "Search",
    "instances": "Search",
}


def transaction_of(resource: Resource) -> str:
    """Return the transaction's name."""
    if resource.method == "POST":
        return "Store"
    if "/bulkdata/" in resource.rule:
        return "Retrieve Bulk Data"
    *_, before, last = ("", *resource.rule.split("/"))
    return _LAST.get(last, "Retrieve Frames" if before == "frames" else "Retrieve")
