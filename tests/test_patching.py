"""Patching: scripts that know nothing of nnfast, fallbacks with their reasons, and the way back."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from child import needs_native

pytest.importorskip("sklearn")

pytestmark = needs_native

EXAMPLES = Path(__file__).parents[1] / "examples" / "scikit_learn"
SMALL_DATA = {"return_X_y=True": "n_class=4, return_X_y=True"}
QUICK_SEARCH = {**SMALL_DATA, "max_iter=1000": "max_iter=5"}

SCRIPTS: dict[str, tuple[str, dict[str, str]]] = {
    "grid search": ("grid_search.py", QUICK_SEARCH),
    "grid search of 2 processes": ("grid_search.py", {**QUICK_SEARCH, "cv=3": "cv=3, n_jobs=2"}),
    "pipeline": (
        "pipeline.py",
        {**SMALL_DATA, "cv=10": "cv=3", "random_state": "verbose=True, random_state"},
    ),
    "stream": ("stream.py", {"120_000": "3_000", "100_000": "2_000", "1000": "100"}),
}
"""The examples, and what is replaced in them for the sake of time, or to print more."""


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *words],
        env=os.environ | {"PYTHONWARNINGS": ""} | environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def written(folder: Path, code: str, name: str = "script.py") -> str:
    (folder / name).write_text(textwrap.dedent(code))
    return str(folder / name)


@pytest.mark.parametrize("name", SCRIPTS)
def test_unmodified_scripts(name: str, tmp_path: Path) -> None:
    file, changes = SCRIPTS[name]
    code = (EXAMPLES / file).read_text()
    for old, new in changes.items():
        assert old in code
        code = code.replace(old, new)
    script = written(tmp_path, code)
    plain = python("-W", "ignore", script)
    fast = python("-W", "ignore", "-m", "nnfast", "run", script, NNFAST_VERBOSE="INFO")
    assert fast.stdout == plain.stdout
    calls = [line for line in fast.stderr.splitlines() if line.startswith("nnfast: MLP")]
    assert sum("fit: runs on nnfast" in line for line in calls) >= 3
    assert "fell back" not in fast.stderr
    if name == "grid search of 2 processes":  # 24 fits there, the best one here
        assert sum(line == "nnfast: MLPClassifier.fit: runs on nnfast" for line in calls) == 25


ECHO = """
    import sys, os
    import helper_beside
    print(sys.argv[1:], __name__, os.path.basename(__file__), os.path.basename(sys.argv[0]))
    if len(sys.argv) > 1 and sys.argv[1] == "--fail":
        raise ValueError("of the script")
    sys.exit(3)
"""


@pytest.mark.parametrize("words", [["run", "{}"], ["{}"], ["run", "-m", "echo"]])
def test_the_command_runs_as_python_does(words: list[str], tmp_path: Path) -> None:
    script = written(tmp_path, ECHO, "echo.py")
    written(tmp_path, "", "helper_beside.py")
    command = [sys.executable, "-m", "nnfast", *(word.format(script) for word in words)]
    where = tmp_path if "-m" in words else None
    path = os.pathsep.join(p for p in (os.environ.get("PYTHONPATH"), str(Path.cwd() / "src")) if p)
    env = os.environ | {"PYTHONPATH": path}
    both = [
        subprocess.run(
            command + more, capture_output=True, text=True, cwd=where, env=env, timeout=60
        )
        for more in (["a", "--help", "-m"], ["--fail"])
    ]
    assert both[0].returncode == 3, both[0].stderr
    assert both[0].stdout == "['a', '--help', '-m'] __main__ echo.py echo.py\n"
    assert both[1].returncode == 1
    assert both[1].stderr.splitlines()[-1] == "ValueError: of the script"
    assert both[1].stderr.startswith("Traceback")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.py"], "missing.py: no such file"),
        (["run", "missing.py"], "missing.py: no such file"),
        (["run"], "see nnfast run --help"),
        (["run", "-m"], "see nnfast run --help"),
        (["paint"], "invalid choice"),
    ],
)
def test_what_is_no_script(words: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nnfast", *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_script_runs_without_a_known_scikit_learn(tmp_path: Path) -> None:
    script = written(tmp_path, "print('done')")
    start = "import sklearn; sklearn.__version__ = '9.0'; from nnfast import cli; cli.main({!r})"
    done = python("-c", start.format(["run", script]))
    assert done.stdout == "done\n"
    assert "got 9.0" in done.stderr
    assert "The script runs without nnfast" in done.stderr


# --- in one process -------------------------------------------------------------------------------

ORDERS = {
    "patch first": "import nnfast; nnfast.patch_sklearn()\nfrom sklearn.neural_network import MLPClassifier",
    "import first": "from sklearn.neural_network import MLPClassifier\nimport nnfast; nnfast.patch_sklearn()",
    "object first": "from sklearn.neural_network import MLPClassifier\nearly = MLPClassifier((5,), max_iter=2)\n"
    "import nnfast; nnfast.patch_sklearn()",
}


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_imports_does_not_matter(order: str) -> None:
    use = """
from sklearn.datasets import load_iris
model = globals().get("early", MLPClassifier((5,), max_iter=2))
model.fit(*load_iris(return_X_y=True)).predict([[1, 2, 3, 4]])
model.predict_proba([[1, 2, 3, 4]])
print(type(model).__module__)
nnfast.unpatch_sklearn()
model.fit(*load_iris(return_X_y=True)).predict([[1, 2, 3, 4]])
"""
    done = python("-W", "ignore", "-c", ORDERS[order] + use, NNFAST_VERBOSE="INFO")
    assert done.stdout == "sklearn.neural_network._multilayer_perceptron\n"
    assert done.stderr.splitlines() == [
        "nnfast: MLPClassifier and MLPRegressor of scikit-learn run on nnfast",
        "nnfast: MLPClassifier.fit: runs on nnfast",
        "nnfast: MLPClassifier.predict: runs on nnfast",
        "nnfast: MLPClassifier.predict_proba: runs on nnfast",
    ]


def test_reasons_of_fallbacks() -> None:
    script = """
import numpy as np, nnfast
from sklearn import neural_network
from sklearn.datasets import load_iris
nnfast.patch_sklearn()
X, y = load_iris(return_X_y=True)

class Mine(neural_network.MLPClassifier):
    def _compute_loss_grad(self, *arguments):
        return super()._compute_loss_grad(*arguments)

net = Mine((5,), max_iter=2, random_state=0).fit(X, y)
plain = neural_network.MLPClassifier((5,), max_iter=2, random_state=0, warm_start=True).fit(X, y)
assert np.allclose(net.loss_curve_, plain.loss_curve_, rtol=1e-9)
plain.fit(X.astype("f4"), y)
plain.coefs_[0] = plain.coefs_[0].astype("f2")
plain.predict(X)
nnfast.use_backend("reference")
neural_network.MLPRegressor(max_iter=2).fit(X, y)
"""
    lines = python("-W", "ignore", "-c", script, NNFAST_VERBOSE="info").stderr.splitlines()
    reasons = [line.split(": ", 3)[1:] for line in lines if "fell back" in line]
    assert [[call, why] for call, _, why in reasons] == [
        ["Mine.fit", "Mine has a method _compute_loss_grad of its own"],
        ["MLPClassifier.fit", "coefs_ are float64 and X is float32"],
        [
            "MLPClassifier.predict",
            "coefs_ and intercepts_ have the dtypes float16, float64, not float32 or float64 alone",
        ],
        ["MLPRegressor.fit", "nnfast runs on its reference backend, which is slow"],
    ]


def test_silent_without_being_asked() -> None:
    script = "import nnfast; nnfast.patch_sklearn(); from sklearn.neural_network import MLPRegressor as M; M(max_iter=3).fit([[1.0]] * 9, [1.0] * 9)"
    done = python("-W", "ignore", "-c", script)
    assert (done.stdout, done.stderr) == ("", "")
    failed = subprocess.run(
        [sys.executable, "-c", "import nnfast.sklearn"],
        env=os.environ | {"NNFAST_VERBOSE": "loud"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "NNFAST_VERBOSE: expected one of 'INFO', 'WARNING', got 'loud'" in failed.stderr


@pytest.fixture
def patched() -> Any:
    import nnfast

    nnfast.patch_sklearn()
    yield
    nnfast.unpatch_sklearn()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_model_goes_on_across_the_patch(patched: None) -> None:
    import pickle

    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    import nnfast
    from nnfast import patching

    X, y = load_digits(return_X_y=True)

    def trained(patches: list[bool], **settings: Any) -> Any:
        model = MLPClassifier((10,), random_state=0, batch_size=64, **settings)
        for patch in patches:
            (nnfast.patch_sklearn if patch else nnfast.unpatch_sklearn)()
            assert patching.sklearn_is_patched() == patch
            model.partial_fit(X, y, classes=np.arange(10))
            model = pickle.loads(pickle.dumps(model))
        return model

    for settings in ({}, {"solver": "sgd", "learning_rate": "invscaling"}):
        plain = trained([False] * 4, **settings)
        mixed = trained([True, False, True, False], **settings)
        np.testing.assert_allclose(mixed.loss_curve_, plain.loss_curve_, rtol=1e-9)
        assert vars(mixed).keys() == vars(plain).keys()
        assert pickle.dumps(mixed).count(b"nnfast") == 0


def test_signatures_and_documentation_stay(patched: None) -> None:
    import inspect

    from sklearn.neural_network import MLPClassifier, MLPRegressor

    assert list(inspect.signature(MLPClassifier.predict).parameters) == ["self", "X"]
    assert MLPRegressor.predict.__doc__.startswith("Predict using the multi-layer perceptron model")
    assert MLPClassifier.predict_proba.__qualname__ == "MLPClassifier.predict_proba"


def test_no_file_of_scikit_learn_is_changed() -> None:
    import sklearn.neural_network

    folder = Path(sklearn.neural_network.__file__).parent
    before = {file: file.read_bytes() for file in folder.glob("*.py")}
    python("-c", "import nnfast; nnfast.patch_sklearn(); nnfast.unpatch_sklearn()")
    assert {file: file.read_bytes() for file in folder.glob("*.py")} == before
