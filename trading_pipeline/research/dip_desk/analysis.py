"""What the rules make of each dip on the desk: the action, the size, and the words a newcomer follows.

What belongs here: the gate that decides buy, wait or avoid, and its wording. What does not: the cause (`causes.py`),
the numbers of the rules (`rules.toml`), other words for the same decision (`analyst/`).

The gate asks in this order, and one answer is enough:

    avoid  the screener's verdict is Avoid, one of its gates is failed, or it flags a value trap
    wait   no verdict or only Hold; the environment is D or unknown; a report within a week; a report of the last days
           was the cause; still falling; run ahead already; nothing but a dividend; a doubtful bar; a size too small
    buy    none of these

`inputs` is everything the words were made from, as canonical JSON: keys in alphabetical order, floats rounded to six
decimals, nothing later than the session. `prompt_hash` is the SHA-256 of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date

import polars as pl

from trading_pipeline.research.dip_desk.evidence import per_cent
from trading_pipeline.research.dip_desk.rules import GateRules, Rules, load_rules
from trading_pipeline.research.dip_desk.sizes import sizes

ANALYSIS_COLUMNS = (
    "session", "instrument_id", "ticker", "dip_pct", "cause", "action", "action_reasons", "size_low", "size_high",
    "size_low_amount", "size_high_amount", "why", "outlook", "play", "risks", "source", "source_reason", "model",
    "prompt_hash", "inputs", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cost",
)  # fmt: skip

HEADLINE_DAYS = 10
HEADLINES = 5
"""Headlines shown beside those that speak for the cause: the latest ones of the last calendar days."""

_KEY = ["session", "instrument_id"]
_SIGNS = {"USD": "$", "AUD": "A$", "EUR": "€", "GBP": "£"}
_SCORE = (
    "confidence", "fundamental", "technical", "relative_strength", "sector_score", "catalyst", "dcf_upside", "flags",
    "reasons",
)  # fmt: skip
_INDICATORS = (
    "return_1", "return_5", "return_21", "return_63", "rsi_14", "realised_volatility_21", "distance_from_low",
    "relative_strength_rank", "above_sma_20", "above_sma_200",
)  # fmt: skip
_EARNINGS = (
    "next_report_date", "next_timing", "sessions_to_report", "last_report_date", "last_report_session",
    "last_eps_actual", "last_eps_estimate", "last_surprise", "last_reaction", "beat_rate",
    "average_move_after_beat", "average_move_after_miss",
)  # fmt: skip
_DIP = (
    "dip_pct", "price", "high_252", "sessions_since_high", "drawdown_percentile", "fall", "market_part", "sector_part",
    "company_part", "beta_market", "data_quality",
)  # fmt: skip


def analysis(
    dips: pl.DataFrame,
    scores: pl.DataFrame,
    indicators: pl.DataFrame,
    regime: pl.DataFrame,
    news: pl.DataFrame,
    earnings: pl.DataFrame,
    portfolio_value: float,
    rules: Rules | None,
    sessions: Sequence[date],
    currency: str = "USD",
) -> pl.DataFrame:
    """The columns of the table `dip_analysis`, for the dips on the desk alone, by session and instrument.

    dips: rows of `causes`. scores, indicators, regime, earnings: rows of the tables `screener_scores`, `indicators`,
    `market_regime` and `earnings_calendar` of the judged sessions. news: rows of the table `news`, as for `causes`.
    portfolio_value: in `currency` (ISO 4217), that of the quotes. rules: None for those beside the code. sessions: the
    judged ones.

    Sizes are fractions of the portfolio, 0 unless the action is buy. source is `rules`; source_reason, model, tokens
    and cost are null. Missing scores, indicators, environment or calendar make the gate wait or the size smaller, never
    the other way.
    """
    rules = load_rules() if rules is None else rules
    judged = pl.Series("session", list(sessions), dtype=pl.Date)
    desk = dips.filter(pl.col("on_desk") & pl.col("session").is_in(judged.implode())).sort(_KEY)
    known = _known(desk, scores, indicators, regime, earnings)
    gates = _gates(rules.gate)
    avoid, wait = ([name for name in gates if name.startswith(kind)] for kind in ("avoid_", "wait_"))
    known = known.with_columns(**gates).with_columns(
        action=pl.when(pl.any_horizontal(avoid))
        .then(pl.lit("avoid"))
        .when(pl.any_horizontal(wait))
        .then(pl.lit("wait"))
        .otherwise(pl.lit("buy"))
    )
    low, high = sizes(
        pl.col("action"),
        pl.col("verdict"),
        pl.col("environment"),
        pl.col("realised_volatility_21"),
        pl.col("sector_score"),
        pl.col("cause"),
        rules.size,
    )
    known = known.with_columns(size_low=low, size_high=high)
    small = (pl.col("action") == "buy") & (pl.col("size_high") == 0)
    known = known.with_columns(small=small, action=pl.when(small).then(pl.lit("wait")).otherwise("action"))
    known = known.with_columns(
        size_low_amount=(pl.col("size_low") * portfolio_value).round(2),
        size_high_amount=(pl.col("size_high") * portfolio_value).round(2),
    ).with_columns(action_reasons=_action_reasons(), size=_size_in_words(currency), outlook=_outlook())
    known = known.with_columns(why=_why(), play=_play(), risks=_risks())
    headlines = _headlines(known, news)
    known = known.hstack([headlines])
    inputs = _inputs(known, portfolio_value, currency, rules.version)
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in inputs]
    nothing = {"source_reason": pl.String, "model": pl.String, "cost": pl.Float64} | dict.fromkeys(
        ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"), pl.Int64
    )
    return known.with_columns(
        inputs,
        pl.Series("prompt_hash", hashes, dtype=pl.String),
        *(pl.lit(None, dtype).alias(name) for name, dtype in nothing.items()),
        source=pl.lit("rules"),
    ).select(ANALYSIS_COLUMNS)


def _known(
    desk: pl.DataFrame, scores: pl.DataFrame, indicators: pl.DataFrame, regime: pl.DataFrame, earnings: pl.DataFrame
) -> pl.DataFrame:
    """The dips with what else is known of them; one row a dip."""
    measured = indicators.with_columns(
        above_sma_20=pl.col("close") / pl.col("sma_20") - 1, above_sma_200=pl.col("close") / pl.col("sma_200") - 1
    )
    grades = regime.select("session", market_regime="regime", market_volatility="volatility")
    calendar = earnings.select(*_KEY, *(name for name in _EARNINGS if name != "sessions_to_report"))
    known = desk.join(scores.select(*_KEY, *_SCORE), on=_KEY, how="left", maintain_order="left")
    known = known.join(measured.select(*_KEY, *_INDICATORS), on=_KEY, how="left", maintain_order="left")
    known = known.join(grades, on="session", how="left", maintain_order="left")
    return known.join(calendar, on=_KEY, how="left", maintain_order="left")


def _gates(rules: GateRules) -> dict[str, pl.Expr]:
    """Every condition of the gate as a column, `avoid_…` or `wait_…`; an unknown one does not hold."""
    verdict, flags = pl.col("verdict"), pl.col("flags").fill_null("").str.split(",")
    weekdays = pl.business_day_count("last_report_session", "session")
    still_falling = pl.col("return_5").round(9) <= rules.knife_fall_5
    at_the_low = (pl.col("distance_from_low").round(9) <= rules.knife_above_low) & (pl.col("return_5") < 0)
    far_ahead = pl.col("above_sma_20").round(9) >= rules.extended_above_sma_20
    conditions = {
        "avoid_verdict": verdict == "Avoid",
        "avoid_gates": pl.col("gates_failed").fill_null("") != "",
        "avoid_trap": flags.list.contains("value_trap"),
        "wait_unscored": ~verdict.is_in(["Strong Buy", "Buy", "Hold", "Avoid"]).fill_null(False),
        "wait_hold": verdict == "Hold",
        "wait_environment": ~pl.col("environment").is_in(["A", "B", "C"]).fill_null(False),
        "wait_report": pl.col("sessions_to_report").is_between(0, int(rules.report_sessions)),
        "wait_fresh": (pl.col("cause") == "earnings") & (weekdays < rules.fresh_report_weekdays),
        "wait_knife": still_falling | at_the_low,
        "wait_extended": far_ahead | (pl.col("rsi_14").round(9) >= rules.extended_rsi),
        "wait_dividend": pl.col("cause") == "ex_dividend",
        "wait_bar": pl.col("data_quality") != "good",
    }
    return {name: condition.fill_null(False) for name, condition in conditions.items()}


def _lines(*lines: pl.Expr) -> pl.Expr:
    return pl.concat_str(lines, separator="\n", ignore_nulls=True)


def _action_reasons() -> pl.Expr:
    said = {
        "avoid_verdict": pl.lit("The screener's verdict is Avoid."),
        "avoid_gates": pl.format(
            "It fails the screener's gates: {}.", pl.col("gates_failed").str.replace_all(",", ", ")
        ),
        "avoid_trap": pl.lit("It looks like a value trap: cheap because the business shrinks."),
        "wait_unscored": pl.lit("The screener has no verdict: too little is known about it."),
        "wait_hold": pl.lit("The screener's verdict is Hold: good enough to keep, not to buy."),
        "wait_environment": pl.coalesce(
            pl.format("The market's environment is {}: dips tend to go on falling.", pl.col("environment")),
            pl.lit("The market's environment is unknown."),
        ),
        "wait_report": pl.when(pl.col("sessions_to_report") == 0)
        .then(pl.lit("It trades on its quarterly report this session."))
        .otherwise(pl.format("Its quarterly report comes in {} sessions.", pl.col("sessions_to_report"))),
        "wait_fresh": pl.format("Its report of {} is too fresh.", pl.col("last_report_date")),
        "wait_knife": pl.format(
            "It is still falling: {} in five sessions, {} above its 52-week low.",
            _or_unknown(per_cent(pl.col("return_5"))),
            _or_unknown(per_cent(pl.col("distance_from_low"))),
        ),
        "wait_extended": pl.format(
            "The rebound has run ahead: {} from its 20-session average, RSI {}.",
            _or_unknown(per_cent(pl.col("above_sma_20"))),
            _or_unknown(pl.col("rsi_14").round(0).cast(pl.Int64).cast(pl.String)),
        ),
        "wait_dividend": pl.lit("It is no cheaper: the price fell by dividends that holders were paid."),
        "wait_bar": pl.lit("This session's price is in doubt."),
        "small": pl.lit("What the risk allows is less than the smallest position worth holding."),
    }
    wanted = [pl.when(pl.col(name)).then(text) for name, text in said.items()]
    buy = pl.format(
        "The screener's verdict is {}{}.\nThe market's environment is {}, and nothing speaks for waiting.",
        pl.col("verdict"),
        pl.format(" with {} of 100 points", pl.col("total").round(0).cast(pl.Int64)).fill_null(""),
        pl.col("environment"),
    )
    return _lines(*wanted, pl.when(pl.col("action") == "buy").then(buy))


def _or_unknown(text: pl.Expr) -> pl.Expr:
    return text.fill_null("an unknown share")


def _outlook() -> pl.Expr:
    paid_out, shared, own = (
        pl.col("cause").is_in(names) for names in (["ex_dividend"], ["macro", "sector"], ["company", "earnings"])
    )
    weak = pl.col("avoid_verdict") | pl.col("avoid_gates") | pl.col("avoid_trap")
    fair = pl.col("environment").is_in(["A", "B"]).fill_null(False)
    return (
        pl.when(paid_out | (shared & ~weak & fair))
        .then(pl.lit("temporary"))
        .when(own & weak)
        .then(pl.lit("lasting"))
        .otherwise(pl.lit("unclear"))
    )


def _why() -> pl.Expr:
    share = pl.format(" ({} of what pulled it down)", per_cent(pl.col("cause_share"), 0)).fill_null("")
    sector = pl.coalesce("sector", pl.lit("its sector"))
    causes = {
        "macro": pl.format("the whole market fell{}, and it fell along.", share),
        "sector": pl.format("{} fell as a sector{}, and it fell along.", sector, share),
        "company": pl.format("something happened to the company itself{}.", share),
        "earnings": pl.format("investors did not like a quarterly report{}.", share),
        "ex_dividend": pl.format(
            "dividends were paid out, and a price falls by what is paid ({} of the distance to the high). "
            "Nobody lost money by it.",
            per_cent(pl.col("cause_share"), 0),
        ),
    }
    unknown = pl.lit("it fell mostly by itself, and neither a report nor a headline says why.")
    cause = unknown
    for name, text in causes.items():
        cause = pl.when(pl.col("cause") == name).then(text).otherwise(cause)
    return pl.format(
        "{} is {} % below its highest price of the last 52 weeks: {}", "ticker", pl.col("dip_pct").round(1), cause
    )


def _play() -> pl.Expr:
    buy = pl.format(
        "Buy {}, in two or three parts over some days rather than at once. Decide before what would prove it wrong: "
        "a close below the 52-week low, or a fall of the verdict to Avoid.",
        pl.col("size"),
    )
    first = pl.col("action_reasons").str.split("\n").list.first()
    wait = pl.format("Do not buy yet, keep it on the list. {} Look again when that has changed.", first)
    avoid = pl.format("Leave it alone, however cheap it looks. {}", first)
    return pl.when(pl.col("action") == "buy").then(buy).when(pl.col("action") == "wait").then(wait).otherwise(avoid)


def _risks() -> pl.Expr:
    """One line each, the worst first."""
    volatility, report = pl.col("realised_volatility_21"), pl.col("sessions_to_report")
    next_report = "The next report is {} sessions away and can move the price by {} either way."
    moves = "It moves a lot: {} a year, so a tenth up or down within a month is normal."
    lines = [
        (pl.col("avoid_gates"), pl.lit("A failed gate means the company may not survive a bad year unharmed.")),
        (pl.col("avoid_trap"), pl.lit("A value trap: earnings may shrink as fast as the price.")),
        (
            pl.col("cause").is_in(["company", "earnings"]),
            pl.lit("Bad news of a company's own seldom comes alone: a second blow is possible."),
        ),
        (
            pl.col("cause") == "unknown",
            pl.lit("Somebody may know what the headlines do not say yet."),
        ),
        (pl.col("wait_knife"), pl.lit("It is still falling; the low may not be in.")),
        (
            report.is_between(0, 20),
            pl.format(next_report, report, _typical_move()),
        ),
        (
            pl.col("environment").is_in(["C", "D"]) | (pl.col("cause") == "macro"),
            pl.lit("A weak market takes good companies down with it."),
        ),
        (pl.col("cause") == "sector", pl.lit("What ails the sector may last longer than one quarter.")),
        (
            volatility.round(9) >= 0.4,
            pl.format(moves, per_cent(volatility, 0)),
        ),
        (pl.col("confidence").round(9) < 0.6, pl.lit("Much about the company is unknown to the screener.")),
    ]  # fmt: skip
    conditional = [pl.when(condition.fill_null(False)).then(text) for condition, text in lines]
    always = pl.lit("A dip can always go deeper; never put in money that is needed soon.")
    return _lines(*conditional, always)


def _typical_move() -> pl.Expr:
    """The mean size of the reactions to its reports that are known by sign."""
    size = pl.mean_horizontal(pl.col("average_move_after_beat").abs(), pl.col("average_move_after_miss").abs())
    return per_cent(size, 0).fill_null("several per cent")


def _size_in_words(currency: str) -> pl.Expr:
    """`2–4 % of the portfolio, $2,000–4,000`."""

    def share(name: str) -> pl.Expr:
        return (pl.col(name) * 100).round(2).cast(pl.String).str.strip_suffix(".0")

    def amount(name: str) -> pl.Expr:
        digits = pl.col(name).round(0).cast(pl.Int64).cast(pl.String)
        grouped = digits.str.reverse().str.replace_all(r"(\d{3})", "${1},").str.reverse()
        return grouped.str.strip_prefix(",")

    sign = _SIGNS.get(currency, f"{currency} ")
    one = pl.format("{} % of the portfolio, {}{}", share("size_high"), pl.lit(sign), amount("size_high_amount"))
    both = pl.format(
        "{}–{} % of the portfolio, {}{}–{}",
        share("size_low"),
        share("size_high"),
        pl.lit(sign),
        amount("size_low_amount"),
        amount("size_high_amount"),
    )
    return pl.when(pl.col("size_low") == pl.col("size_high")).then(one).otherwise(both)


def _headlines(known: pl.DataFrame, news: pl.DataFrame) -> pl.Series:
    """For each dip a list of {id, on, sentiment, title}: what speaks for the cause, then the latest of its own."""
    articles = news.select(
        "instrument_id", on="session", id="article_id", title="title", sentiment=pl.col("sentiment").round(3)
    ).sort("on", "id")
    rows = known.select(*_KEY, "news_ids").with_row_index("dip")
    named = (
        rows.filter(pl.col("news_ids") != "")
        .with_columns(id=pl.col("news_ids").str.split(","))
        .explode("id")
        .join(articles.drop("instrument_id").unique("id", keep="first", maintain_order=True), on="id", how="inner")
        .filter(pl.col("on") <= pl.col("session"))
    )
    lags = pl.DataFrame({"lag": range(HEADLINE_DAYS)}, schema={"lag": pl.Int64})
    latest = (
        rows.join(lags, how="cross")
        .with_columns(on=pl.col("session") - pl.duration(days="lag"))
        .join(articles, on=["instrument_id", "on"], how="inner")
        .sort("dip", "on", "id", descending=[False, True, False])
        .group_by("dip", maintain_order=True)
        .head(HEADLINES)
    )
    fields = ["dip", "on", "sentiment", "title", "id"]
    every = pl.concat([named.select(fields), latest.select(fields)])
    every = every.unique(["dip", "id"], keep="first", maintain_order=True)
    listed = (
        every.sort("dip", "on", "id")
        .with_columns(on=pl.col("on").cast(pl.String))
        .group_by("dip", maintain_order=True)
        .agg(headlines=pl.struct("id", "on", "sentiment", "title"))
    )
    return rows.join(listed, on="dip", how="left", maintain_order="left").select("headlines").to_series()


def _inputs(known: pl.DataFrame, portfolio_value: float, currency: str, version: str) -> pl.Series:
    """Canonical JSON of each row, keys in alphabetical order at every level."""

    def group(names: Sequence[str], **others: pl.Expr) -> pl.Expr:
        fields = {**{name: pl.col(name) for name in names}, **others}
        plain = []
        for name in sorted(fields):
            dtype = known.schema[name] if name in names else None
            value = fields[name]
            if dtype is not None and dtype.is_float():
                value = pl.when(value.is_finite()).then(value).round(6) + 0.0
            elif dtype == pl.Date:
                value = value.cast(pl.String)
            plain.append(value.alias(name))
        return pl.struct(plain)

    whole = {
        "cause": group(("cause", "cause_share", "evidence")),
        "decision": group(
            ("action", "action_reasons", "outlook", "size_low", "size_high", "size_low_amount", "size_high_amount")
        ),
        "dip": group(_DIP),
        "earnings": group(_EARNINGS),
        "headlines": pl.col("headlines"),
        "indicators": group(_INDICATORS),
        "market": group(("environment", "market_regime", "market_volatility")),
        "portfolio": pl.struct(pl.lit(currency).alias("currency"), pl.lit(float(portfolio_value)).alias("value")),
        "rules": pl.lit(version),
        "score": group((*_SCORE, "verdict", "total", "grade", "gates_failed")),
        "sector": pl.col("sector"),
        "session": pl.col("session").cast(pl.String),
        "ticker": pl.col("ticker"),
        "words": group(("why", "play", "risks")),
    }
    return known.select(inputs=pl.struct(whole[name].alias(name) for name in sorted(whole)).struct.json_encode())[
        "inputs"
    ]
