"""What a call costs, by the assumptions in `prices.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """US dollars a million tokens."""

    input: float
    output: float
    cache_write: float
    cache_write_hour: float
    cache_read: float

    def cost(
        self,
        input_tokens: int,
        output_tokens: int,
        cache_read_tokens: int,
        cache_write_tokens: int,
        cache_write_hour_tokens: int = 0,
    ) -> float:
        """US dollars of a call; `input_tokens` without the cached ones, as the API counts them.

        cache_write_hour_tokens: how many of `cache_write_tokens` were written for an hour instead of five minutes.
        """
        return (
            self.input * input_tokens
            + self.output * output_tokens
            + self.cache_read * cache_read_tokens
            + self.cache_write * (cache_write_tokens - cache_write_hour_tokens)
            + self.cache_write_hour * cache_write_hour_tokens
        ) / MILLION


@cache
def _table() -> dict[str, Price]:
    told = tomllib.loads(resources.files(__package__).joinpath("prices.toml").read_text(encoding="utf-8"))
    return {
        row["prefix"]: Price(
            row["input"],
            row["output"],
            row["input"] * told["cache_write_factor"],
            row["input"] * told["cache_write_hour_factor"],
            row["input"] * told["cache_read_factor"],
        )
        for row in told["models"]
    }


def price_of(model: str) -> Price:
    """The price of a model; an unknown one costs what the dearest does."""
    table = _table()
    fitting = [prefix for prefix in table if model.startswith(prefix)]
    return table[max(fitting, key=len)] if fitting else max(table.values(), key=lambda price: price.output)
