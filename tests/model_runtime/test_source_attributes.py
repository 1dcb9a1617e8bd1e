from model_runtime.source_attributes import ATTRIBUTES, SECTIONS

# 45 CFR 170.315(b)(11)(iv)(B): how many items each numbered paragraph has.
ITEMS = {"1": 4, "2": 4, "3": 2, "4": 4, "5": 2, "6": 4, "7": 5, "8": 4, "9": 2}


def test_there_are_thirty_one_attributes_in_nine_paragraphs():
    assert sum(ITEMS.values()) == len(ATTRIBUTES) == 31
    assert list(SECTIONS) == list(ITEMS)
    for section, count in ITEMS.items():
        assert [one.clause for one in ATTRIBUTES].count(f"{section}.i") == 1
        assert sum(one.clause.startswith(f"{section}.") for one in ATTRIBUTES) == count


def test_they_stand_in_the_order_of_the_rule():
    roman = ["i", "ii", "iii", "iv", "v"]
    assert [one.clause for one in ATTRIBUTES] == [
        f"{section}.{number}" for section, count in ITEMS.items() for number in roman[:count]
    ]


def test_each_has_a_key_and_a_title_of_its_own():
    assert len({one.key for one in ATTRIBUTES}) == len({one.title for one in ATTRIBUTES}) == 31
    assert all(one.key.isidentifier() for one in ATTRIBUTES)
