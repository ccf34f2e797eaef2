import pickle

import pytest

from trading_pipeline.errors import TradingPipelineError
from trading_pipeline.providers.errors import (
    AccessRefused,
    EmptyWindow,
    NotFound,
    ProviderDown,
    ProviderError,
    RateLimited,
    SchemaChanged,
)

KINDS = [RateLimited, ProviderDown, NotFound, EmptyWindow, SchemaChanged, AccessRefused]


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_says_what_and_how_to_mend_it_in_one_line_and_survives_pickling(kind):
    error = pickle.loads(pickle.dumps(kind("IBM cannot be had")))
    assert isinstance(error, ProviderError) and isinstance(error, TradingPipelineError) and type(error) is kind
    assert str(error) == f"IBM cannot be had. {error.remedy}." and "\n" not in str(error)


def test_what_the_provider_asks_us_to_wait_survives_pickling():
    assert pickle.loads(pickle.dumps(RateLimited("too fast", retry_after=30.0))).retry_after == 30.0


def test_kinds_are_distinct_and_only_the_passing_ones_are_worth_a_retry():
    assert len({kind.kind for kind in KINDS}) == len(KINDS)
    assert {kind for kind in KINDS if kind.transient} == {RateLimited, ProviderDown}
