"""The live session and paper execution, and the database flag of the kill switch.

Append-only is kept by a trigger: the rows of books that are no replays are never changed or deleted, those of replays
are deleted as a whole and never changed. The log of bars is the one exception: it is kept for a limited time.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

_SESSION = """
CREATE TABLE live_sessions (
    book          text             NOT NULL,
    session       date             NOT NULL,
    run_id        text             NOT NULL,
    rules_version text             NOT NULL,
    equity        double precision NOT NULL,
    started_at    timestamptz      NOT NULL,
    heartbeat_at  timestamptz      NOT NULL,
    ended_at      timestamptz,
    ended_why     text,
    PRIMARY KEY (book, session),
    CONSTRAINT live_sessions_book_named CHECK (book = 'paper' OR book LIKE 'paper:_%' OR book LIKE 'replay:_%'),
    CONSTRAINT live_sessions_ends_for_a_reason CHECK ((ended_at IS NULL) = (ended_why IS NULL)),
    CONSTRAINT live_sessions_reason_known CHECK (ended_why IN ('closed', 'halted', 'interrupted'))
);

CREATE TABLE live_ticks (
    book            text             NOT NULL,
    session         date             NOT NULL,
    tick_at         timestamptz      NOT NULL,
    symbols         integer          NOT NULL,
    fresh           integer          NOT NULL,
    newest_bar_at   timestamptz,
    signals         integer          NOT NULL,
    orders          integer          NOT NULL,
    entries_allowed boolean          NOT NULL,
    why_not         text,
    compute_ms      double precision,
    PRIMARY KEY (book, session, tick_at),
    FOREIGN KEY (book, session) REFERENCES live_sessions,
    CONSTRAINT live_ticks_counts CHECK (fresh BETWEEN 0 AND symbols AND signals >= 0 AND orders >= 0),
    CONSTRAINT live_ticks_say_why_not CHECK (entries_allowed = (why_not IS NULL)),
    CONSTRAINT live_ticks_no_entry_where_none_is_allowed CHECK (entries_allowed OR orders = 0)
);

-- No foreign key to the tick: 500 look-ups a tick, for rows that are written in one transaction with it.
CREATE TABLE live_loop_logs (
    book              text             NOT NULL,
    session           date             NOT NULL,
    tick_at           timestamptz      NOT NULL,
    instrument_id     text             NOT NULL,
    bar_started_at    timestamptz      NOT NULL,
    open              double precision NOT NULL,
    high              double precision NOT NULL,
    low               double precision NOT NULL,
    close             double precision NOT NULL,
    volume            double precision,
    mean              double precision NOT NULL,
    sigma             double precision,
    z_session         double precision,
    z_rolling         double precision,
    vwap              double precision,
    vwap_distance_pct double precision,
    band              integer,
    PRIMARY KEY (book, session, instrument_id, bar_started_at),
    CONSTRAINT live_loop_logs_complete_bars CHECK (bar_started_at < tick_at),
    CONSTRAINT live_loop_logs_prices CHECK (open > 0 AND high > 0 AND low > 0 AND close > 0),
    CONSTRAINT live_loop_logs_bands CHECK (band BETWEEN -3 AND 3)
);
"""

_SIGNALS = """
CREATE TABLE trade_signals (
    book              text             NOT NULL,
    signal_id         text             NOT NULL,
    session           date             NOT NULL,
    instrument_id     text             NOT NULL,
    ticker            text             NOT NULL,
    tick_at           timestamptz      NOT NULL,
    setup             text             NOT NULL,
    side              text             NOT NULL,
    price             double precision NOT NULL,
    stop              double precision NOT NULL,
    target            double precision NOT NULL,
    reward_to_risk    double precision NOT NULL,
    strength          double precision NOT NULL,
    multiplier        double precision NOT NULL,
    z_session         double precision,
    z_rolling         double precision,
    vwap_distance_pct double precision,
    bias              text,
    environment       text,
    reasons           text             NOT NULL,
    outcome           text             NOT NULL,
    outcome_reason    text             NOT NULL,
    quantity          bigint           NOT NULL,
    PRIMARY KEY (book, signal_id),
    FOREIGN KEY (book, session) REFERENCES live_sessions,
    CONSTRAINT trade_signals_setup_known CHECK (setup IN ('mean_reversion', 'trend_continuation')),
    CONSTRAINT trade_signals_side_known CHECK (side IN ('long', 'short')),
    CONSTRAINT trade_signals_outcome_known
        CHECK (outcome IN ('ordered', 'risk', 'validation', 'feed', 'halted', 'close')),
    CONSTRAINT trade_signals_quantity_where_ordered CHECK (quantity >= 0 AND (quantity > 0) = (outcome = 'ordered')),
    CONSTRAINT trade_signals_strength CHECK (strength BETWEEN 0 AND 1),
    CONSTRAINT trade_signals_multiplier CHECK (multiplier BETWEEN 0.5 AND 2),
    CONSTRAINT trade_signals_bias_known CHECK (bias IN ('long', 'short', 'neutral')),
    CONSTRAINT trade_signals_environment_known CHECK (environment IN ('A', 'B', 'C', 'D')),
    CONSTRAINT trade_signals_price CHECK (price > 0)
);
CREATE INDEX trade_signals_by_tick ON trade_signals (book, session, tick_at);

CREATE TABLE llm_validations (
    book        text             NOT NULL,
    signal_id   text             NOT NULL,
    session     date             NOT NULL,
    asked_at    timestamptz      NOT NULL,
    answered_at timestamptz,
    verdict     text             NOT NULL,
    reason      text             NOT NULL,
    model       text,
    prompt_hash text,
    inputs      text             NOT NULL,
    cost        double precision,
    PRIMARY KEY (book, signal_id),
    FOREIGN KEY (book, signal_id) REFERENCES trade_signals,
    CONSTRAINT llm_validations_verdict_known CHECK (verdict IN ('confirm', 'veto', 'none')),
    CONSTRAINT llm_validations_cost CHECK (cost >= 0)
);

CREATE TABLE market_analysis (
    book               text             NOT NULL,
    session            date             NOT NULL,
    tick_at            timestamptz      NOT NULL,
    source             text             NOT NULL,
    mean_reversion     double precision NOT NULL,
    trend_continuation double precision NOT NULL,
    long               double precision NOT NULL,
    short              double precision NOT NULL,
    summary            text             NOT NULL,
    model              text,
    prompt_hash        text,
    inputs             text             NOT NULL,
    cost               double precision,
    PRIMARY KEY (book, session, tick_at),
    FOREIGN KEY (book, session) REFERENCES live_sessions,
    CONSTRAINT market_analysis_source_known CHECK (source IN ('rules', 'claude')),
    CONSTRAINT market_analysis_multipliers CHECK (
        mean_reversion BETWEEN 0.5 AND 2 AND trend_continuation BETWEEN 0.5 AND 2
        AND long BETWEEN 0.5 AND 2 AND short BETWEEN 0.5 AND 2
    ),
    CONSTRAINT market_analysis_cost CHECK (cost >= 0)
);
"""

_LEDGER = """
CREATE TABLE orders (
    book          text             NOT NULL,
    order_id      text             NOT NULL,
    session       date             NOT NULL,
    instrument_id text             NOT NULL,
    ticker        text             NOT NULL,
    signal_id     text,
    parent_id     text,
    role          text             NOT NULL,
    side          text             NOT NULL,
    quantity      bigint           NOT NULL,
    order_type    text             NOT NULL,
    limit_price   double precision,
    stop_price    double precision,
    time_in_force text             NOT NULL,
    created_at    timestamptz      NOT NULL,
    risk          double precision,
    PRIMARY KEY (book, order_id),
    FOREIGN KEY (book, session) REFERENCES live_sessions,
    FOREIGN KEY (book, signal_id) REFERENCES trade_signals,
    FOREIGN KEY (book, parent_id) REFERENCES orders,
    CONSTRAINT orders_role_known CHECK (role IN ('entry', 'stop', 'target', 'close')),
    CONSTRAINT orders_side_known CHECK (side IN ('buy', 'sell')),
    CONSTRAINT orders_type_known CHECK (order_type IN ('market', 'limit', 'stop')),
    CONSTRAINT orders_time_in_force_known CHECK (time_in_force IN ('day', 'gtc')),
    CONSTRAINT orders_quantity CHECK (quantity > 0),
    CONSTRAINT orders_limit_where_limited CHECK ((order_type = 'limit') = (limit_price IS NOT NULL)),
    CONSTRAINT orders_trigger_where_stopped CHECK ((order_type = 'stop') = (stop_price IS NOT NULL)),
    CONSTRAINT orders_prices CHECK (limit_price > 0 AND stop_price > 0),
    CONSTRAINT orders_risk CHECK (risk > 0),
    CONSTRAINT orders_entries_have_no_parent CHECK (role <> 'entry' OR parent_id IS NULL),
    CONSTRAINT orders_legs_have_one CHECK (role NOT IN ('stop', 'target') OR parent_id IS NOT NULL)
);
CREATE INDEX orders_by_session ON orders (book, session);
CREATE INDEX orders_by_parent ON orders (book, parent_id) WHERE parent_id IS NOT NULL;

CREATE TABLE order_events (
    book            text        NOT NULL,
    order_id        text        NOT NULL,
    sequence        integer     NOT NULL,
    at              timestamptz NOT NULL,
    status          text        NOT NULL,
    reason          text,
    broker_order_id text,
    PRIMARY KEY (book, order_id, sequence),
    FOREIGN KEY (book, order_id) REFERENCES orders,
    CONSTRAINT order_events_status_known CHECK (
        status IN ('pending', 'accepted', 'partially_filled', 'filled', 'cancelled', 'rejected', 'expired')
    ),
    CONSTRAINT order_events_begin_pending CHECK ((sequence = 0) = (status = 'pending') AND sequence >= 0)
);

CREATE TABLE fills (
    book          text             NOT NULL,
    fill_id       text             NOT NULL,
    order_id      text             NOT NULL,
    session       date             NOT NULL,
    instrument_id text             NOT NULL,
    ticker        text             NOT NULL,
    at            timestamptz      NOT NULL,
    side          text             NOT NULL,
    quantity      bigint           NOT NULL,
    price         double precision NOT NULL,
    fee           double precision NOT NULL,
    PRIMARY KEY (book, fill_id),
    FOREIGN KEY (book, order_id) REFERENCES orders,
    CONSTRAINT fills_side_known CHECK (side IN ('buy', 'sell')),
    CONSTRAINT fills_quantity CHECK (quantity > 0),
    CONSTRAINT fills_price CHECK (price > 0),
    CONSTRAINT fills_fee CHECK (fee >= 0)
);
CREATE INDEX fills_by_session ON fills (book, session);
CREATE INDEX fills_by_order ON fills (book, order_id);
"""

_DERIVED = """
CREATE TABLE positions (
    book          text             NOT NULL,
    session       date             NOT NULL,
    instrument_id text             NOT NULL,
    ticker        text             NOT NULL,
    quantity      bigint           NOT NULL,
    average_price double precision NOT NULL,
    market_price  double precision NOT NULL,
    market_value  double precision NOT NULL,
    unrealised    double precision NOT NULL,
    PRIMARY KEY (book, session, instrument_id),
    FOREIGN KEY (book, session) REFERENCES live_sessions,
    CONSTRAINT positions_held CHECK (quantity <> 0),
    CONSTRAINT positions_prices CHECK (average_price > 0 AND market_price >= 0)
);

CREATE TABLE trades (
    book          text             NOT NULL,
    trade_id      text             NOT NULL,
    session       date             NOT NULL,
    instrument_id text             NOT NULL,
    ticker        text             NOT NULL,
    setup         text,
    side          text             NOT NULL,
    quantity      bigint           NOT NULL,
    opened_at     timestamptz      NOT NULL,
    closed_at     timestamptz      NOT NULL,
    entry_price   double precision NOT NULL,
    exit_price    double precision NOT NULL,
    fees          double precision NOT NULL,
    pnl           double precision NOT NULL,
    r_multiple    double precision,
    exit_reason   text             NOT NULL,
    PRIMARY KEY (book, trade_id),
    FOREIGN KEY (book, session) REFERENCES live_sessions,
    CONSTRAINT trades_side_known CHECK (side IN ('long', 'short')),
    CONSTRAINT trades_quantity CHECK (quantity > 0),
    CONSTRAINT trades_end_after_they_begin CHECK (closed_at >= opened_at),
    CONSTRAINT trades_exit_reason_known CHECK (exit_reason IN ('stop', 'target', 'close', 'several'))
);
CREATE INDEX trades_by_session ON trades (book, session);

CREATE TABLE accounts (
    book         text             NOT NULL,
    session      date             NOT NULL,
    cash_before  double precision NOT NULL,
    cash         double precision NOT NULL,
    market_value double precision NOT NULL,
    equity       double precision NOT NULL,
    realised     double precision NOT NULL,
    unrealised   double precision NOT NULL,
    fees         double precision NOT NULL,
    PRIMARY KEY (book, session),
    FOREIGN KEY (book, session) REFERENCES live_sessions,
    CONSTRAINT accounts_equity_is_cash_and_value CHECK (abs(equity - cash - market_value) < 0.005)
);

CREATE TABLE trading_halts (
    id        bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    halted_at timestamptz NOT NULL,
    reason    text        NOT NULL,
    lifted_at timestamptz,
    CONSTRAINT trading_halts_end_after_they_begin CHECK (lifted_at >= halted_at)
);
CREATE UNIQUE INDEX trading_halts_one_at_a_time ON trading_halts ((true)) WHERE lifted_at IS NULL;
"""

_APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.book LIKE 'replay:_%' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% is append-only: % of a row of book % refused', TG_TABLE_NAME, TG_OP, OLD.book
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
"""

_NEVER_CHANGED = (
    "live_ticks", "trade_signals", "llm_validations", "market_analysis", "orders", "order_events", "fills",
)  # fmt: skip


def upgrade() -> None:
    """Creates the tables and guards those that are append-only."""
    for statement in (_SESSION, _SIGNALS, _LEDGER, _DERIVED, _APPEND_ONLY):
        op.execute(statement)
    for table in _NEVER_CHANGED:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
