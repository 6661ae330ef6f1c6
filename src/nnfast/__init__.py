"""nnfast: dense neural networks on the CPU, trained at the speed of the machine."""

from nnfast import ops
from nnfast.backend import get_num_threads, info, set_num_threads, use_backend
from nnfast.callbacks import Callback, EarlyStopping, History, ProgressBar
from nnfast.layers import Activation, Dense, Flatten
from nnfast.optimizers import SGD, Adam
from nnfast.sequential import Sequential, load
from nnfast.training import NonFiniteLossWarning

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Activation",
    "Adam",
    "Callback",
    "Dense",
    "EarlyStopping",
    "Flatten",
    "History",
    "NonFiniteLossWarning",
    "ProgressBar",
    "Sequential",
    "__version__",
    "get_num_threads",
    "info",
    "load",
    "ops",
    "set_num_threads",
    "use_backend",
]
