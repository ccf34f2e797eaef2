"""Tables of the group `backtests`.

Prices are total-return prices on a forward basis (`research/market_panel.py`): an instrument's first bar of the panel
stands as traded, and every later split and dividend multiplies what follows. Shares are in that basis too.
"""

from __future__ import annotations

import polars as pl

from trading_pipeline.research.performance.measures import METRICS
from trading_pipeline.tables.base import INSTRUMENT, MOMENT, SESSION, Column, Kind, Table, number

CONFIGURATION = Column("configuration", pl.String(), "Name of the configuration")
PARAMETERS = Column("parameters", pl.String(), "JSON of the strategy's parameters, keys sorted")
_QUANTILES = tuple(
    number(f"p{level:02d}", f"Value that {level} % of the paths stay below") for level in (5, 25, 50, 75, 95)
)

BACKTESTS = Table(
    "backtests",
    Kind.DECISION,
    "What each configuration came to, up to the last session it saw: the metrics, and what they rest on.",
    ("session", "configuration"),
    (
        Column("session", pl.Date(), "Last session of the backtest"),
        CONFIGURATION,
        Column("title", pl.String(), "Its title"),
        Column("strategy", pl.String(), "Name of the strategy"),
        Column("universe", pl.String(), "Whose members it trades"),
        PARAMETERS,
        Column("sized_by", pl.String(), "Method of the allocation, or risk"),
        Column("configuration_hash", pl.String(), "sha256 of all that decides the result"),
        Column("code_version", pl.String(), "Version of the code that computed it"),
        Column("data_as_of", MOMENT, "Newest fact it rests on became known then", True),
        Column("seed", pl.Int64(), "Seed of what is drawn at random"),
        Column("first_session", pl.Date(), "First session of the backtest"),
        number("capital", "Money at the start, in the market's currency"),
        number("equity", "Money at the end"),
        number("debits", "Borrow and haircuts of delisted holdings, paid in all"),
        number("fees", "Fees paid in all"),
        number("slippage", "Lost to slippage in all"),
        *(Column(metric.name, metric.dtype(), f"{metric.description} {metric.formula}", True) for metric in METRICS),
        number("coverage", "Mean share of the members with a bar: survivorship of the data"),
        number("least_coverage", "The same on the worst session"),
        Column("watermark", pl.String(), "What speaks against believing it; null where nothing does", True),
        Column(
            "revised_from",
            pl.Date(),
            "First session whose equity differs from what the same configuration came to before; null where none does",
            True,
        ),
    ),
)

BACKTEST_TRADES = Table(
    "backtest_trades",
    Kind.RESULT,
    "Each round trip of the latest result of a configuration, from flat to flat; those still open at the end too.",
    ("configuration", "number"),
    (
        CONFIGURATION,
        Column("number", pl.Int32(), "Running number, in the order in which they ended"),
        INSTRUMENT,
        Column("ticker", pl.String(), "Symbol the instrument had last"),
        Column("side", pl.String(), "long or short"),
        Column("entered_at", pl.Date(), "Session of the first fill"),
        number("entry_price", "Mean price of what opened it"),
        Column("exited_at", pl.Date(), "Session of the last fill; the last session where it is open"),
        number("exit_price", "Mean price of what closed it; the last close where it is open"),
        Column("shares", pl.Int64(), "Shares opened in all"),
        number("profit", "Money, after fees and debits"),
        number("fees", "Fees of its fills"),
        number("debits", "Borrow and haircuts"),
        number("return", "Profit over what was opened, fraction"),
        number("r_multiple", "Return over the distance of the stop; null without a stop", True),
        Column("reason", pl.String(), "Why: exit_signal, stop, rebalance, left_universe, delisted; end while open"),
    ),
    session_column="entered_at",
    owner=("configuration",),
)

BACKTEST_EQUITY = Table(
    "backtest_equity",
    Kind.RESULT,
    "The account of the latest result of a configuration, session by session.",
    ("configuration", "session"),
    (
        CONFIGURATION,
        SESSION,
        number("equity", "Cash and positions at the close, after debits"),
        number("cash", "Cash"),
        number("return", "Change of equity over the session, fraction"),
        number("gross", "Positions, long and short, over equity"),
        number("net", "Long less short positions over equity"),
        number("turnover", "Half of what was bought and sold, over equity"),
        number("fees", "Fees of the session"),
        number("slippage", "Lost to slippage in the session"),
        number("borrow", "Borrow of short positions for the session"),
        number("haircut", "Haircut of delisted holdings in the session"),
        Column("positions", pl.Int32(), "Names held"),
        number("coverage", "Share of the members with a bar"),
        number("benchmark", "Total-return level of the benchmark; null where it has no bar", True),
    ),
    owner=("configuration",),
)

BACKTEST_POSITIONS = Table(
    "backtest_positions",
    Kind.RESULT,
    "What the latest result of a configuration holds at each close.",
    ("configuration", "session", "instrument_id"),
    (
        CONFIGURATION,
        SESSION,
        INSTRUMENT,
        Column("shares", pl.Int64(), "Shares, negative for a short position"),
        number("value", "Their value at the close"),
    ),
    owner=("configuration",),
)

WALK_FORWARD = Table(
    "walk_forward",
    Kind.RESULT,
    "Each window of a walk-forward: the parameters chosen in training, and what they came to in the test after it.",
    ("configuration", "window"),
    (
        CONFIGURATION,
        Column("window", pl.Int32(), "Running number, from 1"),
        Column("train_first", pl.Date(), "First session of the training"),
        Column("train_last", pl.Date(), "Last session of the training, before the purge"),
        Column("test_first", pl.Date(), "First session of the test"),
        Column("test_last", pl.Date(), "Last session of the test"),
        PARAMETERS,
        Column("tried", pl.Int32(), "Sets of parameters tried in the training"),
        number("train_sharpe", "Sharpe ratio a year of the chosen set in the training", True),
        number("test_sharpe", "Sharpe ratio a year in the test", True),
        number("test_return", "Return of the test, fraction"),
    ),
    session_column="test_first",
    owner=("configuration",),
)

WALK_FORWARD_EQUITY = Table(
    "walk_forward_equity",
    Kind.RESULT,
    "The tests of a walk-forward joined: what somebody would have had who chose as it does.",
    ("configuration", "session"),
    (CONFIGURATION, SESSION, number("equity", "Capital, grown by the tests' returns")),
    owner=("configuration",),
)

MONTE_CARLO = Table(
    "monte_carlo",
    Kind.RESULT,
    "What else a configuration might have come to: quantiles over resampled paths.",
    ("configuration", "method", "measure"),
    (
        CONFIGURATION,
        Column("method", pl.String(), "blocks (of returns, drawn anew) or trades (reshuffled)"),
        Column("measure", pl.String(), "final_return, maximum_drawdown, sharpe, loss or ruin"),
        Column("last_session", pl.Date(), "Last session of the backtest it resamples"),
        Column("paths", pl.Int32(), "Paths drawn"),
        Column("seed", pl.Int64(), "Seed they were drawn from"),
        number("mean", "Mean over the paths; of loss and ruin their probability", True),
        *(Column(each.name, each.dtype, each.description, True) for each in _QUANTILES),
    ),
    session_column="last_session",
    owner=("configuration",),
)

MONTE_CARLO_BANDS = Table(
    "monte_carlo_bands",
    Kind.RESULT,
    "Equity of resampled paths, quantiles by session.",
    ("configuration", "method", "session"),
    (CONFIGURATION, Column("method", pl.String(), "blocks or trades"), SESSION, *_QUANTILES),
    owner=("configuration",),
)

SWEEP_PAIRS = Table(
    "sweep_pairs",
    Kind.RESULT,
    "Every instrument with every set of parameters: what trading it alone, with all the money, would have come to.",
    ("configuration", "chunk", "instrument_id", "parameters"),
    (
        CONFIGURATION,
        Column("chunk", pl.String(), "Part of the sweep, such as 1-of-8"),
        Column("configuration_hash", pl.String(), "sha256 of the configuration that was swept"),
        INSTRUMENT,
        PARAMETERS,
        Column("last_session", pl.Date(), "Last session swept"),
        number("total_return", "Gain over the whole time, fraction"),
        number("sharpe", "Sharpe ratio a year; null where nothing varies", True),
        number("max_drawdown", "Deepest fall from a high, a negative fraction"),
        number("exposure", "Share of the sessions in the market"),
        number("win_rate", "Share of the closed trades with a profit; null without one", True),
        Column("trades", pl.Int32(), "Positions opened"),
    ),
    session_column="last_session",
    owner=("configuration", "chunk"),
)

PARAMETER_SWEEPS = Table(
    "parameter_sweeps",
    Kind.RESULT,
    "Each set of parameters over all instruments, and how stable it is: what its neighbours came to.",
    ("configuration", "parameters"),
    (
        CONFIGURATION,
        PARAMETERS,
        Column("last_session", pl.Date(), "Last session swept"),
        Column("instruments", pl.Int32(), "Instruments it was tried on"),
        Column("traded", pl.Int32(), "Of them, those that had a trade; what follows is over these"),
        number("share_profitable", "Share with a profit", True),
        number("median_sharpe", "Median Sharpe ratio a year", True),
        number("mean_sharpe", "Mean Sharpe ratio a year", True),
        number("median_total_return", "Median gain, fraction", True),
        number("median_max_drawdown", "Median deepest fall, a negative fraction", True),
        number("mean_exposure", "Mean share of the sessions in the market", True),
        number("mean_trades", "Mean number of positions opened", True),
        number("neighbourhood_mean", "Mean of median_sharpe over the set and its neighbours", True),
        number("neighbourhood_min", "Least of median_sharpe over the set and its neighbours", True),
        Column("is_plateau", pl.Boolean(), "Whether its worst neighbour is the best there is: the stable choice"),
        Column("configured", pl.Boolean(), "Whether it is the set that the configuration trades"),
    ),
    session_column="last_session",
    owner=("configuration",),
)

STRATEGY_COMPARISON = Table(
    "strategy_comparison",
    Kind.RESULT,
    "Every two configurations side by side, on the sessions that both cover.",
    ("configuration", "other"),
    (
        CONFIGURATION,
        Column("other", pl.String(), "Name of the other configuration, later in the alphabet"),
        Column("last_session", pl.Date(), "Last session compared"),
        Column("sessions", pl.Int32(), "Sessions compared"),
        number("correlation", "Correlation of their returns", True),
        number("sharpe_difference", "Sharpe ratio of the first less that of the other, a year", True),
        number("low", "Lower end of its 95 % interval, paired block bootstrap", True),
        number("high", "Upper end of that interval", True),
        number("p_value", "Probability of such a difference were there none, two-sided, of this pair alone", True),
    ),
    session_column="last_session",
)

BACKTEST_TABLES = (
    BACKTESTS,
    BACKTEST_TRADES,
    BACKTEST_EQUITY,
    BACKTEST_POSITIONS,
    WALK_FORWARD,
    WALK_FORWARD_EQUITY,
    MONTE_CARLO,
    MONTE_CARLO_BANDS,
    SWEEP_PAIRS,
    PARAMETER_SWEEPS,
    STRATEGY_COMPARISON,
)
