"""One module a schema version, in the order of their numbers."""
