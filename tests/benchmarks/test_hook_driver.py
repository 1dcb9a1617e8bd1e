"""The driver of the hook benchmark counts answers and nothing else."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from benchmarks.hook_driver import Target, measure, request

Serve = Callable[[bytes], int]
GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"cards":[{"a"}]}'


@pytest.fixture
def serve() -> Iterator[Serve]:
    """serve(answer) -> the port of a server that gives this answer to everything, in two pieces."""
    listener = socket.create_server(("127.0.0.1", 0))

    def start(answer: bytes) -> int:
        def talk(link: socket.socket) -> None:
            with link, contextlib.suppress(OSError):  # the driver leaves when it has seen enough
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while link.recv(65536):
                    link.sendall(answer[:30])
                    link.sendall(answer[30:])

        def accept() -> None:
            while True:
                try:
                    link = listener.accept()[0]
                except OSError:
                    return
                threading.Thread(target=talk, args=(link,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]

    yield start
    listener.shutdown(socket.SHUT_RDWR)  # ends the wait in accept(), which closing would not
    listener.close()


@pytest.mark.timed
def test_it_counts_what_was_answered(serve: Serve) -> None:
    figure = measure(Target(serve(GOOD), [request("/x", b"{}")]), 2, 0.2)
    assert figure.requests > 0
    assert 0 < figure.p50_ms <= figure.p99_ms
    assert figure.per_s == pytest.approx(figure.requests / figure.seconds)


@pytest.mark.parametrize(
    "answer",
    [GOOD.replace(b"200 OK", b"503 No"), GOOD.replace(b'{"a"}', b"     "), GOOD.replace(b"Length", b"Laenge")],
    ids=["refused", "no card", "no length"],
)
def test_a_figure_of_anything_but_cards_is_no_figure(serve: Serve, answer: bytes) -> None:
    with pytest.raises(SystemExit, match="did not answer as it should"):
        measure(Target(serve(answer), [request("/x", b"{}")]), 1, 0.2)


def test_tokens_are_used_once_each_and_then_it_ends(serve: Serve) -> None:
    messages = [request("/x", b"{}", token=str(number)) for number in range(40)]
    assert measure(Target(serve(GOOD), messages), 2, 5.0).requests <= 40
