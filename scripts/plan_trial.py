"""Plans one trial: a trial specification, configured values and the size of the data become a complete trial.json.

Adjusts what the budget does not allow (a batch above the subset, a warm-up that never ends) and records it.
"""

import argparse
import json
from pathlib import Path

from retclip.core.hyperparameters import HYPERPARAMETERS
from retclip.core.io import read_json, write_json
from retclip.core.logs import log, run_entry
from retclip.core.preprocessing import with_weights_settings
from retclip.core.prompts import class_prompts
from retclip.core.schemas import check
from retclip.data.splits import subset_of
from retclip.search.budget import plan
from retclip.search.space import resolve_auto, times


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--specification", type=json.loads, required=True, help="JSON: the trial specification")
    parser.add_argument("--fingerprint", type=Path, required=True, help="data/fingerprint.json, for counts")
    parser.add_argument("--prompts", type=Path, required=True, help="YAML, class name: descriptions")
    parser.add_argument("--lr-finder", type=Path, help="suggestion.json, where the grid is `auto`")
    parser.add_argument("--image-weights", type=Path, help="initial weights of the image encoder, as fetched")
    parser.add_argument("--candidates", type=Path, help="JSON with `candidates`: best.json or a bracket")
    parser.add_argument("--slot", type=int, default=0, help="which of the candidates (from 0)")
    parser.add_argument("--train-samples", type=Path, help="samples_train.parquet, where the trial is of a fraction")
    parser.add_argument("--only", choices=HYPERPARAMETERS, help="the one value to take from the candidate")
    parser.add_argument("--learning-rate-factor", type=float, default=1.0, help="multiplies it at last")
    parser.add_argument("--output", type=Path, required=True, help="trial.json")
    options = parser.parse_args(arguments)

    specification, fingerprint = options.specification, read_json(options.fingerprint)
    specification["image_encoder"] = with_weights_settings(specification["image_encoder"], options.image_weights)
    values = dict(specification["values"])
    if options.lr_finder:
        values = resolve_auto(values, read_json(options.lr_finder)["grid"])
    if options.candidates:
        candidates = read_json(options.candidates)["candidates"]
        # a stage that decided for the defaults has no runner-up: its finalists are all the same training
        found = candidates[min(options.slot, len(candidates) - 1)]["configured"]
        values |= {options.only: found[options.only]} if options.only else found
    values = {name: values[name] for name in HYPERPARAMETERS}
    values["learning_rate"] = times(options.learning_rate_factor, values["learning_rate"])
    prompts = class_prompts(options.prompts, fingerprint["classes"])
    counts = {name: split["samples"] for name, split in fingerprint["splits"].items()}
    if fraction := specification.get("fraction"):
        specification |= subset_of(options.train_samples, fraction)
    trial = plan({**specification, "class_prompts": prompts}, values, counts)
    document = trial.to_dict()
    check(document, "trial", str(options.output))
    for cut in trial.budget.cuts:
        log(f"{trial.id}: {cut.key} {cut.configured} adjusted to {cut.used}: {cut.reason}")
    write_json(options.output, document)


if __name__ == "__main__":
    run_entry(main)
