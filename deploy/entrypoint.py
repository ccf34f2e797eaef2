"""First process of every container: names this world's databases to Dagster, then becomes the command it was given.

DATABASE_URL is the one address that is configured; DATABASE_PASSWORD, where set, is put into it, so that a secret store
can hold the password alone and any character is allowed in it. Databases that are missing are made. Dagster's own is
named after the world like the warehouse's, so a forgotten provider setting cannot turn real partitions green.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping, Sequence
from urllib.parse import quote, urlsplit, urlunsplit

from trading_pipeline.errors import SettingsError, TradingPipelineError
from trading_pipeline.settings import load_settings
from trading_pipeline.storage.server import databases

# Batches the materialization events of a range of sessions: 22 s an asset become 0.85 s for 2,500 of them.
EVENT_BATCH = {"DAGSTER_EVENT_BATCH_SIZE": "500"}


def prepare(environment: MutableMapping[str, str]) -> None:
    """Set DATABASE_URL, password included, and DAGSTER_POSTGRES_URL. `SettingsError` where there is no DATABASE_URL."""
    address, password = environment.get("DATABASE_URL"), environment.pop("DATABASE_PASSWORD", None)
    if not address:
        raise SettingsError("DATABASE_URL is not set", "Containers keep nothing: name a PostgreSQL server for them")
    if password:
        parts = urlsplit(address)
        server = parts.netloc.rpartition("@")[2]
        user = quote(parts.username or "postgres", safe="%")
        environment["DATABASE_URL"] = urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{server}"))
    found = databases(load_settings(database_url=environment["DATABASE_URL"]))
    environment.update(EVENT_BATCH)
    environment["DAGSTER_POSTGRES_URL"] = found.dagster.get_secret_value()


def main(command: Sequence[str]) -> None:
    """Prepare this process's environment and replace it with `command`; ends in one line where that cannot be."""
    try:
        prepare(os.environ)
    except TradingPipelineError as error:
        sys.exit(f"error: {error}")
    os.execvp(command[0], list(command))  # noqa: S606 - the container's own command


if __name__ == "__main__":
    main(sys.argv[1:])
