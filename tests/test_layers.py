import pytest

from simple_chat.layers import Given, from_variables, hide_passwords, nearest, to_switch, to_text


def test_variable_counts_unless_it_is_unset_empty_or_a_link_of_kubernetes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"A": "1", "B": "", "A_PORT": "tcp://10.0.0.1:1", "A_HOST": "tcp://h"}.items():
        monkeypatch.setenv(f"TEST_LAYERS_{name}", value)
    names = {"a": "A", "b": "B", "c": "C", "port": "A_PORT", "host": "A_HOST"}
    variables = {option: f"TEST_LAYERS_{name}" for option, name in names.items()}
    assert [*from_variables([*names, "none"], variables.get)] == [
        Given("a", "1", "TEST_LAYERS_A", "TEST_LAYERS_A"),
        Given("host", "tcp://h", "TEST_LAYERS_A_HOST", "TEST_LAYERS_A_HOST"),
    ]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("hist", "history"),
        ("rat", "rate"),
        ("rite", "rate"),
        ("history", "history"),
        ("x", None),
        ("", "history"),
    ],
)
def test_nearest_is_longer_or_has_a_letter_wrong(word: str, meant: str | None) -> None:
    assert nearest(word, ["history", "rate"]) == meant


@pytest.mark.parametrize(
    ("value", "switch"),
    [(True, True), (False, False), ("true", True), ("YES", True), ("1", True), ("No", False), ("0", False)],
)
def test_switch_is_a_truth_value_or_a_word(value: object, switch: bool) -> None:  # noqa: FBT001 (a parameter)
    assert to_switch(value) is switch


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (5, "5"), (0.5, "0.5")])
def test_text_or_number_is_text(value: object, text: str) -> None:
    assert to_text(value, of_list=False) == to_text(value, of_list=True) == text


def test_list_of_texts_is_text_with_commas() -> None:
    assert to_text(["a", "b"], of_list=True) == "a,b"


def test_passwords_are_hidden() -> None:
    assert hide_passwords("a nats://u:p@h nats://h tls://t@h") == "a nats://***@h nats://h tls://***@h"
