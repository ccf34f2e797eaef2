"""Schedules: what the wall clock starts, guarded by the exchange's calendar.

Each names its session itself. A schedule built from the partitioned job would, on a closed day, ask for a session of
the future (partitions open with `end_offset=1`).
"""

from collections.abc import Collection
from datetime import timedelta

import dagster as dg

from trading_pipeline.automation import backtest_runs, jobs
from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.sessions import calendar

END_OF_DAY_HOUR = 18
END_OF_DAY = f"0 {END_OF_DAY_HOUR} * * *"
MINUTES = "30 20 * * *"
EARLY = timedelta(minutes=10)
SUNDAY_NOON = "0 12 * * 0"
SUNDAY_EVENING = "0 20 * * 0"


def _asked(
    market: Market, context: dg.ScheduleEvaluationContext, key: str, *, final: bool = False
) -> dg.RunRequest | dg.SkipReason:
    """A run for the session of the tick's day; none on a day without one, nor, where `final`, before its bars are.

    key: of the runs of one schedule; with the day, at most one run has it.
    """
    exchange, moment = calendar(market.exchange), context.scheduled_execution_time
    day = exchange.local_date(moment)
    if not exchange.is_session(day):
        return dg.SkipReason(f"{market.exchange} does not trade on {day:%A %d %B %Y}.")
    final_at = exchange.close_at(day) + market.data_lag
    if final and moment < final_at:
        return dg.SkipReason(f"The bars of {day} are not final before {final_at:%H:%M} UTC.")
    return dg.RunRequest(run_key=f"{key}/{day}", partition_key=day.isoformat())


def end_of_day(
    market: Market, status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.STOPPED
) -> dg.ScheduleDefinition:
    """18:00 exchange time on every session: the whole graph for that session."""
    exchange = calendar(market.exchange)

    @dg.schedule(
        name=f"{market.name}_end_of_day",
        job_name=jobs.end_of_day_name(market),
        cron_schedule=END_OF_DAY,
        execution_timezone=str(exchange.timezone),
        default_status=status,
        description=f"After the close of every {market.exchange} session: fetch, judge, grade, find the dips.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _asked(market, context, market.name, final=True)

    return tick


def market_week(
    market: Market, status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.STOPPED
) -> dg.ScheduleDefinition:
    """Sunday noon, exchange time: the week just ended, for its last session's briefing."""
    exchange = calendar(market.exchange)

    @dg.schedule(
        name=f"{market.name}_market_week",
        job_name=jobs.decisions_name(market),
        cron_schedule=SUNDAY_NOON,
        execution_timezone=str(exchange.timezone),
        default_status=status,
        description=f"Every Sunday: the {market.exchange} week looked back on, in the briefing of its last session.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        sunday = exchange.local_date(context.scheduled_execution_time)
        session = exchange.on_or_before(sunday)
        if (sunday - session).days > 6:
            return dg.SkipReason(f"{market.exchange} had no session in the week before {sunday}.")
        return dg.RunRequest(run_key=f"{market.name}/week/{session}", partition_key=session.isoformat())

    return tick


def premarket(
    market: Market, status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.STOPPED
) -> dg.ScheduleDefinition:
    """The premarket moment of every session, exchange time: minutes, snapshots and biases of the session ahead."""
    exchange, at = calendar(market.exchange), market.premarket_at

    @dg.schedule(
        name=f"{market.name}_premarket",
        job_name=jobs.premarket_name(market),
        cron_schedule=f"{at.minute} {at.hour} * * *",
        execution_timezone=str(exchange.timezone),
        default_status=status,
        description=f"Before the open of every {market.exchange} session: what to expect of each watched name.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _asked(market, context, f"{market.name}/premarket")

    return tick


def minutes(
    market: Market, status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.STOPPED
) -> dg.ScheduleDefinition:
    """20:30 exchange time on every session: the day's minutes, for the next premarket and for replays."""
    exchange = calendar(market.exchange)

    @dg.schedule(
        name=f"{market.name}_minutes",
        job_name=jobs.minutes_name(market),
        cron_schedule=MINUTES,
        execution_timezone=str(exchange.timezone),
        default_status=status,
        description=f"After the post-market of every {market.exchange} session: its minutes, while they are told.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _asked(market, context, f"{market.name}/minutes")

    return tick


def live(market: Market) -> dg.ScheduleDefinition:
    """Ten minutes before the open of every session: the live run, which waits for the open and ends with the close.

    Switched off until somebody switches it on: it places orders, on paper.
    """
    exchange = calendar(market.exchange)
    at = exchange.open_at(exchange.last_session).astimezone(exchange.timezone) - EARLY

    @dg.schedule(
        name=f"{market.name}_live",
        job_name=jobs.live_name(market),
        cron_schedule=f"{at.minute} {at.hour} * * *",
        execution_timezone=str(exchange.timezone),
        description=f"Every {market.exchange} session on paper: one run from before the open to the close.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _asked(market, context, f"{market.name}/live")

    return tick


def lake_compaction() -> dg.ScheduleDefinition:
    """Sunday evening, UTC: merge the lake's small files."""
    return dg.ScheduleDefinition(
        name="lake_compaction",
        job=jobs.lake_compaction,
        cron_schedule=SUNDAY_EVENING,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every Sunday: merge the small files that daily appends leave in the lake.",
    )


def build(running: Collection[str] = ()) -> list[dg.ScheduleDefinition]:
    """Every schedule; those of the markets named in `running` are switched on from the first start, upkeep too."""
    status = {
        name: dg.DefaultScheduleStatus.RUNNING if name in running else dg.DefaultScheduleStatus.STOPPED
        for name in MARKETS
    }
    return [
        *(end_of_day(market, status[market.name]) for market in MARKETS.values()),
        *(premarket(market, status[market.name]) for market in MARKETS.values()),
        *(minutes(market, status[market.name]) for market in MARKETS.values()),
        *(live(market) for market in MARKETS.values()),
        *(market_week(market, status[market.name]) for market in MARKETS.values()),
        *(each for market in MARKETS.values() for each in backtest_runs.schedules(market, status[market.name])),
        lake_compaction(),
    ]
