"""The report in a real browser: it opens without a network, without errors, is laid out at any width, and can be
sorted, filtered and explored; long searches and hostile names included."""

import html.parser
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from browser import chromium, errors
from first_screens import assert_first_screen_is_true, plain
from recomputed import balanced_accuracy, mean_accuracy, name_rightly, recommend, resampled, score_columns
from running import ENVIRONMENT, REPOSITORY, entry, planned_jobs, snakemake_command

from retclip.core.hyperparameters import HYPERPARAMETERS
from retclip.core.qualitative_examples import read_examples, write_examples
from retclip.metrics.metrics_document import Metrics
from retclip.models.export import load_exported
from retclip.models.model_card import model_card
from retclip.report.sections.provenance import overlay_text

pytestmark = pytest.mark.slow
PLOTTING_SCRIPT = r'<script type="text/plain" id="plotting-script">.*?</script>'
HOSTILE = "<script>alert(1)</script>"

# what a person does with the page, and what the page then shows
PROBE = """
const table = document.querySelector("table[data-filtered]"), body = table.tBodies[0];
const visible = () => [...body.rows].filter((row) => row.offsetParent !== null);
const column = (name) => [...table.tHead.rows[0].cells].findIndex((head) => head.textContent === name);
const values = (name) => visible().map((row) => Number(row.cells[column(name)].textContent));
const found = {rows: visible().length};
const button = table.tHead.rows[0].cells[column("validation loss")].querySelector("button");
button.click();
found.rising = values("validation loss");
button.click();
found.falling = values("validation loss");
const bar = table.closest(".table").previousElementSibling;
const search = bar.querySelector("input"), stage = bar.querySelector("select");
search.value = "p1-";
bar.dispatchEvent(new Event("input"));
found.words = visible().map((row) => row.cells[0].textContent);
search.value = "";
stage.value = "Final";
bar.dispatchEvent(new Event("input"));
found.stage = visible().map((row) => row.cells[column("stage")].textContent);
found.count = bar.querySelector("output").textContent;
found.plots = [];
for (const toggle of document.querySelectorAll("button.toggle")) {
  const figure = toggle.closest("figure");
  toggle.click();
  const drawn = figure.querySelectorAll(".live .main-svg").length > 0;
  found.plots.push([figure.id, drawn, figure.querySelector(".plot").hidden]);
}
const probe = document.createElement("pre");
probe.id = "probe";
probe.textContent = JSON.stringify(found);
document.body.append(probe);
"""
# written when the page has loaded and is laid out; milliseconds since the browser began to open it
CLOCK = """
window.addEventListener("load", () => {
  const height = document.body.offsetHeight;
  document.title = `opened in ${Math.round(performance.now())} ms, ${height} px`;
});
"""


@pytest.fixture
def page(small_run):
    return small_run / "results/small/report/index.html"


@pytest.fixture
def copied(small_run, tmp_path):
    """results/small to be changed, with links to what the report does not read."""
    folder = tmp_path / "small"
    ignore = shutil.ignore_patterns("*.lmdb", "model", "state", "logs", "benchmarks", "report")
    shutil.copytree(small_run / "results/small", folder, ignore=ignore)
    return folder


def report_of(folder):
    entry("build_report", "--run-folder", folder, "--output-folder", folder / "report")
    return folder / "report/index.html"


def with_script(page, script: str, folder):
    """The page with a script of the test's at its end, beside it so that its links lead to the same files."""
    changed = folder / "probe.html"
    text = page.read_text()
    end = text.rindex("</body>")
    changed.write_text(f"{text[:end]}<script>{script}</script>{text[end:]}")
    return changed


def milliseconds_to_open(page, folder) -> int:
    done = chromium(folder, "--dump-dom", f"file://{with_script(page, CLOCK, folder)}")
    assert not errors(done)
    return int(re.search(r"opened in (\d+) ms", done.stdout)[1])


def opens_at_once(page, folder) -> bool:
    return any(milliseconds_to_open(page, folder) < 2000 for _ in range(3))


class Reader(html.parser.HTMLParser):
    """The ids, the links and the pictures' words of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.unnamed: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        if "id" in named:
            self.ids.append(named["id"])
        self.links += [named[name] for name in ("href", "xlink:href", "src") if name in named]
        if named.get("role") == "img" and not named.get("aria-label"):
            self.unnamed.append(tag)


def test_one_file_of_modest_size_that_asks_for_nothing(page):
    text, found = re.subn(PLOTTING_SCRIPT, "", page.read_text(), flags=re.DOTALL)
    assert found == 1
    assert len(text.encode()) < 6_000_000
    assert not re.search(r"url\((?!#)", text)
    reader = Reader(text)
    assert not reader.unnamed
    assert len(reader.ids) == len(set(reader.ids))
    for link in reader.links:
        if link.startswith("#"):
            assert link[1:] in reader.ids, link
        elif not link.startswith("data:"):
            assert (page.parent / link).exists(), link


def test_tables_of_the_documents_have_a_cell_for_each_head(page):
    """Names with a bar in them are escaped; what parts the cells is not."""
    for name in ("summary.md", "methods.md"):
        lines = (page.parent / name).read_text().splitlines()
        rules = [k for k, line in enumerate(lines) if re.fullmatch(r"\|(-+\|)+", line)]
        assert rules or name == "methods.md"
        for rule in rules:
            rows = [lines[rule - 1], *itertools.takewhile(lambda line: line.startswith("|"), lines[rule:])]
            assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1, rows


def test_every_figure_and_table_is_a_file_too(page):
    folder = page.parent
    figures = re.findall(r'<figure id="figure-(\w+)"', page.read_text())
    assert len(figures) > 12
    for name in figures:
        assert (folder / f"figures/{name}.svg").is_file()
        assert (folder / f"figures/{name}.png").read_bytes()[:4] == b"\x89PNG"
    for name in re.findall(r'id="table-(\w+)"', page.read_text()):
        # of the trials there is one file, which has all of what the page shows
        assert len(pd.read_csv(folder / ("trials.csv" if name == "trials" else f"tables/{name}.csv")))
    results = json.loads((folder / "results.json").read_text())
    # two text encoders, the baseline, the initial weights, the color histogram
    assert results["test_set_evaluations"] == 5
    assert results["answer"] in re.sub(r"\s+", " ", (folder / "summary.md").read_text())
    cited = set(re.findall(r"@(\w+)", (folder / "methods.md").read_text()))
    assert cited <= set(re.findall(r"@\w+\{(\w+),", (folder / "references.bib").read_text()))


def test_the_page_has_the_config_that_gives_the_run_again(small_run, page):
    """What test_report_parts lays over config.yaml stands on the page, with no path made absolute."""
    config = json.loads((small_run / "results/small/run.json").read_text())["config"]
    shown = html.unescape(re.search(r'<pre id="config">(.*?)</pre>', page.read_text(), re.DOTALL)[1])
    assert yaml.safe_load(shown) == yaml.safe_load(overlay_text(config))


def test_no_request_leaves_and_nothing_complains(page, tmp_path):
    """Whatever the browser asks the network for would come to the proxy, which is ours."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(400).split(b"\r\n")[0])

        threading.Thread(target=listen, daemon=True).start()
        where = f"127.0.0.1:{server.getsockname()[1]}"
        done = chromium(tmp_path, "--virtual-time-budget=5000", "--dump-dom", f"file://{page}", proxy=where)
    assert not errors(done)
    for heading in ("Phase 1", "Text encoders", "Tuned and baseline", "Provenance", "Limitations"):
        assert heading in done.stdout
    # Chromium itself may look for news of its own; the page may not
    assert [line for line in asked if b"google" not in line and b"gvt1" not in line] == []


def test_sorting_filtering_and_interactive_plots_work(page, tmp_path):
    probe = with_script(page, PROBE, tmp_path)
    done = chromium(tmp_path, "--virtual-time-budget=8000", "--dump-dom", f"file://{probe}")
    assert not errors(done)
    found = json.loads(re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)[1])
    assert found["rows"] == 9
    assert found["rising"] == sorted(found["rising"])
    assert found["falling"] == sorted(found["falling"], reverse=True)
    assert len(set(found["rising"])) > 3
    assert len(found["words"]) == 2
    assert all(" p1-" in name for name in found["words"])
    assert set(found["stage"]) == {"Final"}
    assert found["count"] == "3 of 9"
    assert [name for name, *_ in found["plots"]] == [
        "figure-rank_phase1", "figure-best_so_far", "figure-parallel_coordinates", "figure-rank_phase2",
    ]  # fmt: skip
    assert all(drawn and replaced for _, drawn, replaced in found["plots"])


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(page, tmp_path, width):
    script = (
        "document.title = 'width ' + document.documentElement.scrollWidth "
        "+ ' of ' + document.documentElement.clientWidth"
    )
    probe = with_script(page, script, tmp_path)
    done = chromium(tmp_path, f"--window-size={width},1200", "--dump-dom", f"file://{probe}")
    found, window = map(int, re.search(r"width (\d+) of (\d+)", done.stdout).groups())
    assert found <= window


# Chromium's windows are at least 500 px wide, a phone's page is not. Written when all is laid out: boxes whose content
# is wider than they are, and the smallest text of each figure in px of the screen.
MEASURE = """
window.addEventListener("load", () => {
  if (NARROW) document.body.style.width = `${NARROW}px`;
  for (const part of document.querySelectorAll("main details")) part.open = true;
  const named = (box) => box.closest("[id]").id, cut = [], small = {};
  for (const box of document.querySelectorAll(".scroll, .plot, .card, .tile"))
    if (box.scrollWidth > box.clientWidth + 1) cut.push([named(box), box.scrollWidth, box.clientWidth]);
  for (const box of document.querySelectorAll(".plot svg")) {
    const sizes = [...box.querySelectorAll("text")].map((text) => {
      const turn = text.getScreenCTM();
      return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(turn.a, turn.b);
    });
    small[named(box)] = Math.min(...sizes);
  }
  const found = document.createElement("pre");
  found.id = "measured";
  found.textContent = JSON.stringify({cut, small, wide: document.body.scrollWidth});
  document.body.append(found);
});
"""


def with_everything_varied(folder) -> None:
    """Lets trials of Phase 2 differ in every hyperparameter, and two external data sets have been scored."""
    board = pd.read_csv(folder / "phase2/leaderboard.csv", dtype=dict.fromkeys(HYPERPARAMETERS, object))
    for number, path in enumerate(sorted((folder / "phase2").glob("*/metrics.json"))):
        metrics = json.loads(path.read_text())
        for name, declared in HYPERPARAMETERS.items():
            value = metrics["trial"]["configured"][name]
            if declared.is_numeric and value is not None:
                metrics["trial"]["configured"][name] = value * (1 + number)
            elif declared.choices:
                metrics["trial"]["configured"][name] = declared.choices[number % len(declared.choices)]
            board.loc[board["id"] == path.parent.name, name] = metrics["trial"]["configured"][name]
        path.write_text(json.dumps(metrics))
    board.to_csv(folder / "phase2/leaderboard.csv", index=False)
    record = json.loads((folder / "run.json").read_text())
    record["config"]["evaluation"]["external_tests"] = {"clinic_of_the_north": {}, "messidor": {}}
    (folder / "run.json").write_text(json.dumps(record))
    for path in folder.glob("final/*/evaluation.json"):
        for name in ("clinic_of_the_north", "messidor"):
            (path.parent / "external").mkdir(exist_ok=True)
            (path.parent / f"external/{name}.json").write_text(path.read_text())


@pytest.mark.parametrize(("width", "text"), [(400, 7.0), (1280, 11.0), (1920, 11.0)])
def test_no_table_or_figure_is_cut_and_their_text_can_be_read(copied, tmp_path, width, text):
    with_everything_varied(copied)
    page = report_of(copied)
    probe = with_script(page, MEASURE.replace("NARROW", str(width if width < 500 else 0)), tmp_path)
    done = chromium(tmp_path, f"--window-size={max(width, 500)},1200", "--dump-dom", f"file://{probe}")
    found = json.loads(html.unescape(re.search(r'<pre id="measured">(.*?)</pre>', done.stdout, re.DOTALL)[1]))
    assert not errors(done)
    assert found["cut"] == []
    assert found["wide"] <= width
    assert len(found["small"]) > 12
    assert {name: size for name, size in found["small"].items() if size < text} == {}


def test_a_picture_of_it_is_not_blank(page, tmp_path):
    from PIL import Image

    picture = tmp_path / "page.png"
    done = chromium(tmp_path, "--window-size=1280,2400", f"--screenshot={picture}", f"file://{page}")
    assert picture.is_file(), done.stderr
    colours = Image.open(picture).convert("RGB").resize((64, 120)).getcolors(64 * 120)
    assert len(colours) > 100


def test_it_opens_at_once_and_after_a_thousand_trials_too(page, copied, tmp_path):
    """Under two seconds, also where Phase 2 had a thousand trials; other work may spoil two tries of three."""
    assert opens_at_once(page, tmp_path)
    first = copied / "phase2/b0r0s00"
    metrics = json.loads((first / "metrics.json").read_text())
    record = json.loads((copied / "run.json").read_text())
    board = pd.read_csv(copied / "phase2/leaderboard.csv")
    rows = []
    for i in range(1000):
        name, rate = f"b0r0s{i:04d}", 1e-4 * 1.005**i
        (copied / "phase2" / name).mkdir()
        metrics["trial"]["configured"]["learning_rate"] = metrics["trial"]["hyperparameters"]["learning_rate"] = rate
        (copied / "phase2" / name / "metrics.json").write_text(json.dumps(metrics))
        for file in ("history.csv", "val_predictions.parquet"):
            (copied / "phase2" / name / file).symlink_to(first / file)
        rows.append({**board.iloc[0], "rank": i + 1, "id": name, "learning_rate": rate})
    pd.DataFrame(rows).to_csv(copied / "phase2/leaderboard.csv", index=False)
    record["training_runs"]["phase2"] = {row["id"]: 1 for row in rows}
    (copied / "run.json").write_text(json.dumps(record))
    long = report_of(copied)
    text = re.sub(PLOTTING_SCRIPT, "", long.read_text(), flags=re.DOTALL)
    assert len(text.encode()) < 6_000_000
    assert text.count("<tr>") > 1000
    assert opens_at_once(long, tmp_path)


def test_a_name_that_is_a_script_is_shown_as_text(copied, tmp_path):
    """A class, a text encoder's licence, a prompt and the name of its file may hold anything."""
    for path in (copied / "data/audit.json", copied / "data/fingerprint.json", *copied.glob("final/*/evaluation.json")):
        path.write_text(path.read_text().replace("Glaucoma", HOSTILE).replace("Myopia", "$x^$ & <b>"))
    audit = json.loads((copied / "data/audit.json").read_text())
    audit["warnings"].append(f"The prompt {HOSTILE} is odd.")
    (copied / "data/audit.json").write_text(json.dumps(audit))
    best = json.loads((copied / "best.json").read_text())
    best["reason"] = HOSTILE
    (copied / "best.json").write_text(json.dumps(best))
    record = json.loads((copied / "run.json").read_text())
    record["config"]["evaluation"]["prompts"] = f"{HOSTILE}.yaml"
    (copied / "run.json").write_text(json.dumps(record))
    for path in copied.glob("*/*/metrics.json"):
        metrics = json.loads(path.read_text())
        metrics["trial"]["class_prompts"] = {HOSTILE: [HOSTILE]}
        path.write_text(json.dumps(metrics))
    (path,) = copied.glob("final/*/qualitative_examples.npz")
    examples = read_examples(path)
    cards = len(examples.eye)
    assert cards
    names = np.array([HOSTILE] * len(examples.classes))
    write_examples(path, examples._replace(classes=names, prompt=np.full(examples.prompt.shape, HOSTILE)))
    page = report_of(copied)
    written = [page, *page.parent.glob("*.md"), *page.parent.glob("figures/*.svg")]
    assert page.parent / "summary.md" in written
    for path in written:
        assert HOSTILE not in path.read_text(), path
    shown = HOSTILE.replace("<", "&lt;").replace(">", "&gt;")
    assert page.read_text().count(f"<li>{shown}</li>") == cards * examples.prompt.shape[1]
    assert page.read_text().count(shown) > 5 + cards * examples.prompt.shape[1]
    script = (
        "const found = (of) => [...of].filter((one) => one.textContent === 'alert(1)').length;"
        "const prompts = [...document.querySelectorAll('.card li')].filter((one) => !one.children.length);"
        "const whole = prompts.filter((one) => one.textContent === '<script>alert(1)<' + '/script>').length;"
        "document.title = `${found(document.scripts)} run, ${whole} read`"
    )
    done = chromium(tmp_path, "--dump-dom", f"file://{with_script(page, script, tmp_path)}")
    assert not errors(done)
    assert f"<title>0 run, {cards * examples.prompt.shape[1]} read</title>" in done.stdout


def test_a_model_card_shows_a_script_as_text(small_run):
    """Its classes are the table's, its encoder's licence is the hub's, and Markdown lets HTML through."""
    folder = small_run / "results/small"
    metrics = Metrics.read(folder / "final/pubmedbert-s2001/metrics.json")
    fingerprint = json.loads((folder / "data/fingerprint.json").read_text().replace("Glaucoma", HOSTILE))
    reading = replace(metrics.trial.text_encoder_settings, source=HOSTILE)
    trial = replace(metrics.trial, text_encoder_settings=reading)
    image_encoder = {**trial.image_encoder, "weights": "weights<b>.pt"}
    assert HOSTILE in fingerprint["classes"]
    card = model_card(
        load_exported(folder / "final/pubmedbert-s2001/model"),
        trial,
        image_encoder,
        64,
        {"revision": HOSTILE, "license": HOSTILE},
        fingerprint,
        metrics.val,
    )
    assert "<script" not in card
    assert "<b>" not in card
    assert card.count("&lt;script&gt;alert(1)") == 4


def result_of_methods(page) -> str:
    """The paragraph under Result in the methods.md beside the page."""
    return re.search(r"## Result\n\n(.*?)\n\n## ", page.with_name("methods.md").read_text(), re.DOTALL)[1]


NUMBER = r"([+−]?\d\.\d{3})"
INTERVAL = rf"\(95 % CI {NUMBER} to {NUMBER}"


def read(found: re.Match[str] | None) -> list[float]:
    """The numbers of a sentence."""
    assert found
    return [float(number.replace("−", "-")) for number in found.groups()]


def assert_result_is_true(folder, page) -> str:
    """Every score that it names, recomputed from the tables of predictions. folder: results/{run}. Returns it."""
    said = result_of_methods(page)
    record = json.loads((folder / "run.json").read_text())
    config, names = record["config"], record["training_runs"]["final"]

    def tables(kind: str) -> list[pd.DataFrame]:
        return [pd.read_parquet(folder / f"final/{name}/predictions.parquet")
                for name in names if name.startswith(f"{kind}-s")]  # fmt: skip

    def agrees(numbers: list[float], own: list[pd.DataFrame], value) -> None:
        """numbers: value, low, high."""
        low, high = resampled(own, value, min(len(own), config["final"]["seeds"]))
        assert numbers[0] == pytest.approx(value(own), abs=6e-4)
        assert numbers[1:] == pytest.approx([low, high], abs=0.2 * (high - low) + 0.002)

    winner, default = tables(config["model"]["search_encoder"]), tables("baseline")
    reaches = re.search(
        rf"On (\d+) test patients, .*? reaches a zero-shot balanced accuracy of {NUMBER} {INTERVAL}\); "
        rf"the baseline reaches {NUMBER} {INTERVAL}\)",
        said,
    )
    patients, *numbers = read(reaches)
    assert patients == winner[0].loc[winner[0]["target"] >= 0, "patient_id"].nunique()
    agrees(numbers[:3], winner, mean_accuracy)
    agrees(numbers[3:], default, mean_accuracy)

    def difference(pair: list[pd.DataFrame]) -> float:
        return mean_accuracy(pair[: len(winner)]) - mean_accuracy(pair[len(winner) :])

    if "Nothing was learned" not in said:
        gain = read(
            re.search(
                rf"Tuning with {config['model']['search_encoder']} changed the score by {NUMBER} {INTERVAL}, paired",
                said,
            )
        )
        agrees(gain, [*winner, *default], difference)
        assert ("): statistically significant at 5 %" in said) == (not gain[1] <= 0 <= gain[2])
    if control := tables("control"):
        numbers = read(
            re.search(rf"shuffled between patients, the same configuration scores {NUMBER} {INTERVAL}", said)
        )
        agrees(numbers, control, mean_accuracy)
        assert ("not above chance" in said) == (numbers[1] <= 1 / len(score_columns(control[0])))
    recommended = re.search(r"the text encoder to take is (\w+)", said)
    for name, gap in re.findall(rf"(\w+) \({NUMBER}\)", said[said.index("on test, ") :] if recommended else ""):
        own = mean_accuracy(tables(name)) - mean_accuracy(tables(recommended[1]))
        assert float(gap.replace("−", "-")) == pytest.approx(own, abs=6e-4)
    assert f"Guessing would give {1 / len(score_columns(winner[0])):.3f}" in said
    return said


def test_what_the_page_and_its_methods_claim_is_true(copied):
    """The small run learns nothing, so the winner is made to name most eyes rightly, as a model would that has."""
    recommend(copied, "pubmedbert")
    for kind, share in (("pubmedbert", 0.8), ("baseline", 0.3)):
        folder = copied / f"final/{kind}-s2001"
        table, named = name_rightly(folder, share)
        columns = score_columns(table)
        evaluation = json.loads((folder / "evaluation.json").read_text())
        evaluation["zero_shot"]["zero_shot_balanced_accuracy"]["value"] = balanced_accuracy(table)
        matrix = np.zeros((len(columns), len(columns)), int)
        np.add.at(matrix, (table["target"], named), 1)
        evaluation["confusion"]["matrix"] = matrix.tolist()
        for k, row in enumerate(evaluation["per_class"]):
            row["precision"] = matrix[k, k] / matrix[:, k].sum() if matrix[:, k].any() else None
        (folder / "evaluation.json").write_text(json.dumps(evaluation))
    best = json.loads((copied / "best.json").read_text())
    (copied / "best.json").write_text(json.dumps({**best, "id": "c0"}))
    page = report_of(copied)
    assert "): statistically significant at 5 %" in assert_result_is_true(copied, page)
    assert assert_first_screen_is_true(copied, page).startswith("With pubmedbert: balanced accuracy is ")


def test_the_first_screen_and_the_result_of_the_small_run_are_true(small_run, page):
    assert_result_is_true(small_run / "results/small", page)
    assert_first_screen_is_true(small_run / "results/small", page)


def test_the_first_screen_and_the_result_of_a_finished_run_are_true(tmp_path):
    """The demo's where `make demo` has run here, or that of RETCLIP_RUN=results/..."""
    folder = Path(os.environ.get("RETCLIP_RUN", REPOSITORY / "results/demo"))
    if not (folder / "report/index.html").is_file():
        pytest.skip("no finished run: make demo, or set RETCLIP_RUN to a folder of results")
    entry("build_report", "--run-folder", folder, "--output-folder", tmp_path)
    assert (tmp_path / "index.html").stat().st_size < 6_000_000, "plotting script and examples included"
    assert_result_is_true(folder, tmp_path / "index.html")
    assert_first_screen_is_true(folder, tmp_path / "index.html")


def test_the_small_run_claims_nothing(page):
    """After one to three steps nothing is learned, and the page says so first of all."""
    said = plain(re.search(r'<p class="lead[^>]*>(.*?)</p>', page.read_text(), re.DOTALL)[1])
    assert said.startswith("Nothing was learned that is better than chance")
    assert "recommends neither a configuration nor a text encoder" in said


def test_an_interim_page_holds_what_has_finished_and_touches_nothing(copied):
    for name in ("best.json", "phase2/best.json", "phase2/leaderboard.csv", "phase2/importances.csv"):
        (copied / name).unlink()
    for name in ("phase2/b0r0s01", "confirm", "final"):
        shutil.rmtree(copied / name)
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    entry("build_report", "--run-folder", copied, "--interim", "--output-folder", copied / "interim")
    assert {path: path.stat().st_mtime_ns for path in before if path != copied} == {
        path: stamp for path, stamp in before.items() if path != copied
    }
    text = re.sub(PLOTTING_SCRIPT, "", (copied / "interim/index.html").read_text(), flags=re.DOTALL)
    assert "Interim: this run has not ended" in text
    assert "1 trial of Phase 2, 1 trial of Confirmation, 3 trials of Final" in text
    assert "At the pace so far" in text
    assert "b0r0s00" in text
    assert 'id="gain"' not in text
    reader = Reader(text)
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)
    status = entry("show_status", "--run-folder", copied).stdout.splitlines()
    assert len(status) <= 10
    assert status[0] == "run small: 4 of 9 trials have finished"
    assert any("Phase 2" in line and "1 of 2" in line and "to go" in line for line in status)
    whole = entry("build_report", "--run-folder", copied, "--output-folder", copied / "whole", check=False)
    assert whole.returncode
    assert "phase2/b0r0s01/metrics.json: this file does not exist" in whole.stderr
    assert "Traceback" not in whole.stderr


def test_beside_a_run_that_goes_on(small_run, small_config, tmp_path):
    """Status and interim page are made between two training runs of a run, which ends as if nobody had looked."""
    after = shutil.ignore_patterns("phase1", "phase2", "confirm", "final", "state", "best.json", "report")
    shutil.copytree(small_run, tmp_path, symlinks=True, ignore=after, dirs_exist_ok=True)
    targets = [f"results/small/{name}" for name in ("run.json", "phase1/leaderboard.csv")]
    command = snakemake_command(tmp_path, *small_config, "--cores", 1, "--", *targets)
    folder = tmp_path / "results/small"
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 240
        while not list(folder.glob("phase1/*/metrics.json")):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGSTOP)  # no job begins: a page takes longer than the trials that are left
        try:
            tables = [path for path in folder.rglob("*") if path.suffix in (".json", ".csv", ".parquet")]
            before = {path: path.read_bytes() for path in tables}
            status = entry("show_status", "--run-folder", folder).stdout
            entry("build_report", "--interim", "--run-folder", folder, "--output-folder", folder / "interim")
            assert [path for path, found in before.items() if path.read_bytes() != found] == []
        finally:
            process.send_signal(signal.SIGCONT)
        assert process.wait() == 0, process.stderr.read()
    assert re.search(r"Phase 1 +[12] of 3 .* about \d+ s to go", status)
    assert "At the pace so far, the last trial ends about" in status
    page = (folder / "interim/index.html").read_text()
    assert "Interim: this run has not ended" in page
    assert "At the pace so far" in page
    assert planned_jobs(tmp_path, *small_config, "--", *targets) == {}


def test_it_prints_to_a_clean_pdf(page, tmp_path):
    paper = tmp_path / "page.pdf"
    done = chromium(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={paper}", f"file://{page}")
    assert not errors(done)
    content = paper.read_bytes()
    assert content.startswith(b"%PDF")
    assert 4 < len(re.findall(rb"/Type\s*/Page\b", content)) < 40
