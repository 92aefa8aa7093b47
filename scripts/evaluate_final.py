"""Scores a final model on the test split: zero-shot, retrieval and a linear probe, with intervals.

The only entry that opens test.lmdb. Nothing is chosen here: the probe's regularisation is chosen on val.
"""

import argparse
from pathlib import Path

from retclip.core.files import read_json, write_json, write_parquet
from retclip.core.logs import run_entry, say


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trial", type=Path, required=True, help="trial.json of the final training")
    parser.add_argument("--model-dir", type=Path, required=True, help="the exported model")
    parser.add_argument("--data-dir", type=Path, required=True, help="samples, LMDBs and fingerprint.json")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--output-evaluation", type=Path, required=True, help="evaluation.json")
    parser.add_argument("--output-predictions", type=Path, required=True, help="predictions.parquet")
    options = parser.parse_args(arguments)

    from retclip.ml.evaluate import class_features, embed, predictions
    from retclip.ml.export import load_exported
    from retclip.ml.final import evaluation_document, linear_probe
    from retclip.ml.loader import Split
    from retclip.ml.text import load_tokenizer
    from retclip.ml.trainer import choose_device, choose_precision

    trial = read_json(options.trial)
    fingerprint = read_json(options.data_dir / "fingerprint.json")
    device = choose_device(options.device)
    precision = choose_precision(trial["hyperparameters"]["precision"], device)
    context_length = trial["hyperparameters"]["context_length"]
    reading = trial["encoder"]
    tokenize = load_tokenizer(options.model_dir / "text", reading["long_texts"])
    model = load_exported(options.model_dir).to(device)
    splits = {
        name: Split(options.data_dir, name, fingerprint, tokenize, context_length, text_columns=reading["texts"])
        for name in ("train", "val", "test")
    }
    features = {name: embed(model, split, device, precision) for name, split in splits.items()}
    say(f"{trial['id']}: {len(splits['test'])} test samples embedded")
    texts = class_features(model, fingerprint["classes"], trial["class_prompts"], tokenize, context_length, device)
    table = predictions(splits["test"], features["test"], texts)
    probe = linear_probe(splits, features, trial["seed"])
    write_parquet(options.output_predictions, table)
    write_json(options.output_evaluation, evaluation_document(splits["test"], features["test"], table, probe))


if __name__ == "__main__":
    run_entry(main)
