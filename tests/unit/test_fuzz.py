"""Whatever is wrong in a config, a table or a result file ends in one sentence that says where. 500 cases of each kind
in CI; RETCLIP_FUZZ=10000 for a night."""

import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st
from running import REPOSITORY, declared_defaults, merged

from retclip.core import schemas
from retclip.core.config import check_config, drop_nulls
from retclip.core.io import read_json
from retclip.core.prompts import class_prompts
from retclip.data.source import Source
from retclip.data.sources.registry import read_source
from retclip.search import budget, layout

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**9),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(["", "1e-3", "off", "auto", "from_best", "no/such", "ä\n", "../..", "a" * 300, "keep", "cpu"]),
    st.text(max_size=20),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The paths of everything in a nested mapping."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += places(inner, (*path, index))
    return found


def replaced(document: dict, path: tuple, value: object) -> dict:
    document = copy.deepcopy(document)
    *parents, last = path
    at = document
    for key in parents:
        at = at[key]
    at[last] = value
    return document


checked_cases = 0


@pytest.fixture(autouse=True)
def counted(record_property, request):
    """How many cases a test checked, for the table that make test-reliability prints."""
    before = checked_cases
    yield
    record_property("fuzz", (request.node.name, checked_cases - before))


def sentence_of(work, *arguments) -> str | None:
    """What `work` says is wrong, in one line; None where it finds nothing. Any other exception fails the test."""
    global checked_cases
    checked_cases += 1
    try:
        work(*arguments)
    except ValueError as error:
        said = str(error)
    else:
        return None
    assert "\n" not in said.strip(), said
    assert len(said) > 10, said
    return said


def checked(config: dict) -> None:
    layout.slots(check_config(config)["phase2"])


DEMO = merged("demo")
DEMO["data"]["class_map"] = "config/odir_classes.yaml"

# the keys whose text is one of a few words, whose number has an upper end of 1 or below, and whose 1 may be 1.5
CHOICES = {
    "eye_images",
    "near_duplicates",
    "image_encoding",
    "freeze",
    "truncation_side",
    "precision",
    "metric",
    "wandb",
    "same_class_negatives",
    "lr_scheduler",
    "optimizer",
    "strategy",
    "status",
}
BOUNDED = {"test_fraction", "val_fraction", "max_bad_fraction"}
SIZES = {"kept_weights_gb"}


def key_of(path: tuple) -> str:
    """The name that a message about the value there has to hold; an entry of a list has its list's."""
    return [key for key in path if isinstance(key, str)][-1]


def wrong_values(key: str, right: object, negative: bool) -> list[object]:
    """What can by no reading stand in the place of `right`. negative: whether -1 is one of these."""
    if isinstance(right, bool):
        return [1, 0.5, "maybe", [True], {"a": True}]
    if isinstance(right, int | float):
        wrong = [True, "many", "1e-3", [], {"a": 1}, float("nan"), float("inf"), -float("inf")]
        wrong += [1.5] if key in BOUNDED or (isinstance(right, int) and key not in SIZES) else []
        return [*wrong, *([-1] if negative else [])]
    if isinstance(right, str):
        return [3, 0.5, False, [right], {"a": right}, *(["no/such"] if key in CHOICES else [])]
    return [3, 0.5, True, "many" if isinstance(right, list) else [right], *([{"a": 1}] if right == [] else [])]


def assert_wrong_values_are_named(document: dict, paths: list[tuple], positive: set[str] | None, work, *more) -> None:
    """One after the other in the place of what is right; null may stand for a key that is left out.

    positive: the parts of the document whose numbers are never negative; None: all.
    """
    for path in paths:
        right = document
        for key in path:
            right = right[key]
        if right is None:
            continue
        for value in wrong_values(key_of(path), right, positive is None or path[0] in positive):
            said = sentence_of(work, replaced(document, path, value), *more)
            assert said is not None, (path, value)
            assert key_of(path) in said, (path, value, said)


def test_wrong_values_of_a_config_are_named():
    assert_wrong_values_are_named(DEMO, places(DEMO), None, checked)


def test_unknown_keys_of_a_config_are_named():
    """In every mapping but those whose keys are names of the user's."""
    for path in [(), *places(DEMO)]:
        at = DEMO
        for key in path:
            at = at[key]
        if isinstance(at, dict) and path[-1:] not in {("text_encoders",), ("external_tests",)}:
            said = sentence_of(checked, replaced(DEMO, (*path, "zzz"), 1))
            assert said is not None, path
            assert "'zzz'" in said


@fuzz
@given(st.sampled_from(places(DEMO)), VALUES)
def test_config(path, value):
    said = sentence_of(checked, replaced(DEMO, path, value))
    assert said is None or said.startswith("config: ")


@fuzz
@given(
    st.sampled_from(places(drop_nulls(DEMO))),
    st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=12),
)
def test_a_misspelt_key_is_named(path, name):
    parent = DEMO
    for key in path[:-1]:
        parent = parent[key]
    if not isinstance(parent, dict) or name in parent or path[:-1] == ("model", "text_encoders"):
        return
    config = copy.deepcopy(DEMO)
    at = config
    for key in path[:-1]:
        at = at[key]
    at[name] = at.pop(path[-1])
    if at[name] is None:
        return  # null deletes a key, known or not
    said = sentence_of(checked, config)
    assert said is not None
    assert said.startswith("config: ")
    assert f"'{name}'" in said or f"'{path[-1]}'" in said, "neither what is unknown nor what is missing"


def a_trial() -> dict:
    specification = {
        "id": "t",
        "phase": "phase1",
        "text_encoder": "x",
        "seed": 1,
        "image_encoder": {"architecture": "timm/x"},
        "text_encoder_settings": {
            "source": "x",
            "revision": None,
            "texts": None,
            "truncation_side": "right",
            "from_checkpoint": False,
        },
        "image_size": 64,
        "selection_metric": "zero_shot_accuracy",
        "train_samples": None,
        "val_samples": None,
        "epochs": None,
        "class_prompts": {"a": ["a"], "b": ["b"]},
        "shuffled_texts": False,
    }
    values = {**declared_defaults(),
              "learning_rate": 1e-3, "batch_size": 8, "warmup_steps": 2, "weight_decay": 0.1, "temperature": 0.1,
              "learnable_temperature": True, "epochs": 2, "lr_scheduler": "cosine", "optimizer": "adamw",
              "max_grad_norm": 1.0, "freeze": "none", "augment": False, "same_class_negatives": "keep",
              "context_length": 77, "early_stopping_patience": None, "precision": "auto"}  # fmt: skip
    return budget.plan(specification, values, {"train": 50, "val": 10, "test": 10}).to_dict()


TRIAL = a_trial()
PLACES_OF_TRIAL = [
    path for path in places(TRIAL) if path[0] not in ("image_encoder", "class_prompts", "text_encoder_settings")
]


def test_wrong_values_of_a_trial_are_named():
    # a cut may be of any number
    paths = [path for path in PLACES_OF_TRIAL if path[:2] != ("budget", "cuts")]
    positive = {"hyperparameters", "configured", "budget"}
    assert_wrong_values_are_named(TRIAL, paths, positive, schemas.check, "trial", "trial.json")


@fuzz
@given(st.sampled_from(PLACES_OF_TRIAL), VALUES)
def test_trial(path, value):
    said = sentence_of(schemas.check, replaced(TRIAL, path, value), "trial", "trial.json")
    assert said is None or said.startswith("trial.json: ")


METRICS = {
    **dict.fromkeys(("train_loss", "samples_per_second", "utilization", "resumed_from", "job", "commit"), None),
    **dict.fromkeys(("best_epoch", "epochs", "steps", "train_samples", "peak_memory_bytes", "attempts"), 1),
    **dict.fromkeys(("wall_seconds", "device_seconds", "lost_seconds"), 1.5),
    "trial": TRIAL,
    "trial_sha256": TRIAL["sha256"],
    "status": "completed",
    "device": "cpu",
    "precision": "fp32",
    "versions": {},
    "machine": {},
    "code": "0",
    "data": {"train": "0", "val": "0"},
    "val": {"loss": 1.0, "zero_shot_accuracy": 0.5, "levels": {"chance": {}, "majority": {}}, "standard_error": {}},
}


def test_metrics_are_right_to_begin_with():
    schemas.check(METRICS, "metrics", "metrics.json")


PLACES_OF_METRICS = [path for path in places(METRICS) if path[0] != "trial"]


def test_wrong_values_of_metrics_are_named():
    # what the hashes of the data look like is no matter of the schema's
    paths = [path for path in PLACES_OF_METRICS if path[0] != "data" or len(path) == 1]
    assert_wrong_values_are_named(METRICS, paths, set(), schemas.check, "metrics", "metrics.json")


@fuzz
@given(st.sampled_from(PLACES_OF_METRICS), VALUES)
def test_metrics(path, value):
    said = sentence_of(schemas.check, replaced(METRICS, path, value), "metrics", "metrics.json")
    assert said is None or said.startswith("metrics.json: ")


@fuzz
@given(st.binary(max_size=200), st.integers(0, 5000))
def test_json_files(tmp_path, noise, cut):
    content = json.dumps(TRIAL).encode()
    (tmp_path / "trial.json").write_bytes(content[:cut] + noise)
    said = sentence_of(read_json, tmp_path / "trial.json")
    # the outermost brace is closed by nothing, or something follows it
    torn = 0 < cut < len(content) and b"}" not in noise
    assert said is not None or not (torn or (cut >= len(content) and noise.strip(b" \t\r\n")))
    assert said is None or "trial.json" in said


@fuzz
@given(VALUES)
def test_prompts(tmp_path, value):
    path = tmp_path / "prompts.yaml"
    path.write_text(yaml.safe_dump({"Healthy": value}))
    said = sentence_of(class_prompts, path, ["Healthy"])
    if isinstance(value, list) and value and all(isinstance(sentence, str) for sentence in value):
        assert said is None
    else:
        assert said is not None
        assert said.startswith(f"{path}: the class 'Healthy'")
    path.write_text(yaml.safe_dump(value))
    said = sentence_of(class_prompts, path, ["Healthy"])
    if isinstance(value, dict):
        assert said is None or re.search("the class 'Healthy'|a class has no name|write them as one", said)
    else:
        assert said == f"{path}: must map class names to lists of descriptions."


@fuzz
@given(st.binary(max_size=200), st.integers(0, 5000))
def test_damaged_prompts(tmp_path, noise, cut):
    path = tmp_path / "prompts.yaml"
    path.write_bytes((REPOSITORY / "config/prompts.yaml").read_bytes()[:cut] + noise)
    said = sentence_of(class_prompts, path, ["Healthy"])
    assert said is None or said.startswith(f"{path}: ")


CELLS = st.one_of(
    st.sampled_from(["P1", "P2", "a.png", "gone.png", "../a.png", "left", "right", "OD", "up", "train", "x|y", "",
                     '"', "\t", "é", "1e5", "NaN", "=1+1"]),
    st.text(max_size=12),
)  # fmt: skip
HEADS = st.lists(
    st.sampled_from(["patient_id", "image", "eye", "label", "text", "split", "image_left", "sample_id", "age"]),
    min_size=1, max_size=7,
)  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    (folder / "a.png").write_bytes(b"anything")
    return folder


@fuzz
@given(
    HEADS,
    st.lists(st.lists(CELLS, min_size=1, max_size=8), max_size=6),
    st.sampled_from([",", ";", "\t"]),
    st.booleans(),
)
def test_manifest(images, heads, rows, separator, quoted):
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if quoted else text

    table = images / "table.csv"
    lines = [separator.join(heads), *(separator.join(cell(text) for text in row) for row in rows)]
    table.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    source = Source("manifest", table, images)
    said = sentence_of(read_source, source)
    if said is not None:
        assert "table.csv" in said
        return
    frame, problems = read_source(source)
    assert set(frame["source_left"]) | set(frame["source_right"]) <= {"a.png", "./a.png", ""}
    assert all(problem["row"] >= 2 and re.search(r"\w", problem["reason"]) for problem in problems)
