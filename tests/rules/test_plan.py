"""What the workflow would do, as the real Snakemake answers: counts, order, and mistakes said at once."""

import re
import time

import pytest
from running import REPOSITORY, merged, planned_jobs, snakemake

from retclip.core.hyperparameters import GIVEN, HYPERPARAMETERS

OVERLAYS = REPOSITORY / "config"
SEARCH = {"plan_phase1_trial": 17, "train_phase1_trial": 17, "plan_phase2_trial": 20, "train_phase2_trial": 20}
ONCE = ("record_run", "build_lmdb", "audit_data", "find_lr", "rank_phase1", "select_phase1", "propose_bracket",
        "rank_phase2", "select_phase2", "estimate_importances", "rank_confirm", "select_best", "evaluate_initial",
        "score_reference_models", "score_prompts", "collect_examples", "recommend_encoder", "build_report")  # fmt: skip


@pytest.fixture
def own_data(tmp_path):
    """A folder as a user has it: the table and the images where config.yaml looks for them."""
    (tmp_path / "data/images").mkdir(parents=True)
    (tmp_path / "data/manifest.csv").write_text("patient_id,image,eye,label\nP1,a.jpg,left,x\n")
    return tmp_path


def counts(jobs: dict[str, set[str]]) -> dict[str, int]:
    return {rule: len(values) for rule, values in jobs.items()}


def whole_run(confirmations: int, finals: int, **others: int) -> dict[str, int]:
    """Jobs per rule of a run with the guide's counts of search trials."""
    confirm = dict.fromkeys(("plan_confirm_trial", "train_confirm_trial"), confirmations)
    final = dict.fromkeys(("plan_final", "train_final", "evaluate_final"), finals)
    return {**SEARCH, **dict.fromkeys(ONCE, 1), **confirm, **final, **others}


def test_the_demo(tmp_path):
    found = counts(planned_jobs(tmp_path, "--configfile", OVERLAYS / "demo.yaml"))
    # a quarter and half of the patients, one seed each
    assert found == whole_run(2, 12, make_demo_data=1, make_demo_encoder=3)


def test_the_audit_is_told_the_fractions_of_patients(tmp_path):
    """It runs as soon as the data are built: a fraction that leaves nobody is refused before the search."""
    output = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--configfile", OVERLAYS / "demo.yaml").stdout
    (command,) = (line for line in output.splitlines() if "audit_data.py" in line)
    assert "--data-fractions 0.25 0.5 " in command
    assert "--ordered-classes" not in command


def test_the_audit_is_told_the_order_of_the_classes(tmp_path):
    order = "evaluation={ordered_classes: [Healthy, it's severe]}"
    output = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--configfile", OVERLAYS / "demo.yaml", "--config",
                       order).stdout  # fmt: skip
    (command,) = (line for line in output.splitlines() if "audit_data.py" in line)
    assert """--ordered-classes Healthy 'it'"'"'s severe' --output""" in command


def test_the_full_run(own_data):
    found = counts(planned_jobs(own_data))
    assert found == whole_run(6, 12, fetch_text_encoder=3, fetch_vision_weights=1)


def test_test_mode(own_data):
    found = counts(planned_jobs(own_data, "--configfile", OVERLAYS / "test_mode.yaml"))
    assert found == whole_run(1, 4, fetch_text_encoder=3, fetch_vision_weights=1)


@pytest.mark.parametrize("cores", [1, 3])
def test_frozen_encoders_have_all_cores(own_data, cores):
    """Each of their batches has one thread, so that features are the same on any machine."""
    flags = ("--dry-run", "--printshellcmds", "--cores", cores, "--configfile", OVERLAYS / "laptop.yaml")
    commands = [line for line in snakemake(own_data, *flags).stdout.splitlines() if "cache_features.py" in line]
    assert len(commands) == 8
    assert all(f"--threads {cores} " in command and "OMP_NUM_THREADS=1 " in command for command in commands)


def test_the_laptop(own_data):
    """The guide's whole plan, each encoder over the data once; nobody but a CPU is asked for."""
    output = snakemake(own_data, "--dry-run", "--configfile", OVERLAYS / "laptop.yaml").stdout
    found = counts(planned_jobs(own_data, "--configfile", OVERLAYS / "laptop.yaml"))
    assert found == whole_run(
        6, 18, fetch_text_encoder=3, fetch_vision_weights=1, cache_features=4, cache_test_features=4
    )
    assert re.findall(r"gpu=(\d+)", output)
    assert set(re.findall(r"gpu=(\d+)", output)) == {"0"}


def test_the_wide_search(own_data):
    found = counts(planned_jobs(own_data, "--configfile", OVERLAYS / "wide.yaml"))
    assert found["train_phase2_trial"] == 40
    # what has its default from its declaration is new since the guide; config.yaml does not name it either
    tunable = {name for name, declared in HYPERPARAMETERS.items() if declared.searched and declared.default is GIVEN}
    assert merged("wide")["phase2"]["space"].keys() == tunable


def test_only_the_audit_and_the_final_evaluations_see_the_test_split(tmp_path):
    output = snakemake(tmp_path, "--dry-run", "--configfile", OVERLAYS / "demo.yaml").stdout
    readers, rule = set(), ""
    for line in output.splitlines():
        if line.startswith(("rule ", "localrule ")):
            rule = line.split()[1].rstrip(":")
        elif line.startswith("    input:") and any(name in line for name in ("test.lmdb", "_test.", "samples.parquet")):
            readers.add(rule)
    assert readers == {"audit_data", "evaluate_final", "evaluate_initial", "score_reference_models", "collect_examples"}


def test_phase1_waits_for_the_finder_only_where_it_asks_it(tmp_path):
    (tmp_path / "auto.yaml").write_text("phase1: {space: {learning_rate: auto}}\n")
    files = ["--configfile", OVERLAYS / "demo.yaml", tmp_path / "auto.yaml"]
    assert "find_lr" in planned_jobs(tmp_path, *files, "--", "results/demo/phase1/leaderboard.csv")
    plain = planned_jobs(tmp_path, "--configfile", OVERLAYS / "demo.yaml", "--", "results/demo/phase1/leaderboard.csv")
    assert "find_lr" not in plain


@pytest.mark.parametrize(
    ("overlay", "said"),
    [
        ("phase1: {epoch: 2}", "config: phase1 has the unknown key 'epoch'; did you mean 'epochs'?"),
        ("defaults: {learning_rate: 1e-3}", "YAML reads 1e-3 as text; write 0.001"),
        ("data: {manifest: gone.csv}", "data.manifest is gone.csv: no such file"),
        ("data: {image_root: gone}", "data.image_root is gone: no such folder"),
        ("model: {search_encoder: bert}", "model.search_encoder is 'bert'"),
        (
            "phase2: {space: {weight_decay: [0.1], temperature: [0.07], warmup_steps: [500]}}",
            "fewer than the 20 that phase2.strategy random proposes",
        ),
    ],
)
def test_a_mistake_is_one_sentence_in_the_first_seconds(own_data, overlay, said):
    (own_data / "my.yaml").write_text(overlay)
    started = time.monotonic()
    done = snakemake(own_data, "--dry-run", "--configfile", own_data / "my.yaml", check=False)
    assert done.returncode != 0
    assert f"error: {said}" in done.stderr or said in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert time.monotonic() - started < 30


def test_a_column_that_lacks_is_one_sentence(own_data):
    (own_data / "data/manifest.csv").write_text("patient,image,label\nP1,a.jpg,x\n")
    done = snakemake(own_data, "--dry-run", check=False)
    assert "lacks the column patient_id; it has patient, image, label" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_rulegraph_is_whole(tmp_path):
    graph = snakemake(tmp_path, "--rulegraph", "--configfile", OVERLAYS / "demo.yaml").stdout
    for rule in (*ONCE, "make_demo_data", "train_final"):
        assert rule in graph
    # the picture in docs shows these rules: make figures draws it again
    picture = (REPOSITORY / "docs/figures/rulegraph.svg").read_text()
    assert set(re.findall(r'label = "(\w+)"', graph)) == set(re.findall(r">(\w+)</text>", picture))


def test_run_names_do_not_mix(tmp_path):
    jobs = snakemake(tmp_path, "--dry-run", "--configfile", OVERLAYS / "demo.yaml", "--config", "run=other").stdout
    assert "results/other/" in jobs
    assert "results/demo/" not in jobs


def test_the_plan_is_printed_and_nothing_runs(own_data):
    (own_data / "data/manifest.csv").write_text(
        "patient_id,image,eye,label\n" + "".join(f"P{i},{i}.jpg,left,{'xy'[i % 2]}\n" for i in range(500))
    )
    for index in range(500):
        (own_data / f"data/images/{index}.jpg").touch()
    done = snakemake(own_data, "plan_run", "--quiet", "all", "--nolock")
    assert "on Slurm, as slurm/config.yaml stands: 55 submissions for the 55 training runs to come" in done.stdout
    train, val, test = map(
        int, re.search(r"run full: (\d+) train, (\d+) val, (\d+) test samples", done.stdout).groups()
    )
    assert (train + val + test, abs(train - 360) < 30, abs(val - 40) < 20) == (500, True, True)
    assert f"patients  500: train {train}, val {val}, test {test}" in done.stdout
    assert "images    500: 500 left, 0 right" in done.stdout
    assert "refused   0 of 500 rows" in done.stdout
    assert "Phase 1" in done.stdout
    assert "too short to rank" in done.stdout
    laptop = ("--configfile", OVERLAYS / "laptop.yaml", "--", "plan_run")
    done = snakemake(own_data, "--quiet", "all", "--nolock", *laptop)
    # fours of 17 and 20 trials, 6 confirmations, 18 final models
    assert "17 submissions for the 61 training runs to come; up to 4 short ones share a job" in done.stdout
    # forks of one process here, and there each a process of its own, or its share of a job
    started = re.compile(r"about (\d+) minutes on one CPU core for 61 training runs: (\d+) s each to start")
    here, seconds = map(int, started.search(done.stdout).groups())
    there = snakemake(own_data, "--profile", REPOSITORY / "slurm", "--quiet", "all", "--nolock", *laptop).stdout
    minutes, as_ever = map(int, started.search(there).groups())
    assert (seconds < 5, as_ever) == (True, 10)
    # one thread each: as many at a time as there are cores
    assert re.search(r"on this machine's (\d+) cores: about \d+ min by the clock; Phase 1: \1 at a time", done.stdout)
    assert "on this machine's" not in there
    assert minutes - here == pytest.approx(61 * (as_ever - seconds) / 60, abs=1)
    assert not (own_data / "results/full/data").exists()


def test_the_plan_refuses_what_cannot_mean_anything(own_data):
    (own_data / "data/manifest.csv").write_text(
        "patient_id,image,text\n" + "".join(f"P{i},{i}.jpg,x\n" for i in range(90))
    )
    for index in range(90):
        (own_data / f"data/images/{index}.jpg").touch()
    done = snakemake(own_data, "plan_run", "--quiet", "all", "--nolock", check=False)
    assert done.returncode
    assert "selection.metric is zero_shot_balanced_accuracy, but the data has no labels" in done.stdout


def test_the_plan_says_what_is_wrong_with_the_rows(own_data):
    """Before any job: eyes by number with the column's name, and what lacks at the end of each image's name."""
    table = own_data / "data/manifest.csv"
    for index in range(60):
        (own_data / f"data/images/{index}.jpg").touch()
    table.write_text(
        "patient_id,image,exam_eye,label\n" + "".join(f"P{i},{i},{1 + i % 2},{i % 3}\n" for i in range(60))
    )
    (own_data / "my.yaml").write_text("data: {columns: {eye: exam_eye}}\n")
    flags = ("plan_run", "--quiet", "all", "--nolock", "--configfile", own_data / "my.yaml")
    done = snakemake(own_data, *flags, check=False)
    assert (
        "Line 2: the eye is a number; it must be left, right or unknown (the column exam_eye; data.values.eye"
        in done.stdout
    )
    (own_data / "my.yaml").write_text("data: {columns: {eye: exam_eye}, values: {eye: {1: right, 2: left}}}\n")
    done = snakemake(own_data, *flags, check=False)
    assert "Line 2: the image file does not exist; it does with the ending .jpg" in done.stdout
    (own_data / "my.yaml").write_text(
        'data: {columns: {eye: exam_eye}, values: {eye: {1: right, 2: left}}, image_pattern: "{image}.jpg"}\n'
    )
    done = snakemake(own_data, *flags)
    assert "images    60: 30 left, 30 right" in done.stdout
    assert "warning: 3 classes are bare numbers (0, 1, 2)" in done.stdout
    assert not (own_data / "results/full/data").exists()


@pytest.mark.parametrize(
    ("overlay", "training_runs", "others"),
    [
        ("{strategy: qmc}", 20, {"propose_bracket": 1}),
        ("{strategy: tpe}", 20, {"propose_bracket": 5}),
        ("{strategy: gp, trials: 10}", 10, {"propose_bracket": 3}),
        ("{strategy: tpe_halving}", 40, {"propose_bracket": 4, "promote_rung": 8}),
        ("{strategy: grid}", 120, {"propose_bracket": 1}),
    ],
)
def test_every_job_of_a_strategy_is_known_beforehand(tmp_path, overlay, training_runs, others):
    (tmp_path / "own.yaml").write_text(f"phase2: {overlay}\n")
    found = counts(planned_jobs(tmp_path, "--configfile", OVERLAYS / "demo.yaml", tmp_path / "own.yaml"))
    assert found["train_phase2_trial"] == found["plan_phase2_trial"] == training_runs
    assert {rule: found[rule] for rule in others} == others


def test_training_runs_share_the_cores_that_would_idle(own_data):
    """On a CPU, of large steps alone; no command says how many, so that other cores run nothing again."""
    (own_data / "cpu.yaml").write_text("training: {device: cpu, gpus: 0}\n")
    commands = []
    for cores, expected in ((1, {}), (64, {"find_lr": {8}, "train_phase1_trial": {3}, "train_phase2_trial": {3},
                                           "train_confirm_trial": {8}, "train_final": {5}})):  # fmt: skip
        flags = ("--dry-run", "--printshellcmds", "--cores", cores, "--configfile", own_data / "cpu.yaml")
        output = snakemake(own_data, *flags).stdout
        blocks = re.findall(r"^rule (\w+):\n(.*?)\n\n", output, re.MULTILINE | re.DOTALL)
        found: dict[str, set[int]] = {}
        for rule, block in blocks:
            if rule == "find_lr" or rule.startswith("train_"):
                threads = re.search(r"^    threads: (\d+)$", block, re.MULTILINE)
                found.setdefault(rule, set()).add(int(threads[1]) if threads else 1)
        assert {rule: threads for rule, threads in found.items() if threads != {1}} == expected
        assert len(found) == 5
        commands.append(sorted(re.findall(r"^.*(?:train_trial|find_lr)\.py.*$", output, re.MULTILINE)))
    assert commands[0] == commands[1]
    assert len(commands[0]) == 1 + 17 + 20 + 6 + 12


def test_the_workflow_refuses_a_config_that_says_data_twice(tmp_path):
    """As one who pastes two examples one below the other has it: snakemake itself drops the first."""
    (tmp_path / "my.yaml").write_text("data: {demo_patients: 20}\nrun: mine\ndata: {image_size: 32}\n")
    overlays = ["--configfile", OVERLAYS / "demo.yaml", tmp_path / "my.yaml"]
    done = snakemake(tmp_path, "--dry-run", *overlays, check=False)
    assert done.returncode == 1
    assert "my.yaml: line 3: the key data stands in line 1 already" in done.stderr
    assert "Traceback" not in done.stderr
