"""Calls that are run together get what each would have got alone, and nobody waits for long or for a stranger."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clinical.errors import Busy, Fault
from model_export.testing import write_model, write_tiny_risk
from model_runtime.batching import LONGEST_WAIT_S, Batcher
from model_runtime.engine import LocalEngine
from model_runtime.library import Golden, Library, check_rows_alone
from model_runtime.session import DeviceLost
from model_runtime.testing import DIABETES_FEATURES, risk_document


def row(number):
    return {"x": np.array([[float(number)]])}


class Model:
    """Doubles its rows, fails for negative ones, and waits for `go` before it answers.

    batches: the different rows of each run (what it is filled up with is a copy). lengths: of each run.
    """

    def __init__(self, seconds=0.0, error=Fault):
        self.batches, self.lengths, self.seconds, self.error = [], [], seconds, error
        self.entered, self.go = threading.Semaphore(0), threading.Event()
        self.go.set()

    def __call__(self, inputs):
        self.lengths.append(len(inputs["x"]))
        self.batches.append(list(dict.fromkeys(inputs["x"][:, 0].tolist())))
        self.entered.release()
        assert self.go.wait(10)
        time.sleep(self.seconds)
        if (inputs["x"] < 0).any():
            raise self.error("a negative row")
        return {"y": 2 * inputs["x"]}


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as threads:
        yield threads


def ask(batcher, *numbers, deadline=None):
    return batcher.run({"x": np.array([[float(number)] for number in numbers])}, deadline)["y"][:, 0].tolist()


@pytest.fixture
def held(pool):
    """held(model, numbers) -> their futures, all waiting behind a run that goes on until model.go is set."""

    def start(model, *numbers, length=32, **more):
        batcher = Batcher("m", model, length, **more)
        model.go.clear()
        futures = [pool.submit(ask, batcher, 100)]
        assert model.entered.acquire(timeout=30)
        for count, number in enumerate(numbers, start=1):
            futures.append(pool.submit(ask, batcher, number))
            while batcher.waiting < count:
                time.sleep(0.0005)
        return batcher, futures

    return start


def test_who_comes_alone_is_answered_at_once_and_alone():
    model = Model()
    batcher = Batcher("m", model, 32)
    assert [ask(batcher, number) for number in (1, 2, 3)] == [[2.0], [4.0], [6.0]]
    assert model.batches == [[1.0], [2.0], [3.0]]
    assert set(model.lengths) == {32}


def test_who_comes_while_the_model_runs_is_run_together_with_the_others(held):
    model = Model()
    _, futures = held(model, 1, 2, 3)
    model.go.set()
    assert [future.result(30) for future in futures] == [[200.0], [2.0], [4.0], [6.0]]
    assert model.batches == [[100.0], [1.0, 2.0, 3.0]]


def test_no_run_has_more_rows_than_the_manifest_says(held):
    model = Model()
    _, futures = held(model, 1, 2, 3, 4, 5, length=2)
    model.go.set()
    assert [future.result(30)[0] for future in futures] == [200.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert set(model.lengths) == {2}


def test_a_caller_with_more_rows_than_a_batch_has_gets_them_all():
    model = Model()
    assert ask(Batcher("m", model, 2), 1, 2, 3, 4, 5) == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert model.lengths == [2, 2, 2]


def test_rows_that_do_not_fit_any_more_are_in_the_next_run(pool, held):
    model = Model()
    batcher, futures = held(model, 1, 2, length=4)
    several = pool.submit(ask, batcher, 7, 8, 9)
    while batcher.waiting < 3:
        time.sleep(0.0005)
    model.go.set()
    assert several.result(30) == [14.0, 16.0, 18.0]
    assert [future.result(30)[0] for future in futures] == [200.0, 2.0, 4.0]
    assert model.batches == [[100.0], [1.0, 2.0], [7.0, 8.0, 9.0]]


def test_a_caller_with_several_rows_gets_exactly_his_own(pool, held):
    model = Model()
    batcher, futures = held(model, 1)
    several = pool.submit(ask, batcher, 7, 8, 9)
    while batcher.waiting < 2:
        time.sleep(0.0005)
    model.go.set()
    assert several.result(30) == [14.0, 16.0, 18.0]
    assert futures[1].result(30) == [2.0]


def test_a_callers_bad_row_fails_him_and_no_neighbour(held):
    model = Model()
    _, futures = held(model, 1, -1, 3)
    model.go.set()
    assert futures[1].result(30) == [2.0]
    assert futures[3].result(30) == [6.0]
    with pytest.raises(Fault, match="negative"):
        futures[2].result(30)


def test_a_model_that_is_broken_fails_everybody_after_two_tries_more(held):
    model = Model()
    _, futures = held(model, -1, -2, -3, -4, -5)
    model.go.set()
    for future in futures[1:]:
        with pytest.raises(Fault):
            future.result(30)
    assert len(model.batches) == 1 + 1 + 2


def test_a_lost_device_is_told_to_everybody_and_not_tried_again(held):
    model = Model(error=DeviceLost)
    _, futures = held(model, -1, -2, 3)
    model.go.set()
    for future in futures[1:]:
        with pytest.raises(DeviceLost):
            future.result(30)
    assert len(model.batches) == 2


def test_who_gets_no_turn_in_time_is_told_so_and_leaves_the_queue(held):
    model = Model()
    batcher, futures = held(model, 1)
    with pytest.raises(Busy, match="did not become free"):
        ask(batcher, 2, deadline=time.monotonic() + 0.02)
    assert batcher.waiting == 1
    model.go.set()
    assert futures[1].result(30) == [2.0]
    assert model.batches[1:] == [[1.0]]


def test_the_first_in_the_queue_may_give_up_without_stopping_the_second(pool, held):
    model = Model()
    batcher, _ = held(model)
    first = pool.submit(ask, batcher, 1, deadline=time.monotonic() + 0.05)
    while not (batcher.waiting or first.done()):  # on a busy machine it has given up before it is seen
        time.sleep(0.0005)
    second = pool.submit(ask, batcher, 2)
    with pytest.raises(Busy):
        first.result(30)
    model.go.set()
    assert second.result(30) == [4.0]


def test_more_than_may_wait_are_refused_at_once(held):
    model = Model()
    batcher, _ = held(model, 1, 2, max_waiting=2)
    with pytest.raises(Busy, match="too many"):
        ask(batcher, 3)
    model.go.set()


def test_after_a_full_batch_a_lone_caller_waits_no_longer_than_a_moment(held):
    model = Model(seconds=0.02)
    batcher, futures = held(model, 1, 2, 3)
    model.go.set()
    [future.result(30) for future in futures]
    started = time.monotonic()
    ask(batcher, 4)
    ask(batcher, 5)
    # Two runs of 20 ms, and one wait that a share of a run bounds; the rest is the machine's, which may be busy.
    assert time.monotonic() - started < 2 * 0.02 + LONGEST_WAIT_S + 5
    assert model.batches[-2:] == [[4.0], [5.0]]


def test_two_groups_of_callers_find_together_instead_of_taking_turns(pool):
    model = Model(seconds=0.04)
    batcher = Batcher("m", model, 16)

    def ask_again_and_again(number):
        time.sleep(0.02 * (number % 2))
        while len(model.batches) < 30:
            ask(batcher, number)

    list(pool.map(ask_again_and_again, range(8)))
    # Taking turns, no run would ever have more than half of them.
    later = sorted(len(batch) for batch in model.batches[6:-2])
    assert later[len(later) // 2] > 4


def test_a_deadline_leaves_no_time_to_wait_for_others():
    clock = [0.0]
    model = Model()
    batcher = Batcher("m", model, 32, now=lambda: clock[0])
    batcher._callers, batcher._last_s = 5, 1.0
    assert ask(batcher, 1, deadline=0.5) == [2.0]  # the clock stands: a wait would never end


def test_what_one_caller_does_with_his_answer_does_not_reach_another(pool):
    shared = np.zeros((64, 1))
    model = Model()
    batcher = Batcher("m", lambda inputs: model(inputs) and {"y": shared[: len(inputs["x"])]}, 32)
    model.go.clear()
    first = pool.submit(batcher.run, row(1), None)
    model.entered.acquire(timeout=30)
    others = [pool.submit(batcher.run, row(n), None) for n in (2, 3)]
    while batcher.waiting < 2:
        time.sleep(0.0005)
    model.go.set()
    first.result(30)
    one, two = (future.result(30)["y"] for future in others)
    one += 1
    assert two.tolist() == [[0.0]]


def test_a_thousand_calls_from_many_threads_each_get_their_own_answer(pool):
    model = Model(seconds=0.0002)
    batcher = Batcher("m", model, 8)
    answers = list(pool.map(lambda number: ask(batcher, number), range(1000)))
    assert answers == [[2.0 * number] for number in range(1000)]
    assert sorted(number for batch in model.batches for number in batch) == list(map(float, range(1000)))
    assert len(model.batches) < 1000


# With onnxruntime


def batched(folder, **changes):
    document = risk_document()
    document["graphs"]["model"]["batch_rows"] = 16
    source = write_tiny_risk(folder / "plain")
    golden = np.load(source / "golden.npz")
    rows = {name: np.concatenate([golden[name], golden[name]]) for name in golden.files}
    return write_model(folder, document, (source / "model.onnx").read_bytes(), rows | changes)


def test_what_an_engine_answers_in_batches_is_what_it_answers_alone_to_the_last_bit(tmp_path, pool):
    batched(tmp_path)
    engine, unbatched = LocalEngine(Library(tmp_path)), LocalEngine(Library(tmp_path / "plain"))
    rows = np.random.default_rng(0).normal(126, 30, (200, 1, len(DIABETES_FEATURES)))

    def answer(one, of=engine):
        return of.run("diabetes-risk", {"features": one})["probability"]

    together, alone = list(pool.map(answer, rows)), [answer(one) for one in rows]
    assert [one.tobytes() for one in together] == [one.tobytes() for one in alone]
    assert {one.shape for one in together} == {(1, 1)}
    np.testing.assert_allclose(np.concatenate(alone), np.concatenate([answer(r, unbatched) for r in rows]), 1e-12)


@pytest.mark.parametrize(
    "depends",
    [
        lambda rows: rows - rows.mean(),
        lambda rows: rows * np.where(np.arange(len(rows)) == 3, 1 + 1e-15, 1.0)[:, None],
    ],
    ids=["on its neighbours", "on its place"],
)
def test_a_graph_whose_rows_depend_on_the_batch_is_not_loaded(depends):
    golden = Golden({"x": np.array([[1.0], [2.0]])}, {})
    check_rows_alone("m", lambda inputs: {"y": inputs["x"] * np.nan}, golden, 4)
    with pytest.raises(Fault, match="depends on the rest of the batch"):
        check_rows_alone("m", lambda inputs: {"y": depends(inputs["x"])}, golden, 4)


def test_batches_want_a_golden_file_of_two_rows(tmp_path):
    one = {"in_features": np.full((1, len(DIABETES_FEATURES)), 126.0), "out_probability": np.array([[0.5]])}
    batched(tmp_path, **one)
    engine = LocalEngine(Library(tmp_path))
    with pytest.raises(Fault, match="fewer than two rows"):
        engine.run("diabetes-risk", {"features": one["in_features"]})
