import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from completelook import (
    AsyncCompleteLook,
    Catalog,
    CompleteLook,
    RankedScene,
    Receipt,
    ReceiptError,
)
from completelook.catalog import Comparison, Condition
from completelook.products import Product
from completelook.ranking import (
    LookOptions,
    RankOptions,
    Rules,
    Steering,
    Variety,
    changed_picture,
    rank_photos,
    replay,
)
from fakes import CALIBRATION, CATEGORIES, MODEL_ID, FakeTriton, axis, make_catalog, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import DictCatalog

STEERING = Steering(ignore=[(0, 0, 1 / 14, 1 / 14)])
RULES = Rules.of({"pin": ["rug-4"], "boost": [{"where": "id = rug-2", "factor": 1.5}]})
OPTIONS = [
    RankOptions(),
    RankOptions(top=2, where=["id!=rug-3", "name!=The rug <4>"]),
    RankOptions(steering=STEERING, variety=Variety(diversity=0.5)),
    RankOptions(rules=RULES, top=3),
    RankOptions(min_compatibility=0.5, variety=Variety("name", fold_duplicates=True)),
]
IDS = ["plain", "conditions", "steered", "rules", "a minimum"]


def ranked(look: CompleteLook, catalog: Catalog, scene: Path, **options: Any) -> RankedScene:
    [found] = look.rank_scenes([str(scene)], catalog, **options)
    return found


def kept(receipt: Receipt) -> Receipt:
    """A receipt that went through a file."""
    return Receipt.from_json(receipt.as_json())


@pytest.fixture
def receipt(look: CompleteLook, catalog: Catalog, scene: Path) -> Receipt:
    return kept(ranked(look, catalog, scene).receipt)


def with_products(catalog: Catalog, reds: dict[str, int]) -> None:
    """Put rugs of some red values in place of those of the same ids."""
    products = [Product(id_, CATEGORIES[0], "x.jpg", {"name": id_}) for id_ in reds]
    catalog.upsert(products, np.stack([axis(red) for red in reds.values()]))


@pytest.mark.parametrize("options", OPTIONS, ids=IDS)
def test_an_answer_is_given_again_bit_for_bit_without_a_server(
    look: CompleteLook, triton: FakeTriton, catalog: Catalog, scene: Path, options: RankOptions
) -> None:
    triton.calibration_text = CALIBRATION
    triton.noise = 1 / 3  # so that distances have digits to lose
    found = ranked(look, catalog, scene, **options)
    asked, triton.noise = dict(triton.calls), 0.7
    again = replay(kept(found.receipt), Catalog.open(catalog.info.location))
    assert again.is_same
    assert again.changed == ()
    assert again.answer == found.matches
    for category, matches in found.matches.items():
        assert again.answer[category].ledger == matches.ledger
    assert any(found.matches.values())
    assert triton.calls == asked


@pytest.mark.parametrize("categories", [["Chairs"], ["Chairs", "Rugs"]])
def test_a_receipt_keeps_what_it_was_asked_and_no_more(
    look: CompleteLook, catalog: Catalog, scene: Path, categories: Sequence[str]
) -> None:
    found = ranked(look, catalog, scene, categories=categories, top=2)
    receipt = kept(found.receipt)
    assert list(receipt.answer) == list(receipt.contexts) == list(found.matches)
    assert [each.id for each in receipt.answer["Garden|Chairs"]] == [
        each.id for each in found.matches["Garden|Chairs"]
    ]
    assert (receipt.scene, receipt.model_id) == (str(scene), MODEL_ID)
    assert receipt.options["top"] == 2
    assert receipt.options["min_compatibility"] is None


def test_both_clients_and_a_scene_embedded_before_have_the_same_receipt(
    look: CompleteLook, triton: FakeTriton, catalog: Catalog, scene: Path
) -> None:
    async def asked() -> RankedScene:
        async with AsyncCompleteLook(triton.address) as client:
            found = client.rank_scenes([str(scene)], catalog, steering=STEERING)
            [one] = [each async for each in found]
            return one

    waited = ranked(look, catalog, scene, steering=STEERING).receipt.as_json()
    assert asyncio.run(asked()).receipt.as_json() == waited
    known = look.embed_scene(str(scene), regions=True)
    [found] = rank_photos([(str(scene), known)], catalog, steering=STEERING)
    assert found.receipt.as_json() == waited


def bare_receipt(options: dict[str, Any]) -> Receipt:
    vector = axis(3) / 3
    return Receipt(
        kind="rank",
        scene="a.jpg",
        picture=None,
        model_id=1,
        catalog="c.arrow",
        catalog_digest=None,
        options=options,
        calibration=None,
        embedding=vector,
        contexts={"Rugs": vector},
        answer={"Rugs": ()},
        software="0",
    )


VALUES = st.one_of(
    st.text(min_size=1).filter(str.strip),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.dates(),
    st.datetimes(timezones=st.sampled_from([None, UTC])),
)
CONDITIONS = st.builds(
    Condition, column=st.text(min_size=1), comparison=st.sampled_from(Comparison), value=VALUES
)


@settings(max_examples=200)
@given(where=st.lists(CONDITIONS, max_size=3), top=st.integers(1, 99))
def test_options_come_back_from_json_as_they_were(where: list[Condition], top: int) -> None:
    options: dict[str, Any] = {
        "top": top,
        "min_compatibility": 0.1,
        "where": tuple(where),
        "variety": Variety("brand", True, 0.3),
        "steering": Steering(focus=[(0.1, 0.2, 0.3, 0.7)]),
        "rules": RULES,
        "budget": 99.5,
        "more": 20.0,
        "must": ("rug-1",),
        "price_column": "cost",
        "coherence": 0.25,
    }
    assert options.keys() == {*RankOptions.__annotations__, *LookOptions.__annotations__}
    receipt = bare_receipt(options)
    back = kept(receipt)
    assert {**back.options, "rules": RULES} == options
    assert back.options["rules"].as_mapping() == RULES.as_mapping()
    types = [type(each.value) for each in back.options["where"] if isinstance(each, Condition)]
    assert types == [type(each.value) for each in where]
    assert back.as_json() == receipt.as_json()
    np.testing.assert_array_equal(back.embedding, receipt.embedding)


def test_a_catalog_that_has_changed_is_named_and_so_is_each_place_that_differs(
    receipt: Receipt, catalog: Catalog
) -> None:
    with_products(catalog, {"rug-3": 7, "rug-9": 3})
    again = replay(receipt, catalog)
    assert not again.is_same
    assert again.changed == (f"the catalog: {catalog.info.location} has changed since",)
    assert again.differences[0] == "Home|Rugs: place 1 was rug-3 at 1.0, is rug-9 at 1.0"
    assert again.differences[-1] == "Home|Rugs: had 6 products, has 7"


def test_a_change_that_does_not_touch_the_answer_is_told_and_the_answer_is_the_same(
    look: CompleteLook, catalog: Catalog, scene: Path
) -> None:
    receipt = kept(ranked(look, catalog, scene, categories=["Chairs"]).receipt)
    with_products(catalog, {"rug-9": 3})
    again = replay(receipt, catalog)
    assert again.is_same
    assert again.changed == (f"the catalog: {catalog.info.location} has changed since",)


def test_a_catalog_moved_to_another_place_is_the_same(
    receipt: Receipt, catalog_path: Path, tmp_path: Path
) -> None:
    moved = catalog_path.rename(tmp_path / "moved.arrow")
    again = replay(receipt, Catalog.open(moved))
    assert (again.is_same, again.changed) == (True, ())


def test_the_same_products_indexed_again_are_the_same_catalog(
    receipt: Receipt, catalog_path: Path
) -> None:
    digest = Catalog.open(catalog_path).info.digest
    catalog_path.unlink()
    make_catalog(catalog_path)
    assert Catalog.open(catalog_path).info.digest == digest == receipt.catalog_digest


def test_another_models_catalog_gives_no_answer(receipt: Receipt, catalog_path: Path) -> None:
    make_catalog(catalog_path, model_id=0x99)
    again = replay(receipt, Catalog.open(catalog_path))
    assert again.answer is None
    assert again.changed[1] == (
        "the model: 0000000000001234 gave the answer, the catalog is of 0000000000000099"
    )
    assert again.differences == ("cannot be given by another model's catalog",)


def test_a_category_that_is_gone_is_said(receipt: Receipt, catalog: Catalog) -> None:
    catalog.delete([f"chair-{red}" for red in range(6)])
    [told] = replay(receipt, catalog).differences
    assert "holds no products of 'Garden|Chairs'" in told


def test_a_store_without_a_digest_says_that_it_cannot_tell(
    look: CompleteLook, catalog: Catalog, scene: Path
) -> None:
    held = DictCatalog(MODEL_ID, CATEGORIES)
    hits = catalog.get([f"rug-{red}" for red in range(6)])
    held.upsert(hits.products, hits.embeddings)
    receipt = kept(ranked(look, held, scene).receipt)
    again = replay(receipt, held)
    assert again.is_same
    assert again.changed == ("the catalog: a dict does not tell whether it has changed",)


def test_the_picture_is_known_by_what_the_model_sees_of_it(
    receipt: Receipt, scene: Path, tmp_path: Path
) -> None:
    assert changed_picture(receipt) is None
    elsewhere = str(scene.rename(tmp_path / "elsewhere.png"))
    assert changed_picture(receipt) == f"the picture: image {scene}: no such file"
    assert changed_picture(receipt, elsewhere) is None
    picture(4, (64, 40)).save(scene)
    assert changed_picture(receipt) == f"the picture: {scene} holds another one now"


def test_an_expression_is_kept_as_text_and_cannot_be_replayed(
    look: CompleteLook, catalog: Catalog, scene: Path
) -> None:
    found = ranked(look, catalog, scene, where=[pc.field("id") != "rug-3"])
    with pytest.raises(ReceiptError, match=r'condition \(id != "rug-3"\) was an expression'):
        kept(found.receipt)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: "no JSON", "no receipt .*JSONDecodeError"),
        (lambda _: [], "no receipt"),
        (lambda _: {"receipt": 2}, "a receipt of format 2, expected 1"),
        (lambda it: it | {"options": {"flavor": 1}}, "no receipt .*flavor"),
        (lambda it: it | {"embedding": "AAAA"}, "an embedding of 0 numbers|no receipt"),
        (lambda it: it | {"embedding": it["embedding"][:-8]}, "no receipt"),
        (lambda it: it | {"model_id": "xyz"}, "no receipt"),
        (lambda it: it | {"answer": {"Rugs": [[1]]}}, "no receipt"),
        (lambda it: it | {"kind": "dream"}, "no receipt .*dream"),
        (
            lambda it: it | {"options": {"steering": {"ignore": [[0, 0, 1, 1]]}}},
            "options make no sense: nothing of the photo is left",
        ),
    ],
    ids=range(10),
)
def test_what_is_no_receipt_is_refused(receipt: Receipt, change, message: str) -> None:
    changed = change(json.loads(receipt.as_json()))
    with pytest.raises(ReceiptError, match=message):
        Receipt.from_json(changed if isinstance(changed, str) else json.dumps(changed))


@pytest.mark.parametrize(
    "options",
    [
        LookOptions(),
        LookOptions(steering=STEERING, where=["id!=rug-0"], coherence=0.5),
        LookOptions(must=["chair-2"]),
    ],
    ids=["plain", "steered", "a product that must be in it"],
)
def test_looks_are_given_again_bit_for_bit(
    look: CompleteLook, triton: FakeTriton, catalog: Catalog, scene: Path, options: LookOptions
) -> None:
    triton.noise = 1 / 3
    looks = look.complete(str(scene), catalog, ["Rugs"], **options)
    receipt = kept(looks.receipt)
    assert (receipt.kind, receipt.scene) == ("look", str(scene))
    again = replay(receipt, Catalog.open(catalog.info.location))
    assert (again.is_same, again.changed, again.answer) == (True, (), looks)
    with_products(catalog, {looks.looks[0].matches[0].id: 99})
    assert "look 1: place 1 was " in replay(receipt, catalog).differences[0]


def test_an_answer_of_the_service_is_read_as_its_receipt(receipt: Receipt) -> None:
    answer = {"scene": "token", "categories": [], "receipt": json.loads(receipt.as_json())}
    assert Receipt.from_json(json.dumps(answer)).as_json() == receipt.as_json()


def test_values_of_conditions_keep_their_types() -> None:
    values = (Decimal("49.90"), date(2026, 1, 31), datetime(2026, 1, 31, 12, tzinfo=UTC), True)
    where = tuple(Condition("column", Comparison.EQUAL, value) for value in values)
    assert kept(bare_receipt({"where": where})).options == {"where": where}
