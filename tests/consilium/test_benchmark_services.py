"""The benchmark services exist only where the setting asks for them."""

import pytest

from consilium.app import create_app
from consilium.settings import load_settings
from consilium.web_parts import build_parts
from consilium.wiring import House

pytestmark = pytest.mark.usefixtures("no_settings")


@pytest.mark.parametrize("wanted", [False, True])
def test_they_are_announced_and_answer_only_when_asked_for(tmp_path, wanted: bool) -> None:
    house = House(load_settings(data_dir=tmp_path, low_water_mb=0, benchmark_services=wanted))
    client = create_app(build_parts(house)).test_client()
    listed = {(one["id"], one["hook"]) for one in client.get("/cds-services").json["services"]}
    bench = {("bench-static", "patient-view"), ("bench-slow50", "order-sign")}
    assert listed & bench == (bench if wanted else set())
    for name, _ in bench:
        assert client.get(f"/cds-services/{name}").status_code == (405 if wanted else 404)
    house.db.dispose()
