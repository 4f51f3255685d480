"""Every metric family, one file for each or for a few that belong together.

A file declares module-level `Family` constants; the package is listed, so a new file needs
no registration.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from tidegate.metrics.family import Family


@cache
def declared() -> tuple[Family, ...]:
    """Return all declared families, sorted by name.

    Raises:
        ValueError: Two files declare the same name.
    """
    found: dict[str, Family] = {}
    for module_info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for value in vars(module).values():
            if isinstance(value, Family) and found.setdefault(value.name, value) is not value:
                raise ValueError(f"{value.name} is declared twice")
    for family in found.values():
        if family.former_name in found:
            raise ValueError(f"{family.former_name} is declared, and was {family.name}")
    return tuple(found[name] for name in sorted(found))
