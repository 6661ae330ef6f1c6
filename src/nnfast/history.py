"""The numbers of a training, epoch by epoch: as lists, a data frame, a table, a picture."""

from __future__ import annotations

import math
import os
from typing import Any

from nnfast.callbacks import Callback

_MOST_ROWS = 12


class History(Callback):
    """The numbers of each epoch.

    Attributes
    ----------
    history : dict of lists
        "loss", the metrics, both with "val_" before them, and what callbacks add to the logs: one
        number an epoch, NaN where there was none.
    epoch : list of int
        The epochs, counted from 0.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Append the numbers."""
        for name in logs:
            self.history.setdefault(name, [math.nan] * len(self.epoch))
        self.epoch.append(epoch)
        for name, values in self.history.items():
            values.append(logs.get(name, math.nan))

    def to_frame(self) -> Any:
        """Return a pandas.DataFrame: a column a name, a row an epoch."""
        try:
            import pandas as pd
        except ImportError:
            raise ModuleNotFoundError(
                "History.to_frame needs pandas; pip install pandas, or read History.history"
            ) from None
        return pd.DataFrame(self.history, index=pd.Index(self.epoch, name="epoch"))

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw each number over the epochs, training and validation in one panel.

        Parameters
        ----------
        path
            A file to write the picture to; its name's end is the format.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ModuleNotFoundError
            matplotlib is not there.
        ValueError
            No epoch has ended, or the name ends in no format.
        """
        from nnfast import plots

        return plots.plot_history(self.epoch, self.history, path)

    def get_state(self) -> dict[str, Any]:
        """Return the numbers."""
        return {"epoch": self.epoch, "history": self.history}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from them."""
        self.epoch, self.history = state["epoch"], state["history"]

    def __repr__(self) -> str:
        ends = (f"{name} {v[0]:.4g} -> {v[-1]:.4g}" for name, v in self.history.items())
        return f"History({len(self.epoch)} epochs: {', '.join(ends)})"

    def _repr_html_(self) -> str:
        import html

        rows = [["epoch", *self.history]]
        for place, epoch in enumerate(self.epoch):
            values = (f"{values[place]:.4g}" for values in self.history.values())
            rows.append([str(epoch + 1), *values])
        if len(rows) > _MOST_ROWS + 1:
            half = _MOST_ROWS // 2
            rows = [*rows[: half + 1], ["…"] * len(rows[0]), *rows[-half:]]
        lines = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
        return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
