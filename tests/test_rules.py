"""A merchandiser's rules: what they do, against an oracle that looks at every product in loops."""

import asyncio
import re
import tempfile
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from completelook import AsyncCompleteLook, Catalog, SceneEmbedding, UsageError
from completelook.catalog import arrow as arrow_store
from completelook.catalog import write_catalog
from completelook.ranking import (
    NO_RULES,
    Calibration,
    Rules,
    Variety,
    rank,
    rank_scene,
    rank_scenes,
)
from completelook.ranking.variety import NEAR_DUPLICATE, POOL
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import DictCatalog

CATEGORIES = ("Rugs", "Lamps")
CALIBRATION = Calibration((1.2, 2.8), (0.9, 0.1))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def scene_of(generator) -> SceneEmbedding:
    contexts = unit(generator.normal(size=(2, 128))) * 0.7
    embedding = unit(generator.normal(size=128))
    return SceneEmbedding(embedding.astype(np.float32), contexts.astype(np.float32), model_id=1)


def table_of(generator, count: int) -> pa.Table:
    """Products r00, r01, ... that are rugs, and one lamp, with brands, models, stock, prices."""

    def some(values):
        return [values[place] for place in generator.integers(len(values), size=count)] + ["x"]

    return pa.table(
        {
            "id": [*(f"r{row:02d}" for row in range(count)), "lamp"],
            "category": ["Rugs"] * count + ["Lamps"],
            "image": ["x.jpg"] * (count + 1),
            "brand": pa.array(some(["ACME", "ACME", "Bolt", None]), pa.string()),
            "model": pa.array(some(["a", "b", "c", "d", None]), pa.string()),
            "in_stock": some(["true", "false", "false"]),
            "price": pa.array(generator.integers(1, 9, size=count + 1) / 8, pa.float32()),
        }
    )


def stores(folder, generator, count: int) -> dict[str, Catalog]:
    """The same products in both stores, some of them at the very same place."""
    table = table_of(generator, count)
    embeddings = unit(generator.normal(size=(count + 1, 128))).astype(np.float32)
    embeddings[generator.integers(count, size=count // 4)] = embeddings[0]
    path = Path(folder) / "c.arrow"
    write_catalog(path, table, embeddings, model_id=1, categories=CATEGORIES)
    arrow = Catalog.open(path)
    slow = DictCatalog(1, CATEGORIES)
    held = arrow.get(table["id"].to_pylist())
    slow.upsert(held.products, held.embeddings)
    return {"arrow": arrow, "dict": slow}


# What the oracle understands of conditions, each as a rule has it.
MEETS = {
    "brand = ACME": lambda product: product["brand"] == "ACME",
    "brand != ACME": lambda product: product["brand"] not in ("ACME", None),
    "in_stock = true": lambda product: product["in_stock"] == "true",
    "model = a": lambda product: product["model"] == "a",
    "price <= 0.375": lambda product: product["price"] <= 0.375,
    "brand = Nobody": lambda _: False,
}


def is_about(rule: dict[str, Any], match) -> bool:
    if "ids" in rule:
        return match.id in rule["ids"]
    return all(MEETS[each](match.product) for each in rule["where"])


def by_loops(whole, rules, top, variety, embedding) -> list[tuple[str, list[str]]]:
    """The ids shown, each with those it stands for: every product looked at, one by one."""
    pins = rules.get("pin", [])
    left = []
    for match in whole:
        if any(is_about(each, match) for each in rules.get("exclude", [])):
            continue
        factor = 1.0
        for each in rules.get("boost", []):
            if is_about(each, match):
                factor *= each["factor"]
        key: list[float] = [pins.index(match.id) if match.id in pins else len(pins)]
        key += [0 if is_about(each, match) else 1 for each in rules.get("first", [])]
        left.append(((*key, match.distance / factor, match.distance, match.id), match))
    left.sort(key=lambda each: each[0])

    leaders: list[Any] = []  # of a key, a match and those it stands for
    model_of: dict[str, int] = {}
    for place, (order, match) in enumerate(left):
        model = match.product["model"] if variety.group_by else None
        joined = model_of.get(model)
        if joined is None and variety.fold_duplicates:
            near = [squared(embedding[match.id], embedding[each.match.id]) for each in leaders]
            if near and min(near) < NEAR_DUPLICATE:
                joined = near.index(min(near))
        if joined is None:
            joined = len(leaders)
            leaders.append(SimpleNamespace(key=order, match=match, others=[], place=place))
        else:
            leaders[joined].others.append((place, match.id))
        if model:
            model_of.setdefault(model, joined)

    times = POOL if variety.diversity else 1
    pool: list[Any] = []
    end = len(left)
    for leader in leaders:
        if len(pool) == times * top:
            end = leader.place
            break
        if leader.match.id in pins or may(leader, pool, rules, times):
            pool.append(leader)
    chosen: list[Any] = []
    while len(chosen) < top:
        allowed = [
            each
            for each in pool
            if each not in chosen and (each.match.id in pins or may(each, chosen, rules, 1))
        ]
        if not allowed:
            break
        best = allowed[0]
        if variety.diversity and chosen and best.match.id not in pins:
            same = [each for each in allowed if each.key[:-3] == best.key[:-3]]
            best = max(same, key=lambda each: marginal(each, chosen, variety, embedding))
        chosen.append(best)
    shown = [(each.match.id, each.others) for each in chosen]
    return [(id_, [other for place, other in others if place < end]) for id_, others in shown]


def may(leader, held, rules, times) -> bool:
    for rule in rules.get("at_most", []):
        value = leader.match.product[rule["column"]]
        same = sum(each.match.product[rule["column"]] == value for each in held)
        if value is not None and same >= times * rule["count"]:
            return False
    return True


def marginal(leader, chosen, variety, embedding) -> float:
    likeness = max(
        sum(
            float(a) * float(b)
            for a, b in zip(embedding[leader.match.id], embedding[each.match.id], strict=True)
        )
        for each in chosen
    )
    boosted = leader.key[-3]
    return (1 - variety.diversity) * (1 - boosted / 2) - variety.diversity * likeness


def squared(one, other) -> float:
    return sum((float(a) - float(b)) ** 2 for a, b in zip(one, other, strict=True))


def targets(ids):
    where = st.lists(st.sampled_from([*MEETS]), min_size=1, max_size=2, unique=True)
    return st.one_of(
        where.map(lambda texts: {"where": texts}),
        st.lists(st.sampled_from(ids), min_size=1, max_size=2, unique=True).map(
            lambda some: {"ids": some}
        ),
    )


@st.composite
def shops(draw):
    """How many rugs there are, and rules about them; pins are never excluded."""
    count = draw(st.integers(1, 60))
    ids = [f"r{row:02d}" for row in range(count)]
    about = targets(ids)
    factors = st.sampled_from([0.9, 1.02, 1.1, 3.0])
    boosts = st.tuples(about, factors).map(lambda pair: {**pair[0], "factor": pair[1]})
    rules: dict[str, Any] = {
        "first": draw(st.lists(about, max_size=2)),
        "boost": draw(st.lists(boosts, max_size=3)),
        "exclude": draw(st.lists(about, max_size=2)),
        "at_most": draw(
            st.lists(
                st.builds(
                    lambda column, count: {"column": column, "count": count},
                    st.sampled_from(["brand", "model"]),
                    st.integers(1, 3),
                ),
                max_size=2,
            )
        ),
    }
    pins = draw(st.lists(st.sampled_from(ids), max_size=3, unique=True))
    return count, {key: each for key, each in rules.items() if each} | (
        {"pin": pins} if pins else {}
    )


def without_pins_excluded(rules, whole):
    pinned = [match for match in whole if match.id in rules.get("pin", [])]
    kept = [
        each
        for each in rules.get("exclude", [])
        if not any(is_about(each, match) for match in pinned)
    ]
    rules = {key: value for key, value in rules.items() if key != "exclude"}
    return rules | ({"exclude": kept} if kept else {})


def leave_out(rules, key, place):
    """Rules without one of them."""
    if key == "pin":
        return {name: value for name, value in rules.items() if name != "pin"}
    left = [each for other, each in enumerate(rules[key]) if other != place]
    return {name: left if name == key else value for name, value in rules.items()}


@given(
    shop=shops(),
    top=st.integers(1, 8),
    seed=st.integers(0, 10**6),
    minimum=st.sampled_from([None, None, 0.45]),
    where=st.sampled_from([(), ("price <= 0.75",)]),
    variety=st.builds(
        Variety,
        group_by=st.sampled_from([None, None, "model"]),
        fold_duplicates=st.booleans(),
        diversity=st.sampled_from([0.0, 0.0, 0.4]),
    ),
    scoped=st.booleans(),
)
@settings(max_examples=60)
def test_the_order_and_the_ledger_are_those_of_a_look_at_every_product(
    shop, top, seed, minimum, where, variety, scoped
) -> None:
    count, rules = shop
    generator = np.random.default_rng(seed)
    scene = scene_of(generator)
    with tempfile.TemporaryDirectory() as folder:
        catalogs = stores(folder, generator, count)
        everything = rank(scene, catalogs["arrow"], "Rugs", top=count)
        options: Any = {"where": where, "min_compatibility": minimum, "calibration": CALIBRATION}
        whole = rank(scene, catalogs["arrow"], "Rugs", top=count, **options)
        rules = without_pins_excluded(rules, everything)
        held = {match.id: catalogs["arrow"].get([match.id]).embeddings[0] for match in everything}
        given_rules = Rules.of({"category": {"rugs": rules}} if scoped else rules)
        options |= {"top": top, "variety": variety, "rules": given_rules}
        found = {name: rank(scene, each, "Rugs", **options) for name, each in catalogs.items()}
        expected = by_loops(whole, rules, top, variety, held)
        for matches in found.values():
            assert [(match.id, list(match.folded)) for match in matches] == expected
        if not rules:
            assert found["arrow"].ledger is None
            return
        assert_ledger(
            found["arrow"], rules, whole, lambda some: by_loops(whole, some, top, variety, held)
        )


def assert_ledger(matches, rules, whole, shown) -> None:
    """The model's order, what each rule has moved and what it costs are what loops find."""
    ledger = matches.ledger
    compatibility = {match.id: match.compatibility for match in whole}
    ranks = {match.id: match.rank for match in whole}
    assert [match.id for match in ledger.model] == [id_ for id_, _ in shown({})]
    assert [match.model_rank for match in matches] == [ranks[match.id] for match in matches]
    assert ledger.unit == "compatibility"
    left_out = [
        leave_out(rules, key, place)
        for key in rules
        for place in range(1 if key == "pin" else len(rules[key]))
    ]
    after = [match.id for match in matches]
    assert len(ledger.effects) == len(left_out)
    for effect, others in zip(ledger.effects, left_out, strict=True):
        before = [id_ for id_, _ in shown(others)]
        moves = {(move.id, move.before, move.after) for move in effect.moves}
        assert moves == {
            (id_, place(before, id_), place(after, id_))
            for id_ in {*before, *after}
            if place(before, id_) != place(after, id_)
        }
        if before and after:
            means = [sum(compatibility[id_] for id_ in ids) / len(ids) for ids in (before, after)]
            assert effect.cost == pytest.approx(means[0] - means[1], abs=1e-12)
        else:
            assert effect.cost is None
        for match in matches:
            assert (effect.rule in match.moved_by) >= (match.id in {move[0] for move in moves})


def place(ids, id_) -> int | None:
    return ids.index(id_) + 1 if id_ in ids else None


@pytest.fixture
def shop(tmp_path: Path) -> tuple[SceneEmbedding, Catalog]:
    generator = np.random.default_rng(0)
    return scene_of(generator), stores(tmp_path, generator, 60)["arrow"]


def test_a_catalog_in_a_file_is_passed_once_whatever_the_rules_and_scenes(
    shop, monkeypatch
) -> None:
    scene, catalog = shop
    passes = []
    for name in ("products_with", "nearest_rows"):
        original = getattr(arrow_store, name)
        monkeypatch.setattr(
            arrow_store, name, lambda *given, of=original: [passes.append(1), of(*given)][1]
        )
    rules = Rules.of(
        {
            "first": "in_stock = true",
            "boost": [
                {"where": "model = a", "factor": 1.2},
                {"where": "brand = Bolt", "factor": 2},
            ],
            "exclude": {"where": "price <= 0.375"},
            "at_most": {"column": "brand", "count": 1},
        }
    )
    assert rank_scenes([scene] * 3, catalog, ["Rugs"], top=5, rules=rules)
    assert len(passes) == 1


def test_many_scenes_under_rules_are_ranked_as_each_alone(shop) -> None:
    scene, catalog = shop
    scenes = [scene, scene_of(np.random.default_rng(5))]
    rules = Rules.of({"pin": ["lamp"], "category": {"rugs": {"first": "brand = Bolt"}}})
    together = rank_scenes(scenes, catalog, rules=rules, top=4)
    assert together == [rank_scene(each, catalog, rules=rules, top=4) for each in scenes]
    assert [each["Rugs"].ledger.effects[0].rule for each in together] == ["first brand = Bolt"] * 2
    # A pin of all categories is one of its product's own.
    assert [move.id for move in together[0]["Lamps"].ledger.effects[0].moves] == []


def test_both_clients_hand_the_ledger_over(triton, look, catalog, scene) -> None:
    rules = Rules.of({"category": {"Rugs": {"pin": ["rug-5"]}}})

    async def awaited():
        async with AsyncCompleteLook(triton.address) as client:
            ranked = [each async for each in client.rank_scenes([str(scene)], catalog, rules=rules)]
            return ranked, await client.rank(str(scene), catalog, "Rugs", rules=rules)

    for ranked, matches in (
        asyncio.run(awaited()),
        (
            list(look.rank_scenes([str(scene)], catalog, rules=rules)),
            look.rank(str(scene), catalog, "Rugs", rules=rules),
        ),
    ):
        (one,) = ranked
        assert [*one.ledgers] == ["Home|Rugs"]  # there is no rule about chairs
        assert one.ledgers["Home|Rugs"] == matches.ledger
        assert [match.id for match in matches[:2]] == ["rug-5", "rug-3"]
        assert matches.ledger.model[0].id == "rug-3"


def test_a_factor_is_one_of_the_distance(shop) -> None:
    scene, catalog = shop
    far = rank(scene, catalog, "Rugs", top=60)[30]
    for factor in (0.5, 1.0, 1.05, 1.2, 2.0):
        rules = Rules.of({"boost": {"ids": [far.id], "factor": factor}})
        shown = rank(scene, catalog, "Rugs", top=60, rules=rules)
        place = next(match.rank for match in shown if match.id == far.id)
        nearer = [match for match in shown if match.id != far.id]
        assert place == 1 + sum(match.distance <= far.distance / factor for match in nearer)
        assert {match.id: match.distance for match in shown}[far.id] == far.distance


def test_a_question_keeps_out_what_is_pinned_and_the_ledger_says_so(shop) -> None:
    scene, catalog = shop
    whole = rank(scene, catalog, "Rugs", top=60, calibration=CALIBRATION)
    acme = next(match.id for match in whole if match.product["brand"] == "ACME")
    rules = Rules.of({"pin": [acme, whole[-1].id]})
    options: Any = {"where": ["brand = Bolt"], "calibration": CALIBRATION, "rules": rules}
    shown = rank(scene, catalog, "Rugs", min_compatibility=whole[-2].compatibility, **options)
    assert {match.product["brand"] for match in shown} == {"Bolt"}
    assert shown.ledger.effects[0].kept_out == (acme, whole[-1].id)


def test_costs_of_a_model_that_is_not_calibrated_are_distances(shop) -> None:
    scene, catalog = shop
    whole = rank(scene, catalog, "Rugs", top=60)
    ledger = rank(scene, catalog, "Rugs", top=2, rules=Rules.of({"pin": [whole[9].id]})).ledger
    assert ledger.unit == "distance"
    assert ledger.cost == pytest.approx((whole[9].distance - whole[1].distance) / 2)


def test_rules_survive_json(shop) -> None:
    _, catalog = shop
    mapping = {
        "pin": ["lamp"],
        "first": [{"where": ["in_stock = true"]}],
        "category": {
            "Rugs": {"at_most": [{"column": "brand", "count": 2}], "exclude": [{"ids": ["r01"]}]}
        },
    }
    rules = Rules.of(mapping)
    assert rules.as_mapping() == mapping
    assert Rules.of(rules.as_mapping()) == rules
    assert not NO_RULES
    assert len(catalog)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("first = ", r"no TOML: .*docs/merchandising.md"),
        ("frist = 'a = b'", "'frist': no such rule: expected one of pin, exclude, first, boost"),
        ("category = 3", "category: 3: expected a table"),
        ("[category.Rgus]\npin = ['r01']", "unknown category 'Rgus': did you mean 'Rugs'"),
        ("pin = []", r"pin: \[\]: expected ids"),
        ("pin = ['r01', 'r01']", "'r01' stands there twice"),
        ("pin = ['sku-9']", "pin sku-9: .*holds no product 'sku-9': take it out of the rules"),
        ("exclude = 'brand = ACME'", "a condition is written { where = 'brand = ACME' }"),
        ("[category.Rugs]\npin = ['lamp']", "category 'Rugs': pin lamp: 'lamp' is of category 'L"),
        ("pin = ['r01']\nexclude = ['r01']", "'r01' is both pinned and excluded"),
        (
            "[category.rugs]\npin = ['r01']\n[[exclude]]\nwhere = 'price > 0'",
            "exclude price > 0: 'r01' is both pinned and excluded",
        ),
        ("pin = ['r01']\n[category.Rugs]\npin = ['r01']", "'r01' is pinned by another rule"),
        ("first = 'colour = red'", "first colour = red: .* no column 'colour'"),
        ("first = 'price'", "first: where 'price' is no condition"),
        ("first = 'price < cheap'", "first price < cheap: .*holds numbers: expected a number"),
        ("first = {}", "first: expected either `where`, a condition, or `ids`"),
        ("boost = {where = 'price<1'}", "boost: factor is missing: expected a number"),
        ("boost = {where = 'price<1', factor = 30}", "factor 30: expected a number from 0.1 to 10"),
        ("boost = {where = 'price<1', factor = nan}", "factor nan: expected a number from 0.1"),
        ("boost = {where = 'price<1', factor = true}", "factor is True: expected a number"),
        ("boost = {where = 'price<1', factor = 2, why = 1}", "boost: unknown key 'why'"),
        ("boost = 'price<1'", "boost: 'price<1': expected a table"),
        ("at_most = {column = 'brand', count = 0}", "count 0: expected at least 1"),
        (
            "at_most = {column = 'brnd', count = 1}",
            "at most 1 of the same brnd: .*no column 'brnd'",
        ),
        ("at_most = {column = 'brand', count = 'two'}", "count is 'two': expected a whole number"),
        ("exclude = [" + "{ids = ['r01']}," * 201 + "]", "201 rules, expected at most 200"),
    ],
)
def test_rules_that_make_no_sense_are_refused_and_say_what_would(
    shop, tmp_path, text, message
) -> None:
    scene, catalog = shop
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=f"(?s)rules.toml: .*{message}"):
        rank_scene(scene, catalog, rules=Rules.read(path))


KEYS = st.sampled_from(
    [
        "pin",
        "exclude",
        "first",
        "boost",
        "at_most",
        "category",
        "where",
        "ids",
        "factor",
        "column",
        "count",
        "Rugs",
        "rugs",
        "Beds",
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["r01", "lamp", "brand = ACME", "price < 1e999", "sku", "brand", "", "\0"]),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(KEYS, each, max_size=4),
    max_leaves=8,
)


@given(mapping=st.dictionaries(KEYS, JSON, max_size=4))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_json_is_given_is_rules_or_a_usage_error(shop, mapping) -> None:
    scene, catalog = shop
    try:
        rules = Rules.of(mapping)
        rank_scene(scene, catalog, rules=rules)
    except UsageError:
        return
    assert Rules.of(rules.as_mapping()) == rules


def test_the_rules_that_the_docs_show_are_rules() -> None:
    page = Path(__file__).parents[1] / "docs" / "merchandising.md"
    blocks = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    assert [len(Rules.of(tomllib.loads(block)).rules) for block in blocks] == [5, 4]


def test_rules_that_are_no_text_are_refused(tmp_path) -> None:
    path = tmp_path / "rules.toml"
    path.write_bytes(b"first = '\xff'")
    with pytest.raises(UsageError, match=r"rules.toml: .*expected TOML in UTF-8"):
        Rules.read(path)
