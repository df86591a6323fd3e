import pytest

from simple_chat.core.codes import Code


@pytest.mark.parametrize("code", Code)
def test_code_is_its_name_in_small_letters_with_hyphens(code: Code) -> None:
    assert str(code) == code.name.lower().replace("_", "-")
