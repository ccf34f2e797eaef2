"""The lake (Delta), the warehouse (PostgreSQL), the embedded server, locks and migrations."""
