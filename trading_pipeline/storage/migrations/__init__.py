"""Schema versions of the warehouse, brought up by `upgrade`.

A migration is written out in full and never changes once shipped: it must build the same schema in five years, so it
reads nothing from `tables.py`. A test asserts that the newest schema and `tables.py` agree. Dagster's own storage is
another database and no business of these migrations.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from trading_pipeline.errors import StorageUnavailable
from trading_pipeline.storage.locks import Database, held
from trading_pipeline.storage.server import connect, sqlalchemy_url

HEAD = "0009"


def upgrade(database: Database) -> bool:
    """Brings the database to the newest schema; whether anything was to be done. Processes may race: one does it.

    `StorageUnavailable` where a newer program has been there.
    """
    at = revision(database.url)
    if at == HEAD:
        return False
    if at is not None and at > HEAD:
        raise StorageUnavailable(
            f"The database is at schema version {at}, newer than this program's {HEAD}",
            "Update the program, or name another database in DATABASE_URL",
        )
    with held(database, "migrations"):
        if revision(database.url) == HEAD:
            return False
        run(database.url)
    return True


def revision(url: SecretStr) -> str | None:
    """The revision the database is at; None where it has no schema of ours yet."""
    with connect(url) as connection:
        row = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
        if not (row and row[0]):
            return None
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if found is None else str(found[0])


def run(url: SecretStr, to: str = "head") -> None:
    """Runs what leads to the schema version `to`. The caller sees to it that nobody else does so at once."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, to)
