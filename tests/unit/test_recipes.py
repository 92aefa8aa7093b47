"""The recipes of CONTRIBUTING.md, followed on a copy of the repository: so many files by hand, and it works."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from documents import ENCODER, metrics_of
from PIL import Image
from running import ENVIRONMENT, REPOSITORY, merged, planned_jobs, snakemake

from retclip.core.config import configured_defaults
from retclip.core.facts import facts
from retclip.metrics.registry import METRICS
from retclip.search import budget

pytestmark = pytest.mark.slow

# What `make reference` may write.
MADE = {"config/README.md", "config/schema/config.schema.yaml", "config/schema/trial.schema.yaml"}


class Copy:
    """A copy of the repository that recipes are followed in."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        for name in ("Snakefile", "requirements.lock"):
            shutil.copy(REPOSITORY / name, folder)
        for name in ("scripts", "config", "rules", "envs", "tests"):
            ignored = shutil.ignore_patterns("__pycache__", "golden", ".*")
            shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
        self.before = self._digests()

    def edit(self, name: str, before: str, after: str) -> None:
        """Puts `after` in the place of `before`, which stands there once."""
        path = self.folder / name
        text = path.read_text()
        assert text.count(before) == 1, (name, before)
        path.write_text(text.replace(before, after))

    def touched(self) -> set[str]:
        now = self._digests()
        return {name for name in now.keys() | self.before.keys() if now.get(name) != self.before.get(name)}

    def run(self, *command: object) -> str:
        environment = {**ENVIRONMENT, "PYTHONPATH": str(self.folder / "scripts"), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, *map(str, command)], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def make_reference(self) -> None:
        by_hand = self.touched()
        self.run("tests/config_reference.py")
        assert self.touched() - by_hand <= MADE
        assert self.touched() - by_hand, "the declaration is not in what is made of it"

    def _digests(self) -> dict[str, str]:
        return {
            os.path.relpath(path, self.folder): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.folder.rglob("*")
            if path.is_file() and path.parent.name != "__pycache__"
        }


@pytest.fixture
def copy(tmp_path) -> Copy:
    return Copy(tmp_path / "repository")


CHECKED = """
import sys; sys.path.insert(0, "tests")
from documents import ENCODER, metrics_of
from running import merged
from retclip.core.config import check_config, configured_defaults
config = merged("demo")
"""


@pytest.fixture
def bert(tmp_path) -> Path:
    """A BERT in a folder, as it comes from the hub."""
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "optic", "disc"]
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(words), **sizes), add_pooling_layer=False).save_pretrained(tmp_path / "bert")
    (tmp_path / "bert/vocab.txt").write_text("\n".join(words))
    return tmp_path / "bert"


def test_a_text_encoder_is_one_line_of_config(copy, tmp_path, bert):
    """The search's work stays, and it gets final models of its own."""
    demo, mine = copy.folder / "config/demo.yaml", copy.folder / "my.yaml"
    before = planned_jobs(tmp_path, "--configfile", demo, repository=copy.folder)
    mine.write_text(f"model: {{text_encoders: {{mine: {{source: {bert}}}}}}}\n")
    assert copy.touched() == {"my.yaml"}
    after = planned_jobs(tmp_path, "--configfile", demo, mine, repository=copy.folder)
    new = {rule: jobs - before.get(rule, set()) for rule, jobs in after.items() if jobs != before.get(rule)}
    assert new["train_final"] == {"mine-s2001"}
    assert not {rule for rule in new if "phase" in rule or "confirm" in rule}
    copy.run("scripts/fetch_text_encoder.py", "--name", "mine", "--source", bert, "--output", "fetched")
    copy.run("-c", CHECKED + MODEL, "fetched")


def test_an_image_encoder_is_one_line_of_config(copy, tmp_path, bert):
    mine = copy.folder / "my.yaml"
    mine.write_text("model: {image_encoder: {architecture: timm/resnet10t, embed_dim: 32}}\n")
    assert copy.touched() == {"my.yaml"}
    jobs = planned_jobs(tmp_path, "--configfile", copy.folder / "config/demo.yaml", mine, repository=copy.folder)
    assert len(jobs["train_phase1_trial"]) == 17
    copy.run("scripts/fetch_text_encoder.py", "--name", "mine", "--source", bert, "--output", "fetched")
    copy.run("-c", CHECKED + MODEL, "fetched", "my.yaml")


# the model of a trial of the config, from photographs and reports to features
MODEL = """
import math, torch, yaml
from pathlib import Path
from documents import trial_of
from running import merge
from retclip.models.factory import build_model
from retclip.models.text_encoder import load_tokenizer
if len(sys.argv) > 2:
    merge(config, yaml.safe_load(Path(sys.argv[2]).read_text()))
clean = check_config(config)
trial = trial_of(
    image_encoder=clean["model"]["image_encoder"], image_size=64, hyperparameters=configured_defaults(clean)
)
model = build_model(trial, Path(sys.argv[1]), None).eval()
ids, mask = load_tokenizer(sys.argv[1])(["optic disc", "disc"], 16)
with torch.no_grad():
    found = model(torch.randn(2, 3, 64, 64), torch.randn(2, 3, 64, 64), ids, mask)
for name in ("image_features", "text_features"):
    assert found[name].shape == (2, clean["model"]["image_encoder"]["embed_dim"])
    assert all(math.isclose(length, 1, abs_tol=1e-4) for length in found[name].norm(dim=1).tolist())
"""

SOURCE = '''"""Photographs with a grade each: file, patient, grade."""

from collections.abc import Iterator
from pathlib import Path

from retclip.data.declared import note_of_table, read_declared
from retclip.data.labels import joined_label
from retclip.data.reconciliation import Ledger
from retclip.data.samples import Problems, Row
from retclip.data.source import Source, SourceForm
from retclip.data.tables import LINE, filled, need, rows_of

COLUMNS = ("file", "patient", "grade")


def read(source: Source, table_path: Path, problems: Problems, ledger: Ledger) -> Iterator[Row]:
    table = read_declared(table_path, source, COLUMNS, ledger)
    for column in COLUMNS:
        need(table_path, table, column)
    ledger.receive(rows=len(table), images=filled(table, ["file"]), labels=filled(table, ["grade"]))
    note_of_table(ledger, source.name_of(table_path), table, list(COLUMNS), ["grade"])
    for cells in rows_of(table):
        images, values = {"unknown": cells["file"]}, {"label": joined_label(cells["grade"])}
        yield Row(int(cells[LINE]), cells["patient"], cells["file"], images, values)


SOURCES = {
    "graded": SourceForm(
        read=read,
        keys=(("image_root",),),
        columns=tuple((column,) for column in COLUMNS),
        labels=("grade",),
        has_patients=True,
        about_table="CSV `file,patient,grade`",
        about_images="`file`, below `image_root`",
    ),
}
'''


def test_a_source_is_one_module(copy, tmp_path):
    module = "scripts/retclip/data/sources/graded.py"
    (copy.folder / module).write_text(SOURCE)
    assert copy.touched() == {module}
    copy.make_reference()
    row = "| `graded` | CSV `file,patient,grade` | `file`, below `image_root` |"
    assert row in (copy.folder / "config/README.md").read_text()
    table, refused = tmp_path / "grades.csv", tmp_path / "refused.csv"
    lines = [f"{number}.png,P{number // 2},{'ab'[number // 2 % 2]}\n" for number in range(24)]
    table.write_text(f"file,patient,grade\n{''.join(lines)}")
    refused.write_text("file,patient\n0.png,P0\n")
    for number in range(24):
        Image.fromarray(np.random.default_rng(number).integers(60, 255, (40, 40, 3), np.uint8)).save(
            tmp_path / f"{number}.png"
        )
    mine = tmp_path / "my.yaml"
    data = f"source: graded, manifest: {table}, image_root: {tmp_path}, demo_patients: null"
    external = f"{{source: graded, manifest: {table}, image_root: {tmp_path}}}"
    mine.write_text(f"run: graded\ndata: {{{data}}}\nevaluation: {{external_tests: {{other: {external}}}}}\n")
    used = f"""
import yaml
from pathlib import Path
from documents import trial_of
from running import merge
from retclip.core.table_counts import estimated_counts
merge(config, yaml.safe_load(Path({str(mine)!r}).read_text()))
clean = check_config(config)
assert estimated_counts(clean["data"]) == {{"splits": {{"train": 15, "val": 4, "test": 5}}, "labels": 2}}
config["data"]["manifest"] = {str(refused)!r}
try:
    check_config(config)
except ValueError as error:
    print(error)
"""
    assert "lacks the column grade; it has file, patient" in copy.run("-c", CHECKED + used)
    stores = ["results/graded/data/fingerprint.json", "results/graded/external/other/fingerprint.json"]
    snakemake(tmp_path, "--configfile", copy.folder / "config/demo.yaml", mine, "--", *stores, repository=copy.folder)
    for path, splits in zip(stores, ({"train", "val", "test"}, {"test"}), strict=True):
        fingerprint = json.loads((tmp_path / path).read_text())
        assert (fingerprint["classes"], set(fingerprint["splits"])) == (["a", "b"], splits)
        assert sum(split["samples"] for split in fingerprint["splits"].values()) == 24
        assert fingerprint["patients_known"]


HYPERPARAMETER = """
    "momentum": Hyperparameter(
        at="defaults.momentum", about="of the optimizer sgd", kind="number", least=0, config_most=1, default=0.9,
    ),
"""


def test_a_hyperparameter_is_two_edits(copy):
    ids = CHECKED + "from retclip.search.space import grid\nprint(*grid(config['phase1']['space']))"
    before = copy.run("-c", ids)
    copy.edit("scripts/retclip/core/hyperparameters.py", "\n}  # fmt: skip\n", f"{HYPERPARAMETER}}}  # fmt: skip\n")
    copy.edit("scripts/retclip/training/optimizer.py", "momentum=SGD_MOMENTUM", 'momentum=hyperparameters["momentum"]')
    assert copy.touched() == {"scripts/retclip/core/hyperparameters.py", "scripts/retclip/training/optimizer.py"}
    copy.make_reference()
    assert copy.run("-c", ids) == before, "no trial of Phase 1 is renamed"
    assert (
        "| `defaults.momentum` | `0.9` | number ≥ 0, ≤ 1 | of the optimizer sgd |"
        in (copy.folder / "config/README.md").read_text()
    )
    used = """
import torch
from retclip.core.schemas import check
from retclip.report.methods import _others
from retclip.search import budget, proposals, space
from retclip.training.optimizer import build_optimizer
assert configured_defaults(check_config(config))["momentum"] == 0.9
config["defaults"] |= {"momentum": 0.5, "optimizer": "sgd"}
config["phase1"]["space"]["momentum"] = [0.1, 0.2]
config["phase2"]["space"] = {"momentum": {"times_best": [0.5, 1.0]}}
config["confirm"]["top_k"] = 0
defaults = configured_defaults(check_config(config))
points = [point["momentum"] for point in space.grid(config["phase1"]["space"]).values()]
assert sorted(set(points)) == [0.1, 0.2]
found = proposals.propose(space.near_best(config["phase2"]["space"], defaults), defaults, 2, 0, "random")
assert sorted(values["momentum"] for values in found) == [0.25, 0.5]
specification = {"id": "t", "phase": "phase1", "text_encoder": "x", "seed": 1, "image_encoder": {},
          "text_encoder_settings": {"source": "x", "revision": None, "texts": None, "truncation_side": "right",
          "from_checkpoint": False}, "image_size": 64,
          "selection_metric": "zero_shot_accuracy", "train_samples": None, "val_samples": None, "epochs": None,
          "class_prompts": {}, "shuffled_texts": False}
trial = budget.plan(specification, found[0], {"train": 50, "val": 10, "test": 10})
check(trial.to_dict(), "trial", "trial.json")
optimizer = build_optimizer(torch.nn.Linear(2, 2), trial.hyperparameters)
assert optimizer.param_groups[0]["momentum"] == found[0]["momentum"]
assert f"momentum {found[0]['momentum']}" in _others(trial.hyperparameters)
config["defaults"]["momentum"] = 1.5
try:
    check_config(config)
except ValueError as error:
    print(error)
"""
    assert "config: defaults.momentum: 1.5 is greater than the maximum of 1" in copy.run("-c", CHECKED + used)


METRIC = """
    "zero_shot_top_2_accuracy": ZeroShot(
        label="top-2 accuracy", value=_top_2_accuracy, chance=lambda share: min(1.0, 2 / len(share)),
    ),
    **{
        f"{direction}_recall_at_{k}"
"""
FUNCTION = """
def _top_2_accuracy(target: np.ndarray, score: np.ndarray) -> float:
    return float((np.argsort(-score, axis=1)[:, :2] == target[:, None]).any(1).mean())


def _guessed_f1("""


def test_a_metric_is_one_edit(copy):
    registry = "scripts/retclip/metrics/registry.py"
    copy.edit(registry, '\n    **{\n        f"{direction}_recall_at_{k}"', METRIC.rstrip("\n"))
    copy.edit(registry, "\ndef _guessed_f1(", FUNCTION)
    assert copy.touched() == {registry}
    copy.make_reference()
    used = """
import numpy as np
sys.path[:0] = ["tests/unit", "tests"]
from test_predictions import CLASSES, SCALES, Samples, documented, random_features
from retclip.evaluation.test_set import prediction_table
from retclip.evaluation.validation import Features, predictions, standard_errors, validation_scores
from retclip.metrics.scores import majority_levels, unpack
from retclip.report.formatting import metric_name
name = "zero_shot_top_2_accuracy"
config["selection"]["metric"] = name
check_config(config)
assert metric_name(name) == "top-2 accuracy"
split, texts = Samples("patient"), random_features(len(CLASSES), 2)
features = Features(random_features(len(split), 0), random_features(len(split), 1), 1.0)
table = predictions(split, features, texts)
val = validation_scores(split, features, table)
target, scores, _ = unpack(table)
expected = np.mean([right in np.argsort(row)[-2:] for right, row in zip(target, scores)])
assert abs(val.scores[name] - expected) < 1e-9
assert val.levels.chance[name] == 2 / 3
assert val.levels.majority[name] == majority_levels(target, 3)[name]
error = standard_errors(table)[name]
assert 0 < error < 0.3
found = documented(split, features, prediction_table(split, features, texts, texts, SCALES)).zero_shot[name]
assert found["low"] < found["value"] == val.scores[name] < found["high"]
assert abs(found["standard_error"] - error) < 1e-9
"""
    copy.run("-c", CHECKED + used)


def test_a_strategy_is_one_edit(copy):
    declared = 'Strategy(lambda samplers, seed: samplers.QMCSampler(qmc_type="halton", seed=seed), "even", learns=True)'
    last = '    "tpe_halving": '
    copy.edit("scripts/retclip/search/strategies.py", last, f'    "spread": {declared},\n{last}')
    assert copy.touched() == {"scripts/retclip/search/strategies.py"}
    copy.make_reference()
    row = "| `spread` | `trials`, in rounds of `trials_per_round` | even |"
    assert row in (copy.folder / "config/README.md").read_text()
    used = """
from retclip.core.config import strategy_facts
from retclip.search import layout, proposals
config["phase2"] |= {"strategy": "spread", "trials": 6, "trials_per_round": 3}
clean = check_config(config)
assert strategy_facts(clean) == {"learns"}
slots = layout.slots(clean["phase2"])
assert [slot.bracket for slot in slots.values()] == [0, 0, 0, 1, 1, 1]
space = {"weight_decay": {"low": 0.0, "high": 1.0}}
drawn = proposals.propose(space, configured_defaults(clean), 3, 1, "spread")
assert len({values["weight_decay"] for values in drawn}) == 3
"""
    copy.run("-c", CHECKED + used)


SECTION = '''"""How fast training runs go, by their batch size."""

from retclip.report.drawing import BLUE, subplots
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

TEXT = """
<p>Fast enough at {{ most }} samples per second?</p>
{{ figure("speed_by_batch") }}
"""


def draw_speed(run: RunFolder):
    figure, axes = subplots(height=3.0)
    for one in run.searched["phase1"]:
        axes.scatter(one.trial.hyperparameters["batch_size"], one.metrics.samples_per_second, color=BLUE)
    axes.set(xlabel="batch size", ylabel="samples per second")
    return figure


def _words(run: RunFolder):
    return {"most": max(one.metrics.samples_per_second for one in run.searched["phase1"])}


SECTION = Section(
    "Speed",
    TEXT,
    is_ready=lambda run: bool(run.searched["phase1"]),
    figures={"speed_by_batch": draw_speed},
    words=_words,
)
'''
CAPTION = """batch-speed:
  speed_by_batch: {category: Cost, caption: "Speed by batch size of trials ranked by {metric}, a dot a trial."}
"""


def begun_run(folder: Path) -> Path:
    """A run of which one trial of Phase 1 has finished, as its stages write it."""
    config = merged("demo")
    specification = {
        "id": "baseline",
        "phase": "phase1",
        "text_encoder": "pubmedbert",
        "seed": 1,
        "image_encoder": {},
        "text_encoder_settings": ENCODER,
        "image_size": 64,
        "selection_metric": config["selection"]["metric"],
        "train_samples": None,
        "val_samples": None,
        "epochs": None,
        "class_prompts": {},
        "shuffled_texts": False,
    }
    trial = budget.plan(specification | facts("baseline"), configured_defaults(config), {"train": 640, "val": 60})
    val = {**dict.fromkeys(METRICS, 0.8), "loss": 1.0, "levels": {"chance": {}, "majority": {}}, "standard_error": {}}
    trained = metrics_of(trial, val, epochs=2, samples_per_second=123.4).to_dict()
    planned = {
        "phase1": {"baseline": 2, "p1-0": 2},
        "phase2": {"b0r0s00": 2},
        "confirm": {},
        "final": {"pubmedbert-s1": 2},
    }
    told = {"confirm": {}, "encoders": {}, "final": {"pubmedbert-s1": {**facts("tuned"), "text_encoder": "pubmedbert"}}}
    record = {"config": config, "training_runs": planned, "facts": told, "initial": "initial-s1"}
    (folder / "phase1/baseline").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "phase1/baseline/metrics.json").write_text(json.dumps(trained))
    (folder / "phase1/baseline/history.csv").write_text("epoch\n1\n")
    return folder


def test_a_section_with_a_figure_is_two_edits(copy, tmp_path):
    declared = "scripts/retclip/report/templates/sections.yaml"
    copy.edit(declared, "\nfailures:", f"\n{CAPTION}failures:")
    (copy.folder / "scripts/retclip/report/sections/batch_speed.py").write_text(SECTION)
    assert copy.touched() == {declared, "scripts/retclip/report/sections/batch_speed.py"}
    run = begun_run(tmp_path / "run")
    copy.run("scripts/build_report.py", "--interim", "--run-folder", run, "--output-folder", tmp_path / "report")
    page = (tmp_path / "report/index.html").read_text()
    assert "Fast enough at 123.4 samples per second?" in page
    links, section = page.index('<a href="#batch-speed">Speed</a>'), page.index('<section id="batch-speed">')
    assert links < page.index('<section id="cost">') < section < page.index('<section id="failures">')
    shown = page[section : page.index("</section>", section)]
    assert "<h2>Speed</h2>" in shown
    assert "Speed by batch size of trials ranked by balanced accuracy, a dot a trial." in shown
    assert 'href="figures/speed_by_batch.svg"' in shown
    assert "samples per second" in (tmp_path / "report/figures/speed_by_batch.svg").read_text()
    # the workflow knows the file, and the report is made again where the section changes
    figure = "results/demo/report/figures/speed_by_batch.svg"
    snakemake(tmp_path, "--configfile", copy.folder / "config/demo.yaml", "-n", "--", figure, repository=copy.folder)
    code = "from retclip.core.code_hash import code_hash; print(code_hash('build_report'))"
    before = copy.run("-c", code)
    copy.edit("scripts/retclip/report/sections/batch_speed.py", "height=3.0", "height=4.0")
    assert copy.run("-c", code) != before
