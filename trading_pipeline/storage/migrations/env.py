"""Runs the migrations on the connection that `upgrade` passes in; all of them in its one transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=False)
context.run_migrations()
