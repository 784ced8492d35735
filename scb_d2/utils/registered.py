"""Entries of registries by name, those of a user's own file included."""

import importlib
import os
import sys

from detectron2.utils.registry import Registry

from scb_d2.errors import ConfigError

__all__ = ["check_registered"]


def check_registered(entry: object, registry: Registry, name: str) -> str:
    """Return ``entry`` if it names what ``registry`` holds, importing the module that it names.

    ``"module.entry"`` imports ``module``, which is to register ``entry``. Modules are looked for
    where Python does and then in the current folder.

    Args:
        entry: from a config.
        registry: Detectron2's kind.
        name: of the config key, for the message.

    Raises:
        ConfigError: if there is no such entry or its module cannot be imported.
    """
    text = entry if isinstance(entry, str) else ""
    if text in registry:
        return text
    module_name, _, own = text.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in text.split(".")):
        known = ", ".join(key for key, _ in registry)
        raise ConfigError(
            f"{name} must be one of {known}, or MODULE.NAME of one that you register; got "
            f"{entry!r}."
        )
    module = _import_module(module_name, text, name)
    if own not in registry or getattr(module, own, None) is not registry.get(own):
        raise ConfigError(
            f"{name} is {entry!r}, but {module_name} registers nothing of that name; it must stand "
            f"below @{registry._name}_REGISTRY.register()."
        )
    return text


def _import_module(module_name: str, entry: str, name: str) -> object:
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            reason = "is neither installed nor in the current folder"
        else:
            reason = f"cannot be imported: {type(error).__name__}: {error}"
        raise ConfigError(f"{name} is {entry!r}, but the module {module_name} {reason}.") from error
