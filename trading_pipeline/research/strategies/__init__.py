"""Strategies: small classes that say when to enter and when to leave.

Every module of this package is imported with it, so that a strategy is registered by its file being here. Its modules
therefore import nothing heavy at their top.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in sorted(each.name for each in iter_modules(__path__)):
    import_module(f"{__name__}.{_module}")
