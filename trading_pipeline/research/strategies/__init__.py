"""Strategies: small classes that say when to enter and when to leave."""
