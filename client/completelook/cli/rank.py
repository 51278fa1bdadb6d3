"""`completelook rank`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook.cli.options import (
    EXIT_SKIPPED,
    OnError,
    Server,
    Where,
    asks_a_server,
    from_0_to_1,
    parse_where,
    reads_pictures,
    steers,
)
from completelook.cli.output import closed_pipe_is_no_error, fields_of, print_json
from completelook.files import write_text

if TYPE_CHECKING:
    from completelook.errors import ImageError
    from completelook.images import PicturePolicy
    from completelook.ranking import RankedScene, Ranking, Steering


@asks_a_server
@reads_pictures
@steers
def rank(
    scenes: Annotated[list[str], typer.Argument(metavar="SCENE...", help="Photos: paths or URLs.")],
    catalog: Annotated[
        str,
        typer.Option(
            metavar="CATALOG",
            help="Made by `completelook index`: a file, or milvus://HOST:PORT/NAME.",
        ),
    ],
    category: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="May be repeated; all categories when left out."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Products per category.")] = 10,
    min_compatibility: Annotated[
        float | None,
        typer.Option(
            metavar="0..1", callback=from_0_to_1, help="Leave out what fits less; may leave none."
        ),
    ] = None,
    where: Where = None,
    group_by: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Of products with the same value only the best."),
    ] = None,
    fold_duplicates: Annotated[
        bool, typer.Option("--fold-duplicates", help="Pictures that are nearly the same once.")
    ] = False,
    diversity: Annotated[
        float,
        typer.Option(
            metavar="0..1", callback=from_0_to_1, help="How far the places differ among each other."
        ),
    ] = 0.0,
    rules: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What a merchandiser has laid down (TOML): pins, boosts, exclusions; prints what "
            "each has changed and costs.",
        ),
    ] = None,
    show: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="A column to show beside the product's name; may be repeated."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per product and line.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one self-contained page.")
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write why: pictures of where the model looked and what speaks for the first "
            "products, and explain.json with each region's part of every distance.",
        ),
    ] = None,
    receipts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a line per scene for `completelook replay`."),
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="About one scene of several that cannot be read.")
    ] = OnError.SKIP,
    *,
    server: Server,
    pictures: "PicturePolicy",
    steering: "Steering",
) -> None:
    """Rank the products of a catalog that complement each scene.

    Exit code 3: the others are ranked, but some scenes could not be read.
    """
    from completelook.catalog import Catalog
    from completelook.ranking import NO_RULES, Rules, Variety

    conditions = parse_where(where)
    variety = Variety(group_by, fold_duplicates, diversity)
    laid_down = NO_RULES if rules is None else Rules.read(rules)
    opened = Catalog.open(catalog)
    columns = opened.columns_to_show(show or ())
    keep_regions = html is not None or explain is not None
    ranked, kept = [], []
    skips: list[ImageError] = []

    def skip(_: str, error: "ImageError") -> None:
        skips.append(error)
        typer.echo(f"skipped: {' '.join(str(error).split())}", err=True)

    with (
        server.connect(pictures=pictures) as look,
        closed_pipe_is_no_error(),
    ):
        for scene in look.rank_scenes(
            scenes,
            opened,
            categories=category or (),
            top=top,
            min_compatibility=min_compatibility,
            where=conditions,
            variety=variety,
            rules=laid_down,
            steering=steering,
            regions=keep_regions,
            # One scene that cannot be read is an error of its own.
            skipped=skip if on_error is OnError.SKIP and len(scenes) > 1 else None,
        ):
            print_matches(scene.source, scene.matches, columns, as_json=as_json)
            if receipts is not None and scene.receipt is not None:
                kept.append(scene.receipt.as_json() + "\n")
            if conditions or variety.folds or laid_down:
                _print_shortfalls(scene, top)
            if keep_regions:
                ranked.append(scene)
    if len(skips) == len(scenes):
        raise skips[0]
    if receipts is not None:
        write_text(receipts, "".join(kept))
        typer.echo(f"wrote {receipts}", err=True)
    if explain is not None:
        from completelook.explain import INDEX, write_explanation

        drawn = write_explanation(explain, ranked, opened, steering=steering, policy=pictures)
        typer.echo(f"wrote {INDEX} and {len(drawn)} pictures to {explain}", err=True)
    if html is not None:
        from completelook.explain import write_report

        write_report(html, ranked, opened, show=columns, policy=pictures)
        typer.echo(f"wrote {html}", err=True)
    if skips:
        raise typer.Exit(EXIT_SKIPPED)


def print_matches(
    source: str, found: "Mapping[str, Ranking]", columns: Sequence[str], *, as_json: bool
) -> None:
    """Print what was found for a scene, given by its path or URL, by category."""
    if not as_json:
        from completelook.cli.output import print_tables

        print_tables(source, found, columns)
        return
    for category, matches in found.items():
        if not matches:
            typer.echo(f"{category} for {source}: nothing fits", err=True)
        for match in matches:
            line = {"scene": source, **fields_of(match), "product": match.shown(columns)}
            print_json(line)


def _print_shortfalls(scene: "RankedScene", top: int) -> None:
    """Say where fewer products than asked for are left."""
    for category, matches in scene.matches.items():
        if 0 < len(matches) < top:
            found = f"only {len(matches)} of the {top} asked for"
            typer.echo(f"{category} for {scene.source}: {found}", err=True)
