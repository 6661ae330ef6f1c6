"""Layers as plain settings, for JSON: names, numbers and lists of them, no code."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast.layers import LAYERS, Custom, Layer
from nnfast.regularizers import L1L2, MaxNorm


def settings_of(layer: Layer) -> dict[str, Any]:
    """Return the layer's class and the arguments that differ from their defaults.

    Arrays and functions are left out: parameters are stored apart, and code nowhere.
    """
    values = layer.settings().items()
    return {"layer": type(layer).__name__} | {
        name: _plain(value)
        for name, value in values
        if not isinstance(value, np.ndarray) and not callable(value)
    }


def layer_of(settings: Any) -> Layer:
    """Return the layer of settings made by `settings_of`.

    Raises
    ------
    ValueError, TypeError
        An unknown layer, or one whose functions are needed.
    """
    arguments = dict(settings)
    name = arguments.pop("layer")
    if name not in LAYERS:
        raise ValueError(
            f"layer {name!r}: expected one of {', '.join(LAYERS)}; "
            "the file may come from a newer nnfast"
        )
    if LAYERS[name] is Custom:
        raise ValueError(
            "layer Custom: expected its functions, which no file holds; pass the network's layers "
            "to nnfast.load(path, layers=[...])"
        )
    return LAYERS[name](**{key: _argument(key, value) for key, value in arguments.items()})


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [settings_of(v) if isinstance(v, Layer) else v for v in value]
    if isinstance(value, L1L2):
        return {"l1": value.l1, "l2": value.l2}
    if isinstance(value, MaxNorm):
        return {"max_value": value.max_value}
    return value


def _argument(name: str, value: Any) -> Any:
    if name == "layers":
        return tuple(layer_of(entry) for entry in value)
    if name == "kernel_regularizer":
        return L1L2(**value)
    if name == "kernel_constraint":
        return MaxNorm(**value)
    return value
