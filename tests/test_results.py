"""docs/results.md is filled from figures, and what was measured is not measured again."""

import json
from pathlib import Path

from completelook_build.attention import results as attention_results
from completelook_build.evaluation.results import write_page

PAGE = "before\n<!-- begin {0} -->\nold\n<!-- end {0} -->\nafter\n"


def study(mass_ratio: float) -> dict[str, object]:
    def estimate(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.25, "high": value + 0.25}

    own = {"mass_ratio": estimate(mass_ratio), "pointing": estimate(0.7), "entropy": estimate(0.9)}
    figures = {
        "views": 12,
        "scenes": 5,
        "area_share": estimate(0.1),
        "attention": own,
        "saliency": {**own, "mass_ratio": estimate(1.0)},
    }
    return {"overall": figures, "categories": {"A|Rugs": figures}}


def test_a_page_says_what_was_not_measured_and_shows_what_was(tmp_path: Path) -> None:
    page, figures = tmp_path / "results.md", tmp_path / "figures"
    figures.mkdir()
    page.write_text("".join(PAGE.format(name) for name in ("showroom", "attention", "ikea")))
    forms = {"plain": [study(3.0), study(4.0), study(5.0)]}
    (figures / "attention.json").write_text(json.dumps(forms))
    write_page(page, figures)
    text = page.read_text()
    assert text.count("Not measured.") == 2
    assert "| plain | 1 | 0.100 | 4.00 [3.75, 4.25] | 0.700 [0.450, 0.950] | 0.900 |" in text
    assert r"| A\|Rugs | 4.00 |" in text


def test_every_form_is_trained_with_every_seed_and_only_once(tmp_path: Path) -> None:
    commands: list[str] = []

    def run(command: str) -> None:
        commands.append(command)
        if " attention " in command:
            out = Path(command.split("--out ")[1])
            out.mkdir(parents=True)
            (out / "attention.json").write_text(json.dumps(study(3.0)))

    first = attention_results.measure("--pairs p", tmp_path, run)
    trained = [command for command in commands if " train " in command]
    assert len(trained) == len(set(trained)) == 6
    assert sum("--attention-scale 5" in command for command in trained) == 3
    assert attention_results.measure("--pairs p", tmp_path, run) == first
    assert len(commands) == 12
