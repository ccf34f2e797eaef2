"""The committed session tables (one CSV per exchange) and what generates them. Read through `sessions.py` only."""
