"""What backtests, walk-forwards, Monte Carlo, sweeps and comparisons come to."""

from alembic import op

revision = "0009"
down_revision = "0008"

_BACKTESTS = """
CREATE TABLE backtests (
    market                       text             NOT NULL,
    session                      date             NOT NULL,
    configuration                text             NOT NULL,
    title                        text             NOT NULL,
    strategy                     text             NOT NULL,
    universe                     text             NOT NULL,
    parameters                   text             NOT NULL,
    sized_by                     text             NOT NULL,
    configuration_hash           text             NOT NULL,
    code_version                 text             NOT NULL,
    data_as_of                   timestamptz,
    seed                         bigint           NOT NULL,
    first_session                date             NOT NULL,
    capital                      double precision NOT NULL,
    equity                       double precision NOT NULL,
    debits                       double precision NOT NULL,
    fees                         double precision NOT NULL,
    slippage                     double precision NOT NULL,
    sessions                     bigint,
    total_return                 double precision,
    cagr                         double precision,
    volatility                   double precision,
    sharpe                       double precision,
    sortino                      double precision,
    calmar                       double precision,
    omega                        double precision,
    maximum_drawdown             double precision,
    maximum_drawdown_sessions    bigint,
    maximum_drawdown_start_row   bigint,
    maximum_drawdown_trough_row  bigint,
    maximum_drawdown_end_row     bigint,
    longest_drawdown_sessions    bigint,
    value_at_risk_95             double precision,
    conditional_value_at_risk_95 double precision,
    skew                         double precision,
    kurtosis                     double precision,
    tail_ratio                   double precision,
    trades                       bigint,
    win_rate                     double precision,
    profit_factor                double precision,
    expectancy                   double precision,
    average_win                  double precision,
    average_loss                 double precision,
    average_trade_return         double precision,
    exposure                     double precision,
    time_in_market               double precision,
    turnover                     double precision,
    alpha                        double precision,
    beta                         double precision,
    information_ratio            double precision,
    probabilistic_sharpe         double precision,
    minimum_track_record         bigint,
    trials                       bigint,
    deflated_sharpe              double precision,
    coverage                     double precision NOT NULL,
    least_coverage               double precision NOT NULL,
    watermark                    text,
    revised_from                 date,
    computed_at                  timestamptz      NOT NULL,
    withdrawn                    boolean          NOT NULL,
    PRIMARY KEY (market, session, configuration, computed_at),
    CONSTRAINT backtests_hash CHECK (configuration_hash ~ '^[0-9a-f]{64}$')
);

CREATE VIEW backtests_latest AS
    SELECT * FROM (
        SELECT DISTINCT ON (market, session, configuration) * FROM backtests
        ORDER BY market, session, configuration, computed_at DESC
    ) AS newest WHERE NOT withdrawn;

CREATE TABLE backtest_trades (
    market        text             NOT NULL,
    configuration text             NOT NULL,
    number        integer          NOT NULL,
    instrument_id text             NOT NULL,
    ticker        text             NOT NULL,
    side          text             NOT NULL,
    entered_at    date             NOT NULL,
    entry_price   double precision NOT NULL,
    exited_at     date             NOT NULL,
    exit_price    double precision NOT NULL,
    shares        bigint           NOT NULL,
    profit        double precision NOT NULL,
    fees          double precision NOT NULL,
    debits        double precision NOT NULL,
    "return"      double precision NOT NULL,
    r_multiple    double precision,
    reason        text             NOT NULL,
    PRIMARY KEY (market, configuration, number),
    CONSTRAINT backtest_trades_side CHECK (side IN ('long', 'short'))
);

CREATE TABLE walk_forward (
    market        text             NOT NULL,
    configuration text             NOT NULL,
    "window"      integer          NOT NULL,
    train_first   date             NOT NULL,
    train_last    date             NOT NULL,
    test_first    date             NOT NULL,
    test_last     date             NOT NULL,
    parameters    text             NOT NULL,
    tried         integer          NOT NULL,
    train_sharpe  double precision,
    test_sharpe   double precision,
    test_return   double precision NOT NULL,
    PRIMARY KEY (market, configuration, "window")
);

CREATE TABLE monte_carlo (
    market        text             NOT NULL,
    configuration text             NOT NULL,
    method        text             NOT NULL,
    measure       text             NOT NULL,
    last_session  date             NOT NULL,
    paths         integer          NOT NULL,
    seed          bigint           NOT NULL,
    mean          double precision,
    p05           double precision,
    p25           double precision,
    p50           double precision,
    p75           double precision,
    p95           double precision,
    PRIMARY KEY (market, configuration, method, measure)
);

CREATE TABLE parameter_sweeps (
    market              text             NOT NULL,
    configuration       text             NOT NULL,
    parameters          text             NOT NULL,
    last_session        date             NOT NULL,
    instruments         integer          NOT NULL,
    traded              integer          NOT NULL,
    share_profitable    double precision,
    median_sharpe       double precision,
    mean_sharpe         double precision,
    median_total_return double precision,
    median_max_drawdown double precision,
    mean_exposure       double precision,
    mean_trades         double precision,
    neighbourhood_mean  double precision,
    neighbourhood_min   double precision,
    is_plateau          boolean          NOT NULL,
    configured          boolean          NOT NULL,
    PRIMARY KEY (market, configuration, parameters)
);

CREATE TABLE strategy_comparison (
    market            text             NOT NULL,
    configuration     text             NOT NULL,
    other             text             NOT NULL,
    last_session      date             NOT NULL,
    sessions          integer          NOT NULL,
    correlation       double precision,
    sharpe_difference double precision,
    low               double precision,
    high              double precision,
    p_value           double precision,
    PRIMARY KEY (market, configuration, other)
);
"""


def upgrade() -> None:
    """Creates the tables and the view of the latest results."""
    op.execute(_BACKTESTS)
