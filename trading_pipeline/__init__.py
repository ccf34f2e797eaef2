"""Point-in-time market data, screening, dips and back-tests, declared as Dagster assets.

Importing this package, or any module of it, touches no network, no disk beyond the package's own data files, and no
secret.
"""
