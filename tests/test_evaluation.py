"""The figures of a ranker as a table, JSON and Markdown, and the draw of negatives behind them."""

import json

import numpy as np
import pytest
from completelook_build.evaluation.evaluate import HEADINGS, evaluate_scores, print_evaluation
from completelook_build.evaluation.metrics import PAIR_METRICS, estimate_metrics
from completelook_build.heads import PairScore

CATEGORIES = ("Decor|Rugs", "Lamps [old]", "Sofas")
RUGS = [
    PairScore(f"s{n}", 0, float(n % 3), np.array([0.5, 1.5, 1.5, 2.5], dtype=np.float32))
    for n in range(6)
]
LAMPS = [PairScore("s0", 1, 0.0, np.array([1.0, 2.0], dtype=np.float32))]


@pytest.fixture(scope="module")
def evaluation():
    return evaluate_scores([*RUGS, *LAMPS], CATEGORIES)


def test_every_category_with_pairs_has_the_figures_of_its_own_pairs(evaluation):
    assert list(evaluation.by_category) == ["Decor|Rugs", "Lamps [old]"]
    assert evaluation.by_category["Decor|Rugs"].metrics == estimate_metrics(RUGS)
    assert evaluation.overall.metrics == estimate_metrics([*RUGS, *LAMPS])
    assert HEADINGS.keys() == {*PAIR_METRICS, "roc_auc"} == evaluation.overall.metrics.keys()


def test_the_counts_behind_the_figures_are_given(evaluation):
    overall = evaluation.overall
    assert (overall.pairs, overall.scenes, overall.without_blank) == (7, 6, 1)
    assert overall.candidates == pytest.approx((6 * 5 + 3) / 7)


def test_json_holds_every_figure_and_null_for_what_is_not_defined(evaluation):
    written = json.loads(json.dumps(evaluation.as_json(), allow_nan=False))
    pairwise = evaluation.overall.metrics["pairwise_accuracy"]
    assert written["overall"]["pairwise_accuracy"] == {
        "value": pairwise.value,
        "low": pairwise.low,
        "high": pairwise.high,
    }
    lamps = written["categories"]["Lamps [old]"]
    assert lamps["pairwise_accuracy"] == {"value": 1.0, "low": None, "high": None}
    assert lamps["fill_in_the_blank"] == {"value": None, "low": None, "high": None}
    assert (written["negatives"], written["resamples"]) == ("all", 1000)


def test_markdown_is_a_table_whose_cells_agree_in_number(evaluation):
    table, _, method = evaluation.as_markdown().partition("\n\n")
    rows = [line.replace(r"\|", "/").strip("|").split("|") for line in table.splitlines()]
    assert {len(row) for row in rows} == {3 + len(HEADINGS)}
    assert [row[0].strip() for row in rows[2:]] == ["Decor/Rugs", "Lamps [old]", "all"]
    pairwise = evaluation.overall.metrics["pairwise_accuracy"]
    assert rows[-1][3].strip() == f"{pairwise.value:.3f} [{pairwise.low:.3f}, {pairwise.high:.3f}]"
    assert rows[3][3].strip() == "1.000"
    assert rows[3][-1].strip() == "-"
    assert "1 pairs with fewer than 3 negatives" in method


def test_the_printed_table_is_whole_in_a_hundred_columns(evaluation, capsys):
    print_evaluation(evaluation)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    for text in (*CATEGORIES[:2], *HEADINGS.values(), "6 pairs, 5.0 products", "all"):
        assert text in printed
    assert "…" not in printed
    assert f"{evaluation.overall.metrics['roc_auc'].value:.3f}" in printed


def test_a_sample_is_named_in_every_form(capsys):
    sampled = evaluate_scores(RUGS, CATEGORIES, sample=4, seed=9)
    print_evaluation(sampled)
    for text in (capsys.readouterr().out, sampled.as_markdown()):
        assert "at most 4 negatives of the category, drawn with seed 9" in " ".join(text.split())
    assert (sampled.as_json()["negatives"], sampled.as_json()["seed"]) == (4, 9)
