"""Scores a final model on the test split: zero-shot, retrieval and a linear probe, with intervals.

Nothing is chosen here: the probe's regularization and the classes' thresholds are chosen on val. With --encoder-dir in
place of --model-dir, it scores the untouched initial weights, which a tuned model has to beat. Their
heads are random, so that their zero-shot scores are near chance; their linear probe reads the image encoder's own
features: what the same encoder gives with labels and without RET-CLIP.
"""

import argparse
from pathlib import Path

from retclip.core.gpu_lease import lease
from retclip.core.io import read_json, write_json, write_parquet
from retclip.core.logs import log, run_entry
from retclip.core.trial import Trial


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trial", type=Path, required=True, help="trial.json of the final model")
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--model-dir", type=Path, help="the exported model")
    weights.add_argument("--encoder-dir", type=Path, help="the text encoder's folder: the model before training")
    parser.add_argument("--image-weights", type=Path, help="with --encoder-dir: initial weights of the image encoder")
    parser.add_argument("--data-dir", type=Path, required=True, help="samples, LMDBs and fingerprint.json")
    parser.add_argument("--code", required=True, help="hash of this code, for the record")
    parser.add_argument("--image-features", type=Path, nargs="*", default=[], help="of a frozen image encoder")
    parser.add_argument("--text-features", type=Path, nargs="*", default=[], help="of a frozen text encoder")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--ordered-classes", nargs="*", help="from the least to the most severe, for kappa")
    parser.add_argument("--output-evaluation", type=Path, required=True, help="evaluation.json")
    parser.add_argument("--output-predictions", type=Path, required=True, help="predictions.parquet")
    options = parser.parse_args(arguments)
    lease(options.device)

    from retclip.evaluation.test_set import evaluate_on_test, initial_model, trained_model

    trial = Trial.read(options.trial)
    if options.model_dir:
        model, reader = trained_model(trial, options.model_dir, options.device)
    else:
        model, reader = initial_model(trial, options.encoder_dir, options.image_weights, options.device)
    fingerprint = read_json(options.data_dir / "fingerprint.json")
    reader = reader.reading({"image": options.image_features, "text": options.text_features}, fingerprint)
    evaluation, table = evaluate_on_test(
        model,
        reader,
        options.data_dir,
        fingerprint,
        options.ordered_classes,
        options.code,
    )
    weights_of = "" if options.model_dir else "initial weights of "
    log(f"{weights_of}{trial.id}: {evaluation.counts.samples} test samples scored")
    write_parquet(options.output_predictions, table, fingerprint["classes"])
    write_json(options.output_evaluation, evaluation.to_dict())


if __name__ == "__main__":
    run_entry(main)
