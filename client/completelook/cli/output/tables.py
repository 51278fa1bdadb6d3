"""Tables: ranked products as a person reads them in a terminal."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from completelook.cli.output.ledger_table import beside_the_model, ledger_table, plain
from completelook.contract import CATEGORY_SEPARATOR
from completelook.ranking import NO_BETTER, CategoryGap, Look, Looks, Match, Ranking, StyleRegion

_REGIONS = 3  # of a category, told in a terminal


def print_tables(
    source: str, found: Mapping[str, Sequence[Match]], columns: Sequence[str] = ()
) -> None:
    """Print a table per category of what was found for a scene; a line where nothing fits.

    Each product with what it has in some of the shop's columns.
    """
    scene_name = Path(source).name
    for category, matches in found.items():
        if matches:
            _print_whole(_table(scene_name, category, matches, columns))
        else:
            print(f"{category} for {scene_name}: nothing fits\n")
        if isinstance(matches, Ranking) and matches.ledger is not None:
            _print_whole(ledger_table(matches.ledger))


def _table(
    scene_name: str, category: str, matches: Sequence[Match], columns: Sequence[str]
) -> Table:
    table = Table(
        title=f"[bold]{plain(category)}[/] for {plain(scene_name)}",
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("#", justify="right", style="dim")
    table.add_column("id", overflow="fold")
    for column in columns:
        table.add_column(plain(column), overflow="fold")
    # All matches of a model have a compatibility, or none has.
    calibrated = any(match.compatibility is not None for match in matches)
    if calibrated:
        table.add_column("compatibility", justify="right")
    for heading in ("distance", "global", "local"):
        table.add_column(heading, justify="right", style="" if heading == "distance" else "dim")
    # A column of its own only where it says something.
    stands_for = any(match.folded for match in matches)
    if stands_for:
        table.add_column("stands for", style="dim")
    beside = beside_the_model(matches)
    for heading in beside:
        table.add_column(heading, style="dim", overflow="fold")
    for match in matches:
        shown = match.shown(columns).values()
        distances = (match.distance, match.global_distance, match.local_distance)
        table.add_row(
            str(match.rank),
            plain(match.id),
            *("" if value is None else plain(str(value)) for value in shown),
            *([f"{match.compatibility:.3f}"] if calibrated else []),
            *(f"{distance:.4f}" for distance in distances),
            *([f"+{len(match.folded)}" if match.folded else ""] if stands_for else []),
            *(plain(cells[match.rank - 1]) for cells in beside.values()),
        )
    for rest in list(zip(*beside.values(), strict=True))[len(matches) :]:
        table.add_row(*[""] * (len(table.columns) - len(rest)), *map(plain, rest))
    return table


def print_looks(scene: str, looks: Looks, columns: Sequence[str] = ()) -> None:
    """Print a table per look to stdout, and what more money would buy."""
    unit = f" {looks.currency}" if looks.currency else ""
    names = ["The best look", *(f"Number {place}" for place in range(2, len(looks.looks) + 1))]
    for name, look in zip(names, looks.looks, strict=True):
        _print_whole(_look_table(f"[bold]{name}[/] for {plain(Path(scene).name)}", look, columns))
        better = "none" if look is looks.looks[0] else "none but those above"
        print(f"{_told(look, unit)}; {better} is better{_open(look)}\n")
    best, dearer = looks.looks[0], looks.worth_more
    if dearer is None:
        if looks.with_more is not None:
            print(f"A budget of {looks.larger_budget:g}{unit} buys nothing better.")
    else:
        swapped = ", ".join(
            f"{_last(new.category)} {new.id} instead of {old.id}"
            for old, new in zip(best.matches, dearer.matches, strict=True)
            if old.id != new.id
        )
        print(f"A budget of {looks.larger_budget:g}{unit} buys {swapped}: {_told(dearer, unit)}")


def _look_table(title: str, look: Look, columns: Sequence[str]) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("category", overflow="fold")
    table.add_column("id", overflow="fold")
    for column in columns:
        table.add_column(plain(column), overflow="fold")
    table.add_column("distance", justify="right")
    table.add_column("rank alone", justify="right", style="dim")
    for match in look.matches:
        shown = match.shown(columns).values()
        table.add_row(
            plain(_last(match.category)),
            plain(match.id),
            *("" if value is None else plain(str(value)) for value in shown),
            f"{match.distance:.4f}",
            str(match.rank),
        )
    return table


def print_gaps(gaps: Sequence[CategoryGap]) -> None:
    """Print a table to stdout: how often nothing of a category fits, and what to buy first."""
    table = Table(
        title="[bold]Photos for which nothing fits[/]",
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("category", overflow="fold")
    table.add_column("products", justify="right", style="dim")
    table.add_column("nothing fits", justify="right")
    table.add_column("of photos", justify="right")
    table.add_column("to look for, for most of them first", overflow="fold")
    for gap in gaps:
        told = [_region_told(region) for region in gap.regions[:_REGIONS]]
        if len(gap.regions) > _REGIONS:
            rest = gap.regions[_REGIONS:]
            count = sum(len(region.scenes) for region in rest)
            told.append(f"{_counted(count, 'photo')} more in {_counted(len(rest), 'style')}")
        if gap.out_of_reach:
            told.append(f"{_counted(len(gap.out_of_reach), 'photo')}: no product whatever")
        share = f"{gap.rate:.0%} of {gap.scenes}"
        cells = (plain(gap.category), str(gap.products), str(len(gap.unmet)), share)
        table.add_row(*cells, plain("\n".join(told)))
    _print_whole(table)


def _region_told(region: StyleRegion) -> str:
    """What is missing for some photos, in one line."""
    ids = " and ".join(each.product.id for each in region.bounds)
    place = "between" if len(region.bounds) > 1 else "near"
    return f"{_counted(len(region.scenes), 'photo')}: {place} {ids} (now {region.best_now:.2f})"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _told(look: Look, unit: str) -> str:
    """What a look costs and how good it is, in one line."""
    cost = "" if look.price is None else f"{look.price:,.2f}{unit} together; "
    return (
        f"{cost}score {look.score:.4f}, to the scene {look.scene_distance:.4f}, "
        f"among each other {look.mutual_distance:.4f}"
    )


def _open(look: Look) -> str:
    """What is left open of the proof."""
    return "" if look.gap <= NO_BETTER else f" by more than {look.gap:.4f}"


def _last(category: str) -> str:
    return category.rpartition(CATEGORY_SEPARATOR)[2]


def _print_whole(table: Table) -> None:
    """Print a table as wide as it needs when no terminal sets a width: a pipe wants whole lines."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=10_000)
        console.width = Measurement.get(console, console.options, table).maximum
    console.print(table)
