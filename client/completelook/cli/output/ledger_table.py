"""The ledger in a terminal: the model's order beside the one shown, and a line for each rule."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from completelook.ranking import Effect, Ledger, Match, Move, Ranking

_UNKNOWN = "?"


def beside_the_model(matches: Sequence[Match]) -> dict[str, list[str]]:
    """Columns for products under rules: their ranks by the model alone, and its own order.

    They may be longer than there are products. None without rules.
    """
    if not isinstance(matches, Ranking) or matches.ledger is None:
        return {}
    ranks = [_UNKNOWN if each.model_rank is None else str(each.model_rank) for each in matches]
    ids = [match.id for match in matches.ledger.model]
    rows = max(len(ids), len(ranks))
    columns = {"rank alone": ranks, "the model alone": ids}
    return {name: cells + [""] * (rows - len(cells)) for name, cells in columns.items()}


def ledger_table(ledger: Ledger) -> Table:
    """What each rule has changed and what it costs."""
    table = Table(
        title="What the rules do: each beside the answer without it",
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_footer=True,
    )
    table.add_column("rule", footer="all rules together", overflow="fold")
    table.add_column(f"costs {ledger.unit}", footer=_cost(ledger.cost), justify="right")
    table.add_column("comes in", overflow="fold")
    table.add_column("goes out", overflow="fold")
    table.add_column("changes place", overflow="fold")
    for effect in ledger.effects:
        table.add_row(
            plain(_name(effect)),
            _cost(effect.cost),
            plain(", ".join(f"{move.id} at {move.after}" for move in effect.came)),
            plain(", ".join(move.id for move in effect.went)),
            plain(_moved(effect)),
        )
    return table


def _name(effect: Effect) -> str:
    scope = "" if effect.category is None else f" ({effect.category})"
    out = f"; not shown by the question: {', '.join(effect.kept_out)}" if effect.kept_out else ""
    return f"{effect.rule}{scope}{out}"


def _moved(effect: Effect) -> str:
    """Products that are shown with the rule and without: those that rise, and how many fall."""
    moved = effect.stayed
    risen = [f"{m.id} {m.before} to {m.after}" for m in moved if _rises(m)]
    fallen = len(moved) - len(risen)
    return ", ".join([*risen, *([f"{fallen} lower"] if fallen else [])])


def _rises(move: Move) -> bool:
    return move.before is not None and move.after is not None and move.after < move.before


def _cost(cost: float | None) -> str:
    return "" if cost is None else f"{cost + 0.0:+.4f}"


def plain(text: str) -> str:
    """A user's text, whose square brackets are no markup."""
    return text.replace("[", r"\[")
