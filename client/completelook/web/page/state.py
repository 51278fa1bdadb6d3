"""The page's state: what a person has chosen. As a query it is the link to share."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import urlencode

from completelook.catalog import Comparison, Condition
from completelook.errors import UsageError
from completelook.ranking import Steering

LOOK_TAB = "look"  # beside the tabs named after categories, which the model calls otherwise
SHOWN = 12
_MOST_SHOWN = 120
_MOST_OF_A_KIND = 50  # each costs the answer time, and a link may hold anything
_MOST_ROOM = 80  # characters of a room's name
# The fields of the controls, by what stands before the column's name.
COMPARISONS = {
    "min-": Comparison.AT_LEAST,
    "max-": Comparison.AT_MOST,
    "is-": Comparison.EQUAL,
    "has-": Comparison.HAS,
}


@dataclass(frozen=True)
class State:
    """All that the page shows follows from this and the catalog."""

    scene: str = ""  # its token
    room: str = ""  # what the person calls it
    tab: str = ""  # a category or LOOK_TAB; where nothing is said, what fits best
    ignore: tuple[str, ...] = ()  # boxes as LEFT,TOP,RIGHT,BOTTOM, fractions of the photo
    focus: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()  # ids of products
    excludes: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()  # categories of the look; where nothing is said, what fits best
    budget: str = ""
    top: int = SHOWN
    asked: tuple[tuple[str, str], ...] = ()  # the controls' fields and values

    @classmethod
    def of(cls, fields: Iterable[tuple[str, str]]) -> Self:
        """The state of a form's fields; of those that stand for one value the last counts."""
        given: dict[str, list[str]] = {}
        for name, value in fields:
            if value.strip():
                given.setdefault(name, []).append(value)
        one = {name: values[-1] for name, values in given.items()}

        def without(name: str, taken_off: str) -> tuple[str, ...]:
            kept = dict.fromkeys(given.get(name, ()))
            kept_on = [each for each in kept if each not in given.get(taken_off, ())]
            return tuple(kept_on[:_MOST_OF_A_KIND])

        top = one.get("top", "")
        excludes = without("exclude", "include")
        return cls(
            scene=one.get("scene", ""),
            room=one.get("room", "")[:_MOST_ROOM],
            tab=one.get("tab", ""),
            ignore=without("ignore", ""),
            focus=without("focus", ""),
            pins=tuple(each for each in without("pin", "unpin") if each not in excludes),
            excludes=excludes,
            slots=without("slot", ""),
            budget=one.get("budget", ""),
            top=max(1, min(int(top), _MOST_SHOWN)) if top.isdecimal() else SHOWN,
            asked=tuple(
                (name, value) for name, value in one.items() if name.startswith((*COMPARISONS,))
            ),
        )

    def query(self) -> str:
        """The state as a URL's query."""
        fields = [
            ("scene", self.scene),
            ("room", self.room),
            ("tab", self.tab),
            *(("ignore", box) for box in self.ignore),
            *(("focus", box) for box in self.focus),
            *(("pin", each) for each in self.pins),
            *(("exclude", each) for each in self.excludes),
            *(("slot", each) for each in self.slots),
            ("budget", self.budget),
            ("top", "" if self.top == SHOWN else str(self.top)),
            *self.asked,
        ]
        return urlencode([field for field in fields if field[1]])

    def of_photo(self, scene: str, room: str) -> Self:
        """The state with another photo: what was drawn on the last one is gone, and its pins."""
        return replace(self, scene=scene, room=room[:_MOST_ROOM], ignore=(), focus=(), pins=())

    def steering(self) -> Steering:
        """What counts of the photo. Raises UsageError."""
        return Steering(
            ignore=tuple(_box(each) for each in self.ignore),
            focus=tuple(_box(each) for each in self.focus),
        )

    def conditions(self) -> tuple[Condition, ...]:
        """What products must meet. Raises ConditionError."""
        conditions = []
        for name, value in self.asked:
            prefix = next(each for each in COMPARISONS if name.startswith(each))
            conditions.append(Condition(name.removeprefix(prefix), COMPARISONS[prefix], value))
        return tuple(conditions)

    def budget_sum(self) -> float | None:
        """What a look may cost. Raises UsageError."""
        if not self.budget:
            return None
        try:
            return float(self.budget)
        except ValueError:
            raise UsageError(f"budget is {self.budget!r}, expected a sum of money") from None


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = (float(each) for each in text.split(","))
    except ValueError:
        raise UsageError(
            f"{text!r} is no part of the photo: expected LEFT,TOP,RIGHT,BOTTOM as fractions of it"
        ) from None
    return left, top, right, bottom
