"""HTML pages that need no other file: their templates, and figures as plain words."""

import math

from jinja2 import ChoiceLoader, Environment, PackageLoader

_STYLES = "completelook_build.report"


def render_page(template: str, *rooms: str, **content: object) -> str:
    """A page from a template of one of some packages, which may include the style of all reports.

    Texts are escaped. Beside Jinja's filters a template has `in_100` and `counted`.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(room, "") for room in (*rooms, _STYLES)]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"in_100": in_100, "counted": counted}
    return environment.get_template(template).render(**content)


def in_100(share: float) -> str:
    """A share as how many of 100, as people say it: 0.657 is "66".

    What is not quite none or all is not called so, and what is not defined is a dash.
    """
    if math.isnan(share):
        return "-"
    if 0 < share < 0.005:
        return "fewer than 1"
    if 0.995 <= share < 1:
        return "more than 99"
    return f"{100 * share:.0f}"


def counted(count: int, noun: str) -> str:
    """A number with its noun: "1 photo", "1,997 pairs"; "category" becomes "categories"."""
    if count == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {plural}"
