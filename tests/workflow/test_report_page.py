"""The report in a real browser: it opens without a network, without errors, and is laid out at any width."""

import html.parser
import re
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--proxy-server=127.0.0.1:9", "--enable-logging=stderr",
         "--virtual-time-budget=5000")  # fmt: skip


@pytest.fixture
def page(small_run):
    return small_run / "results/small/report/index.html"


def chromium(folder, *arguments: object) -> subprocess.CompletedProcess[str]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_one_file_of_modest_size_that_asks_for_nothing(page):
    text = page.read_text()
    assert len(text) < 6_000_000
    assert "<script" not in text
    links = re.findall(r'(?:src|href)="([^"#][^"]*)"', text)
    assert [link for link in links if not link.startswith("data:")] == []
    assert not re.search(r"url\((?!#)", text)


def test_ids_are_unique_and_links_lead_somewhere(page):
    ids, links = [], []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            for name, value in attributes:
                if name == "id":
                    ids.append(value)
                elif name in ("href", "xlink:href") and value.startswith("#"):
                    links.append(value[1:])

    Reader().feed(page.read_text())
    assert len(ids) == len(set(ids))
    assert set(links) <= set(ids)


def test_the_browser_renders_it_without_complaint(page, tmp_path):
    done = chromium(tmp_path, "--dump-dom", f"file://{page}")
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line and "rror" in line]
    for heading in ("Phase 1", "Text encoders", "Winner and default", "Provenance"):
        assert heading in done.stdout


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(page, tmp_path, width):
    probe = tmp_path / "probe.html"
    script = (
        "<script>document.title = 'width ' + document.documentElement.scrollWidth "
        "+ ' of ' + document.documentElement.clientWidth</script>"
    )
    frame = page.read_text().replace("</body>", f"{script}</body>")
    probe.write_text(frame)
    done = chromium(tmp_path, f"--window-size={width},1200", "--dump-dom", f"file://{probe}")
    found, window = map(int, re.search(r"width (\d+) of (\d+)", done.stdout).groups())
    assert found <= window


def test_a_picture_of_it_is_not_blank(page, tmp_path):
    from PIL import Image

    picture = tmp_path / "page.png"
    done = chromium(tmp_path, "--window-size=1280,2400", f"--screenshot={picture}", f"file://{page}")
    assert picture.is_file(), done.stderr
    colours = Image.open(picture).convert("RGB").resize((64, 120)).getcolors(64 * 120)
    assert len(colours) > 100
