"""Rules: what a merchandiser has laid down about the order of products, read from TOML or JSON.

first = "in_stock = true"

[[boost]]
where = "brand = ACME"
factor = 1.05

[category.Rugs]
pin = ["rug-17"]
at_most = { column = "brand", count = 2 }
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from completelook.catalog import Condition, parse_condition
from completelook.errors import ConditionError, UsageError

# A larger factor is no boost any more: who wants a product on top pins it.
MOST_FACTOR = 10.0
# Each is left out once to tell what it does.
MOST_RULES = 200


class Action(StrEnum):
    """What a rule does; also its key in a file."""

    PIN = "pin"  # these products, in this order, above all others
    EXCLUDE = "exclude"  # those it is about are not shown
    FIRST = "first"  # those it is about stand above all that are neither so nor pinned
    BOOST = "boost"  # those it is about count as if their distance were divided by the factor
    AT_MOST = "at_most"  # no more than so many products with the same value in a column


@dataclass(frozen=True)
class Rule:
    """One rule, for all categories or for one; about the products named, or that meet `where`."""

    action: Action
    category: str | None = None  # as its user calls it
    ids: tuple[str, ...] = ()
    where: tuple[Condition, ...] = ()  # all of them
    factor: float = 1.0
    column: str = ""
    count: int = 0

    def __str__(self) -> str:
        about = ", ".join(self.ids) or " and ".join(str(each) for each in self.where)
        if self.action is Action.AT_MOST:
            return f"at most {self.count} of the same {self.column}"
        return f"{self.action}{f' x{self.factor:g}' if self.action is Action.BOOST else ''} {about}"

    @property
    def lifts(self) -> bool:
        """Whether products that meet its conditions may come before nearer ones."""
        is_boost = self.action is Action.BOOST and self.factor > 1
        return bool(self.where) and (is_boost or self.action is Action.FIRST)

    def content(self) -> Any:
        """It as `Rules.of` reads it, without action and category."""
        about: dict[str, Any] = {"where": [str(each) for each in self.where]} if self.where else {}
        if self.ids:
            about = {"ids": [*self.ids]}
        if self.action is Action.AT_MOST:
            return {"column": self.column, "count": self.count}
        return about | ({"factor": self.factor} if self.action is Action.BOOST else {})


@dataclass(frozen=True)
class Rules:
    """All rules of a shop; where they come from stands in the errors about them."""

    rules: tuple[Rule, ...] = ()
    source: str = "rules"

    def __bool__(self) -> bool:
        return bool(self.rules)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The rules of a TOML file. Raises UsageError, OSError."""
        try:
            mapping = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError as error:
            raise UsageError(f"{path}: {error}: expected TOML in UTF-8") from error
        except tomllib.TOMLDecodeError as error:
            raise UsageError(
                f'{path}: no TOML: {error}: expected lines such as first = "in_stock = true", see '
                "docs/merchandising.md"
            ) from error
        return cls.of(mapping, source=str(path))

    @classmethod
    def of(cls, mapping: Mapping[str, Any], *, source: str = "rules") -> Self:
        """The rules of a mapping in the form of the file. Raises UsageError."""
        reader = _Reader(source)
        by_category = reader.table(mapping.get("category", {}), "category")
        rules = reader.scope({key: each for key, each in mapping.items() if key != "category"})
        for name, own in by_category.items():
            rules += reader.scope(reader.table(own, f"[category.{name!r}]"), name)
        if len(rules) > MOST_RULES:
            raise UsageError(
                f"{source}: {len(rules)} rules, expected at most {MOST_RULES}: name several "
                "products in one, `ids`, or say what they have in common, `where`"
            )
        return cls(tuple(rules), source)

    def as_mapping(self) -> dict[str, Any]:
        """The rules in the form that `of` reads, of what JSON knows."""
        whole: dict[str, Any] = {}
        for rule in self.rules:
            scope = whole
            if rule.category is not None:
                scope = whole.setdefault("category", {}).setdefault(rule.category, {})
            if rule.action is Action.PIN:
                scope[rule.action.value] = [*rule.ids]
            else:
                scope.setdefault(rule.action.value, []).append(rule.content())
        return whole

    def where_is(self, rule: Rule) -> str:
        """What an error about a rule begins with."""
        return _place(self.source, rule.category, f"{rule}")


NO_RULES = Rules()


def _place(source: str, category: str | None, what: str) -> str:
    return f"{source}: {f'category {category!r}: ' if category is not None else ''}{what}"


@dataclass(frozen=True)
class _Reader:
    """Reads tables of rules, and says what is wrong with them."""

    source: str

    def scope(self, table: Mapping[str, Any], category: str | None = None) -> list[Rule]:
        """The rules of one category, or of all."""
        rules = []
        for key, value in table.items():
            if key not in list(Action):
                known = ", ".join(Action) + (", category" if category is None else "")
                raise self.error(category, f"{key!r}: no such rule: expected one of {known}")
            action = Action(key)
            if action is Action.PIN:
                rules.append(Rule(action, category, self._ids(value, category, key)))
                continue
            several = value if isinstance(value, list) else [value]
            if action is Action.EXCLUDE and (ids := [e for e in several if isinstance(e, str)]):
                several = [{"ids": ids}, *(each for each in several if not isinstance(each, str))]
            names = [key if len(several) == 1 else f"{key} {n + 1}" for n in range(len(several))]
            for name, each in zip(names, several, strict=True):
                rules.append(self._rule(action, each, category, name))
        return rules

    def _rule(self, action: Action, value: Any, category: str | None, name: str) -> Rule:
        if isinstance(value, str) and action is Action.FIRST:
            value = {"where": value}
        table = dict(self.table(value, name, category))
        rule: dict[str, Any] = {}
        if action is Action.AT_MOST:
            rule["column"] = self._take(table, "column", str, "a column's name", category, name)
            rule["count"] = self._take(table, "count", int, "a whole number", category, name)
            if rule["count"] < 1:
                raise self.error(category, f"{name}: count {rule['count']}: expected at least 1")
        else:
            rule |= self._about(table, category, name)
        if action is Action.BOOST:
            factor = self._take(table, "factor", (int, float), "a number", category, name)
            # Written so that NaN fails.
            if not 1 / MOST_FACTOR <= factor <= MOST_FACTOR:
                raise self.error(
                    category,
                    f"{name}: factor {factor}: expected a number from {1 / MOST_FACTOR:g} to "
                    f"{MOST_FACTOR:g}; what must stand on top is a pin or comes first",
                )
            rule["factor"] = float(factor)
        if table:
            raise self.error(category, f"{name}: unknown key {next(iter(table))!r}")
        return Rule(action, category, **rule)

    def _about(self, table: dict[str, Any], category: str | None, name: str) -> dict[str, Any]:
        """The products that a rule is about: ids, or conditions."""
        if ("ids" in table) == ("where" in table):
            raise self.error(category, f"{name}: expected either `where`, a condition, or `ids`")
        if "ids" in table:
            return {"ids": self._ids(table.pop("ids"), category, name)}
        texts = table.pop("where")
        texts = [texts] if isinstance(texts, str) else texts
        if not (isinstance(texts, list) and texts and all(isinstance(t, str) for t in texts)):
            raise self.error(category, f"{name}: where {texts!r}: expected 'brand = ACME' or some")
        try:
            return {"where": tuple(parse_condition(text) for text in texts)}
        except ConditionError as error:
            raise self.error(category, f"{name}: where {error}") from error

    def _ids(self, value: Any, category: str | None, name: str) -> tuple[str, ...]:
        ids = [value] if isinstance(value, str) else value
        if not (isinstance(ids, list) and ids and all(isinstance(each, str) for each in ids)):
            raise self.error(category, f'{name}: {value!r}: expected ids, as in ["rug-17"]')
        if len({*ids}) < len(ids):
            twice = next(each for each in ids if ids.count(each) > 1)
            raise self.error(category, f"{name}: {twice!r} stands there twice: name it once")
        return tuple(ids)

    def _take(
        self,
        table: dict[str, Any],
        key: str,
        kind: type | tuple[type, ...],
        expected: str,
        category: str | None,
        name: str,
    ) -> Any:
        value = table.pop(key, None)
        # A bool is an int to Python.
        if not isinstance(value, kind) or isinstance(value, bool):
            got = "is missing" if value is None else f"is {value!r}"
            raise self.error(category, f"{name}: {key} {got}: expected {expected}")
        return value

    def table(self, value: Any, name: str, category: str | None = None) -> Mapping[str, Any]:
        """What must be a table."""
        if not isinstance(value, Mapping):
            raise self.error(category, f"{name}: {value!r}: expected a table, {{ key = value }}")
        return value

    def error(self, category: str | None, what: str) -> UsageError:
        return UsageError(_place(self.source, category, what))
