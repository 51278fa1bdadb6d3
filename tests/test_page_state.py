"""What the page makes of a link, of a catalog's columns, and of a compatibility."""

from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
import pyarrow as pa
import pytest
from completelook import Catalog
from completelook.catalog import write_catalog
from completelook.errors import ConditionError, UsageError
from completelook.web.page.bundle import bundle
from completelook.web.page.cards import word_of
from completelook.web.page.controls import Control, Kind, offer_of
from completelook.web.page.state import State
from fakes import CATEGORIES, MODEL_ID, axis
from hypothesis import given
from hypothesis import strategies as st

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
CHOSEN = ["pin", "unpin", "exclude", "include", "slot", "ignore", "focus", "min-price", "is-brand"]
names = st.sampled_from([*CHOSEN, "scene", "room", "tab", "budget", "top", "has-sizes", "else"])


@given(st.lists(st.tuples(names, texts), max_size=30))
def test_a_link_leads_to_the_state_it_was_made_of(fields: list[tuple[str, str]]) -> None:
    state = State.of(fields)
    assert State.of(parse_qsl(state.query())) == state
    assert not {*state.pins} & {*state.excludes}


def test_what_is_undone_is_no_part_of_the_state() -> None:
    state = State.of([("pin", "a"), ("pin", "b"), ("exclude", "c"), ("unpin", "a")])
    assert (state.pins, state.excludes) == (("b",), ("c",))
    assert State.of([("pin", "a"), ("exclude", "a")]).pins == ()
    assert State.of([("exclude", "a"), ("include", "a"), ("pin", "a")]).pins == ("a",)


def test_another_photo_keeps_the_conditions_and_not_what_was_drawn() -> None:
    state = State.of(
        [("scene", "a"), ("ignore", "0,0,1,1"), ("pin", "b"), ("exclude", "c"), ("is-brand", "d")]
    ).of_photo("e", "Study")
    assert (state.scene, state.room, state.ignore, state.pins) == ("e", "Study", (), ())
    assert (state.excludes, state.asked) == (("c",), (("is-brand", "d"),))


def test_the_controls_are_conditions() -> None:
    asked = [("min-price", "10"), ("max-price", "20"), ("is-in stock", "true"), ("has-sizes", "XL")]
    told = [str(each) for each in State.of(asked).conditions()]
    assert told == ["price >= 10", "price <= 20", "in stock = true", "sizes has XL"]


@pytest.mark.parametrize("box", ["0,0,1", "a,b,c,d", "0,0,2,1", "0.5,0,0.5,1", "nan,0,1,1"])
def test_an_area_that_is_none_is_told(box: str) -> None:
    with pytest.raises(UsageError, match=r"expected (LEFT|left)"):
        State.of([("ignore", box)]).steering()


def test_a_budget_that_is_none_is_told() -> None:
    assert State.of([("budget", "12.5")]).budget_sum() == 12.5
    with pytest.raises(UsageError, match="budget is 'much'"):
        State.of([("budget", "much")]).budget_sum()


def test_a_link_asks_for_no_more_than_a_page_can_show() -> None:
    state = State.of([("top", "100000"), *(("pin", str(number)) for number in range(1000))])
    assert state.top <= 120
    assert len(state.pins) <= 50


@pytest.mark.parametrize(
    ("compatibility", "word"),
    [
        (None, ""),
        (1.0, "fits beautifully"),
        (0.9, "fits beautifully"),
        (0.899, "fits well"),
        (0.5, "could fit"),
        (0.499, "hardly fits"),
        (0.0, "hardly fits"),
    ],
)
def test_a_compatibility_is_said_in_words(compatibility: float | None, word: str) -> None:
    assert word_of(compatibility) == word


def catalog_of(path: Path, **columns: list[object]) -> Catalog:
    count = len(next(iter(columns.values())))
    products = pa.table(
        {
            "id": [f"p{number}" for number in range(count)],
            "image": ["a.png"] * count,
            "category": [CATEGORIES[number % 2] for number in range(count)],
            **columns,
        }
    )
    vectors = np.array([axis(number) for number in range(count)])
    write_catalog(path, products, vectors, model_id=MODEL_ID, categories=CATEGORIES)
    return Catalog.open(path)


def test_each_column_gets_the_control_that_suits_it(tmp_path: Path) -> None:
    catalog = catalog_of(
        tmp_path / "catalog.arrow",
        name=[f"Thing {number}" for number in range(30)],
        price=[f"{number}.50 EUR" for number in range(30)],
        width=[1.5 * number for number in range(30)],
        brand=["ACME", "", "Norrby"] * 10,
        in_stock=["yes", "no", None] * 10,
        sizes=[["S", "XL"], ["M"], []] * 10,
        one=["same"] * 30,
    )
    controls = {control.column: control for control in offer_of(catalog).controls}
    assert {name: control.kind for name, control in controls.items()} == {
        "price": Kind.RANGE,
        "width": Kind.RANGE,
        "brand": Kind.CHOICE,
        "in_stock": Kind.TRUTH,
        "sizes": Kind.CHOICE,
    }
    price = controls["price"]
    assert (float(price.least), float(price.most), price.unit) == (0.5, 29.5, "EUR")
    assert controls["brand"] == Control("brand", Kind.CHOICE, choices=("ACME", "Norrby"))
    assert controls["sizes"].of_parts
    assert {name: float(least) for name, least in offer_of(catalog).cheapest.items()} == {
        CATEGORIES[0]: 0.5,
        CATEGORIES[1]: 1.5,
    }


def test_a_control_on_a_column_that_is_gone_is_told(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path / "catalog.arrow", name=["a", "b"])
    with pytest.raises(ConditionError, match="no column 'brand'"):
        catalog.conditions(State.of([("is-brand", "ACME")]).conditions())


def test_the_pages_files_have_an_address_that_changes_with_them() -> None:
    files = bundle()
    assert files.url("main.js") == f"/static/{files.digest}/main.js"
    scripts = b"".join(each.content for each in files.files.values())
    assert b"http://" not in scripts.replace(b"http://www.w3.org", b"")
    assert b"https://" not in scripts
