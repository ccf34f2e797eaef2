"""The book of model calls: budgets and reruns are kept by it."""

from alembic import op

revision = "0004"
down_revision = "0003"

_MODEL_CALLS = """
CREATE TABLE model_calls (
    id                 bigint           NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    called_at          timestamptz      NOT NULL,
    session            date             NOT NULL,
    instrument_id      text             NOT NULL,
    prompt_hash        text             NOT NULL,
    model              text             NOT NULL,
    input_tokens       bigint           NOT NULL,
    output_tokens      bigint           NOT NULL,
    cache_read_tokens  bigint           NOT NULL,
    cache_write_tokens bigint           NOT NULL,
    cost               double precision NOT NULL,
    stop_reason        text,
    outcome            text             NOT NULL,
    settled            boolean          NOT NULL,
    answer             text,
    CONSTRAINT model_calls_cost_not_negative CHECK (cost >= 0),
    CONSTRAINT model_calls_answer_where_answered CHECK ((answer IS NOT NULL) = (outcome = 'answered'))
);
CREATE INDEX model_calls_by_day ON model_calls (called_at);
CREATE INDEX model_calls_settled ON model_calls (prompt_hash) WHERE settled;
"""


def upgrade() -> None:
    """Creates the table."""
    op.execute(_MODEL_CALLS)
