"""Every process of the suite collects every test, and none imports for that what few of them need."""


def test_no_test_is_collected_with_the_training_stack_in_hand(imported_to_collect: frozenset[str]) -> None:
    assert {"tensorflow", "keras", "tf2onnx"} & imported_to_collect == set()
