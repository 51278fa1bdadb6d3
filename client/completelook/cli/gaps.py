"""`completelook gaps`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook.cli.options import (
    EXIT_SKIPPED,
    Server,
    asks_a_server,
    from_0_to_1,
    reads_pictures,
)
from completelook.cli.output import closed_pipe_is_no_error, print_json

if TYPE_CHECKING:
    from completelook.errors import ImageError
    from completelook.images import PicturePolicy
    from completelook.ranking import CategoryGap, StyleRegion


@asks_a_server
@reads_pictures
def gaps(
    scenes: Annotated[
        list[str],
        typer.Argument(metavar="SCENE...", help="Customers' photos: folders, paths or URLs."),
    ],
    catalog: Annotated[str, typer.Option(metavar="CATALOG", help="Made by `completelook index`.")],
    category: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="May be repeated; all categories when left out."),
    ] = None,
    min_compatibility: Annotated[
        float, typer.Option(metavar="0..1", callback=from_0_to_1, help="What fits has at least it.")
    ] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per category.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one self-contained page.")
    ] = None,
    *,
    server: Server,
    pictures: "PicturePolicy",
) -> None:
    """Say for which of many photos nothing you sell fits, and what to buy for them.

    Needs a calibrated model. Exit code 3: some photos could not be read.
    """
    from completelook.catalog import Catalog
    from completelook.ranking import find_gaps

    opened = Catalog.open(catalog)
    skips: list[ImageError] = []

    def skip(_: str, error: "ImageError") -> None:
        skips.append(error)
        typer.echo(f"skipped: {' '.join(str(error).split())}", err=True)

    sources = [source for given in scenes for source in _photos(given)]
    with server.connect(pictures=pictures) as look, closed_pipe_is_no_error():
        ranked = list(
            look.rank_scenes(
                sources,
                opened,
                categories=category or (),
                top=1,
                min_compatibility=0.0,  # all; a model without calibration is refused
                skipped=skip,
            )
        )
        if not ranked:
            raise skips[0]
        calibration = look.calibration()
        assert calibration is not None
        found = find_gaps(ranked, opened, calibration, min_compatibility=min_compatibility)
        if as_json:
            for gap in found:
                print_json(_as_mapping(gap))
        else:
            from completelook.cli.output import print_gaps

            print_gaps(found)
    if html is not None:
        from completelook.explain import write_gaps

        write_gaps(html, found, opened, min_compatibility=min_compatibility, policy=pictures)
        typer.echo(f"wrote {html}", err=True)
    if skips:
        raise typer.Exit(EXIT_SKIPPED)


def _photos(given: str) -> list[str]:
    """The photos in a folder, those in its sub-folders included, or the one photo that it is.

    Raises UsageError for a folder without any.
    """
    from completelook.errors import UsageError
    from completelook.images import readable_suffixes

    folder = Path(given)
    if not folder.is_dir():
        return [given]
    known = readable_suffixes()
    found = sorted(str(file) for file in folder.rglob("*") if file.suffix.lower() in known)
    if not found:
        raise UsageError(f"{given}: no photo in this folder: expected {', '.join(sorted(known))}")
    return found


def _as_mapping(gap: "CategoryGap") -> dict[str, object]:
    return {
        "category": gap.category,
        "products": gap.products,
        "scenes": gap.scenes,
        "unmet": [
            {
                "scene": each.scene,
                "best": None if each.best is None else each.best.id,
                "compatibility": None if each.best is None else each.best.compatibility,
            }
            for each in gap.unmet
        ],
        "regions": [_region(region) for region in gap.regions],
        "out_of_reach": list(gap.out_of_reach),
    }


def _region(region: "StyleRegion") -> dict[str, object]:
    return {
        "scenes": list(region.scenes),
        "best_now": region.best_now,
        "between": [each.product.id for each in region.bounds],
        "nearest": [
            {"id": each.product.id, "compatibility": each.compatibility} for each in region.nearest
        ],
    }
