"""`completelook rank`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook.cli.options import DEFAULT_SERVER, Server

if TYPE_CHECKING:
    from completelook.catalog.arrow import Catalog
    from completelook.ranking.ranking import RankedScene


def _from_0_to_1(value: float | None) -> float | None:
    # Click's own range lets NaN through.
    if value is not None and not 0 <= value <= 1:
        raise typer.BadParameter(f"{value} is not in the range 0..1")
    return value


def rank(
    scenes: Annotated[list[str], typer.Argument(metavar="SCENE", help="Photos: paths or URLs.")],
    catalog: Annotated[Path, typer.Option(metavar="FILE", help="Made by `completelook index`.")],
    category: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="May be repeated; all categories when left out."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Products per category.")] = 10,
    min_compatibility: Annotated[
        float | None,
        typer.Option(
            metavar="0..1", callback=_from_0_to_1, help="Leave out what fits less; may leave none."
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
        typer.Option(metavar="DIR", help="Write a picture per category: where the model looked."),
    ] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Rank the products of a catalog that complement each scene."""
    from completelook.catalog.arrow import Catalog
    from completelook.clients import CompleteLook

    opened = Catalog.open(catalog)
    keep_regions = html is not None or explain is not None
    ranked = []
    with CompleteLook(server) as look:
        for scene in look.rank_scenes(
            scenes,
            opened,
            categories=category or (),
            top=top,
            min_compatibility=min_compatibility,
            regions=keep_regions,
        ):
            _print_matches(scene, opened, as_json=as_json)
            if keep_regions:
                ranked.append(scene)
    if explain is not None:
        _save_overlays(ranked, opened, explain)
    if html is not None:
        _save_report(ranked, opened, html)


def _print_matches(scene: "RankedScene", catalog: "Catalog", *, as_json: bool) -> None:
    if not as_json:
        from completelook.cli.tables import print_tables

        print_tables(scene, catalog)
        return
    for category, matches in scene.matches.items():
        if not matches:
            typer.echo(f"{category} for {scene.source}: nothing fits", err=True)
        for match in matches:
            line = {"scene": scene.source, **asdict(match)}
            del line["row"]
            typer.echo(json.dumps(line, ensure_ascii=False))


def _save_overlays(scenes: Sequence["RankedScene"], catalog: "Catalog", directory: Path) -> None:
    from completelook.explain.overlay import save_overlays

    paths = save_overlays(scenes, catalog.categories, directory)
    typer.echo(f"wrote {len(paths)} pictures to {directory}", err=True)


def _save_report(scenes: Sequence["RankedScene"], catalog: "Catalog", path: Path) -> None:
    from completelook.explain.report import write_report

    write_report(path, scenes, catalog)
    typer.echo(f"wrote {path}", err=True)
