"""What methods.md says of data, model, training and evaluation, as sentences with this run's values."""

from pathlib import Path
from typing import Any

from retclip.core.config import Config
from retclip.core.hyperparameters import label_of
from retclip.core.source_facts import source_facts
from retclip.core.trial import Trial
from retclip.report import formatting as wording
from retclip.report.encoder_choices import searched_apart
from retclip.report.limitations import small_classes
from retclip.report.more_data import more_data
from retclip.report.names import configuration_name
from retclip.report.run_folder import RunFolder

TEMPLATE = Path(__file__).parent / "templates/methods.md.jinja"
# Words in the source of a text encoder -> the citation of its weights.
ENCODER_CITATIONS = {"pubmedbert": "gu2021pubmedbert", "biobert": "lee2020biobert", "bert-base": "devlin2019bert"}


def methods(run: RunFolder, config: Config) -> dict[str, Any]:
    """The variables of methods.md. config: as it may be shown, with no path of a private run."""
    splits = run.audit["splits"] if run.audit else {}
    image_encoder = config["model"]["image_encoder"]
    tuned_model = run.tuned(run.search_encoder)[0]
    return {
        "everyone": f"{sum(split['patients'] for split in splits.values()):,}",
        "split_sizes": ", ".join(f"{split['patients']:,} {name}" for name, split in splits.items()),
        "how_split": _how_split(config["data"]),
        "image_encoder": image_encoder.get(
            "architecture", ", ".join(f"{key} {value}" for key, value in image_encoder.items())
        ),
        "image_weights": _image_weights(image_encoder.get("weights")),
        "text_encoders": ", ".join(
            _text_encoder(name, entry)
            for name, entry in config["model"]["text_encoders"].items()
            if name in run.encoders
        ),
        "tuned": tuned_model.trial.hyperparameters,
        "trained_parts": trained_parts(tuned_model.trial),
        "searches": [
            f"{name}: {configuration_name(run.tuned(name)[0].trial.configured, config['phase2']['space'])}"
            for name in searched_apart(run)
        ],
        "others": _others(tuned_model.trial.hyperparameters),
        "probe": tuned_model.evaluation.probe,
        "shared": {stage: _shared(run, stage) for stage in ("phase1", "phase2", "confirm", "final")},
        "small_classes": small_classes(run),
        "more_data": more_data(run) if run.subsets() else None,
    }


def _others(tuned_model: dict[str, Any]) -> str:
    """The hyperparameters that no sentence of the template names, with their values."""
    sentences = TEMPLATE.read_text(encoding="utf-8")
    return ", ".join(
        f"{label_of(name)} {wording.setting(value)}"
        for name, value in tuned_model.items()
        if f"tuned.{name}" not in sentences
    )


def trained_parts(trial: Trial) -> str:
    """A sentence on encoders of which only the last blocks were trained; empty where there are none."""
    layers = {
        "image": trial.image_encoder.get("train_last_layers"),
        "text": trial.text_encoder_settings.train_last_layers,
    }
    parts = [
        f"the last {'block' if count == 1 else f'{count} blocks'} of the {which} encoder"
        for which, count in layers.items()
        if count
    ]
    if not parts:
        return ""
    return f"Of the pretrained weights, only {' and '.join(parts)} were trained, with what follows them."


def _how_split(data: dict[str, Any]) -> str:
    """How patients came into splits. Whether a table has a split column of its own, no record says."""
    test, val = (wording.percent(data[name]) for name in ("test_fraction", "val_fraction"))
    drawn = "by a hash of the patient, with a quota of each split for labels of fewer than 100 patients"
    if source_facts(data["source"]).is_drawn:
        return f"{test} into test and {val} of the rest into validation, {drawn}"
    if data.get("test_manifest"):
        return (
            f"the test table was given separately; unless the other names a validation split, {val} of its patients "
            f"were drawn into it {drawn}"
        )
    return (
        f"as the data's own split column or files say; where they say nothing, {test} into test and {val} of the rest "
        f"into validation, {drawn}"
    )


def _image_weights(weights: str | None) -> str:
    if weights is None:
        return "random initial weights"
    cited = " [@radford2021clip]" if weights == "openai" else ""
    return f"the initial weights {weights}{cited}"


def _text_encoder(name: str, entry: dict[str, Any]) -> str:
    """The name, where its weights are from, and whose they are."""
    if entry.get("from_checkpoint"):
        return f"{name} (weights of the image encoder's checkpoint)"
    source = entry["source"]
    if source == "demo":
        return f"{name} (drawn and pre-trained for the demo)"
    cited = [citation for words, citation in ENCODER_CITATIONS.items() if words in source.lower()]
    revision = f", revision {entry['revision']}" if entry.get("revision") else ""
    return f"{name} (weights of {source}{revision}{f' [@{cited[0]}]' if cited else ''})"


def _shared(run: RunFolder, stage: str) -> str:
    """Why tables/cost.csv has fewer trials of a stage than were requested; empty where it has as many."""
    requested, paid = len(run.trials().get(stage, ())), len(run.paid().get(stage, ()))
    if requested == paid:
        return ""
    rest = "the other is" if requested - paid == 1 else f"the other {requested - paid} are"
    return f" ({paid} in tables/cost.csv: {rest} counted there already, under another name or as the start of a longer)"
