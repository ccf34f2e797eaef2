"""Errors a person can act on.

Every error of ours says in one line what is wrong and how to mend it. What belongs here: the base class and the errors
that more than one package raises. Provider failures live in `providers/errors.py`.
"""

from __future__ import annotations

from collections.abc import Iterable


class TradingPipelineError(Exception):
    """Base of every error of ours: `problem` says what is wrong, `remedy` how to mend it."""

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem.rstrip(".")
        self.remedy = remedy.rstrip(".")
        super().__init__(f"{self.problem}. {self.remedy}.")

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return (type(self), (self.problem, self.remedy))


class SettingsError(TradingPipelineError):
    """A setting is missing or has a value that cannot be used."""


class UnknownName(TradingPipelineError):
    """A market, universe, provider or ticker that nobody has heard of. The message lists the known ones."""

    @classmethod
    def of(cls, what: str, name: str, known: Iterable[object]) -> UnknownName:
        """The error of a name that is not among `known`, which it lists."""
        listed = ", ".join(sorted(str(item) for item in known))
        return cls(f"There is no {what} named {name!r}", f"Known: {listed or 'none'}")

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return (UnknownName, (self.problem, self.remedy))


class UnknownSession(TradingPipelineError):
    """A date on which the exchange does not trade, or that the session table does not reach."""


class SchemaMismatch(TradingPipelineError):
    """A frame does not have the columns, types or nulls that its table declares."""


class StorageUnavailable(TradingPipelineError):
    """The database, the lake or the state folder cannot be reached or written."""


class InputRefused(TradingPipelineError):
    """A file a person gave us (watchlist, CSV, Parquet) cannot be read as what it claims to be."""


class LiveOnly(TradingPipelineError):
    """A past session was asked of something that only exists live; today is never copied onto the past."""


class AlreadyRunning(TradingPipelineError):
    """Another process is doing the same work on the same state."""
