"""The house keeps its rules: who may import whom, one rule = one script, versions that agree, no addresses."""

import ast
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from running import ENVIRONMENT, REPOSITORY

from retclip.core import code_hash

SCRIPTS = REPOSITORY / "scripts"
# From the ground. An import goes down or stays in its room; it never goes up, nor from one room of a floor to another.
FLOORS = (
    ("core",),
    ("metrics", "data", "demo"),
    ("search", "report"),
    ("loading",),
    ("models",),
    ("evaluation",),
    ("training",),
    ("checks",),
)
# Rooms that nothing above may enter: what they hold is for the workflow and the page.
APART = {"search", "report"}
NO_TORCH = ("core", "metrics", "data", "search", "report")
HEAVY = {"torch", "torchvision", "open_clip", "transformers", "timm"}
SHARED_VERBS = {
    "build_lmdb": {"build_lmdb", "build_external_lmdb"},
    "plan_trial": {"plan_phase1_trial", "plan_phase2_trial", "plan_confirm_trial", "plan_encoder_trial", "plan_final"},
    "train_trial": {
        "train_phase1_trial",
        "train_phase2_trial",
        "train_confirm_trial",
        "train_encoder_trial",
        "train_final",
    },
    "cache_features": {"cache_features", "cache_test_features", "cache_external_features"},
    "evaluate_final": {"evaluate_final", "evaluate_initial"},
    "propose_bracket": {"propose_bracket", "propose_encoder_bracket"},
    "promote_rung": {"promote_rung", "promote_encoder_rung"},
    "rank_trials": {"rank_phase1", "rank_phase2", "rank_confirm", "rank_encoder", "rank_encoder_confirm"},
    "select_trial": {
        "select_phase1",
        "select_phase2",
        "select_best",
        "select_encoder",
        "select_encoder_finalists",
    },
}
# What a person starts beside a run, a rule's command around another entry, or what begins jobs.
WITHOUT_A_RULE = {"ask_fork", "check_config_files", "compare_runs", "export_hub", "fork_jobs", "lease_gpus", "predict",
                  "reproduce_run", "share_run", "show_status", "try_prompts", "wandb_trial", "write_sbom"}  # fmt: skip


@cache
def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names


def rooms_below(room: str) -> set[str]:
    """The rooms that a module of `room` may import from."""
    level = next(level for level, rooms in enumerate(FLOORS) if room in rooms)
    return {room, *(below for rooms in FLOORS[:level] for below in rooms if below not in APART)}


@pytest.mark.parametrize("room", [room for rooms in FLOORS for room in rooms])
def test_imports_go_down_the_floors(room):
    for path in (SCRIPTS / "retclip" / room).rglob("*.py"):
        for name in imported(path):
            top, *rest = name.split(".")
            if top == "retclip" and rest:
                assert rest[0] in rooms_below(room), f"{path} imports {name}"
            assert top not in ("snakemake", "argparse"), f"{path} imports {name}"
            assert not (SCRIPTS / f"{top}.py").is_file(), f"{path} imports the entry {name}"
            assert room not in NO_TORCH or top not in HEAVY, f"{path} imports {name}"


def test_every_module_is_in_a_room():
    rooms = {room for floor in FLOORS for room in floor}
    for path in (SCRIPTS / "retclip").rglob("*.py"):
        assert path.relative_to(SCRIPTS / "retclip").parts[0] in rooms | {"__init__.py"}, path


def test_no_imports_run_in_a_circle():
    """Imports for type checkers alone count, too: two files that must be read together are one."""
    imports = {path: set(code_hash._imports(path)) for path in SCRIPTS.rglob("*.py")}

    def reached(start: Path) -> set[Path]:
        seen: set[Path] = set()
        waiting = list(imports[start])
        while waiting:
            path = waiting.pop()
            if path not in seen:
                seen.add(path)
                waiting.extend(imports[path])
        return seen

    assert [path for path in imports if path in reached(path)] == []


NO_TRAINING = ("plan_trial", "rank_trials", "select_trial", "propose_bracket", "promote_rung", "recommend_encoder",
               "plan_run", "build_report", "audit_data", "build_lmdb", "find_overlap")  # fmt: skip


@pytest.mark.parametrize("entry", NO_TRAINING)
def test_entries_that_do_not_train_know_no_torch(entry):
    """Importing it takes seconds, of jobs that take less."""
    for path in code_hash.modules_of(entry):
        assert not {name.split(".")[0] for name in imported(path)} & HEAVY, path


@pytest.mark.slow
def test_a_proposal_that_learns_loads_no_torch():
    """Not by an import of Optuna's either; only `gp` may, whose sampler is made of it."""
    asked = (
        "import sys; from retclip.search.proposals import propose, Observation;"
        "seen = [Observation({'weight_decay': n / 20}, {1: n / 20}, True) for n in range(12)];"
        "propose({'weight_decay': {'low': 0.0, 'high': 1.0}}, {}, 2, 1, 'tpe', seen);"
        "propose({'weight_decay': {'low': 0.0, 'high': 1.0}}, {}, 2, 1, 'qmc');"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", asked], env={**os.environ, "PYTHONPATH": str(SCRIPTS)}, check=True)


def test_the_workflow_imports_core_and_search_only():
    text = "\n".join(path.read_text() for path in (REPOSITORY / "rules").glob("*.smk"))
    assert set(re.findall(r"from retclip\.(\w+)", text)) <= {"core", "search"}


def test_a_rule_and_its_script_bear_one_name():
    shared = {rule for rules in SHARED_VERBS.values() for rule in rules}
    for path in (REPOSITORY / "rules").glob("*.smk"):
        for block in re.split(r"\n\s*(?=rule |use rule )", path.read_text())[1:]:
            name = re.match(r"(?:use rule \w+ as |rule )(\w+)", block)[1]
            if "shell:" not in block and not block.startswith("use rule"):
                continue  # a target, which runs nothing
            launched = re.findall(r'launch\(\s*"(\w+)"', block)
            if name in shared:
                assert all(name in SHARED_VERBS[script] for script in launched)
            else:
                assert launched == [name], path


def test_every_entry_belongs_to_a_rule_and_teaches():
    rules = "\n".join(path.read_text() for path in (REPOSITORY / "rules").glob("*.smk"))
    for path in SCRIPTS.glob("*.py"):
        assert f'"{path.stem}"' in rules or path.stem in WITHOUT_A_RULE, path
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_a_comment_or_a_docstring_changes_no_code_hash(tmp_path, monkeypatch):
    monkeypatch.setattr(code_hash, "SCRIPTS", tmp_path)

    def hash_of(module: str) -> str:
        _forget_code()
        (tmp_path / "retclip/core").mkdir(parents=True, exist_ok=True)
        (tmp_path / "do_it.py").write_text("def main():\n    from retclip.core import tool\n")
        (tmp_path / "other.py").write_text("x = 1\n")
        (tmp_path / "retclip/core/tool.py").write_text(module)
        assert code_hash.modules_of("other") == (tmp_path / "other.py",)
        return code_hash.code_hash("do_it")

    plain = hash_of('def f():\n    """Does."""\n    return 1\n')
    assert hash_of('# why\ndef f():\n    """Does it."""\n    return 1  # one\n') == plain
    assert hash_of('def f():\n    """Does."""\n    return 2\n') != plain


def test_code_is_parsed_once_and_its_hash_remembered(tmp_path, monkeypatch, request):
    """Every snakemake, and on a cluster every job, hashes all code; what is remembered is never of another file."""
    request.addfinalizer(_forget_code)
    monkeypatch.setattr(code_hash, "SCRIPTS", tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    parsed: list[str] = []
    read = code_hash.ast.parse

    def parse(text: str, filename: str) -> ast.Module:
        parsed.append(Path(filename).name)
        return read(text, filename=filename)

    monkeypatch.setattr(code_hash, "ast", SimpleNamespace(**{**vars(ast), "parse": parse}))
    tool = tmp_path / "retclip/core/tool.py"
    tool.parent.mkdir(parents=True)
    (tmp_path / "do_it.py").write_text("def main():\n    from retclip.core import tool\n")

    def hash_of(module: str) -> str:
        _forget_code()
        parsed.clear()
        tool.write_text(module)
        return code_hash.code_hash("do_it")

    one = hash_of("ONE = 1\n")
    assert sorted(parsed) == ["do_it.py", "tool.py"]
    assert hash_of("ONE = 1\n") == one
    assert parsed == []
    two = hash_of("ONE = 2\n")
    assert two != one
    assert parsed == ["tool.py"]
    # a damaged memory is none, and so is one that cannot be written
    for memory in tmp_path.rglob("*.json"):
        memory.write_text(memory.read_text()[:-9])
    assert hash_of("ONE = 2\n") == two
    assert sorted(parsed) == ["do_it.py", "tool.py"]
    for memory in tmp_path.rglob("*.json"):
        memory.unlink()
        memory.mkdir()
    assert hash_of("ONE = 1\n") == one
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    shutil.rmtree(tmp_path / "__pycache__")
    assert hash_of("ONE = 1\n") == one
    assert not (tmp_path / "__pycache__").exists()


def _forget_code() -> None:
    for cached in (code_hash.modules_of, code_hash._module, code_hash._memory, code_hash._imports):
        cached.cache_clear()


def test_a_label_changes_no_code_hash_and_a_value_does(tmp_path, monkeypatch, request):
    request.addfinalizer(_forget_code)
    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_hash, "SCRIPTS", tmp_path / "scripts")
    path = tmp_path / "scripts/retclip/metrics/registry.py"
    text = path.read_text()

    def hash_of(declared: str) -> str:
        _forget_code()
        path.write_text(declared)
        return code_hash.code_hash("train_trial")

    plain = hash_of(text)
    assert hash_of(text.replace('label="macro F1"', 'label="F1, all classes alike"')) == plain
    assert hash_of(text.replace('value=_f1("macro")', 'value=_f1("micro")')) != plain
    for name in code_hash.DECLARATIONS:
        assert any(f"{word}=" in (SCRIPTS / name).read_text() for word in code_hash.WORDS), name


def test_the_store_is_made_of_every_form_of_data(tmp_path, monkeypatch, request):
    """No import names them; in what words the reference describes them, changes no pixel."""
    request.addfinalizer(_forget_code)
    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_hash, "SCRIPTS", tmp_path / "scripts")
    folder = tmp_path / "scripts/retclip/data/sources"
    path = folder / "odir.py"
    text = path.read_text()

    def hash_of(entry: str) -> str:
        _forget_code()
        return code_hash.code_hash(entry)

    store, training = hash_of("build_lmdb"), hash_of("train_trial")
    path.write_text(text.replace('about_images="`{patient_id}_left.jpg`', 'about_images="`{patient_id}_l.jpg`'))
    assert hash_of("build_lmdb") == store
    path.write_text(text.replace('re.split("[,;', 're.split("[;'))
    assert hash_of("build_lmdb") != store
    path.write_text(text)
    (folder / "new.py").write_text("SOURCES = {}\n")
    assert hash_of("build_lmdb") != store
    assert hash_of("train_trial") == training


def test_a_figure_is_no_part_of_a_training():
    names = {path.relative_to(SCRIPTS).as_posix() for path in code_hash.modules_of("train_trial")}
    assert "retclip/training/trainer.py" in names
    assert not any(name.startswith(("retclip/report", "retclip/search")) or "audit" in name for name in names)


def locked_versions() -> dict[str, str]:
    text = (REPOSITORY / "requirements.lock").read_text()
    found = re.findall(r"^([a-z0-9_.-]+)==([^ \\\n;]+)(?: ; (.*?))?(?: \\)?$", text, re.MULTILINE)
    return {name: version for name, version, marker in found if ">= '3.12'" not in marker}


@pytest.mark.parametrize("name", ["train", "report"])
def test_conda_pins_equal_the_lock(name):
    environment = yaml.safe_load((REPOSITORY / f"envs/{name}.yaml").read_text())
    pins = environment["dependencies"][-1]["pip"]
    assert pins
    locked = locked_versions()
    for pin in pins:
        package, version = pin.split("==")
        assert locked[package] == version, pin


def test_every_wanted_package_is_locked():
    lines = (REPOSITORY / "envs/requirements.in").read_text().splitlines()
    wanted = [re.split(r"[<>=]", line)[0].strip() for line in lines if line and not line.startswith("#")]
    assert {name.lower().replace("_", "-") for name in wanted} <= set(locked_versions())


def test_no_address_of_a_registry():
    for name in ("requirements.lock", "envs/requirements.in", "envs/train.yaml", "envs/report.yaml", "pyproject.toml"):
        text = (REPOSITORY / name).read_text()
        assert "://" not in text, name
        assert "--index" not in text, name
        assert "--find-links" not in text, name
    assert "--hash=sha256:" in (REPOSITORY / "requirements.lock").read_text()


def rules_of(path: Path) -> dict[str, int]:
    """Rule -> how many lines it has, from its head to its last."""
    lines, found = path.read_text().splitlines(), {}
    for start, line in enumerate(lines):
        if head := re.match(r"( *)(?:use rule \w+ as (\w+) with|rule (\w+)):", line):
            inside = itertools.takewhile(lambda text: not text or text.startswith(f"{head[1]} "), lines[start + 1 :])
            found[head[2] or head[3]] = 1 + len("\n".join(inside).rstrip().splitlines())
    return found


RULES = sorted((REPOSITORY / "rules").glob("*.smk"))


@pytest.mark.parametrize("path", RULES, ids=[path.stem for path in RULES])
def test_rules_are_thin(path):
    text = path.read_text()
    if path.stem in ("common", "inputs", "feature_inputs", "requests"):
        assert len(text.splitlines()) <= 250
        assert not rules_of(path)
    else:
        assert rules_of(path)
        assert len(rules_of(path)) == len(re.findall(r"^ *(?:use )?rule \w+", text, re.MULTILINE))
    assert {name: lines for name, lines in rules_of(path).items() if lines > 30} == {}
    prose = "".join(itertools.takewhile(lambda line: line.startswith("#"), text.splitlines(keepends=True)))
    places = [prose.find(f"# {word}:") for word in ("REQUIRED INPUTS", "OUTPUTS", "STEPS")]
    assert -1 < places[0] < places[1] < places[2]
    # a command says all that it needs, so that it can be pasted into a shell
    assert not re.search(r"RETCLIP_|os\.environ|\$", text)


def test_modules_are_short():
    lines = {path: len(path.read_text().splitlines()) for path in (SCRIPTS / "retclip").rglob("*.py")}
    too_long = {path.name: count for path, count in lines.items() if count > 350}
    assert too_long == {}


def public_functions(path: Path) -> list[tuple[str, ast.FunctionDef]]:
    """Every function, and every method that is no property, which bears a name of ours for others to call."""
    inherited = {"forward", "filter", "find_class"}
    tree = ast.parse(path.read_text())
    owners = (tree, *(node for node in tree.body if isinstance(node, ast.ClassDef)))
    return [
        (f"{path.relative_to(SCRIPTS)}: {node.name}", node)
        for owner in owners
        for node in owner.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name not in inherited
        if not any(getattr(mark, "id", "") == "property" for mark in node.decorator_list)
    ]


def test_public_functions_say_what_they_do_and_which_errors_they_raise():
    functions = [entry for path in sorted((SCRIPTS / "retclip").rglob("*.py")) for entry in public_functions(path)]
    assert len(functions) > 400
    silent = [name for name, node in functions if not ast.get_docstring(node)]
    raising = [
        name
        for name, node in functions
        if any(isinstance(part, ast.Raise) and "ValueError" in ast.dump(part) for part in ast.walk(node))
        and "ValueError" not in (ast.get_docstring(node) or "")
    ]
    assert (silent, raising) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a blank ", "deep" * 25])
def test_processes_of_pytest_start_wherever_temporary_files_lie(name):
    """So does the program that they are forks of; and the name of a socket has at most 107 bytes."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "tests/unit/test_writing.py"]
    with tempfile.TemporaryDirectory(prefix=name, dir="/tmp") as folder:  # pytest's own folders are long already
        done = subprocess.run(command, cwd=REPOSITORY, env={**ENVIRONMENT, "TMPDIR": folder},
                              capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_processes_of_pytest_share_no_file(tmp_path):
    """Else each would make the runs that a file's tests share, and two clusters would take each other's ports."""
    for name in ("unit/test_a.py", "unit/test_b.py", "slurm/test_c.py", "slurm/test_d.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("def test_one(): pass\ndef test_two(): pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    ours = os.pathsep.join(str(REPOSITORY / name) for name in ("tests", "scripts"))
    command = [sys.executable, "-m", "pytest", "-v", "-n", "3", "-p", "conftest", "-p", "no:cacheprovider"]
    command += ["--basetemp", "temporary"]  # else it clears what pytests before us left in /tmp, for minutes
    done = subprocess.run(command, cwd=tmp_path, env={**ENVIRONMENT, "PYTHONPATH": ours},
                          capture_output=True, text=True)  # fmt: skip
    ran = re.findall(r"\[(gw\d)\].*PASSED (\w+)/(\w+)\.py", done.stdout)
    assert len(ran) == 8, done.stdout
    for place in ("test_a", "test_b"):
        assert len({worker for worker, _, file in ran if file == place}) == 1
    assert len({worker for worker, folder, _ in ran if folder == "slurm"}) == 1
    assert len({worker for worker, _, _ in ran}) > 1
