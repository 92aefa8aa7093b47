"""The configuration of a run: cleaned, checked, and said wrong in one sentence."""

import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from retclip.core import schemas
from retclip.core.bounded import refuse_bomb
from retclip.core.csv_tables import read_header, shown
from retclip.core.fine_tuning import check_fine_tuning
from retclip.core.hyperparameters import HYPERPARAMETERS
from retclip.core.io import is_file
from retclip.core.source_facts import SourceFacts, all_source_facts, source_facts
from retclip.core.table_columns import check_columns, suggestion
from retclip.core.warmup import check_warmup

Config = dict[str, Any]
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

MOST_TRIALS = 20_000
# Text encoders of these names would share the ids of final models that every run, or one with an ablation, has.
RESERVED = {"baseline", "control", "initial", *(f"ablation_{name}" for name in HYPERPARAMETERS)}


def drop_nulls(value: Any) -> Any:
    """The same mapping without its null entries, at every depth: in an overlay, null deletes a key."""
    if isinstance(value, dict):
        return {key: drop_nulls(item) for key, item in value.items() if item is not None}
    return value


def check_config(config: Config, origin: str = "config") -> Config:
    """The config without nulls. Raises ValueError with one sentence naming the first wrong key or path."""
    refuse_bomb(config, origin)
    clean = drop_nulls(config)
    try:
        _spell_values(clean, origin)
        check_form(clean, origin)
        _check_model(clean, origin)
        check_fine_tuning(clean, origin)
        _check_search(clean, origin)
        _check_data(clean, origin)
        if not is_file(clean["evaluation"]["prompts"]):
            raise ValueError(f"{origin}: evaluation.prompts is {clean['evaluation']['prompts'][:150]}: no such file.")
    except ValueError as error:  # a value may hold line breaks, a sentence may not
        raise ValueError(" ".join(str(error).split())) from None
    return clean


def _spell_values(config: Config, origin: str) -> None:
    """Keys and values of data.values as the texts that cells are: YAML reads {0: No DR} as a number. In place."""
    places = {"data": config.get("data")}
    if isinstance(config.get("evaluation"), dict) and isinstance(config["evaluation"].get("external_tests"), dict):
        tests = config["evaluation"]["external_tests"]
        places |= {f"evaluation.external_tests.{name}": entry for name, entry in tests.items()}
    for key, data in places.items():
        if not isinstance(data, dict) or not isinstance(data.get("values"), dict):
            continue
        for column, given in data["values"].items():
            if not isinstance(given, dict):
                continue
            for word in (*given, *given.values()):
                if isinstance(word, bool):
                    raise ValueError(
                        f"{origin}: {key}.values.{column} has {word}; YAML reads bare yes, no, on and off as true or "
                        "false: put the word in quotes."
                    )
            plain = {str(cell): str(word) if isinstance(word, int | float) else word for cell, word in given.items()}
            data["values"][column] = plain


def check_form(config: Config, origin: str) -> None:
    """Raises ValueError with one sentence where a key or a value is not what the schema says; looks at no file.

    No text may hold a line break or another control character: many become names of files and folders.
    """
    _refuse_control_characters(config, origin, "")
    schemas.check(config, "config", origin)


def configured_defaults(config: Config) -> dict[str, Any]:
    """Every hyperparameter of the baseline, in the fixed order, in the units of a full run."""
    return {name: hyperparameter.of(config) for name, hyperparameter in HYPERPARAMETERS.items()}


def subsets(config: Config) -> dict[str, float]:
    """Name in the ids of final models -> fraction of the train patients, of each that is trained for itself; those
    on all patients are the final models themselves."""
    fractions = config.get("study", {}).get("data_fractions", [])
    return {f"subset_{_percent(fraction)}": fraction for fraction in sorted(fractions) if fraction < 1}


def _percent(fraction: float) -> str:
    """25, or 12_5, since a dot ends no name of a folder here."""
    return f"{(Decimal(str(fraction)) * 100).normalize():f}".replace(".", "_")


def strategy_facts(config: Config) -> set[str]:
    """What is true of phase2.strategy: learns, has_rungs, is_exhaustive; see search/strategies.py, which declares it.

    Rooms that may not import the search read it here, out of the schema that is made of the declaration.
    """
    declared = schemas.load("config")["properties"]["phase2"]["properties"]["strategy"]["x-facts"]
    return {fact for fact, strategies in declared.items() if config["phase2"]["strategy"] in strategies}


def _refuse_control_characters(value: Any, origin: str, key: str) -> None:
    if isinstance(value, str) and not value.isprintable() and CONTROL.search(value):
        raise ValueError(
            f"{origin}: {key} is {value[:40]!r}; take the line break or other control character out of it."
        )
    if isinstance(value, dict):
        for name, item in value.items():
            _refuse_control_characters(str(name), origin, f"{key} (a name in it)" if key else "a name")
            _refuse_control_characters(item, origin, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for item in value:
            _refuse_control_characters(item, origin, key)


def _check_model(config: Config, origin: str) -> None:
    model = config["model"]
    if model["search_encoder"] not in model["text_encoders"]:
        raise ValueError(
            f"{origin}: model.search_encoder is {model['search_encoder']!r}; it must be one of "
            f"model.text_encoders: {', '.join(model['text_encoders'])}."
        )
    for name in model["text_encoders"]:
        if name in {*RESERVED, *subsets(config)}:
            raise ValueError(
                f"{origin}: model.text_encoders.{name}: final/{name}-s... is a folder of the run's own; give the text "
                "encoder another name."
            )
    image_encoder = model["image_encoder"]
    sizes = {"layers", "width", "head_width", "patch_size", "embed_dim"}
    if "architecture" not in image_encoder and not sizes <= set(image_encoder):
        raise ValueError(
            f"{origin}: model.image_encoder needs an architecture, or all of {', '.join(sorted(sizes))}; "
            f"{', '.join(sorted(sizes - set(image_encoder)))} missing."
        )
    if "architecture" in image_encoder and set(image_encoder) & (sizes - {"embed_dim"}):
        raise ValueError(
            f"{origin}: model.image_encoder has both an architecture and sizes "
            f"({', '.join(sorted(set(image_encoder) & (sizes - {'embed_dim'})))}); "
            "set architecture: null to use the sizes."
        )


def _refuse_endless(space: Config, key: str) -> None:
    """Raises ValueError where a grid has more trials than anybody trains, before they are written out."""
    count = math.prod(len(values) for values in space.values() if isinstance(values, list))
    if count > MOST_TRIALS:
        raise ValueError(f"{key} has {count:,} combinations; a grid may have {MOST_TRIALS:,}: shorten its lists.")


def _check_search(config: Config, origin: str) -> None:
    _refuse_endless(config["phase1"]["space"], f"{origin}: phase1.space")
    if "is_exhaustive" in strategy_facts(config):
        _refuse_endless(config["phase2"]["space"], f"{origin}: phase2.space")
    finder = config["lr_finder"]
    if finder["start_lr"] >= finder["end_lr"]:
        raise ValueError(f"{origin}: lr_finder.start_lr must be below lr_finder.end_lr.")
    for name, values in config["phase2"]["space"].items():
        if isinstance(values, dict) and "low" in values:
            _check_range(name, values, f"{origin}: phase2.space.{name}")
    check_warmup(config, origin)
    _check_rungs(config, origin)
    if subsets(config) and "train_samples" in config["final"]:
        raise ValueError(
            f"{origin}: study.data_fractions are of all train patients, and final.train_samples takes a part of them; "
            "set one of both to null."
        )
    if config["phase2"]["search_encoders"] == "all" and config["final"]["learning_rate_factors"] != [1.0]:
        raise ValueError(
            f"{origin}: phase2.search_encoders: all tunes each text encoder by itself, which takes the place of "
            "final.learning_rate_factors; set one to one, or the other to [1.0]."
        )
    phase2, top_k = config["phase2"], config["confirm"]["top_k"]
    facts = strategy_facts(config)
    if "has_rungs" in facts:
        if top_k > phase2["brackets"] * phase2["rungs"]["slots"][-1]:
            raise ValueError(f"{origin}: confirm.top_k is larger than the last rungs of phase2.brackets together.")
    elif "is_exhaustive" not in facts and top_k > phase2["trials"]:
        raise ValueError(f"{origin}: confirm.top_k is larger than phase2.trials.")


def _check_range(name: str, values: dict[str, Any], key: str) -> None:
    """The ends of a range must be values that the hyperparameter may have; whole ones where it counts something."""
    if values["low"] >= values["high"]:
        raise ValueError(f"{key}: low must be below high.")
    if values.get("log") and values["low"] <= 0:
        raise ValueError(f"{key}: a log range must start above 0.")
    kind = HYPERPARAMETERS[name].schema(configured=True)
    whole = kind["type"] == "integer"
    ends = {end: values[end] for end in ("low", "high")}
    if whole and not (values.get("int") and all(type(end) is int for end in ends.values())):
        raise ValueError(f"{key}: a range of whole numbers needs int: true and whole ends.")
    if not whole and values.get("int"):
        raise ValueError(f"{key}: int: true leaves whole numbers alone; take it out.")
    lowest, highest = kind.get("minimum", kind.get("exclusiveMinimum")), kind.get("maximum")
    for end, value in ends.items():
        if lowest is not None and (value < lowest or (value == lowest and "minimum" not in kind)):
            bound = "at least" if "minimum" in kind else "above"
            raise ValueError(f"{key}: {end} is {value}; it must be {bound} {lowest}.")
        if highest is not None and value > highest:
            raise ValueError(f"{key}: {end} is {value}; it must be at most {highest}.")


def _check_rungs(config: Config, origin: str) -> None:
    phase2 = config["phase2"]
    slots, epochs = phase2["rungs"]["slots"], phase2["rungs"]["epochs"]
    if "has_rungs" not in strategy_facts(config):
        return
    if len(slots) != len(epochs):
        raise ValueError(f"{origin}: phase2.rungs: slots and epochs need as many entries as each other.")
    if sorted(set(epochs)) != epochs or sorted(slots, reverse=True) != slots:
        raise ValueError(f"{origin}: phase2.rungs: slots must fall, and epochs rise, from rung to rung.")
    if epochs[-1] != phase2["epochs"] and "epochs" not in phase2["space"]:
        raise ValueError(
            f"{origin}: phase2.rungs.epochs ends with {epochs[-1]}, but phase2.epochs is {phase2['epochs']}; "
            "the last rung ends with the schedule."
        )


def external_test(config: Config, name: str) -> dict[str, Any]:
    """The settings of an external test set, in the words of `data`; what its entry leaves out is as in `data`."""
    shared = ("patient_id", "eye_images", "class_map", "report_section")
    given = {key: config["data"][key] for key in shared if key in config["data"]}
    return {**given, **config["evaluation"]["external_tests"][name]}


def _check_data(config: Config, origin: str) -> None:
    data = config["data"]
    if source_facts(data["source"]).is_drawn:
        if "demo_patients" not in data:
            raise ValueError(f"{origin}: data.source is demo, so data.demo_patients must say how many to draw.")
    else:
        _check_source(data, f"{origin}: data")
    for name in config["evaluation"].get("external_tests", {}):
        _check_source(external_test(config, name), f"{origin}: evaluation.external_tests.{name}")


def _check_source(data: dict[str, Any], key: str) -> None:
    """key: where the settings stand, with what to call the config before it."""
    source, short = data["source"], key.split(": ", 1)[1]
    facts = source_facts(source)
    for keys in (("manifest",), *facts.keys):
        given = [name for name in keys if name in data]
        if len(keys) == 1 and not given:
            raise ValueError(f"{key}.source is {source}, so {short}.{keys[0]} must be given.")
        if len(given) != 1:
            raise ValueError(
                f"{key}.source is {source}, so the images come from "
                f"{' or from '.join(f'{short}.{name}' for name in keys)}; give one, and set the other to null."
            )
    if "hub_dataset" in data and not facts.knows("hub_dataset"):
        known = " or ".join(name for name, other in all_source_facts().items() if other.knows("hub_dataset"))
        raise ValueError(f"{key}.hub_dataset is for {short}.source: {known}; set it to null.")
    for name in ("columns", "values"):
        if data.get(name) and not facts.reads:
            raise ValueError(f"{key}.{name} is for tables; {short}.source is {source}, which has no columns to name.")
    _check_pattern(data["patient_id"], f"{key}.patient_id")
    for ours, given in data.get("columns", {}).items():
        if isinstance(given, dict):
            _check_column(given, f"{key}.columns.{ours}", ours)
    for table in ("manifest", "test_manifest"):
        if table in data:
            _check_table(data, facts, Path(data[table]), f"{key}.{table}")
    if facts.knows("image_root") and "image_root" in data and not Path(data["image_root"]).is_dir():
        raise ValueError(f"{key}.image_root is {data['image_root']}: no such folder.")
    if facts.knows("class_map") and not is_file(data["class_map"]):
        raise ValueError(f"{key}.class_map is {data['class_map']}: no such file.")


def _check_column(given: dict[str, Any], key: str, ours: str) -> None:
    """A declaration that is no column's name."""
    if ("pattern" in given) == ("one_hot" in given) or ("otherwise" in given and "pattern" in given):
        raise ValueError(f"{key} must be a column, {{one_hot: [columns], otherwise: class}} or {{pattern: REGEX}}.")
    if "one_hot" in given and not ours.startswith("label"):
        raise ValueError(f"{key}: columns of 0 and 1 are labels; one_hot belongs to label, label_left or label_right.")
    if "pattern" in given:
        _check_pattern(given, key)


def _check_pattern(given: str | dict[str, str], key: str) -> None:
    if isinstance(given, str):
        return
    try:
        groups = re.compile(given["pattern"]).groups
    except re.error as error:
        raise ValueError(f"{key}.pattern is no regular expression ({error}).") from None
    if groups == 0:
        raise ValueError(f"{key}.pattern needs a group in parentheses: the part that is meant.")


def _check_table(data: dict[str, Any], facts: SourceFacts, path: Path, origin: str) -> None:
    """Finds a missing file or column before anything is downloaded or queued; build_lmdb checks the rows."""
    patient_id = data["patient_id"]
    if facts.holds_images:
        if not path.is_dir():
            raise ValueError(f"{origin} is {path}: no such folder.")
        return
    if not is_file(path):
        raise ValueError(f"{origin} is {path}: no such file.")
    try:
        names = read_header(path)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from None
    declared = data.get("columns", {})
    columns = check_columns(declared, names, facts.reads, f"{origin} ({path})", "data.columns")
    if "patient_id" in declared and patient_id not in ("patient_id", declared["patient_id"]):
        raise ValueError(f"{origin}: data.patient_id and data.columns.patient_id name two columns; leave one out.")
    is_named = not facts.has_patients and isinstance(patient_id, str) and "patient_id" not in declared
    if is_named and patient_id not in ("none", *columns):
        raise ValueError(
            f"{origin} ({path}) lacks the column {patient_id}; it has {shown(names)}. Name the patient's "
            "column in data.patient_id, or give {pattern: ...} of the image paths, or none."
        )
    for wanted in facts.columns:
        given = "image_pattern" in data and "image" in wanted
        if not set(wanted) & columns and not given:
            need = wanted[0] if len(wanted) == 1 else f"one of {', '.join(wanted)}"
            hint = suggestion(names, wanted)
            hint = f" Did you mean {hint}?" if hint else ""
            if "label" in wanted:
                hint += " Columns of 0 and 1 are labels by data.columns: {label: {one_hot: [...]}}."
            raise ValueError(f"{origin} ({path}) lacks the column {need}; it has {shown(names)}.{hint}")
