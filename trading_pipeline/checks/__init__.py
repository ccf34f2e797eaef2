"""Asset checks: what must be true of each asset."""
