"""Documentation: links lead to what is there, no page is left out of the site, and its figures are small."""

import re
import subprocess

import pytest
import yaml
from PIL import Image
from running import REPOSITORY

LISTED = subprocess.run(["git", "ls-files", "*.md"], cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout
PAGES = LISTED.split()
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)


def anchors(text):
    """Of all headings, as GitHub writes them."""
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.replace("`", "").lower()).replace(" ", "-") for one in found}


def test_there_are_pages():
    assert {"README.md", "config/README.md", "docs/questions.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_to_what_is_there(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for link in LINK.findall(CODE.sub("", text)):
        name, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        target = (REPOSITORY / page).parent / name if name else REPOSITORY / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", PAGES)
def test_no_heading_or_row_of_a_table_stands_twice(page):
    text = CODE.sub("", (REPOSITORY / page).read_text(encoding="utf-8"))
    lines = re.findall(r"^(?:#+ .+|\|.*\w.*\|.*\w.*\|.*\w.*\|)$", text, re.MULTILINE)
    assert len(lines) == len(set(lines)), sorted(line for line in set(lines) if lines.count(line) > 1)


def test_the_site_has_every_page():
    settings = yaml.safe_load((REPOSITORY / "docs/mkdocs.yml").read_text())
    assert sorted(value for entry in settings["nav"] for value in entry.values()) == sorted(PAGES)


def test_the_picture_of_the_report_is_small_and_sharp():
    path = REPOSITORY / "docs/figures/report.png"
    assert path.stat().st_size < 200_000
    with Image.open(path) as image:
        assert image.width >= 1280
        assert len(image.convert("RGB").resize((64, 64)).getcolors(64 * 64)) > 50
