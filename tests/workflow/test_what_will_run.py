"""make plan says what each training run of a plan will do: train, be scored again, be published, or nothing."""

import json
import re
import shutil

import pytest
import yaml
from running import REPOSITORY, planned_jobs, snakemake

pytestmark = pytest.mark.slow
LINE = re.compile(
    r"^what will run: (\d+) to train(?: \([^)]*\))?, (\d+) to be scored again, (\d+) to be published, (\d+) done$", re.M
)


@pytest.fixture
def run(small_run, tmp_path):
    """The finished small run, to be changed: a copy that keeps the times of its files."""
    return shutil.copytree(small_run, tmp_path / "run", symlinks=True)


def outlook(run, flags, *overlay):
    """(train, scored again, published, done), of one line."""
    printed = snakemake(run, "plan_run", "--quiet", "all", "--nolock", *flags, *overlay).stdout
    (found,) = LINE.findall(printed) or pytest.fail(printed)
    return tuple(map(int, found))


def runs(run):
    """How many training runs there are."""
    return len(list((run / "results/small").glob("*/*/trial.json")))


def overlay(folder, **sections):
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def test_of_a_finished_run_nothing_is_left(run, small_config):
    assert outlook(run, small_config) == (0, 0, 0, runs(run))


def test_before_anything_has_run_all_train(small_run, small_config, tmp_path):
    assert outlook(tmp_path, small_config) == (runs(small_run), 0, 0, 0)


def test_another_prompt_trains_nothing(run, small_config, tmp_path):
    prompts = yaml.safe_load((REPOSITORY / "config/prompts.yaml").read_text())
    for sentences in prompts.values():
        sentences.append("One more description.")
    (tmp_path / "prompts.yaml").write_text(yaml.safe_dump(prompts))
    changed = overlay(tmp_path, evaluation={"prompts": str(tmp_path / "prompts.yaml")})
    train, scored, published, done = outlook(run, small_config, changed)
    assert (train, published, done) == (0, 0, 0)
    assert scored == runs(run)
    # where the weights are gone, which is to be, that training run trains
    trial = json.loads((run / "results/small/phase1/baseline/trial.json").read_text())
    for path in (run / "results/small/state").glob("*/epoch-*/metrics.json"):
        if json.loads(path.read_text())["trial"]["hyperparameters"] == trial["hyperparameters"]:
            (path.parents[1] / "weights-001.pt").unlink(missing_ok=True)
    assert outlook(run, small_config, changed)[0] >= 1


def test_one_more_learning_rate_trains_once(run, small_config, tmp_path):
    more = {"learning_rate": [1.0e-3, 2.0e-3, 3.0e-3], "batch_size": [32], "warmup_steps": [2]}
    before = runs(run)
    assert outlook(run, small_config, overlay(tmp_path, phase1={"space": more})) == (1, 0, 0, before)


def test_what_lies_in_the_state_alone_is_published(run, small_config):
    for path in (run / "results/small/phase1/baseline").iterdir():
        if path.name != "trial.json":
            path.unlink()
    assert outlook(run, small_config) == (0, 0, 1, runs(run) - 1)


def test_a_copied_folder_trains_nothing_and_is_idle_once_its_files_are_dated(small_run, small_config, tmp_path):
    """What config/README.md says of cp -r."""
    run = shutil.copytree(small_run, tmp_path / "run", symlinks=True, copy_function=shutil.copy)
    assert outlook(run, small_config) == (0, 0, 0, runs(run))
    snakemake(run, *small_config, "--touch")
    assert planned_jobs(run, *small_config) == {}


def test_without_state_what_is_missing_trains(run, small_config):
    shutil.rmtree(run / "results/small/state")
    assert outlook(run, small_config) == (0, 0, 0, runs(run))
    (run / "results/small/phase1/baseline/metrics.json").unlink()
    assert outlook(run, small_config) == (1, 0, 0, runs(run) - 1)
