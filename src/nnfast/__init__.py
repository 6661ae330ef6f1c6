"""nnfast: dense neural networks on the CPU, trained at the speed of the machine."""

from typing import TYPE_CHECKING, Any

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
from nnfast.layers import (
    Activation,
    BatchNorm,
    Custom,
    Dense,
    Dropout,
    Flatten,
    GaussianNoise,
    LayerNorm,
    Rescaling,
    Residual,
)
from nnfast.losses import BinaryCrossEntropy, CrossEntropy
from nnfast.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop, Rprop
from nnfast.progress import ProgressBar
from nnfast.regularizers import L1, L1L2, L2, MaxNorm
from nnfast.sequential import Sequential, load
from nnfast.training import NonFiniteLossWarning

if TYPE_CHECKING:
    from nnfast.diagnosis import diagnose
    from nnfast.patching import patch_sklearn, unpatch_sklearn
    from nnfast.phrases import Phrases
    from nnfast.search import minimize
    from nnfast.vectors import KeyedVectors
    from nnfast.word2vec import Word2Vec
else:

    def __getattr__(name: str) -> Any:
        """Import at first use what most programs do without."""
        if name == "diagnose":
            from nnfast.diagnosis import diagnose as found
        elif name == "minimize":
            from nnfast.search import minimize as found
        elif name == "patch_sklearn":
            from nnfast.patching import patch_sklearn as found
        elif name == "unpatch_sklearn":
            from nnfast.patching import unpatch_sklearn as found
        elif name == "Phrases":
            from nnfast.phrases import Phrases as found
        elif name == "KeyedVectors":
            from nnfast.vectors import KeyedVectors as found
        elif name == "Word2Vec":
            from nnfast.word2vec import Word2Vec as found
        else:
            raise AttributeError(f"module 'nnfast' has no attribute {name!r}")
        return found

    def __dir__() -> list[str]:
        """Return the public names."""
        return [*globals(), *__all__]


__version__ = "0.1.0"

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "SGD",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "BackupAndRestore",
    "BatchNorm",
    "BinaryCrossEntropy",
    "CSVLogger",
    "Callback",
    "CrossEntropy",
    "Custom",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "Flatten",
    "GaussianNoise",
    "History",
    "KeyedVectors",
    "LambdaCallback",
    "LayerNorm",
    "LearningRateScheduler",
    "MaxNorm",
    "ModelCheckpoint",
    "NonFiniteLossWarning",
    "Phrases",
    "ProgressBar",
    "RMSprop",
    "ReduceLROnPlateau",
    "Rescaling",
    "Residual",
    "Rprop",
    "Sequential",
    "TerminateOnNaN",
    "Word2Vec",
    "__version__",
    "diagnose",
    "get_num_threads",
    "info",
    "load",
    "minimize",
    "ops",
    "patch_sklearn",
    "schedules",
    "set_num_threads",
    "unpatch_sklearn",
    "use_backend",
]
