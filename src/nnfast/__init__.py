"""nnfast: dense neural networks on the CPU, trained at the speed of the machine."""

from nnfast import ops, schedules
from nnfast.backend import get_num_threads, info, set_num_threads, use_backend
from nnfast.backups import BackupAndRestore
from nnfast.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from nnfast.history import History
from nnfast.layers import Activation, Dense, Flatten
from nnfast.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop, Rprop
from nnfast.progress import ProgressBar
from nnfast.sequential import Sequential, load
from nnfast.training import NonFiniteLossWarning

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "Dense",
    "EarlyStopping",
    "Flatten",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "NonFiniteLossWarning",
    "ProgressBar",
    "RMSprop",
    "ReduceLROnPlateau",
    "Rprop",
    "Sequential",
    "TerminateOnNaN",
    "__version__",
    "get_num_threads",
    "info",
    "load",
    "ops",
    "schedules",
    "set_num_threads",
    "use_backend",
]
