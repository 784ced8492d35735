"""Files of weights, read without running what they hold."""

import pickle
import re
from typing import Any

import torch

from scb_d2.errors import ConfigError

__all__ = ["check_arrays", "load_tensors"]

# What the weights of Detectron2's zoo and of Caffe2 are made of.
_PICKLED = {
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PICKLED:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def check_arrays(path: str) -> None:
    """Refuse a pickle that holds more than arrays, before anything of it is run.

    Raises:
        ConfigError: naming the file and what it holds.
    """
    try:
        with open(path, "rb") as file:
            _ArrayUnpickler(file, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"the weights {path} are a Python pickle that holds {error}, which could run code when "
            "loaded; only arrays are accepted in a .pkl."
        ) from None
    except (AttributeError, EOFError, ImportError, IndexError, ValueError) as error:
        raise ConfigError(
            f"the weights {path} cannot be read as a checkpoint ({error})."
        ) from error


def load_tensors(path: str, **kwargs: Any) -> Any:
    """``torch.load`` onto the CPU of a file that holds tensors and plain values only.

    Args:
        path: the file.
        **kwargs: of :func:`torch.load`.

    Raises:
        ConfigError: if it is no such file, or a pickle that could run code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, **kwargs)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)|[Uu]nsupported class ([\w.]+)", str(error))
        if named:
            raise ConfigError(
                f"the weights {path} are a Python pickle that holds {named[1] or named[2]}, which "
                "could run code when loaded; only tensors and plain values are accepted."
            ) from None
        reason = "no file of torch.save"
    except EOFError:
        reason = "it ends too early"
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
    raise ConfigError(f"the weights {path} cannot be read as a checkpoint ({reason}).")
