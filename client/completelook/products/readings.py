"""What a text cell says: an amount of money, a date, yes or no.

A shop's text stays as it is written; this is what a condition takes it for. What can be taken for
more than one thing by a person as well is settled here, once.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache

_SYMBOLS = {"€": "EUR", "£": "GBP", "$": "USD", "US$": "USD", "¥": "JPY", "zł": "PLN"}
_CURRENCY = r"[A-Z]{3}|(?:[A-Z]{1,2})?\$|[€£¥₹₩₽₺₪₫฿₴]|kr\.?|zł|Kč|Ft|Fr\."
_SPACES = r" \u2019\u00a0\u202f'"  # what parts thousands, beside points and commas
_DIGITS = rf"[0-9](?:[0-9.,{_SPACES}]*[0-9])?"
_AMOUNT = re.compile(
    rf"(?P<before>{_CURRENCY})?\s*(?P<sign>[-\u2212]?)\s*(?P<digits>{_DIGITS})"
    rf"(?:[.,][-\u2013\u2014]+)?\s*(?P<after>{_CURRENCY})?"
)
# Thousands in threes, then perhaps decimals behind another mark; or no thousands at all.
_GROUPED = re.compile(
    rf"(?P<whole>[1-9]\d{{0,2}}(?P<mark>[.,{_SPACES}])\d{{3}}(?:(?P=mark)\d{{3}})*)"
    r"(?:(?!(?P=mark))[.,](?P<decimals>\d+))?",
    re.ASCII,
)
_PLAIN = re.compile(r"(?P<whole>0|[1-9]\d*)(?:[.,](?P<decimals>\d+))?", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}(?P<time>[T ].+)?", re.ASCII)
_TRUE = {"true", "yes", "y", "1", "in stock", "instock"}
_FALSE = {"false", "no", "n", "0", "out of stock", "outofstock"}


@dataclass(frozen=True)
class Amount:
    """A number, and the currency that stands beside it, if one does."""

    value: Decimal
    currency: str | None = None


@lru_cache(maxsize=2**16)  # The same prices are asked for again with every scene.
def read_amount(text: str) -> Amount | None:
    """A number as shops write it: 49.99, 49,99 EUR, $1,299.00, 1.299,00 €, 1 299, 15,-.

    The last of two different marks is the decimal one, a mark that comes twice parts thousands. A
    single one before exactly three digits parts thousands where it is a comma or a currency stands
    beside it, and decimals else: 1,299 and 1.299 € are 1299, 1.299 is 1.299. None for what is a
    code rather than a number, by its leading zeros, letters or exponent: 007, 12a, 1e5.
    """
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or (found["before"] and found["after"]):
        return None
    currency = found["before"] or found["after"]
    digits = _decimal_digits(found["digits"], has_currency=bool(currency))
    if digits is None:
        return None
    value = Decimal(digits)
    known = _SYMBOLS.get(currency.rstrip("."), currency) if currency else None
    return Amount(-value if found["sign"] else value, known)


def _decimal_digits(text: str, *, has_currency: bool) -> str | None:
    """The digits with a point before the decimals and no thousands' marks."""
    found = _GROUPED.fullmatch(text)
    if found is None or (
        found["whole"].count(".") == 1 and not found["decimals"] and not has_currency
    ):
        found = _PLAIN.fullmatch(text)
    if found is None:
        return None
    whole = re.sub(r"\D", "", found["whole"])
    return whole if found["decimals"] is None else f"{whole}.{found['decimals']}"


def read_moment(text: str) -> date | None:
    """An ISO 8601 date, or a datetime where there is a time as well; None for anything else."""
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        return None
    try:
        return (datetime if found["time"] else date).fromisoformat(found[0])
    except ValueError:
        return None


def read_truth(text: str) -> bool | None:
    """Yes or no as feeds have it: true, yes, y, 1, in stock and their contraries, in any case."""
    word = text.strip().casefold().replace("_", " ")
    return True if word in _TRUE else False if word in _FALSE else None


def aligned(cell: date, wanted: date) -> tuple[date, date]:
    """Two moments so that they can be compared: by the day where the wanted one is a day.

    A wanted time without an offset is one on the cell's own clock; a cell without one is in UTC.
    """
    if not isinstance(wanted, datetime):
        return (cell.date() if isinstance(cell, datetime) else cell), wanted
    if not isinstance(cell, datetime):
        cell = datetime(cell.year, cell.month, cell.day)
    if wanted.tzinfo is None:
        return cell.replace(tzinfo=None), wanted
    return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)), wanted
