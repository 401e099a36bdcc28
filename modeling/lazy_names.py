"""Names of a package that are imported on first use, so that to import the package costs nothing."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def on_first_use(namespace: dict[str, Any], homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """What a module takes as its `__getattr__`.

    Args:
        namespace: the module's `globals()`. homes: the names that each module has, whose own name is relative to the
            module's package.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def find(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {namespace['__name__']!r} has no attribute {name!r}")
        namespace[name] = getattr(import_module(f".{home_of[name]}", namespace["__package__"]), name)
        return namespace[name]

    return find
