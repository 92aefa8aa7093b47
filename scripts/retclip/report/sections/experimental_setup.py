"""The experimental setup: budgets and spaces of every stage, as the config has them."""

from typing import Any

from retclip.core.hyperparameters import label_of
from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

TEXT = """
<p>Every stage chooses by one score, the validation {{ metric }}.
Final models are evaluated on the test split, which no choice reads.</p>
{{ table("experimental_setup") }}
<p class="note">The whole config stands under <a href="#provenance">Provenance</a>.</p>
"""


def stages_table(config: dict[str, Any]) -> Table:
    """Budget and space of each stage."""
    # a run of an earlier version has no such key
    each = ", with each text encoder" if config["phase2"].get("search_encoders") == "all" else ""
    rows = [
        ["Phase 1", *_stage(config["phase1"]), _space(config["phase1"]["space"])],
        [f"Phase 2{each}", *_stage(config["phase2"]), _space(config["phase2"]["space"])],
        [
            "Final",
            *_stage(config["final"]),
            f"{wording.count(config['final']['seeds'], 'seed')} per text encoder, and the baseline",
        ],
    ]
    if config["confirm"]["top_k"]:
        seeds = wording.count(config["confirm"]["seeds"], "fresh seed")
        confirm = f"the best {config['confirm']['top_k']} of Phase 2, {seeds} each"
        rows.insert(2, ["Confirmation", *_stage(config["phase2"]), confirm])
    return Table(["stage", "training samples", "epochs", "tried"], rows)


def _stage(stage: dict[str, Any]) -> tuple[str, str]:
    samples = stage.get("train_samples")
    return f"{samples:,}" if samples else "all", str(stage["epochs"])


def _space(space: dict[str, Any]) -> str:
    parts = []
    for name, values in space.items():
        shown = values
        if isinstance(values, list):
            shown = ", ".join(map(wording.setting, values))
        elif isinstance(values, dict):
            shown = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items())
        parts.append(f"{label_of(name)}: {str(shown).replace('from_best', 'as Phase 1 chose')}")
    return "; ".join(parts)


def _tables(run: RunFolder) -> dict[str, Captioned]:
    return {"experimental_setup": Captioned("Budget and space of each stage", stages_table(run.config))}


SECTION = Section("Experimental setup", TEXT, tables=_tables)
