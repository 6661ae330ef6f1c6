"""The programs of M. Nielsen's "Neural Networks and Deep Learning" (2015), on nnfast's engine.

`network` is that of chapters 1 and 2, `network2` that of chapter 3: same classes, signatures, data,
random numbers and printed lines. ``import network`` becomes
``from nnfast.compat.nielsen import network``.
"""

from nnfast.compat.nielsen import network, network2

__all__ = ["network", "network2"]
