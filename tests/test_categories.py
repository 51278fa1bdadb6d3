import json
from pathlib import Path

import pytest
from completelook.catalog import CategoryTable
from completelook.errors import CategoryError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

HOME = (
    "Furniture|Chairs",
    "Furniture|Chairs|Table & Bar Stools",
    "Home & Garden|Decor",
    "Home & Garden|Decor|Rugs",
    "Home & Garden|Decor|Throw Pillows",
    "Lighting|Lamps",
    "Outdoor|Lamps",
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("Home & Garden|Decor|Rugs", "Home & Garden|Decor|Rugs", id="exact"),
        pytest.param("hOME & gARDEN|dECOR|rUGS", "Home & Garden|Decor|Rugs", id="any case"),
        pytest.param("Rugs", "Home & Garden|Decor|Rugs", id="last part"),
        pytest.param("rugs", "Home & Garden|Decor|Rugs", id="last part, any case"),
        pytest.param("Decor|Rugs", "Home & Garden|Decor|Rugs", id="last two parts"),
        pytest.param(" decor | rugs ", "Home & Garden|Decor|Rugs", id="spaces"),
        pytest.param("Chairs", "Furniture|Chairs", id="not its child"),
        pytest.param("Decor", "Home & Garden|Decor", id="not its children"),
        pytest.param("Outdoor|Lamps", "Outdoor|Lamps", id="one of two by its full name"),
    ],
)
def test_a_category_is_found(name, expected):
    assert HOME[CategoryTable(HOME).resolve(name)] == expected


def test_an_exact_name_wins_over_another_names_last_part():
    table = CategoryTable(("Home|Rugs", "Rugs", "RUGS"))
    assert [table.resolve(name) for name in ("Rugs", "RUGS", "home|rugs")] == [1, 2, 0]


def test_a_full_name_in_another_case_wins_over_another_names_last_part():
    assert CategoryTable(("Home|Rugs", "Rugs")).resolve("rugs") == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param(
            "lamps", "'lamps' is ambiguous: give one of 'Lighting|Lamps', 'Outdoor|Lamps'", id="two"
        ),
        pytest.param("Rugz", "did you mean 'Home & Garden|Decor|Rugs'?", id="misspelled"),
        pytest.param(
            "Home & Garden",
            "did you mean 'Home & Garden|Decor', 'Home & Garden|Decor|Rugs', "
            "'Home & Garden|Decor|Throw Pillows'?",
            id="a parent",
        ),
        pytest.param("Decor|Chairs", "did you mean 'Furniture|Chairs'", id="wrong parent"),
        pytest.param("Spaceships", "unknown category 'Spaceships': The model knows", id="unlike"),
        pytest.param("", "unknown category ''", id="empty"),
    ],
)
def test_a_name_that_fits_none_or_several_says_what_would_fit(name, message):
    with pytest.raises(CategoryError) as caught:
        CategoryTable(HOME).resolve(name)
    assert message in str(caught.value)
    if "ambiguous" not in message:
        assert all(repr(known) in str(caught.value) for known in HOME)


def test_two_names_that_differ_in_case_alone_are_ambiguous_in_a_third():
    with pytest.raises(CategoryError, match="ambiguous"):
        CategoryTable(("Rugs", "RUGS")).resolve("rugs")


part = st.text("aAbBß &", min_size=1).map(str.strip).filter(bool)
paths = st.lists(part, min_size=1, max_size=3).map("|".join)


@settings(deadline=None)
@given(names=st.lists(paths, unique=True, min_size=1, max_size=8), data=st.data())
def test_every_name_finds_its_own_row(names, data):
    row = data.draw(st.integers(0, len(names) - 1))
    assert CategoryTable(tuple(names)).resolve(names[row]) == row


@settings(deadline=None)
@given(names=st.lists(paths, min_size=1, max_size=8, unique_by=str.casefold), data=st.data())
def test_case_never_matters(names, data):
    row = data.draw(st.integers(0, len(names) - 1))
    assert CategoryTable(tuple(names)).resolve(names[row].swapcase()) == row


@settings(deadline=None)
@given(names=st.lists(paths, min_size=1, max_size=8, unique_by=str.casefold), asked=paths)
def test_what_is_found_ends_with_what_was_asked(names, asked):
    assume(asked not in names)
    fitting = [name for name in names if f"|{name}".casefold().endswith(f"|{asked}".casefold())]
    try:
        found = names[CategoryTable(tuple(names)).resolve(asked)]
    except CategoryError:
        assert len(fitting) != 1
    else:
        assert found in fitting


@pytest.mark.parametrize("table", ["home", "fashion"])
def test_the_public_tables_resolve(table):
    path = Path(__file__).parents[2] / "shared" / "stl" / f"{table}-cat.json"
    if not path.is_file():
        pytest.skip("the public tables are not here")
    names = tuple(sorted(set(json.loads(path.read_text()).values())))
    categories = CategoryTable(names)
    for row, name in enumerate(names):
        assert categories.resolve(name) == categories.resolve(name.upper()) == row
        last = name.split("|")[-1]
        if sum(other.split("|")[-1] == last for other in names) == 1:
            assert categories.resolve(last) == row
