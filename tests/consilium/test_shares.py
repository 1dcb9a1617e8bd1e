"""Workers know of each other's connections, so that none takes them all."""

import os

from consilium.shares import PLACES, Shares


def test_a_worker_alone_is_never_told_to_wait() -> None:
    shares = Shares()
    shares.tell(1, 5)
    assert not shares.others_have_fewer(1, 5)


def test_the_one_with_more_lets_the_other_go_first() -> None:
    shares = Shares()
    shares.tell(1, 5)
    shares.tell(2, 4)
    assert shares.others_have_fewer(1, 5)
    assert not shares.others_have_fewer(2, 4)
    shares.tell(2, 5)
    assert not shares.others_have_fewer(1, 5)


def test_one_with_none_counts_and_one_that_has_ended_does_not() -> None:
    shares = Shares()
    shares.tell(1, 5)
    shares.tell(2, 0)
    assert shares.others_have_fewer(1, 5)
    shares.forget(2)
    assert not shares.others_have_fewer(1, 5)


def test_numbers_that_count_up_for_years_find_a_place() -> None:
    shares = Shares()
    shares.tell(10 * PLACES + 3, 7)
    shares.tell(10 * PLACES + 4, 9)
    assert shares.others_have_fewer(10 * PLACES + 4, 9)


def test_what_a_child_says_is_seen_by_its_parent() -> None:
    shares = Shares()
    shares.tell(1, 5)
    child = os.fork()
    if child == 0:
        shares.tell(2, 0)
        os._exit(0)
    os.waitpid(child, 0)
    assert shares.others_have_fewer(1, 5)
