"""Names of the activations, and the facts about them that need no mathematics."""

from __future__ import annotations

from nnfast import checks

NAMES = (
    "identity",
    "sigmoid",
    "tanh",
    "relu",
    "softmax",
    "step",
    "leaky_relu",
    "elu",
    "gelu",
    "silu",
    "softplus",
    "arctan",
)
"""In the order of csrc/nnfast.h."""

ALIASES = {"linear": "identity", "logistic": "sigmoid"}
_FOUND = {name: name for name in NAMES} | ALIASES

NEEDS_Z = frozenset({"gelu", "silu"})
"""Not monotone: the derivative is a function of the input z, which the output does not tell."""

WITHOUT_SLOPE = frozenset({"step"})
"""Derivative zero wherever it exists: no gradient passes, so no training."""


def canonical(name: str | None) -> str:
    """Return the name used in plans; None is the identity. ValueError or TypeError otherwise."""
    if name is None:
        return "identity"
    found = _FOUND.get(name) if isinstance(name, str) else None
    if found is None:
        raise checks.unknown("activation", name, (*NAMES, *ALIASES))
    return found
