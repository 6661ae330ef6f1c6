"""What a row of the benchmark says: what is done, by whom, the figures that nnfast must reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

IMAGES = 60_000  # of Fashion-MNIST to train on

WORDS: Mapping[str, Mapping[str, Any]] = {
    "avx2": {"isa": "avx2"},
    "float32": {"dtype": "float32"},
    "float64": {"dtype": "float64"},
    "1thread": {"threads": 1},
    "dropout": {"layer": "dropout"},
    "uint8": {"input": "uint8"},
    "memmap": {"input": "memmap"},
    "accuracy": {"metrics": ("accuracy",)},
    "bar": {"bar": True},
    "once": {"epochs": 1},
    "proba": {"call": "predict_proba"},
}
"""What a word behind a peer's name changes in the work."""


@dataclass(frozen=True)
class Target:
    """`of` must do at least `must` times what `against` does, and aims at `aim` times.

    `against` is a contestant, or "peak" (share of the FMA peak), or a unit ("us", "ms", "MiB"):
    then the figures are that unit's, and less is better; "curve" is how far the first epochs of a
    loss curve are from scikit-learn's. With `time`, `of` must take at most `must` times the time or
    memory of `against`; with `worst`, the bounds are those of each case. With `case`, the mean of
    that score is compared with that of `against`: `must` points are added to the latter, or two
    standard deviations of its rounds taken off, whichever is lower.
    """

    against: str
    must: float | None
    aim: float | None = None
    of: str = "nnfast"
    of_peak: bool = False  # compare shares of each one's FMA peak
    time: bool = False
    worst: bool = False
    case: str = ""


@dataclass(frozen=True)
class Work:
    """One row: the same work for each contestant.

    A contestant is the name of a module in peers/ and, behind it, words of `WORDS` that say what
    is special about its run; `of` is the work as it does it.
    """

    name: str
    kind: str  # "import", or a function of the contestants
    contestants: tuple[str, ...]
    targets: tuple[Target, ...]
    sizes: tuple[int, ...] = ()
    activation: str = "relu"
    batch_size: int = 1
    rows: int = 1  # samples (calls, words) a round; of "answers", a call; 0: the whole corpus
    optimizer: str = "sgd"  # or a key of nnfast's OPTIMIZERS; "momentum", "nesterov": of 0.9
    lr: float = 0.1
    loss: str = "cross_entropy"
    threads: int = 1  # 0: nnfast's own choice, and what is best for a peer
    epochs: int = 1  # a round; of nnfast in one call of fit; of "answers", calls
    fewer: Mapping[str, int] = field(default_factory=dict)  # rows a round of slow contestants
    dtype: str = "float32"
    isa: str = ""  # of nnfast; its own choice
    layer: str = ""  # with hidden layers: "dropout" of 0.5, "batch_norm", "layer_norm", "residual"
    input: str = ""  # X as "uint8" (of 255ths), "memmap", "csr"; else an array
    metrics: tuple[str, ...] = ()
    bar: bool = False  # on a terminal
    memory: bool = False  # say how much
    call: str = ""  # the function of "ops", the method of "answers"
    widths: tuple[int, ...] = ()  # of "ops"
    settings: Mapping[str, int] = field(default_factory=dict)  # of Word2Vec
    rounds: int = 0  # at most; 0: all that are asked for

    def of(self, contestant: str) -> Work:
        """The work as this contestant does it."""
        _, *words = contestant.split()
        changes = {key: value for word in words for key, value in WORDS[word].items()}
        return replace(self, **{"rows": self.fewer.get(contestant, self.rows), **changes})

    @property
    def momentum(self) -> float:
        return 0.9 if self.optimizer in ("momentum", "nesterov") else 0.0

    @property
    def key(self) -> str:
        """The name of its arrays."""
        return f"{self.sizes[0]}-{self.sizes[-1]}" + ("-repeated" if self.repeats else "")

    @property
    def repeats(self) -> bool:
        """Whether it has more rows than there are images, which then come again and again."""
        return self.sizes[0] == 784 and self.rows > IMAGES

    @property
    def title(self) -> str:
        """What is done, in words."""
        net = "-".join(map(str, self.sizes))
        layer = f" {self.layer}" if self.layer else ""
        rows = f"{self.rows * self.epochs:,} rows" + (" of CSR" if self.input == "csr" else "")
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        estimator = "MLPRegressor" if self.loss == "mse" else "MLPClassifier"
        limit = f"{self.epochs} epochs" if self.epochs > 1 else "till it ends"
        return {
            "fit": f"train {net} {self.activation}{layer}, batch {self.batch_size}, "
            f"{self.optimizer}, {self.loss}, {rows} a round{threads}",
            "one": f"one row through {net} {self.activation}, {self.rows:,} calls a round",
            "batch": f"predict {self.rows:,} rows of {net} {self.activation}{threads}",
            "import": "import in a fresh process (nnfast: what it adds to NumPy)",
            "table": f"a CSV file of {self.rows:,} rows to a model on disk, one epoch, batch "
            f"{self.batch_size}{threads}",
            "memory": f"what an epoch of {net} adds to the process beside X, y and theta",
            "estimator": f"fit {estimator}, {net}, {self.optimizer}, batch {self.batch_size}, "
            f"{self.rows:,} rows, {limit}{threads}",
            "answers": f"answers of MLPClassifier, {net}, {self.dtype}, for {self.rows:,} rows",
            "nielsen": f"network.py, {net}, batch {self.batch_size}, epochs of {self.rows:,} rows "
            "with evaluation",
            "ops": f"{self.call}, {' '.join(map(str, self.widths))} wide",
            "words": f"train {self._vectors}, {self.rows:,} words a round{threads}",
            "vocabulary": f"a text of {self.rows:,} words to a vocabulary (nnfast: and to ids)",
            "analogies": f"evaluate_word_analogies of {self._vectors} that nnfast trained",
            "script": f"a script that trains {self._vectors} on {self.rows:,} words: its peak",
            "quality": f"{self._vectors} after {self.epochs} epochs of {self.rows:,} words, a seed "
            "a round; in percent",
        }[self.kind]

    @property
    def _vectors(self) -> str:
        model = "skip-gram" if self.settings.get("sg") else "CBOW"
        hs = " by hierarchical softmax" if self.settings.get("hs") else ""
        return f"{model}{hs} of {self.settings.get('vector_size')} dimensions"

    @property
    def flops(self) -> int:
        """FLOP a sample; training leaves out the gradient of the network's input. 0: unknown."""
        if self.input == "csr":
            return 0
        products = [n_in * n_out for n_in, n_out in pairwise(self.sizes)]
        trained = self.kind in ("fit", "nielsen") or (self.kind == "estimator" and self.epochs > 1)
        if trained:
            return 6 * sum(products) - 2 * products[0]
        return 2 * sum(products) if self.kind in ("one", "batch") else 0
