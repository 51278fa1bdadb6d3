"""A merchandiser's rules: what they do, against an oracle that looks at every product in loops."""

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from completelook import Catalog, SceneEmbedding
from completelook.catalog import write_catalog
from completelook.ranking import Calibration, Rules, Variety, rank
from completelook.ranking.variety import NEAR_DUPLICATE, POOL
from hypothesis import given, settings
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
