"""The rerun matrix: one real change after another to a finished run, and exactly which rules a dry run then plans.

Snakemake's dry run knows no contents: downstream of a job it plans all, and the training runs' state makes most of
that a matter of seconds. So each case names the rules, and how many training runs of Phase 1 and which finals.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from running import REPOSITORY, planned_jobs, snakemake

from retclip.core.trial import Trial
from retclip.training.checkpoint import state_key

pytestmark = pytest.mark.slow

RANKING1 = {"rank_phase1", "select_phase1"}
PHASE2 = {"propose_bracket", "plan_phase2_trial", "train_phase2_trial", "rank_phase2", "select_phase2",
          "estimate_importances"}  # fmt: skip
CONFIRM = {"plan_confirm_trial", "train_confirm_trial", "rank_confirm", "select_best"}
FINAL = {"plan_final", "train_final", "evaluate_final", "recommend_encoder"}
AFTER_PHASE1 = RANKING1 | PHASE2 | CONFIRM | FINAL | {"build_report", "collect_examples", "evaluate_initial"}
PHASE1 = {"plan_phase1_trial", "train_phase1_trial"}
# a rule that this matrix does not know yet makes no case of it wrong; where nothing may run, nothing at all may
KNOWN = AFTER_PHASE1 | PHASE1 | {"make_demo_data", "make_demo_encoder", "build_lmdb", "audit_data", "find_lr"}
AFTER_DATA = AFTER_PHASE1 | PHASE1 | {"audit_data", "find_lr"}


class Site:
    """A copy of the repository and a finished run in it, both to be changed."""

    def __init__(self, repository: Path, run: Path, config: list[str]) -> None:
        self.repository, self.run, self.config = repository, run, config
        self._before: dict[Path, tuple[bytes, os.stat_result]] = {}

    @property
    def results(self) -> Path:
        return self.run / "results/small"

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Changes one file of the repository's copy until the case is over."""
        path = self.repository / name
        self.keep(path)
        changed = change(path.read_text())
        assert changed != path.read_text(), name
        path.write_text(changed)

    def keep(self, path: Path) -> None:
        """Puts the file back, its time of change included, when the case is over."""
        if path not in self._before:
            self._before[path] = (path.read_bytes(), path.stat())

    def overlay(self, text: str) -> list[str]:
        path = self.run.parent / "overlay.yaml"
        path.write_text(text)
        return [*self.config, str(path)]

    def plan(self, *flags: object) -> dict[str, set[str]]:
        return planned_jobs(self.run, *(flags or self.config), repository=self.repository)

    def restore(self) -> None:
        for path, (content, status) in self._before.items():
            path.write_bytes(content)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        self._before.clear()


@pytest.fixture(scope="module")
def module_site(small_run, small_config, tmp_path_factory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    repository = folder / "repository"
    for name in ("Snakefile", "requirements.lock"):
        repository.mkdir(exist_ok=True)
        shutil.copy2(REPOSITORY / name, repository / name)
    for name in ("rules", "scripts", "config", "envs", "local"):
        shutil.copytree(REPOSITORY / name, repository / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(small_run, folder / "run", symlinks=True)
    return Site(repository, folder / "run", small_config)


@pytest.fixture
def site(module_site) -> Iterator[Site]:
    yield module_site
    module_site.restore()


NO_OVERLAY = "{}"


class Case(NamedTuple):
    """overlay: of the config; edit: file of the repository and what becomes of its text; flags: of snakemake.

    rules: exactly what is planned; phase1: training runs of Phase 1 among that; finals: as far as they are not all.
    """

    overlay: str = NO_OVERLAY
    edit: tuple[str, Callable[[str], str]] | None = None
    flags: tuple[str, ...] = ()
    rules: frozenset[str] | set[str] = frozenset()
    phase1: int = 0
    finals: set[str] | None = None


def replace(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


def append(text: str) -> Callable[[str], str]:
    return lambda before: before + text


GRID = "phase1: {space: {learning_rate: %s}}"
MATRIX = {
    "nothing": Case(),
    "a grid value changed": Case(GRID % "[1.0e-3, 5.0e-3]", rules=AFTER_PHASE1 | PHASE1, phase1=1),
    "a grid value added": Case(GRID % "[1.0e-3, 2.0e-3, 3.0e-3]", rules=AFTER_PHASE1 | PHASE1, phase1=1),
    "a grid value removed": Case(GRID % "[1.0e-3]", rules=AFTER_PHASE1),
    "the grid in another order": Case(GRID % "[3.0e-3, 1.0e-3]", rules={"build_report"}),
    "the seed": Case("seed: 2", rules={"make_demo_data", "build_lmdb"} | AFTER_DATA, phase1=3),
    "a setting of the table": Case("data: {report_section: Findings}", rules={"build_lmdb"} | AFTER_DATA, phase1=3),
    "the metric": Case(
        "selection: {metric: zero_shot_macro_f1}",
        # the audit says which samples the metric leaves out
        rules=AFTER_PHASE1 | PHASE1 | {"audit_data", "find_lr"},
        phase1=3,
    ),
    "the class prompts": Case(
        edit=("config/prompts.yaml", replace("- ", "- Certainly: ")), rules=AFTER_PHASE1 | PHASE1, phase1=3
    ),
    "a comment in the class prompts": Case(edit=("config/prompts.yaml", append("\n# checked by Dr. X\n"))),
    "a figure's code": Case(
        edit=("scripts/retclip/report/sections/curves.py", append("\nSTYLE = 1\n")), rules={"build_report"}
    ),
    "the page's style": Case(
        edit=("scripts/retclip/report/templates/style.css", append("\nh1 {color: red}\n")), rules={"build_report"}
    ),
    "a metric's label": Case(
        edit=("scripts/retclip/metrics/registry.py", replace('"macro F1"', '"F1"')), rules={"build_report"}
    ),
    "the trainer's code": Case(
        edit=("scripts/retclip/training/trainer.py", append("\nSPEED = 1\n")),
        # the range test has a loop of its own
        rules=(AFTER_PHASE1 | PHASE1) - {"plan_phase1_trial"},
        phase1=3,
    ),
    "a comment and a docstring in scripts": Case(
        edit=("scripts/train_trial.py", lambda text: text.replace("Trains one", "Teaches one", 1) + "\n# why\n")
    ),
    "a comment in the rules": Case(edit=("rules/common.smk", append("\n# why\n"))),
    "a rule's docstring": Case(edit=("rules/phase1.smk", replace("One training run;", "A single training run;"))),
    "the schema's wording": Case(edit=("config/schema/trial.schema.yaml", replace("title: ", "title: So: "))),
    "the profile": Case(flags=("--profile", "local")),
    "threads and memory": Case(
        flags=("--set-threads", "train_phase1_trial=2", "--set-resources", "train_phase1_trial:mem_mb=9000")
    ),
    "the lock": Case(edit=("requirements.lock", append("\n# renewed\n"))),
    "a conda environment": Case(edit=("envs/train.yaml", append("\n# renewed\n"))),
    "disk for weights": Case("training: {kept_weights_gb: 3}"),
    "memory for activations": Case("training: {gradient_checkpointing: true}"),
    "an encoder added": Case(
        "model: {text_encoders: {biobert: {source: demo}}}",
        rules={"make_demo_encoder", "audit_data", "build_report"} | FINAL,
        finals={"biobert-s2001"},
    ),
    "the strategy": Case("phase2: {strategy: qmc}", rules=AFTER_PHASE1 - RANKING1),
    "what the page may show": Case("privacy: {private: true}", rules={"build_report", "collect_examples"}),
}


@pytest.mark.parametrize("change", MATRIX)
def test_a_change_reruns_exactly(site, change):
    case = MATRIX[change]
    if case.edit:
        site.edit(*case.edit)
    jobs = site.plan(*site.overlay(case.overlay), *case.flags)
    # the page shows the config
    page = {"build_report"} if case.overlay != NO_OVERLAY else set()
    assert set(jobs) & KNOWN == case.rules | page
    assert case.rules or page or not jobs
    assert len(jobs.get("train_phase1_trial", ())) == case.phase1
    if case.finals is not None:
        assert jobs["train_final"] == case.finals


def test_the_metric_that_early_stopping_watches_trains_again(site, tmp_path):
    """The plan holds every training run, and none of them finds weights of its own in the state."""
    run = tmp_path / "run"
    shutil.copytree(site.run, run, symlinks=True)
    trials = sorted((run / "results/small/phase1").glob("*/trial.json"))
    targets = [path.relative_to(run) for path in trials]
    names = {path.parent.name for path in trials}

    def states(config: list[str]) -> list[str]:
        snakemake(run, *config, "--", *targets, repository=site.repository)
        return [state_key(Trial.read(path), {}, {}, "") for path in trials]

    watched = site.overlay("training: {early_stopping_patience: 1}")
    before = states(watched)
    snakemake(run, *watched, "--touch", repository=site.repository)
    assert planned_jobs(run, *watched, repository=site.repository) == {}
    other = site.overlay("training: {early_stopping_patience: 1}\nselection: {metric: zero_shot_macro_f1}")
    jobs = planned_jobs(run, *other, repository=site.repository)
    assert jobs["train_phase1_trial"] == names
    assert len(names) == 3
    assert {"train_phase2_trial", "train_confirm_trial", "train_final"} <= set(jobs)
    assert not set(before) & set(states(other))


def test_a_value_removed_and_put_back(site):
    """Phase 1 is ranked again twice, and nothing of it trained."""
    board = site.results / "phase1/leaderboard.csv"
    target = ("--", "results/small/phase1/leaderboard.csv")
    for path in (board, site.results / "logs/rank_phase1.log"):
        site.keep(path)
    before = board.read_bytes()
    snakemake(site.run, *site.overlay(GRID % "[1.0e-3]"), *target, repository=site.repository)
    assert len(pd.read_csv(board)) == 2
    assert set(site.plan(*site.config, *target)) == {"rank_phase1"}
    snakemake(site.run, *site.config, *target, repository=site.repository)
    assert board.read_bytes() == before


def test_a_strategy_changed_and_changed_back(site):
    """The same configurations are proposed as before, so that every training of them is found complete."""
    bracket = site.results / "phase2/bracket-0.json"
    target = ("--", "results/small/phase2/bracket-0.json")
    before = bracket.read_bytes()
    snakemake(site.run, *site.overlay("phase2: {strategy: qmc}"), *target, repository=site.repository)
    assert bracket.read_bytes() != before
    assert set(site.plan(*site.config, *target)) == {"propose_bracket"}
    snakemake(site.run, *site.config, *target, repository=site.repository)
    assert bracket.read_bytes() == before


def test_the_results_of_a_deleted_trial_come_back_from_its_state(site):
    """What is up to date needs no file that it was made of; asked for, the trial is published again."""
    folder = site.results / "phase1/baseline"
    kept = site.run.parent / "kept"
    shutil.move(folder, kept)
    try:
        assert site.plan() == {}
        target = ("--", "results/small/phase1/baseline/metrics.json")
        jobs = site.plan(*site.config, *target)
        assert jobs == {"plan_phase1_trial": {"baseline"}, "train_phase1_trial": {"baseline"}}
        snakemake(site.run, *site.config, *target, repository=site.repository)
        assert "already complete" in (site.results / "logs/train_phase1_trial/baseline.log").read_text()
        assert (folder / "metrics.json").read_bytes() == (kept / "metrics.json").read_bytes()
        assert site.plan() == {}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.move(kept, folder)


def test_a_deleted_state_loses_no_result(site):
    shutil.move(site.results / "state", site.run.parent / "state")
    try:
        assert site.plan() == {}
    finally:
        shutil.move(site.run.parent / "state", site.results / "state")


def test_moved_and_cloned_again(site):
    """Another place, and every file of the repository newer than all results, as after git clone."""
    for path in site.repository.rglob("*"):
        os.utime(path)
    clone, run = site.repository.with_name("clone"), site.run.with_name("moved")
    moved = Site(site.repository.rename(clone), site.run.rename(run), site.config)
    try:
        assert moved.plan() == {}
    finally:
        moved.repository.rename(site.repository)
        moved.run.rename(site.run)


@pytest.fixture
def own_data(site, tmp_path) -> Site:
    """The same run, with the drawn photographs as a table and images of the user's: every result is declared to be
    made of them (snakemake --touch), so that a change of them can be planned."""
    run = tmp_path / "run"
    shutil.copytree(site.run, run, symlinks=True)
    shutil.move(run / "results/small/demo", run / "data")
    config = tmp_path / "own.yaml"
    config.write_text("data: {source: manifest, manifest: data/manifest.csv, image_root: data/images}\n")
    own = Site(site.repository, run, [*site.config, str(config)])
    snakemake(run, *own.config, "--touch", repository=site.repository)
    assert own.plan() == {}
    return own


def test_an_image_replaced_or_a_row_added_builds_again(own_data):
    table, images = own_data.run / "data/manifest.csv", own_data.run / "data/images"
    first, second = sorted(images.iterdir())[:2]
    before = second.read_bytes()
    second.write_bytes(first.read_bytes())
    expected = {"build_lmdb"} | AFTER_DATA
    assert set(own_data.plan()) & KNOWN == expected
    second.write_bytes(before)
    snakemake(own_data.run, *own_data.config, "--touch", repository=own_data.repository)
    row = table.read_text().splitlines()[-1]
    table.write_text(table.read_text() + row.replace(row.split(",")[0], "one_more") + "\n")
    assert set(own_data.plan()) & KNOWN == expected


def test_after_an_upgrade_the_plan_says_what_it_costs_and_results_can_be_kept(site, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(site.run, run, symlinks=True)
    site.edit("scripts/retclip/training/trainer.py", append("\nSPEED = 2\n"))
    flags = ("--quiet", "all", "--nolock")
    log = snakemake(run, "plan_run", *flags, *site.config, repository=site.repository).stdout
    match = re.search(r"upgrade: (\d+) of (\d+) finished training runs are of other .* ([0-9.e-]+) device-hours", log)
    assert match, log
    assert match[1] == match[2]
    assert float(match[3]) > 0
    snakemake(run, *site.config, "--touch", repository=site.repository)
    assert planned_jobs(run, *site.config, repository=site.repository) == {}
    # what is new is made by the new code, beside what was kept
    grid = [*site.config, *site.overlay(GRID % "[1.0e-3, 2.0e-3, 3.0e-3]")[-1:]]
    assert len(planned_jobs(run, *grid, repository=site.repository)["train_phase1_trial"]) == 1
