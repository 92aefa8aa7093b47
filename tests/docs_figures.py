"""Draws the figures of README and docs: the graph of all rules, and the first screen of the demo's report.

make figures, after make demo; needs Graphviz and Chromium.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from browser import chromium
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
FIGURES = REPOSITORY / "docs/figures"
SCREEN = (1280, 1000)


def draw_rulegraph(dot: str) -> None:
    """dot: what make rulegraph prints. Edges that others imply are left out."""
    fewer = subprocess.run(["tred"], input=dot, capture_output=True, text=True, check=True).stdout
    subprocess.run(["dot", "-Tsvg", "-o", FIGURES / "rulegraph.svg"], input=fewer, text=True, check=True)


def draw_report() -> None:
    """The page as a screen of 1,280 pixels shows it, in few colors, so that it is small."""
    with tempfile.TemporaryDirectory() as name:
        folder, shot = Path(name), Path(name) / "report.png"
        page = REPOSITORY / "results/demo/report/index.html"
        chromium(folder, f"--screenshot={shot}", f"--window-size={SCREEN[0]},{SCREEN[1]}", "--hide-scrollbars",
                 f"file://{page}")  # fmt: skip
        with Image.open(shot) as image:
            image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(FIGURES / "report.png", optimize=True)


if __name__ == "__main__":
    draw_rulegraph(sys.stdin.read())
    draw_report()
