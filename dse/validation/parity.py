"""A parity plot: predicted over measured times, one colour a group, as a page that needs nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dse.whole_file import write_whole

MOST_POINTS = 2000
"""Points of one group; more only darken the cloud."""
BAND = 1.2
"""The dashed lines: a fifth too slow or too fast."""


def parity_figure(rows: pd.DataFrame, title: str) -> go.Figure:
    """Predicted against measured seconds of rows with `label`, `chip`, `time_s` and `predicted_s`."""
    figure = go.Figure()
    for label, part in rows.groupby("label"):
        shown = part.sample(min(len(part), MOST_POINTS), random_state=0)
        error = 100 * (shown["predicted_s"] / shown["time_s"] - 1)
        figure.add_scattergl(
            x=shown["time_s"], y=shown["predicted_s"], mode="markers", name=str(label),
            marker={"size": 4, "opacity": 0.5},
            text=[f"{c}, {e:+.0f} %" for c, e in zip(shown["chip"], error, strict=True)],
            hovertemplate="%{text}<br>measured %{x:.3s}s<br>predicted %{y:.3s}s<extra>%{fullData.name}</extra>")
    ends = np.array([rows["time_s"].min(), rows["time_s"].max()])
    for factor, dash in ((1.0, "solid"), (BAND, "dot"), (1 / BAND, "dot")):
        figure.add_scatter(x=ends, y=factor * ends, mode="lines", line={"color": "grey", "width": 1, "dash": dash},
                           showlegend=False, hoverinfo="skip")
    figure.update_layout(title=title, template="simple_white", xaxis_title="measured (s)", yaxis_title="predicted (s)")
    figure.update_xaxes(type="log")
    figure.update_yaxes(type="log")
    return figure


def write_parity(path: Path, rows: pd.DataFrame, title: str) -> None:
    """The plot as one HTML file."""
    write_whole(path, parity_figure(rows, title).to_html(include_plotlyjs=True, full_html=True).encode())
