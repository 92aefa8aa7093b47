"""What the page holds is light without loss: figures and images lose bytes, and nothing that is seen."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from retclip.report import examples
from retclip.report.drawing import as_svg, level_line, linked, subplots, use_style, whiskers
from retclip.report.inlining import inlined

NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"


@pytest.fixture
def figure():
    use_style()
    figure, axes = subplots(height=3.0)
    points = axes.scatter(np.linspace(0, 1, 40), np.random.default_rng(1).random(40))
    linked(points, ["p1-a"] * 20 + ["p1-b"] * 20)
    whiskers(axes, 0.5, 0.5, 0.4, 0.7)
    axes.set(xlabel="a < b & $x$", ylabel="balanced accuracy")
    level_line(axes, 0.1)
    axes.legend()
    return figure


def elements(svg: str) -> list[str]:
    return re.findall(r"<(path|use|text|g|clipPath|rect|a)\b", svg)


def numbers(svg: str, attribute: str) -> list[float]:
    found = re.findall(rf' {attribute}="([^"]*)"', svg)
    return [float(number) for value in found for number in re.findall(NUMBER, value)]


def test_an_inlined_figure_keeps_every_mark_and_word_at_its_place(figure):
    svg = as_svg(figure, "marks")
    element = inlined(svg, "marks", {"p1-a": "lr 1e-3", "p1-b": "lr 2e-3"})
    whole = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    assert elements(element) == elements(whole)
    assert re.findall(r"<text[^>]*>(.*?)</text>", element) == re.findall(r"<text[^>]*>(.*?)</text>", whole)
    for attribute in ("x", "y", "d"):
        assert numbers(element, attribute) == pytest.approx(numbers(whole, attribute), abs=0.0051)
    assert re.findall(r"<title>(.*?)</title>", element) == ["lr 1e-3 (p1-a)"] * 20 + ["lr 2e-3 (p1-b)"] * 20
    for kept in ("fill", "stroke", "stroke-dasharray", "font-size", "text-anchor"):
        assert re.findall(rf"\b{kept}: ([^;\"]*)", element) == re.findall(rf"\b{kept}: ([^;\"]*)", whole)


def test_every_reference_of_an_inlined_figure_leads_somewhere(figure):
    element = inlined(as_svg(figure, "marks"), "marks", {})
    ids = re.findall(r'\bid="([^"]*)"', element)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]*)', element)) == set(ids)


def test_an_inlined_figure_is_at_most_two_thirds_of_the_file(figure):
    svg = as_svg(figure, "marks")
    assert len(inlined(svg, "marks", {})) <= 2 / 3 * len(svg)


def test_an_example_on_the_page_has_every_pixel_and_fewer_bytes_than_a_png():
    rows, columns = np.mgrid[0:64, 0:64]
    smooth = np.stack([rows * 3, columns * 2, (rows + columns)], axis=2).astype(np.uint8)
    image = np.clip(smooth + np.random.default_rng(2).integers(0, 6, smooth.shape), 0, 255).astype(np.uint8)
    kind, data = examples._uri(image).split(",")
    shown = base64.b64decode(data)
    assert kind == "data:image/webp;base64"
    assert (np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")) == image).all()
    png = io.BytesIO()
    Image.fromarray(image).save(png, "png", optimize=True)
    assert len(shown) < len(png.getvalue())
