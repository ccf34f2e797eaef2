"""Dividends of what is held overnight, in accounts and trades.

Until now they were in cash and profit alone. What an account received is what its cash gained beyond what was realised,
what holdings took or gave back at cost, and fees; what a trade received is what its profit has beyond its prices and
fees. A trade that was closed on the session of its entry received nothing.

`income` keeps its default: a loop that was started before writes the end of its session without it.
"""

from alembic import op

revision = "0008"
down_revision = "0007"

_INCOME = """
ALTER TABLE accounts ADD COLUMN income double precision NOT NULL DEFAULT 0;
UPDATE accounts SET income = told.income
FROM (
    SELECT book, session, round((
        cash - cash_before - realised + fees + market_value - unrealised
        - lag(market_value - unrealised, 1, 0) OVER (PARTITION BY book ORDER BY session)
    )::numeric, 2) AS income
    FROM accounts
) AS told
WHERE accounts.book = told.book AND accounts.session = told.session;

ALTER TABLE trades ADD COLUMN income double precision NOT NULL DEFAULT 0;
UPDATE trades SET income = round((
    pnl + fees - trades.quantity * (exit_price - entry_price) * CASE trades.side WHEN 'long' THEN 1 ELSE -1 END
)::numeric, 2)
FROM orders
WHERE orders.book = trades.book AND orders.order_id = split_part(trades.trade_id, '#', 1)
    AND orders.session < trades.session;
"""


def upgrade() -> None:
    """Adds the columns and works out what they hold for what was stored before."""
    op.execute(_INCOME)
