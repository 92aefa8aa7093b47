"""trial.json, metrics.json and evaluation.json as dataclasses: the schema's fields, and the file's bytes again."""

import json
import types
from dataclasses import MISSING, FrozenInstanceError, fields, is_dataclass, replace
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from documents import ENCODER, VALUES, evaluation_of, metrics_of, trial_of

from retclip.core.documents import build, key_of, plain
from retclip.core.schemas import load
from retclip.core.trial import Trial
from retclip.metrics.evaluation_document import Evaluation
from retclip.metrics.metrics_document import Metrics
from retclip.metrics.reference_document import ReferenceModels
from retclip.search.budget import plan

KINDS = {"trial": Trial, "metrics": Metrics, "evaluation": Evaluation, "reference_models": ReferenceModels}
TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object", tuple: "array", list: "array"}


def resolved(schema: dict, root: dict) -> dict:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def types_of_schema(schema: dict, root: dict) -> set[str]:
    schema = resolved(schema, root)
    if "oneOf" in schema:
        return set().union(*(types_of_schema(one, root) for one in schema["oneOf"]))
    if "enum" in schema:
        return {TYPES[type(value)] for value in schema["enum"]}
    found = schema["type"]
    return set(found) if isinstance(found, list) else {found}


def types_of_hint(hint: Any) -> set[str]:
    if get_origin(hint) in (Union, types.UnionType):
        return set().union(*(types_of_hint(one) for one in get_args(hint)))
    if hint is type(None):
        return {"null"}
    return {"object"} if is_dataclass(hint) else {TYPES[get_origin(hint) or hint]}


def dataclass_in(hint: Any) -> type | None:
    """The dataclass that a field holds, alone, or None, or in a tuple."""
    found = [one for one in (hint, *get_args(hint)) if is_dataclass(one)]
    return found[0] if found else None


def part_of_schema(schema: dict, root: dict) -> dict:
    """The schema of the object that a property holds, alone, or null, or in an array."""
    schema = resolved(schema, root)
    if "items" in schema:
        return part_of_schema(schema["items"], root)
    parts = [part_of_schema(one, root) for one in schema.get("oneOf", []) if "$ref" in one]
    return parts[0] if parts else schema


def assert_agree(kind: type, schema: dict, root: dict, where: str) -> int:
    """Returns how many fields were compared."""
    hints, compared = get_type_hints(kind), 0
    own = [one for one in fields(kind) if not one.metadata.get("others")]
    assert {key_of(one) for one in own} == set(schema["properties"]), where
    assert {key_of(one) for one in own if one.default is MISSING} == set(schema["required"]), where
    assert bool(schema.get("patternProperties")) == (len(own) < len(fields(kind))), where
    assert schema["additionalProperties"] is False, where
    for one in own:
        hint, entry, place = hints[one.name], schema["properties"][key_of(one)], f"{where}.{key_of(one)}"
        found = types_of_hint(hint) - ({"null"} if one.metadata.get("optional") else set())
        assert found == types_of_schema(entry, root), place
        compared += 1
        if part := dataclass_in(hint):
            inner = part_of_schema(entry, root)
            # the trial in metrics.json is checked by its own schema
            compared += 0 if part is Trial else assert_agree(part, inner, root, place)
    return compared


@pytest.mark.parametrize("name", KINDS)
def test_schema_and_dataclass_agree(name):
    """Fields, which of them a file must have, and their types; in every part."""
    least = 11 if name == "reference_models" else 21
    assert assert_agree(KINDS[name], load(name), load(name), name) >= least


SCORE = {"value": 0.5, "low": None, "high": 0.75, "standard_error": None}
COUNTS = {"patients": 3, "samples": 4, "images": 5, "same_id": 0, "ids_confirmed": True, "image_copies": 1,
          "near_duplicates": 0, "image_patients": 1, "identical_texts": None,
          "left_out": {"samples": 1, "patients": 1},
          "without": {"counts": {"patients": 2, "scored": 3}, "zero_shot": {"zero_shot_accuracy": SCORE}}}  # fmt: skip


def documents() -> dict[str, tuple[type, dict]]:
    """Each kind with every part, and with those that may be null or absent."""
    texts = {**ENCODER, "texts": {"patient": "text_de"}}
    specification = {"id": "t", "phase": "phase2", "text_encoder": "x", "seed": 1, "text_encoder_settings": texts,
                     "image_encoder": {"architecture": "timm/x"}, "image_size": 64, "train_samples": None,
                     "val_samples": None, "epochs": None, "selection_metric": "zero_shot_accuracy",
                     "class_prompts": {"a": ["b", "c"]}, "shuffled_texts": False, "bracket": 1, "rung": 0,
                     "slot": 2}  # fmt: skip
    trial = plan(specification, {**VALUES, "batch_size": 64, "warmup_steps": 90}, {"train": 50, "val": 10})
    assert len(trial.budget.cuts) == 2
    levels = {"chance": {"zero_shot_accuracy": None}, "majority": {"zero_shot_accuracy": 0.5}}
    val = {"loss": 1.5, "zero_shot_accuracy": 0.25, "image_to_text_recall_at_1": None, "levels": levels}
    full = metrics_of(trial, val, gpus=["GPU-1"], machine={"cores": 2}, job={"job_id": "1"}, precision="bf16")
    several = {"units": 3, "patients": 2, "joined": 1, "macro_auroc": SCORE, "macro_average_precision": SCORE,
               "classes": []}  # fmt: skip
    scored = evaluation_of(
        zero_shot={"zero_shot_accuracy": SCORE}, linear_probe={"zero_shot_accuracy": {**SCORE, "seeds": [0.5, None]}},
        probe={"features": "image", "strength": 0.1, "train_units": 9, "seeds": [0, 1]}, levels=levels,
        confusion={"classes": ["a", "b"], "matrix": [[1, 2], [3, 4]]}, multi_label=several, quadratic_kappa=SCORE,
        calibration={"expected_calibration_error": SCORE, "expected_if_calibrated": SCORE,
                     "debiased_calibration_error": SCORE, "bins": []}, overlap=COUNTS,
    )  # fmt: skip
    return {
        "trial": (Trial, plain(trial)),
        "metrics": (Metrics, plain(full)),
        "metrics of little": (Metrics, plain(replace(full, gpus=None, machine=None, train_samples=None, job=None))),
        "evaluation": (Evaluation, plain(scored)),
        "evaluation of little": (Evaluation, plain(replace(scored, overlap=None, gpus=None, probe=None))),
    }


@pytest.mark.parametrize("name", documents())
def test_a_document_is_written_as_it_was_read(name):
    kind, document = documents()[name]
    text = json.dumps(document, indent=2)
    again = kind.from_dict(json.loads(text), name)
    assert json.dumps(again.to_dict(), indent=2) == text
    assert ("overlap" in document, "machine" in document) == {
        "evaluation": (True, True), "evaluation of little": (False, True), "metrics of little": (False, False),
        "metrics": (False, True), "trial": (False, False)}[name]  # fmt: skip


def test_what_was_read_is_typed_and_does_not_change():
    kind, document = documents()["metrics"]
    found = kind.from_dict(document, "metrics.json")
    assert found.trial.budget.cuts[0].key == "batch_size"
    assert found.val.scores == {"zero_shot_accuracy": 0.25, "image_to_text_recall_at_1": None}
    for one in (found, found.trial, found.trial.budget, found.val.levels):
        with pytest.raises(FrozenInstanceError):
            one.added = 1


@pytest.mark.parametrize(
    ("name", "path", "value", "said"),
    [
        (
            "trial",
            ("text_encoder_settings", "texts"),
            3,
            "m.json: text_encoder_settings.texts is 3; it must be an object or null.",
        ),
        ("trial", ("budget", "more"), 3, "m.json: budget has the unknown key 'more'; known keys are"),
        ("metrics", ("trial", "seed"), "1", "m.json, trial: seed is '1'; it must be an integer."),
        ("metrics", ("val", "levels"), {}, "m.json: val.levels lacks the key 'chance'."),
        ("evaluation", ("confusion", "matrix"), None, "m.json: confusion.matrix is None; it must be an array."),
    ],
)
def test_what_breaks_the_schema_is_refused_in_one_sentence(name, path, value, said):
    kind, document = documents()[name]
    inner, key = document[path[0]], path[1]
    inner[key] = value
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        kind.from_dict(document, "m.json")


def test_a_document_with_a_key_that_no_field_has_is_our_mistake():
    with pytest.raises(AssertionError, match="Trial knows no made_up"):
        build(Trial, {**plain(trial_of()), "made_up": 1})
