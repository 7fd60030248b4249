"""Draws when clients came back after a deploy: ``python -m benchmarks.deploy_plot FIGURES [TARGET]``.

``FIGURES`` is what a run of the deploy scenario wrote::

    export LIVEPUSH_TEST_SCALE=full LIVEPUSH_TEST_FIGURES=figures.jsonl
    python -m pytest tests/integration/test_faults_deploy.py

Needs matplotlib.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

GREY = "#808080"
BLUE = "#4a90d9"
"""Both are readable on white and on black."""


def deploys(path: Path) -> dict[str, dict[str, Any]]:
    """Return the last run's figures for each server."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["server"]: row for row in rows if "reconnects" in row and "window" in row}


def draw(found: dict[str, dict[str, Any]], target: Path) -> None:
    """Draw a histogram for each server, under one another."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "livepush", "font.family": "sans-serif"})
    figure = Figure(figsize=(7, 1.5 * len(found) + 0.6), layout="constrained")
    plots = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
    for plot, (server, row) in zip(plots, found.items(), strict=True):
        window = row["window"]
        step = window / 20
        plot.hist(row["reconnects"], bins=[step * number for number in range(23)], color=BLUE, rwidth=0.9)
        plot.axhline(row["streams"] / 20, color=GREY, linewidth=1, linestyle=":")
        plot.set_title(f"{server}: {row['streams']} streams, ended after {row['ended']} s", color=GREY, fontsize=10)
        plot.set_ylabel("came back", color=GREY)
        plot.tick_params(colors=GREY)
        for side, line in plot.spines.items():
            line.set_color(GREY)
            line.set_visible(side in ("left", "bottom"))
    plots[-1].set_xlabel(f"seconds after SIGTERM (DRAIN = {window}; dotted: an even spread)", color=GREY)
    figure.savefig(target, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    draw(deploys(Path(sys.argv[1])), Path(sys.argv[2] if len(sys.argv) > 2 else "docs/reliability-deploy.svg"))
