"""The web process: its socket, and bodies that do not arrive as announced."""

import io
import socket

import pytest
from gunicorn.http.errors import InvalidChunkSize, NoMoreData
from werkzeug.exceptions import BadRequest

from clinical.errors import Busy
from consilium.settings import load_settings
from consilium.web import RequestBody, WebServer
from consilium.wiring import House


class _Broken:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def read(self, size: int | None) -> bytes:
        raise self._error


@pytest.mark.parametrize("error", [InvalidChunkSize("Zzcanary"), NoMoreData(), ConnectionResetError()])
def test_a_body_whose_framing_is_broken_is_the_client_s_mistake(error: Exception) -> None:
    with pytest.raises(BadRequest):
        RequestBody(_Broken(error)).read(10)


def test_a_whole_body_is_read_as_it_is() -> None:
    assert RequestBody(io.BytesIO(b"abc")).read() == b"abc"
    assert RequestBody(io.BytesIO(b"abc")).read(2) == b"ab"


def test_a_port_that_is_taken_is_named_at_once(tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        house = House(load_settings(data_dir=tmp_path, http_port=port))
        with pytest.raises(Busy, match=f"CONSILIUM_HTTP_PORT: cannot listen on port {port}"):
            WebServer(house, {})
