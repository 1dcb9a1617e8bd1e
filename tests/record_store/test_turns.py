"""Whoever comes while others work is served together with all who came, and by nobody's second round."""

import threading

import pytest

from record_store.turns import Turns


class Counted:
    """Doubles numbers; the first round lasts until it is let go."""

    def __init__(self, most: int = 64) -> None:
        self.rounds: list[list[int]] = []
        self.began, self.go = threading.Event(), threading.Event()
        self.turns = Turns(self.act, most)
        self.answers: dict[int, object] = {}

    def act(self, batch):
        self.rounds.append(list(batch))
        if len(self.rounds) == 1:
            self.began.set()
            assert self.go.wait(30)
        if 13 in batch and len(batch) == 1:
            raise ZeroDivisionError
        return [ValueError("odd") if one == 7 else one * 2 for one in batch]

    def ask(self, number):
        try:
            self.answers[number] = self.turns.do(number)
        except (ValueError, ZeroDivisionError) as error:
            self.answers[number] = type(error)

    def start(self, number):
        thread = threading.Thread(target=self.ask, args=(number,))
        thread.start()
        return thread

    def waiting(self, count):
        while len(self.turns._waiting) < count:
            threading.Event().wait(0.002)


@pytest.mark.parametrize(("most", "rounds"), [(64, 2), (2, 4)])
def test_those_who_come_during_a_round_share_the_next_ones(most, rounds):
    counted = Counted(most)
    threads = [counted.start(1)]
    assert counted.began.wait(30)
    threads += [counted.start(number) for number in (2, 3, 4, 5, 6)]
    counted.waiting(5)
    counted.go.set()
    for thread in threads:
        thread.join(30)
    assert counted.answers == {number: 2 * number for number in (1, 2, 3, 4, 5, 6)}
    assert len(counted.rounds) == rounds
    assert max(map(len, counted.rounds)) <= max(most, 1)


def test_an_error_of_one_is_his_alone_and_an_error_of_the_round_is_everybody_s():
    counted = Counted()
    threads = [counted.start(1)]
    assert counted.began.wait(30)
    threads += [counted.start(number) for number in (7, 8)]
    counted.waiting(2)
    counted.go.set()
    for thread in threads:
        thread.join(30)
    assert counted.answers == {1: 2, 7: ValueError, 8: 16}
    counted.ask(13)
    counted.ask(14)
    assert (counted.answers[13], counted.answers[14]) == (ZeroDivisionError, 28)


def test_who_is_alone_is_served_in_his_own_thread():
    seen = []
    turns = Turns(lambda batch: [seen.append(threading.get_ident()) or 1 for _ in batch], 8)
    assert turns.do("x") == 1
    assert seen == [threading.get_ident()]
