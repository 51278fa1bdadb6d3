"""The page of gaps: for which customers' photos nothing fits, and what a buyer would look for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from completelook.catalog import Catalog, format_model_id, is_missing
from completelook.concurrency import map_in_flight
from completelook.contract import CATEGORY_SEPARATOR
from completelook.explain.report import PRODUCTS_IN_FLIGHT, write_page
from completelook.images import ANY_PICTURE, EmbeddedPicture, PicturePolicy, thumbnail
from completelook.ranking import CategoryGap, Neighbor, StyleRegion

_TEMPLATE = "gaps.html.jinja"
_SIDE = 240
# Of a category, and of the photos of one of its regions; the others are counted.
_REGIONS, _PHOTOS = 6, 8
_LONGEST = 60  # letters of a cell that is shown


@dataclass(frozen=True)
class _Photo:
    name: str
    picture: EmbeddedPicture


@dataclass(frozen=True)
class _Product:
    id: str
    name: str
    details: dict[str, str]
    compatibility: float
    picture: EmbeddedPicture


@dataclass(frozen=True)
class _Region:
    found: StyleRegion
    photos: list[_Photo]
    more: int  # photos that are not shown
    bounds: list[_Product]  # two, or the one nearest
    others: list[_Product]  # the next nearest


@dataclass(frozen=True)
class _Category:
    anchor: str
    path: list[str]  # the parts of its name
    found: CategoryGap
    regions: list[_Region]
    more: list[StyleRegion]  # regions that are not shown
    out_of_reach: list[_Photo]


def write_gaps(
    path: Path,
    gaps: Sequence[CategoryGap],
    catalog: Catalog,
    *,
    min_compatibility: float,
    policy: PicturePolicy = ANY_PICTURE,
) -> None:
    """Write one self-contained page of the gaps of some categories.

    A picture that cannot be opened, or that the policy does not allow, shows a placeholder.
    Raises OSError.
    """
    writer = _Writer(catalog, _pictures(gaps, policy))
    write_page(
        path,
        _TEMPLATE,
        categories=[writer.category(*each) for each in enumerate(gaps, start=1)],
        scene_count=max((gap.scenes for gap in gaps), default=0),
        minimum=min_compatibility,
        catalog_name=Path(catalog.info.location).name,
        product_count=len(catalog),
        model_id=format_model_id(catalog.model_id),
    )


def _pictures(gaps: Sequence[CategoryGap], policy: PicturePolicy) -> dict[str, EmbeddedPicture]:
    """All that the page shows, each opened once."""
    sources: list[str] = []
    for gap in gaps:
        sources += gap.out_of_reach[:_PHOTOS]
        for region in gap.regions[:_REGIONS]:
            sources += region.scenes[:_PHOTOS]
            sources += (each.product.image for each in region.nearest)
    unique = list(dict.fromkeys(sources))
    small = partial(thumbnail, longest_side=_SIDE, policy=policy)
    pictures = map_in_flight(small, unique, in_flight=PRODUCTS_IN_FLIGHT)
    return dict(zip(unique, pictures, strict=True))


@dataclass(frozen=True)
class _Writer:
    catalog: Catalog
    pictures: dict[str, EmbeddedPicture]

    def category(self, number: int, gap: CategoryGap) -> _Category:
        """A category as the template shows it."""
        return _Category(
            anchor=f"category-{number}",
            path=gap.category.split(CATEGORY_SEPARATOR),
            found=gap,
            regions=[self._region(region) for region in gap.regions[:_REGIONS]],
            more=list(gap.regions[_REGIONS:]),
            out_of_reach=[self._photo(scene) for scene in gap.out_of_reach[:_PHOTOS]],
        )

    def _region(self, region: StyleRegion) -> _Region:
        return _Region(
            found=region,
            photos=[self._photo(scene) for scene in region.scenes[:_PHOTOS]],
            more=max(0, len(region.scenes) - _PHOTOS),
            bounds=[self._product(each) for each in region.bounds],
            others=[self._product(each) for each in region.nearest[len(region.bounds) :]],
        )

    def _photo(self, source: str) -> _Photo:
        return _Photo(Path(source).name, self.pictures[source])

    def _product(self, neighbor: Neighbor) -> _Product:
        product = neighbor.product
        name_column = next(iter(self.catalog.columns_to_show()), "")
        name = product.columns.get(name_column)
        return _Product(
            id=product.id,
            name="" if name is None else str(name),
            details={
                column: str(value)
                for column, value in product.columns.items()
                if column != name_column and not is_missing(value) and len(str(value)) <= _LONGEST
            },
            compatibility=neighbor.compatibility,
            picture=self.pictures[product.image],
        )
