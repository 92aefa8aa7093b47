"""Figures as parts of the page: ids of their own, links that tell their trial, and nothing that nobody sees."""

import re
from collections.abc import Mapping
from html import escape

from retclip.report.drawing import TRIAL

FAMILY = r"font-family: ([^;\"]*);? ?"


def inlined(svg: str, name: str, trials: Mapping[str, str]) -> str:
    """The <svg> element with ids of its own, so that many can stand in one page. Links to `trials` (id -> name) show
    their names; other links to trials, which the page has no part for, are taken out."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'\bid="', f'id="{name}-', element)
    element = re.sub(r"url\(#", f"url(#{name}-", element)
    element = re.sub(r'href="#(?!trial-)', f'href="#{name}-', element)

    def titled(found: re.Match[str]) -> str:
        trial, inside = found.groups()
        return (
            f'<a href="{TRIAL}{trial}"><title>{escape(trials[trial])} ({trial})</title>{inside}</a>'
            if (trial in trials)
            else inside
        )

    element = re.sub(r'<a xlink:href="#trial-([^"]*)"[^>]*>(.*?)</a>', titled, element, flags=re.DOTALL)
    return re.sub(r'<svg ([^>]*?)width="[^"]*"', r'<svg \1width="100%"', _lighter(element), count=1).replace(
        "<svg ", '<svg aria-hidden="true" ', 1
    )


def _lighter(element: str) -> str:
    """The same figure in two thirds of the bytes: ids that nothing refers to, the fonts repeated at each word, turns by
    nothing, blanks between elements, and decimals below a hundredth of a point are left out."""
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]*)", element))
    element = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", element)
    if family := re.search(FAMILY, element):
        element = re.sub(FAMILY, "", element).replace("<svg ", f'<svg font-family="{family[1].strip()}" ', 1)
    element = re.sub(r' transform="rotate\(-?0 [^"]*"', "", element)
    element = re.sub(r">\s+<", "><", element)
    return re.sub(r' (x|y|d|transform)="([^"]*)"', _rounded, element)


def _rounded(found: re.Match[str]) -> str:
    attribute, value = found.groups()
    shorter = re.sub(r"-?\d+\.\d{3,}", lambda one: repr(round(float(one[0]), 2)).removesuffix(".0"), value)
    return f' {attribute}="{" ".join(shorter.split())}"'
