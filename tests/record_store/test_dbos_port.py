"""How seldom DBOS is let ask: its queue after a change, its own upkeep now and then."""

from record_store.dbos_port import LOOK_S, Look, said_again, seldom


def test_a_queue_is_looked_at_after_each_change_and_else_once_in_a_while():
    look = Look()
    times = [look.is_due(*one) for one in ((1, 0.0), (1, 0.1), (2, 0.2), (2, 0.3), (2, 0.2 + LOOK_S), (2, 6.0))]
    assert times == [True, False, True, False, True, False]


def test_an_answer_is_said_again_to_the_same_question_for_its_time_and_no_longer():
    clock, asked = [0.0], []

    def read(name, **named):
        asked.append((name, named))
        return len(asked)

    again = said_again(read, 5.0, lambda: clock[0])
    assert [again("a"), again("a"), again("a", of=1), again("b")] == [1, 1, 2, 3]
    clock[0] = 5.0
    assert again("a") == 4


def test_upkeep_is_done_once_in_its_time_and_finds_nothing_between():
    clock = [0.0]
    found = seldom(lambda size: [size], 5.0, instead=[], now=lambda: clock[0])
    assert [found(3), found(3)] == [[3], []], "a full batch that was said again would be swept for ever"
    clock[0] = 5.0
    assert found(3) == [3]
