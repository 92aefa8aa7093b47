"""Every target of the Makefile and every command of README.md and config/README.md works as it stands.

A new target or command without an entry in the tables below fails. They run in a clone whose path has blanks and
quotes, beside a finished small run.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from running import ENVIRONMENT, REPOSITORY, copy_repository, merge

pytestmark = pytest.mark.slow

# How a command is tried. RUN: as it stands there. PLAN: snakemake's with -n, make's without its work (make -n), whose
# files must be there. A sentence: it is not tried here, and why.
RUN, PLAN = "run", "plan"
TARGETS = {
    "help": RUN,
    "env": RUN,
    "plan": RUN,
    "check-gpu": PLAN,  # tests/unit/test_check_gpu.py runs its rule
    "status": RUN,
    "interim": RUN,
    "fetch": RUN,
    "wandb-sweep": RUN,
    "unlock": RUN,
    "rulegraph": RUN,
    "reference": RUN,
    "clean": PLAN,  # tests/unit/test_make.py runs it
    "cancel": PLAN,  # tests/unit/test_cancel.py and tests/slurm run it
    "submit": PLAN,  # tests/slurm runs the controller
    "compare": PLAN,  # tests/workflow/test_compare_runs.py runs its script
    "demo": PLAN,  # the small run is the same workflow
    "reproduce": PLAN,  # tests/reliability runs it
    "test": PLAN,  # it would run itself
    "test-fast": PLAN,  # make test runs these tests
    "test-reliability": PLAN,
    "test-security": PLAN,
    "share": PLAN,  # tests/workflow/test_share.py runs its script
    "lint": PLAN,  # continuous integration runs it
    "sbom": RUN,
    "audit-packages": PLAN,  # needs the net; tests/unit/test_supply_chain.py runs its script
    "lock": PLAN,  # needs a package index, and changes with it
    "weights": PLAN,  # likewise; continuous integration runs it
    "docs-packages": PLAN,  # likewise
    "bench-packages": PLAN,  # likewise
    "docs": PLAN,
    "figures": PLAN,  # draws what was drawn already, after a demo
    "bench": PLAN,  # minutes, or a GPU, or half an hour
    "bench-data": PLAN,
    "bench-gpu": PLAN,
    "bench-search": PLAN,
    "check-statistics": PLAN,
    "bench-slurm": PLAN,
}
COMMANDS = {
    "README.md": {
        "make demo": PLAN,
        "make test": PLAN,
        "make docs": PLAN,
        "VENV=/some/where make demo": PLAN,
        "make env": RUN,
        "make status": RUN,
        "make interim": RUN,
        'make compare RUNS="a b"': PLAN,
        "make plan CONFIG=my.yaml": RUN,
        'make plan CONFIG="config/laptop.yaml my.yaml"': RUN,
        "snakemake --cores all --configfile config/laptop.yaml my.yaml": PLAN,
        "make unlock CONFIG=my.yaml": RUN,
        "pytest tests/golden": "make test runs it",
        "pytest tests/slurm": "make test runs it",
        "snakemake --cores all --configfile config/test_mode.yaml my.yaml": PLAN,
        "snakemake --profile local --configfile my.yaml": PLAN,
        "snakemake --profile slurm --configfile my.yaml": PLAN,
    },
    "config/README.md": {
        "cp -a": "cp's own; tests/workflow/test_what_will_run.py copies",
        "cp -r": "cp's own, likewise",
        "cp -r slurm siteB": RUN,
        "cp -r folder/resources .": "cp's own; tests/unit/test_fetch.py copies",
        "make demo": PLAN,
        "make check-statistics CASES=estimates": PLAN,
        "make status RUN=...": RUN,
        "snakemake -n": "the begin of a command",
        "make bench CASES=compiling": PLAN,
        "make bench-data": PLAN,
        "make bench-search": PLAN,
        "make check-gpu CONFIG=my.yaml": PLAN,
        "make bench-slurm": PLAN,
        "make cancel": PLAN,
        "make check-gpu": PLAN,
        "make status": RUN,
        "make cancel DIR=/scratch/me/run": PLAN,
        "make clean RUN=...": PLAN,
        "make env": RUN,
        "make env VENV=/shared/venv": "tests/unit/test_make.py gives it folders of all kinds",
        "make fetch": RUN,
        "make fetch CONFIG=my.yaml": RUN,
        "make fetch CONFIG=my.yaml TO=folder": RUN,
        "make plan": RUN,
        "make plan CONFIG=my.yaml": RUN,
        'make plan CONFIG="config/laptop.yaml my.yaml"': RUN,
        "snakemake --cores all --configfile config/laptop.yaml my.yaml": PLAN,
        "make reference": RUN,
        'make compare RUNS="first second"': PLAN,
        "python scripts/try_prompts.py --model-dir results/full/final/pubmedbert-s2001/model --prompts mine.yaml": (
            "tests/workflow/test_prompts.py runs it"
        ),
        "python scripts/export_hub.py --model-dir MODEL --repository OWNER/NAME --license other --license-file TEXT "
        "--output-dir hub": "tests/unit/test_hub_folder.py runs it",
        "make reproduce RUN=...": PLAN,
        "make submit CONFIG=my.yaml": PLAN,
        "make unlock": RUN,
        "make unlock CONFIG=my.yaml": RUN,
        "make wandb-sweep CONFIG=my.yaml": RUN,
        "module load python/3.11 && make env PYTHON=python3": "there are no modules on this machine",
        "optuna-dashboard results/{run}/phase2/optuna_journal.log": "a program of its own; "
        "tests/workflow/test_strategies.py reads the journal by Optuna",
        "python scripts/predict.py --model-dir results/full/final/pubmedbert-s2001/model --output found.csv "
        "photographs/": RUN,
        "python scripts/predict.py --model-dir MODEL --table new.csv --image-root photographs --output found.csv": RUN,
        "python scripts/lease_gpus.py --gpus 2 -- COMMAND": "tests/unit/test_gpu_lease.py leases for commands",
        "snakemake --profile local --resources gpu=4 --configfile my.yaml": PLAN,
        "scancel": "Slurm's own",
        "squeue": "Slurm's own",
        "squeue --me": "Slurm's own",
        "snakemake --cores all --configfile config/demo.yaml": PLAN,
        "snakemake --cores all --configfile config/test_mode.yaml my.yaml": PLAN,
        "snakemake --cores all --configfile config/wide.yaml my.yaml": PLAN,
        "snakemake --cores all --configfile my.yaml": PLAN,
        "snakemake --cores 1 --delete-all-output --configfile my.yaml": PLAN,
        "snakemake --cores 1 --configfile my.yaml -- export_study": RUN,
        "snakemake --cores 1 --touch --configfile my.yaml": RUN,
        "snakemake --cores 1 --touch --forceall --configfile my.yaml": RUN,
        "snakemake --profile slurm --configfile config/laptop.yaml my.yaml": PLAN,
        "snakemake --profile slurm --configfile my.yaml": PLAN,
        "snakemake --profile slurm --configfile my.yaml -- check_gpu": PLAN,
        "snakemake -n --profile slurm --configfile my.yaml": RUN,
        "wandb agent ENTITY/PROJECT/ID": "needs a server; tests/workflow/test_tracking.py calls what it would call",
        "wandb sweep results/{run}/sweep/sweep.yaml": "needs a server",
        "wandb sync results/{run}/wandb/offline-run-*": "needs a server",
    },
}
PROGRAMS = "cp make module optuna-dashboard pytest python scancel snakemake squeue wandb"


def documented(text: str) -> set[str]:
    """The commands of a page: lines of its blocks, and what begins with a program's name between backticks."""
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M) for line in block.splitlines()]
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    lines += re.findall(r"^    (\S.*)$", text, re.M)
    lines += re.findall(r"`([^`]+)`", re.sub(r"^    .*$", "", text, flags=re.M))
    plain = {re.sub(r"\s+", " ", re.sub(r"\s+#.*", "", line)).strip() for line in lines}
    program = re.compile(rf"(\w+=\S+ )*({'|'.join(PROGRAMS.split())})( |$)")
    # a name alone, in a sentence, is no command
    return {line for line in plain if program.match(line) and line not in ("make", "snakemake", "python", "pytest")}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.M))


@pytest.mark.parametrize("page", COMMANDS)
def test_every_documented_command_has_an_entry(page):
    assert documented((REPOSITORY / page).read_text()) == set(COMMANDS[page])


def test_every_target_has_an_entry_and_a_line_of_help():
    assert targets() == set(TARGETS)
    said = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True).stdout
    assert {line.split()[0] for line in said.splitlines()} == targets()


@pytest.fixture(scope="module")
def clone(tmp_path_factory, small_run, small_config):
    """A clone with the small run in it, and my.yaml, its config."""
    folder = tmp_path_factory.mktemp("Über das Auge's data 2024") / "retclip tune"
    copy_repository(folder)
    shutil.copytree(small_run, folder, symlinks=True, dirs_exist_ok=True)
    overlays = [yaml.safe_load(Path(path).read_text()) for path in small_config[1:]]
    config: dict = {}
    for overlay in overlays:
        merge(config, overlay)
    (folder / "my.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    # ranges come from wide.yaml or from the user's file, which is read last
    del config["phase2"]["space"]
    (folder / "without_space.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    model = folder / "results/full/final/pubmedbert-s2001/model"
    model.parent.mkdir(parents=True)
    model.symlink_to(folder / "results/small/final/pubmedbert-s2001/model")
    (folder / "photographs").mkdir()
    for image in sorted((folder / "results/small/demo/images").iterdir())[:2]:
        shutil.copy2(image, folder / "photographs")
    (folder / "new.csv").write_text("\n".join(["image", *os.listdir(folder / "photographs")]))
    # this environment, as one that make env has made
    venv = folder.parent / "venv"
    venv.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (venv / name).symlink_to(Path(sys.prefix) / name)
    lock = subprocess.run(["sha256sum", "requirements.lock"], cwd=folder, capture_output=True, text=True).stdout
    (venv / f".made-from-{lock[:12]}").touch()
    return folder


def typed(clone: Path, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a person types in the clone, in bash, with the environment's programs on the PATH."""
    environment = {key: value for key, value in ENVIRONMENT.items() if key not in ("MAKEFLAGS", "MAKELEVEL")}
    environment |= {"VENV": str(clone.parent / "venv"), "PATH": f"{clone.parent}/venv/bin:{os.environ['PATH']}"}
    environment |= {"RUN": "small", "CORES": "1", **variables}
    return subprocess.run(["bash", "-c", command], cwd=clone, env=environment, capture_output=True, text=True)


def works(clone: Path, command: str, how: str) -> str:
    command = command.replace("RUN=...", "RUN=small").replace("{run}", "small")
    command = command.replace("config/wide.yaml my.yaml", "config/wide.yaml without_space.yaml")
    command = command.replace(" MODEL ", " results/full/final/pubmedbert-s2001/model ")
    if how == PLAN:
        command = re.sub(r"\b(make|snakemake) ", r"\1 -n ", command, count=1)
    done = typed(clone, command)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    assert "Traceback" not in output
    if how == PLAN and "make -n" in command:
        for name in re.findall(r"(?:scripts|tests|slurm|envs)/[\w/.-]+", done.stdout):
            assert (clone / name).exists(), name
    return output


@pytest.mark.parametrize("target", TARGETS)
def test_target(clone, target):
    works(clone, f"make {target}", TARGETS[target])


ONCE = {
    command: how
    for page in COMMANDS.values()
    for command, how in page.items()
    if how in (RUN, PLAN) and command.removeprefix("make ") not in TARGETS
}


@pytest.mark.parametrize("command", ONCE)
def test_command(clone, command):
    works(clone, command, ONCE[command])


def test_fetch_and_wandb_sweep_run_their_targets(clone):
    sweep = clone / "results/small/sweep/sweep.yaml"
    sweep.unlink(missing_ok=True)
    assert "Nothing to be done" in works(clone, "make fetch CONFIG=my.yaml", RUN)
    works(clone, "make wandb-sweep CONFIG=my.yaml", RUN)
    assert yaml.safe_load(sweep.read_text())["method"] == "bayes"


def test_config_names_one_file_with_blanks_or_several(clone):
    shutil.copy2(clone / "my.yaml", clone / "my own $1 config.yaml")
    (clone / "more.yaml").write_text("final: {seeds: 2}\n")
    assert "run small:" in works(clone, "make plan CONFIG='my own $1 config.yaml'", RUN)
    assert re.search(r"finals +6 ", works(clone, "make plan CONFIG='my.yaml more.yaml'", RUN))
    done = typed(clone, "make plan CONFIG=your.yaml")
    assert done.returncode
    assert done.stderr.splitlines()[0] == "error: CONFIG: no such file: your.yaml"


def test_rulegraph_is_graphviz(clone):
    done = typed(clone, "make rulegraph")
    assert done.stdout.startswith("digraph")
    assert done.stdout.rstrip().endswith("}")
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tsvg"], input=done.stdout, text=True, check=True, capture_output=True)


def test_plan_shows_jobs_and_what_is_finished(clone):
    done = works(clone, "make plan CONFIG=my.yaml", RUN)
    assert "Nothing to be done" in done
    for stage, count in {"Phase 1": 3, "Phase 2": 2, "confirmations": 1, "finals": 3}.items():
        assert re.search(rf"{stage} +{count} +{count} ", done), done
    assert "device time: none for training runs, since all 9 have finished." in done
    (clone / "grid.yaml").write_text("phase1: {space: {learning_rate: [1.0e-3, 2.0e-3, 3.0e-3]}}\n")
    more = works(clone, "make plan CONFIG='my.yaml grid.yaml'", RUN)
    assert more.count("Job stats:") == 1
    assert re.search(r"train_phase1_trial +1\n", more), more
    assert re.search(r"Phase 1 +4 +3 ", more), more
    assert re.search(r"device time: 0\.0 h for the 1 training runs to come, at the \d+ samples a second", more), more
    # of another config, nothing has been paid for yet
    (clone / "other.yaml").write_text("defaults: {weight_decay: 0.3}\nfinal: {epochs: 2}\n")
    other = works(clone, "make plan CONFIG='my.yaml other.yaml'", RUN)
    assert re.search(r"Phase 1 +3 +0 ", other), other
    assert re.search(r"finals +3 +0 ", other), other


FINALS = ("pubmedbert-s2001", "bert_base-s2001", "baseline-s2001")


@pytest.fixture
def unfinished(clone, tmp_path):
    """results/going in the clone: the small run, some of whose files are not there; its models tell classes apart."""
    folder = clone / "results/going"
    shutil.copytree(clone / "results/small", folder, ignore=shutil.ignore_patterns("state", "report", "benchmarks"))
    yield folder
    shutil.rmtree(folder)


def learned(folder: Path) -> None:
    """Final evaluations of models that know every class, but the default config's."""
    for name in FINALS[:2]:
        path = folder / f"final/{name}/predictions.parquet"
        table = pd.read_parquet(path)
        for column in table.filter(regex="^score_[0-9]+$"):
            table[column] = (table["target"] == int(column.removeprefix("score_"))).astype(float)
        table.to_parquet(path)
        evaluation = json.loads(path.with_name("evaluation.json").read_text())
        evaluation["zero_shot"]["zero_shot_balanced_accuracy"]["value"] = 1.0
        path.with_name("evaluation.json").write_text(json.dumps(evaluation))


def test_interim_while_finals_are_evaluated_and_no_encoder_is_recommended(clone, unfinished):
    learned(unfinished)
    (unfinished / "final/recommendation.json").unlink()
    works(clone, "make status RUN=going", RUN)
    works(clone, "make interim RUN=going", RUN)
    page = (unfinished / "interim/index.html").read_text()
    assert "Nothing was learned" not in page
    lead = re.search(r'<p class="lead[^>]*>(.*?)</p>', page, re.DOTALL)[1]
    assert lead == "Keep the baseline with pubmedbert: no trial is significantly better than chance on validation."
    assert "Which text encoder to take is known when all final models have been evaluated." in page


def test_predictions_that_were_removed_on_purpose(clone, unfinished):
    for path in unfinished.rglob("*predictions.parquet"):
        path.unlink()
    assert "9 of 9 trials have finished" in works(clone, "make status RUN=going", RUN)
    works(clone, "make interim RUN=going", RUN)
    assert 'id="gain"' in (unfinished / "interim/index.html").read_text()
    done = typed(
        clone, "python scripts/build_report.py --run-folder results/going --output-folder results/going/report"
    )
    assert done.returncode
    assert "predictions.parquet: this file does not exist" in done.stderr
    assert "Traceback" not in done.stderr
