"""Group `premarket`: minutes, and what is said about a session before it opens."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime

import dagster as dg
import polars as pl

from trading_pipeline.assets.common import (
    OWNERS,
    WORLD,
    definition_metadata,
    key_of,
    report,
    run_sessions,
    session_asset,
    world_of,
)
from trading_pipeline.errors import LiveOnly
from trading_pipeline.ingest_intraday import session_hours
from trading_pipeline.markets import Market
from trading_pipeline.partitions import before, lookback, session_partitions
from trading_pipeline.research import dip_desk
from trading_pipeline.research import fundamentals as fundamentals_science
from trading_pipeline.research import news as news_science
from trading_pipeline.research import premarket as science
from trading_pipeline.research.bars.daily import effective, usable
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import (
    DAILY_BIAS,
    INTRADAY_BARS,
    INTRADAY_ISSUES,
    MOMENT,
    PREMARKET_SNAPSHOTS,
    RECEIVED_NEWS,
    Table,
)
from trading_pipeline.world import World

GROUP = "premarket"
PAGE = "premarket_briefing"
MINUTES = (INTRADAY_BARS.name, INTRADAY_ISSUES.name)
SIZES = fundamentals_science.LOOKBACK
"""Sessions before whose indicators bring the market capitalisation of an older snapshot up to date."""
LIVE, REBUILT = "live", "rebuilt"

_SAYS = {
    INTRADAY_BARS: (
        "Bars of 1 and 5 minutes of each watched name with pre- and post-market, every version kept, the forming bar "
        "marked. Providers tell them for days or weeks only: what is not received in time is gone."
    ),
    INTRADAY_ISSUES: "Intraday bars that broke a quality rule, with the rule; rejected ones live here alone.",
}


def premarket_moments(market: Market, sessions: Sequence[date], now: datetime) -> pl.DataFrame:
    """[session, decided_at, taken]: the premarket moment of each session, and whether it is still before its open.

    `LiveOnly` where the premarket moment of a session is not reached.
    """
    exchange = calendar(market.exchange)
    moments = [datetime.combine(day, market.premarket_at, exchange.timezone) for day in sessions]
    if moments[-1] > now:
        raise LiveOnly(
            f"The session of {sessions[-1]} is prepared from {moments[-1]:%H:%M %Z} on",
            "Run the premarket of an earlier session, or wait until then",
        )
    taken = [LIVE if now < exchange.open_at(day) else REBUILT for day in sessions]
    return pl.DataFrame(
        {"session": list(sessions), "decided_at": moments, "taken": taken},
        schema={"session": pl.Date, "decided_at": MOMENT, "taken": pl.String},
    )


def watched_names(
    world: World,
    market: Market,
    universe_members: pl.DataFrame,
    fundamentals: pl.DataFrame,
    indicators: pl.DataFrame,
    sessions: Sequence[date],
) -> pl.DataFrame:
    """[session, instrument_id, ticker] of the live universe on each session, by sizes as known the session before.

    universe_members: of the sessions. fundamentals, indicators: from the session before each.
    """
    exchange = calendar(market.exchange)
    ahead = pl.DataFrame(
        {"session": [exchange.offset(day, -1) for day in sessions], "next": list(sessions)},
        schema={"session": pl.Date, "next": pl.Date},
    )
    caps = fundamentals_science.market_caps(fundamentals, indicators).join(ahead, on="session")
    members = universe_members.filter(pl.col("session").is_in(list(sessions)))
    chosen = dip_desk.desk_members(
        members, caps.drop("session").rename({"next": "session"}), world.live_universe(market)
    )
    names = members.select("session", "instrument_id", "ticker").unique(["session", "instrument_id"], keep="any")
    return chosen.join(names, on=["session", "instrument_id"]).sort("session", "instrument_id")


def build(market: Market) -> list[dg.AssetsDefinition]:
    """The premarket assets of a market."""
    partitions = session_partitions(market)

    def spec(table: Table) -> dg.AssetSpec:
        return dg.AssetSpec(
            key_of(market, table.name),
            deps=[
                dg.AssetDep(key_of(market, "universe_members")),
                dg.AssetDep(key_of(market, "fundamentals"), partition_mapping=before(1)),
                dg.AssetDep(key_of(market, "indicators"), partition_mapping=before(SIZES)),
            ],
            group_name=GROUP,
            kinds={"polars", "deltalake"},
            owners=OWNERS,
            code_version="2",
            description=_SAYS[table],
            metadata=definition_metadata(table, market),
            partitions_def=partitions,
        )

    @dg.multi_asset(
        name=f"{market.name}_receive_minutes",
        specs=[spec(INTRADAY_BARS), spec(INTRADAY_ISSUES)],
        ins={name: dg.AssetIn(key=key_of(market, name)) for name in ("universe_members", "fundamentals", "indicators")},
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={WORLD},
        pool="provider_intraday",
    )
    def receive_minutes(
        context: dg.AssetExecutionContext,
        universe_members: pl.DataFrame,
        fundamentals: pl.DataFrame,
        indicators: pl.DataFrame,
    ) -> Iterator[dg.MaterializeResult[None]]:
        world, sessions = world_of(context), run_sessions(context)
        watched = watched_names(world, market, universe_members, fundamentals, indicators, sessions)
        got = world.receive_intraday(market, watched, sessions)
        for table in (INTRADAY_BARS, INTRADAY_ISSUES):
            yield dg.MaterializeResult(
                asset_key=key_of(market, table.name), metadata=report(context, market, table.name, got.metadata())
            )

    def told(world: World, first: date, last: date) -> pl.DataFrame:
        """Every version of the 5-minute bars of those sessions; 1-minute bars of sessions without any."""
        rows = world.received(market, INTRADAY_BARS, first, last, pl.col("interval") == "5m")
        finer = (pl.col("interval") == "1m") & ~pl.col("session").is_in(rows["session"].unique().implode())
        return pl.concat([rows, world.received(market, INTRADAY_BARS, first, last, finer)])

    def minutes(world: World, sessions: Sequence[date], watched: pl.DataFrame) -> pl.DataFrame:
        """The 5-minute bars that mornings compare with, or 1-minute bars of sessions without any: every version from
        the eve of the first session on, of the sessions before it what `science.by_the_open` keeps.

        Read session by session up to that eve: 500 names of 1 minute over 21 sessions at once take 4.5 GB, so 0.9.
        `LiveOnly` where a provider that forgets was not asked in time.
        """
        exchange, provider = calendar(market.exchange), world.intraday_provider
        first = exchange.offset(sessions[0], -science.INTRADAY_LOOKBACK)
        eve = exchange.offset(sessions[0], -1)
        rows = pl.concat(
            [
                *(science.by_the_open(told(world, day, day)) for day in exchange.between(first, eve)[:-1]),
                told(world, eve, sessions[-1]),
            ]
        )
        if provider is None or provider.reach("5m") is None or watched.is_empty():
            return rows
        past = {day for day in sessions if exchange.open_at(day) <= world.now()}
        missing = sorted(past - set(rows["session"].unique()))
        if missing and any(provider.covers(ticker) for ticker in watched["ticker"].unique()):
            raise LiveOnly(
                f"No minutes of {missing[0]} are stored, so that what was seen before its open cannot be rebuilt",
                "Materialize intraday_bars of that session while its provider still tells them, or leave it out",
            )
        return rows

    def hours(sessions: Sequence[date]) -> pl.DataFrame:
        exchange = calendar(market.exchange)
        return session_hours(
            market, exchange.between(exchange.offset(sessions[0], -science.DAILY_LOOKBACK), sessions[-1])
        )

    def as_taken(world: World, table: Table, rows: pl.DataFrame) -> pl.DataFrame:
        """`rows`, those of sessions prepared live as they were then: what is rebuilt never takes their place."""
        rebuilt = rows.filter(pl.col("taken") == REBUILT)["session"].unique().to_list()
        stored = world.lake.latest(market.name, table.name, rebuilt) if rebuilt else table.empty()
        live = stored.filter(pl.col("taken") == LIVE)
        return pl.concat([rows.join(live.select("session").unique(), on="session", how="anti"), live])

    minutes_of = dg.AssetDep(key_of(market, INTRADAY_BARS.name), partition_mapping=lookback(science.INTRADAY_LOOKBACK))

    @session_asset(
        market,
        PREMARKET_SNAPSHOTS,
        group=GROUP,
        kinds={"polars", "deltalake", "postgres"},
        code_version="2",
        description=(
            "What to expect of each watched name before the open: where it stands by day, week and month, the bands of "
            "its 5-minute prices, yesterday's levels, the gap and the premarket volume. Taken at the premarket moment; "
            "one that is rebuilt later from stored bars says so."
        ),
        ins={"universe_members": 0, "corporate_actions": science.DAILY_LOOKBACK},
        before={
            "daily_bars": science.DAILY_LOOKBACK,
            "fundamentals": 1,
            "indicators": SIZES,
        },
        deps=[minutes_of],
    )
    def premarket_snapshots(
        context: dg.AssetExecutionContext,
        universe_members: pl.DataFrame,
        corporate_actions: pl.DataFrame,
        daily_bars: pl.DataFrame,
        fundamentals: pl.DataFrame,
        indicators: pl.DataFrame,
    ) -> pl.DataFrame:
        world, sessions = world_of(context), run_sessions(context)
        watched = watched_names(world, market, universe_members, fundamentals, indicators, sessions)
        rows = science.snapshots(
            usable(daily_bars),
            effective(corporate_actions),
            minutes(world, sessions, watched),
            indicators,
            watched,
            hours(sessions),
            premarket_moments(market, sessions, world.now()),
            priority=world.intraday_priority,
        )
        return as_taken(world, PREMARKET_SNAPSHOTS, rows)

    @session_asset(
        market,
        DAILY_BIAS,
        group=GROUP,
        kinds={"polars", "deltalake", "postgres", "anthropic"},
        code_version=f"1/{science.load_rules().version}",
        description=(
            "Which way each watched name leans before the open, how surely, and why: gap, overnight range, trend, "
            "volume, news since the close and the day's events. The rules decide; Claude, where a key is set, words it."
        ),
        ins={"premarket_snapshots": 0, "universe_members": 0, "corporate_actions": science.DAILY_LOOKBACK},
        before={
            "fundamentals": 1,
            "indicators": SIZES,
            "market_regime": science.REFERENCE_LOOKBACK,
            "earnings_calendar": science.REFERENCE_LOOKBACK,
        },
        deps=[
            minutes_of,
            dg.AssetDep(key_of(market, RECEIVED_NEWS.name), partition_mapping=lookback(news_science.LOOKBACK)),
        ],
    )
    def daily_bias(
        context: dg.AssetExecutionContext,
        premarket_snapshots: pl.DataFrame,
        universe_members: pl.DataFrame,
        corporate_actions: pl.DataFrame,
        fundamentals: pl.DataFrame,
        indicators: pl.DataFrame,
        market_regime: pl.DataFrame,
        earnings_calendar: pl.DataFrame,
    ) -> pl.DataFrame:
        world, sessions = world_of(context), run_sessions(context)
        # As live as the snapshots are: a run may straddle the open.
        taken = premarket_snapshots.select("session", "taken").unique("session")
        judged = premarket_moments(market, sessions, world.now()).update(taken, on="session")
        watched = watched_names(world, market, universe_members, fundamentals, indicators, sessions)
        exchange = calendar(market.exchange)
        first = exchange.offset(sessions[0], -news_science.LOOKBACK)
        span = exchange.between(first, sessions[-1])
        heard = news_science.news(
            world.received(market, RECEIVED_NEWS, first),
            universe_members,
            sessions,
            premarket_moments(market, span, world.now()).drop("taken"),
        )
        rows = science.daily_bias(
            premarket_snapshots,
            effective(corporate_actions),
            minutes(world, sessions, watched),
            indicators,
            market_regime,
            heard,
            earnings_calendar,
            watched,
            hours(sessions),
            judged,
            priority=world.intraday_priority,
        )
        return as_taken(world, DAILY_BIAS, rows)

    @dg.asset(
        name=PAGE,
        key_prefix=market.name,
        deps=[
            dg.AssetDep(key_of(market, PREMARKET_SNAPSHOTS.name)),
            dg.AssetDep(key_of(market, DAILY_BIAS.name)),
            *(
                dg.AssetDep(key_of(market, name), partition_mapping=before(1))
                for name in ("market_regime", "earnings_calendar", "screener_scores", "dip_analysis")
            ),
        ],
        group_name=GROUP,
        kinds={"html"},
        owners=OWNERS,
        code_version="1",
        description=(
            "The page to read before the open: the market in a line, gaps, biases with their reasons, where each "
            "watched name stands among its bands, and the day's events."
        ),
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={WORLD},
    )
    def premarket_briefing(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from trading_pipeline.reports.premarket import place_of, premarket_page
        from trading_pipeline.storage import files

        world = world_of(context)
        address = ""
        for session in run_sessions(context):
            page = premarket_page(world, market, session)
            address = files.put_text(world.settings, place_of(market, session), page)
        page_at = {"page": dg.MetadataValue.url(address)}
        return dg.MaterializeResult(metadata=report(context, market, PAGE, page_at))

    return [receive_minutes, premarket_snapshots, daily_bias, premarket_briefing]
