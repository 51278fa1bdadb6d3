import completelook
import pytest
from completelook import errors as _errors


def test_exported_names_are_sorted_and_unique() -> None:
    assert completelook.__all__ == sorted(set(completelook.__all__))


@pytest.mark.parametrize("name", completelook.__all__)
def test_each_exported_name_is_there(name: str) -> None:
    assert getattr(completelook, name) is not None


def test_names_that_wait_for_their_module_are_all_exported() -> None:
    eager = {name for name in vars(completelook) if not name.startswith("_")}
    assert set(completelook._HOMES) <= set(completelook.__all__)
    assert {name for name in eager if name[0].isupper() and name != "TYPE_CHECKING"} <= {
        *completelook.__all__,
        "Any",
    }


def test_every_error_is_exported() -> None:
    errors = {name for name, value in vars(_errors).items() if isinstance(value, type)}
    assert errors <= set(completelook.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = completelook.nonsense
