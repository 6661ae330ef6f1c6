"""scikit-learn's perceptrons and their module, of the versions whose private parts are known."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import Any

VERSIONS = ((1, 8), (1, 9))
"""First and last version of scikit-learn whose private parts are known here."""


def _scikit_learn() -> ModuleType:
    """Return its module of perceptrons; ImportError for other versions than `VERSIONS`."""
    if importlib.util.find_spec("sklearn") is None:
        raise ImportError(
            "expected scikit-learn, which is not installed; pip install 'nnfast[sklearn]'"
        )
    version = str(importlib.import_module("sklearn").__version__)
    first, last = (".".join(map(str, known)) for known in VERSIONS)
    if not VERSIONS[0] <= tuple(map(int, version.split(".")[:2])) <= VERSIONS[1]:
        raise ImportError(
            f"expected scikit-learn {first} to {last}, whose private parts nnfast knows, got "
            f"{version}; install one of these, or use sklearn.neural_network without nnfast"
        )
    return importlib.import_module("sklearn.neural_network._multilayer_perceptron")


theirs = _scikit_learn()
"""The module, and what it imports."""

BASE: Any = theirs.BaseMultilayerPerceptron
CLASSIFIER: Any = theirs.MLPClassifier
REGRESSOR: Any = theirs.MLPRegressor

weights_of_classes = importlib.import_module("sklearn.utils.class_weight").compute_sample_weight
