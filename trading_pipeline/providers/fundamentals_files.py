"""Dated snapshots of fundamentals from Parquet or CSV files, the way people bring their own history.

What belongs here: reading such files, whatever their columns are called and whatever units they count in. What does
not: judging the numbers (`research/fundamentals`).

A file holds one row a ticker and date, or one date alone, which is then in its name (`fundamentals_2026-01-28.csv`).
Columns are known by their names (`ALIASES`); every other one is kept in `payload` as it was. Numbers may carry a unit:
63.8B, 503.1M, 2.49%. Where they carry none, the unit is taken from the evidence of the whole column, because the same
publisher has told yields in per cent in one year and as fractions in another, and capitalisations in billions and in
full: the median of twenty values or more leaves no doubt which of two units a hundred or a million apart is meant.
With fewer, a file is refused unless it says so itself.

A snapshot speaks of the last session not after its date, and is available at that session's close where its date is
one: a file of daily snapshots states the closing prices of its date, which nobody had before; the hour it was taken is
not told. One dated on a day without trading was available at the end of that day. Of several dates that speak of the
same session (a weekend) each is a version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final, Literal

import polars as pl

from trading_pipeline.errors import InputRefused
from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.providers.base import Failure, Progress
from trading_pipeline.providers.errors import NotFound
from trading_pipeline.providers.reading import (
    NO_VALUE,
    Tables,
    asked_for,
    by_market,
    dates,
    key_of,
    market_of,
    numbers,
    raw_table,
    refused,
    renamed,
    symbols,
)
from trading_pipeline.providers.reference import FUNDAMENTALS_SCHEMA, ReferenceBatch
from trading_pipeline.sessions import calendar
from trading_pipeline.tables.base import MOMENT

Unit = Literal["full", "thousands", "millions", "billions", "fraction", "per_cent"]

ALIASES: Final[dict[str, set[str]]] = {
    "session": {"date", "snapshotdate", "asof", "asofdate", "session", "day", "datetime", "timestamp"},
    "symbol": {"symbol", "ticker", "code"},
    "asset_type": {"assettype", "quotetype", "securitytype"},
    "name": {"name", "shortname", "longname", "companyname", "company", "security"},
    "sector": {"sector", "gicssector"},
    "industry": {"industry", "gicsindustry", "gicssubindustry", "subindustry"},
    "price": {"price", "currentprice", "lastprice", "regularmarketprice", "close"},
    "market_cap": {"marketcap", "marketcapitalization", "marketcapitalisation", "mktcap"},
    "shares_outstanding": {"sharesoutstanding", "shares", "shsoutstand"},
    "enterprise_value": {"enterprisevalue", "ev"},
    "pe_trailing": {"pe", "peratio", "trailingpe", "pricetoearnings", "priceearnings", "pettm", "petrailing"},
    "pe_forward": {"forwardpe", "peforward", "fwdpe", "forwardperatio"},
    "peg": {"peg", "pegratio", "trailingpegratio"},
    "price_to_book": {"pb", "pricetobook", "pricebook", "pbratio"},
    "price_to_sales": {"ps", "pricetosales", "pricesales", "psratio", "pricetosalestrailing12months"},
    "ev_to_ebitda": {"evtoebitda", "evebitda", "enterprisetoebitda"},
    "return_on_equity": {"returnonequity", "roe"},
    "return_on_assets": {"returnonassets", "roa"},
    "gross_margin": {"grossmargin", "grossmargins"},
    "operating_margin": {"operatingmargin", "operatingmargins"},
    "profit_margin": {"profitmargin", "profitmargins", "netmargin"},
    "debt_to_equity": {"debttoequity", "debtequity", "de"},
    "current_ratio": {"currentratio"},
    "quick_ratio": {"quickratio"},
    "total_debt": {"totaldebt"},
    "total_cash": {"totalcash"},
    "revenue": {"revenue", "totalrevenue", "sales"},
    "ebitda": {"ebitda"},
    "net_income": {"netincome", "netincometocommon"},
    "operating_cash_flow": {"operatingcashflow"},
    "free_cash_flow": {"freecashflow", "fcf"},
    "free_cash_flow_yield": {"freecashflowyield", "fcfyield"},
    "eps_trailing": {"eps", "epsttm", "trailingeps", "earningsshare", "earningspershare", "epstrailing"},
    "eps_forward": {"forwardeps", "epsforward"},
    "revenue_growth": {"revenuegrowth"},
    "earnings_growth": {"earningsgrowth"},
    "dividend_yield": {"dividendyield", "divyield"},
    "payout_ratio": {"payoutratio"},
    "beta": {"beta"},
    "short_share_of_float": {"shortpercentoffloat", "shortfloat", "shortshareoffloat"},
    "target_mean_price": {"targetmeanprice", "targetprice"},
    "recommendation_mean": {"recommendationmean"},
    "analysts": {"analysts", "numberofanalystopinions"},
    "high_52_weeks": {"high52w", "52weekhigh", "yearhigh", "fiftytwoweekhigh", "high52weeks"},
    "low_52_weeks": {"low52w", "52weeklow", "yearlow", "fiftytwoweeklow", "low52weeks"},
    "expense_ratio": {"expenseratio", "annualreportexpenseratio", "netexpenseratio"},
    "assets_under_management": {"assetsundermanagement", "aum", "totalassets", "netassets"},
    "fund_yield": {"fundyield", "distributionyield"},
    "nav_premium": {"navpremium"},
    "duration": {"duration", "effectiveduration"},
    "credit_share_investment_grade": {"creditshareinvestmentgrade"},
    "holdings": {"holdings"},
    "sector_weights": {"sectorweights"},
    "currency": {"currency"},
    "financial_currency": {"financialcurrency"},
}
"""Spellings of each column without capitals, spaces and punctuation."""

EVIDENCE: Final = 20
"""Values without a unit from which one may be inferred."""

_AMOUNTS: Final = (
    "market_cap", "enterprise_value", "total_debt", "total_cash", "revenue", "ebitda", "net_income",
    "operating_cash_flow", "free_cash_flow", "assets_under_management", "shares_outstanding",
)  # fmt: skip
# A median from which on a column counts in per cent. No index yields 20 % or 0.2 %; half its members earn neither 150 %
# on their equity nor 1.5 %; none owes five times its equity in the middle.
_PER_CENT_FROM: Final = {
    "dividend_yield": 0.2, "fund_yield": 0.2, "free_cash_flow_yield": 0.5, "return_on_equity": 1.5,
    "return_on_assets": 0.8, "gross_margin": 1.5, "operating_margin": 1.5, "profit_margin": 1.5, "payout_ratio": 2.0,
    "revenue_growth": 0.8, "earnings_growth": 1.0, "debt_to_equity": 5.0, "short_share_of_float": 0.5,
}  # fmt: skip
_SCALES: Final[dict[str, float]] = {
    "full": 1.0, "thousands": 1e3, "millions": 1e6, "billions": 1e9, "fraction": 1.0, "per_cent": 0.01,
}  # fmt: skip
_SUFFIX_SCALES: Final = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12, "%": 0.01}
_TEXTS: Final = ("asset_type", "name", "sector", "industry", "holdings", "sector_weights", "financial_currency")
_CLOCKS: Final = ("symbol", "session", "currency", "payload", "available_at")
_NUMBERS: Final = tuple(name for name in FUNDAMENTALS_SCHEMA if name not in (*_TEXTS, *_CLOCKS))
_ASSET_TYPES: Final = {
    "equity": "stock", "stock": "stock", "etf": "etf", "bond_etf": "bond_etf", "mutualfund": "fund", "fund": "fund",
    "index": "index", "cryptocurrency": "crypto", "crypto": "crypto", "currency": "currency", "other": "other",
}  # fmt: skip
_DATE_IN_NAME: Final = re.compile(r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?!\d)")


class FundamentalsFiles:
    """A file of dated snapshots, or a folder of them (not of folders).

    path: the file or the folder. units: of columns that carry none and whose unit the evidence would not tell, by our
        name: `{"dividend_yield": "per_cent", "market_cap": "billions"}`; the unit of `market_cap` is that of every
        amount.

    Nothing is read before it is needed, and read again when a file changes. `InputRefused` names the file, the column
    and the row that cannot be used. Where no column names the kind of instrument, it is a stock.
    """

    name = "files"
    dated = True

    def __init__(self, path: Path, *, units: Mapping[str, Unit] | None = None) -> None:
        self.path = path
        stated = dict(units or {})
        self._tables = Tables(path, "FUNDAMENTALS_FILES", lambda files: _read_all(path, files, stated))

    def fundamentals(
        self,
        market: Market,
        symbols: Sequence[str],
        sessions: Sequence[date],
        *,
        now: datetime,
        progress: Progress | None = None,
    ) -> ReferenceBatch:
        """Every snapshot of `symbols` that speaks of one of `sessions` and was available by `now`.

        `NotFound` for a symbol the files never mention; one that they mention on other dates is answered without rows.
        """
        snapshots = self._tables.content()
        known = set(snapshots["key"].unique())
        rows = (
            snapshots.filter(
                pl.col("session").is_in(sorted(set(sessions))) & (pl.col("available_at") <= pl.lit(now, MOMENT))
            )
            .join(asked_for(symbols), on="key")
            .with_columns(symbol="asked")
            .sort("symbol", "session", "available_at")
            .select(FUNDAMENTALS_SCHEMA.names())
        )
        if progress is not None:
            progress(len(symbols), len(symbols))
        return ReferenceBatch(
            rows=rows,
            failures=[
                Failure(symbol, NotFound(f"{self.path} holds no {symbol}"))
                for symbol in symbols
                if key_of(symbol) not in known
            ],
            answered=tuple(symbol for symbol in symbols if key_of(symbol) in known),
        )


def _read_all(path: Path, files: Sequence[Path], units: Mapping[str, Unit]) -> pl.DataFrame:
    """Every snapshot of every file: `FUNDAMENTALS_SCHEMA` and `key`, by which symbols are found."""
    if not files:
        raise InputRefused(f"{path} holds no Parquet or CSV file of snapshots", "Put one there, or name another folder")
    told = pl.concat([_told(file, units) for file in files])
    twice = told.select("key", "date").is_duplicated()
    if twice.any():
        first = told.row(int(twice.arg_true()[0]), named=True)
        again = told.filter((pl.col("key") == first["key"]) & (pl.col("date") == first["date"])).row(1, named=True)
        raise InputRefused(
            f"{again['file']}: row {again['row']} is a second snapshot of {again['symbol']} on {again['date']};"
            f" the first is row {first['row']} of {first['file']}",
            "Keep one row a ticker and date",
        )
    return told.drop("date", "file", "row")


def _told(file: Path, units: Mapping[str, Unit]) -> pl.DataFrame:
    """FUNDAMENTALS_SCHEMA and key, date, file, row of one file."""
    found = raw_table(file)
    table = renamed(file, found, ALIASES).with_row_index("row", offset=1)
    spelled = dict(zip(table.columns[1:], found.columns, strict=True))
    if "symbol" not in table.columns:
        raise InputRefused(
            f"{file.name} has no column for the ticker; it has {', '.join(found.columns)}",
            "Rename one of its columns to ticker",
        )
    facts = [name for name in _NUMBERS if name in table.columns]
    if not facts:
        raise InputRefused(
            f"{file.name} has no column of fundamentals that is known; it has {', '.join(found.columns)}",
            "Rename its columns to price, market_cap, pe_trailing, dividend_yield …",
        )
    table = _dated(file, table.with_columns(symbols(file, table)))
    values, plain = {}, {}
    for name in facts:
        values[name], plain[name] = _valued(file, table[name].alias(spelled[name]))
    scaled = _in_our_units(file, table["date"], values, plain, units)
    others = [name for name in table.columns if name not in (*FUNDAMENTALS_SCHEMA, "row", "date")]
    rows = table.select(
        "symbol",
        "date",
        "row",
        *(
            (pl.col(name).cast(pl.String) if name in table.columns else pl.lit(None, pl.String)).alias(name)
            for name in (*_TEXTS, "currency")
        ),
        payload=pl.Series(_payloads(table, others, values, spelled), dtype=pl.String),
    ).with_columns(
        (scaled[name] if name in scaled else pl.lit(None, pl.Float64)).alias(name).cast(FUNDAMENTALS_SCHEMA[name])
        for name in _NUMBERS
    )
    kind = pl.col("asset_type").str.strip_chars().str.to_lowercase()
    odd = rows.select(kind.is_not_null() & ~kind.is_in(list(_ASSET_TYPES))).to_series()
    if odd.any():
        raise refused(file, spelled["asset_type"], rows["asset_type"], odd, f"none of {', '.join(_ASSET_TYPES)}")
    quoted = by_market({market.name: pl.lit(market.currency) for market in MARKETS.values()})
    clocks = _clocks(file, rows)
    return (
        rows.with_columns(
            asset_type=kind.replace_strict(_ASSET_TYPES, default="stock"),
            currency=pl.col("currency").fill_null(quoted),
            file=pl.lit(file.name),
            key=pl.Series([key_of(symbol) for symbol in rows["symbol"]], dtype=pl.String),
        )
        .hstack(clocks)
        .select(*FUNDAMENTALS_SCHEMA.names(), "key", "date", "file", "row")
        .cast(FUNDAMENTALS_SCHEMA)
    )


def _dated(file: Path, table: pl.DataFrame) -> pl.DataFrame:
    """`table` with the column `date`, of its own or from the file's name."""
    if "session" in table.columns:
        return table.with_columns(dates(file, table).alias("date")).drop("session")
    match = _DATE_IN_NAME.search(file.stem)
    try:
        day = date(*(int(part) for part in match.groups())) if match else None
    except ValueError:
        day = None
    if day is None:
        raise InputRefused(
            f"{file.name} has no column for the date, and none in its name",
            "Add a column date, or name the file like fundamentals_2026-01-28.csv",
        )
    return table.with_columns(date=pl.lit(day))


def _valued(file: Path, column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """(the numbers of a column, units of their own applied; whether each came without one)."""
    if column.dtype != pl.String:
        told = numbers(file, column)
        return told, told.is_not_null()
    text = column.str.strip_chars()
    suffix = text.str.extract(r"^[-+]?[0-9.,]+(?:[eE][-+]?[0-9]+)?\s*([KMBTkmbt%])$").str.to_uppercase()
    bare = text.str.replace(r"\s*[KMBTkmbt%]$", "")
    told = numbers(file, text.zip_with(suffix.is_null(), bare).alias(column.name))
    scale = suffix.replace_strict(_SUFFIX_SCALES, default=1.0, return_dtype=pl.Float64)
    return told * scale, told.is_not_null() & suffix.is_null()


def _in_our_units(
    file: Path,
    days: pl.Series,
    values: Mapping[str, pl.Series],
    plain: Mapping[str, pl.Series],
    units: Mapping[str, Unit],
) -> dict[str, pl.Series]:
    """`values` in full amounts and fractions, judged date by date, by the whole file where a date has too few."""
    scaled = dict(values)
    for name, threshold in _PER_CENT_FROM.items():
        if name in values:
            telling = values[name].abs()
            scale = _scales(
                file, name, days, telling, plain[name] & (telling > 0), ((threshold, 1.0), (None, 0.01)), units
            )
            scaled[name] = values[name] * scale
    if "market_cap" in values:
        # The median of any list is below a thousand where it counts in billions, and far above in full.
        steps = ((1e3, 1e9), (1e7, 1e6), (None, 1.0))
        cap = values["market_cap"]
        scale = _scales(file, "market_cap", days, cap, plain["market_cap"] & (cap > 0), steps, units)
        for name in _AMOUNTS:
            if name in values and name != "shares_outstanding":
                scaled[name] = values[name] * scale.zip_with(
                    plain[name], pl.Series([1.0]).new_from_index(0, len(scale))
                )
        if "shares_outstanding" in values and "price" in values:
            scaled["shares_outstanding"] = _shares(days, values, plain, scaled["market_cap"])
    return scaled


def _scales(
    file: Path,
    name: str,
    days: pl.Series,
    telling: pl.Series,
    counted: pl.Series,
    steps: Sequence[tuple[float | None, float]],
    units: Mapping[str, Unit],
) -> pl.Series:
    """What each row's value is to be multiplied by: the first of `steps` whose limit the median stays below."""
    ones = pl.Series([1.0]).new_from_index(0, len(days))
    if name in units:
        return (ones * _SCALES[units[name]]).zip_with(counted, ones)
    if not counted.any():
        return ones
    rows = pl.DataFrame(
        {
            "date": days,
            "value": telling.zip_with(counted, pl.Series([None], dtype=pl.Float64).new_from_index(0, len(days))),
        }
    )
    by_date = rows.group_by("date").agg(median=pl.col("value").median(), count=pl.col("value").count())
    whole = rows["value"].median()
    if (by_date["count"] < EVIDENCE).any() and int(counted.sum()) < EVIDENCE:
        raise InputRefused(
            f"{file.name}: the unit of column {name} cannot be told from {int(counted.sum())} values, such as"
            f" {telling.filter(counted)[0]:g}",
            "Write it with its unit (2.5%, 63.8B)" if name != "debt_to_equity" else "Write it in per cent, as 145%",
        )
    scale = pl.lit(steps[-1][1])
    median = pl.when(pl.col("count") >= EVIDENCE).then("median").otherwise(pl.lit(whole))
    for limit, factor in reversed(steps[:-1]):
        scale = pl.when(median < limit).then(pl.lit(factor)).otherwise(scale)
    told = rows.join(by_date.with_columns(scale=scale), on="date", how="left", maintain_order="left")["scale"]
    return told.zip_with(counted | (telling == 0).fill_null(True), ones)


def _shares(
    days: pl.Series, values: Mapping[str, pl.Series], plain: Mapping[str, pl.Series], caps: pl.Series
) -> pl.Series:
    """Shares in full: of thousands, millions and billions the one in which price x shares is nearest to the cap."""
    shares = values["shares_outstanding"]
    rows = pl.DataFrame({"date": days, "short": (caps / (values["price"] * shares)).log10()})
    finite = pl.when(pl.col("short").is_finite()).then(pl.col("short"))
    power = (finite.median().over("date") / 3).round().clip(0, 3).fill_null(0.0) * 3
    scale = rows.select((10.0**power).alias("scale")).to_series()
    return shares * scale.zip_with(plain["shares_outstanding"], pl.Series([1.0]).new_from_index(0, len(scale)))


def _payloads(
    table: pl.DataFrame, others: Sequence[str], values: Mapping[str, pl.Series], spelled: Mapping[str, str]
) -> list[str | None]:
    """JSON of every column that is no fact, by its own name, and of the facts that are no number (inf) as text."""
    odd = {
        name: table[name].is_not_null()
        & column.is_null()
        & ~table[name].cast(pl.String).str.to_lowercase().is_in(NO_VALUE)
        for name, column in values.items()
    }
    odd = {name: where for name, where in odd.items() if where.any()}
    if not others and not odd:
        return [None] * table.height
    kept = table.select(pl.col(name).alias(spelled[name]) for name in others)
    payloads: list[str | None] = (
        kept.select(pl.struct(pl.all()).struct.json_encode()).to_series().to_list() if others else ["{}"] * table.height
    )
    for name, where in odd.items():
        for row in where.arg_true():
            held = json.loads(payloads[row] or "{}")
            payloads[row] = json.dumps({**held, spelled[name]: str(table[name][row])})
    return payloads


def _clocks(file: Path, rows: pl.DataFrame) -> pl.DataFrame:
    """session, available_at of each row: of the last session not after its date, at its market's exchange."""
    of_symbol = {symbol: market_of(symbol).exchange for symbol in rows["symbol"].unique()}
    exchange = rows["symbol"].replace_strict(of_symbol, return_dtype=pl.String)
    pairs = rows.select("date", "row", exchange=exchange)
    known: dict[tuple[str, date], tuple[date, datetime]] = {}
    for place, day, row in (
        pairs.group_by("exchange", "date")
        .agg(pl.col("row").min())
        .sort("row")
        .select("exchange", "date", "row")
        .iter_rows()
    ):
        days = calendar(place)
        if not days.first_session <= day <= days.last_day:
            raise InputRefused(
                f"{file.name}: column date holds {day} in row {row}, outside the table of sessions",
                f"Bring snapshots from {days.first_session} to {days.last_day}",
            )
        session = days.on_or_before(day)
        ended = datetime.combine(day + timedelta(days=1), time(), days.timezone).astimezone(UTC)
        known[place, day] = (session, days.close_at(session) if session == day else ended)
    clocks = [known[place, day] for place, day in pairs.select("exchange", "date").iter_rows()]
    return pl.DataFrame(
        {"session": [session for session, _ in clocks], "available_at": [moment for _, moment in clocks]},
        schema={"session": pl.Date, "available_at": MOMENT},
    )
