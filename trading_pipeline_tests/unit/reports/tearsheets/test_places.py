"""Where tearsheets lie."""

from __future__ import annotations

from datetime import date

import pytest

from trading_pipeline.markets import US
from trading_pipeline.reports.tearsheets.places import file_name, href, index_place, place_of

DAY = date(2024, 7, 5)


def test_a_session_has_an_index_beside_the_folder_of_its_pages():
    assert index_place(US, DAY) == "us/reports/tearsheets/2024-07-05.html"
    assert place_of(US, DAY, "BRK.B") == "us/reports/tearsheets/2024-07-05/BRK.B.html"
    assert href(DAY, "BRK.B") == "2024-07-05/BRK.B.html"


@pytest.mark.parametrize("ticker", ["../../etc/passwd", "A/B", "A:B", "^VIX", ".hidden", "<img src=x>", "", "Ä"])
def test_no_ticker_leads_out_of_its_folder_or_needs_escaping(ticker):
    name = file_name(ticker)
    assert name.endswith(".html")
    assert not name.startswith(".") or ticker == ""
    assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


def test_different_tickers_are_different_files():
    assert file_name("A/B") != file_name("A:B") != file_name("A_B")
