"""Adapters to the outside world: one protocol, typed errors, no Dagster."""
