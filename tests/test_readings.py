from datetime import date, datetime
from decimal import Decimal

import pytest
from completelook.products import Amount, read_amount, read_moment, read_truth
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "value", "currency"),
    [
        ("49.99", "49.99", None),
        (" 49,9 ", "49.9", None),
        ("49.99 EUR", "49.99", "EUR"),
        ("EUR 49.99", "49.99", "EUR"),
        ("€49", "49", "EUR"),
        ("1.299,00 €", "1299.00", "EUR"),
        ("$1,299.00", "1299.00", "USD"),
        ("1\u00a0299,50 zł", "1299.50", "PLN"),
        ("CHF 1'299.00", "1299.00", "CHF"),
        ("1.299.000", "1299000", None),
        ("15,-", "15", None),
        ("1.299,\u2013 €", "1299", "EUR"),
        ("-5", "-5", None),
        ("0", "0", None),
        ("0.299", "0.299", None),
        ("0,299 €", "0.299", "EUR"),
        # What a person might take for either.
        ("1.299", "1.299", None),
        ("1.299 €", "1299", "EUR"),
        ("1,299", "1299", None),
        ("1,299 kg", None, None),
        ("12.3456", "12.3456", None),
    ],
)
def test_an_amount_is_read_as_shops_write_it(text, value, currency) -> None:
    expected = None if value is None else Amount(Decimal(value), currency)
    assert read_amount(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "007",
            "0012345678905",
            "1e5",
            "12a",
            "",
            "EUR",
            "EUR 5 USD",
            "1,29,9",
            "1.29.9",
            "12 34",
        ),
        *("1.299,00,5", "1.299.00", "1,299.", "--5", "nan", "Infinity", "١٢", "5 m", "10-20", "00"),
    ],
)
def test_what_is_a_code_or_a_text_is_no_amount(text) -> None:
    assert read_amount(text) is None


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=2))
def test_an_amount_comes_back_from_every_way_to_write_it(value) -> None:
    plain = f"{value:,.2f}"  # 1,299.00
    german = plain.translate(str.maketrans(",.", ".,"))
    french = plain.replace(",", " ").replace(".", ",")
    for text in (f"{value:.2f}", plain, german, french, f"{german} €", f"USD {plain}"):
        assert read_amount(text).value == value


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", date(2026, 1, 31)),
        ("2026-01-31T12:30", datetime(2026, 1, 31, 12, 30)),
        (" 2026-01-31 ", date(2026, 1, 31)),
        ("2026-02-30", None),
        ("20260131", None),
        ("31.01.2026", None),
        ("2026", None),
    ],
)
def test_a_date_is_read_as_iso_8601_has_it(text, moment) -> None:
    assert read_moment(text) == moment


@pytest.mark.parametrize(
    ("truth", "texts"),
    [
        (True, ["TRUE", "yes", "in_stock", "In stock", "1"]),
        (False, ["false", "No", "out of stock", "0"]),
        (None, ["preorder", "", "2"]),
    ],
)
def test_yes_and_no_are_read_as_feeds_have_them(truth, texts) -> None:
    assert [read_truth(text) for text in texts] == [truth] * len(texts)
