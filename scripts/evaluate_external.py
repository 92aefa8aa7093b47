"""Scores a final model on an external data set: zero-shot and retrieval with intervals, as evaluate_final does.

The data may have other classes; those that evaluation.prompts does not know are named by a template. Sensitivity and
specificity are at the thresholds that were chosen on the model's own validation split. Where people of the data set are
in train or val of the run, the zero-shot scores are given without them, too.
"""

import argparse
from pathlib import Path

from retclip.core.gpu_lease import lease
from retclip.core.io import read_json, write_json, write_parquet
from retclip.core.logs import log, run_entry
from retclip.core.prompts import class_prompts
from retclip.core.spelling import in_words_of
from retclip.core.trial import Trial
from retclip.metrics.evaluation_document import Evaluation


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trial", type=Path, required=True, help="trial.json of the final model")
    parser.add_argument("--model-dir", type=Path, required=True, help="the exported model")
    parser.add_argument("--evaluation", type=Path, required=True, help="evaluation.json of the same model")
    parser.add_argument("--prompts", type=Path, required=True, help="YAML, class name: descriptions")
    parser.add_argument("--data-dir", type=Path, required=True, help="results/{run}/external/{name}")
    parser.add_argument("--overlap", type=Path, required=True, help="overlap.json of the same data set")
    parser.add_argument("--code", required=True, help="hash of this code, for the record")
    parser.add_argument("--image-features", type=Path, nargs="*", default=[], help="of a frozen image encoder")
    parser.add_argument("--text-features", type=Path, nargs="*", default=[], help="of a frozen text encoder")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--ordered-classes", nargs="*", help="from the least to the most severe, for kappa")
    parser.add_argument("--output-evaluation", type=Path, required=True, help="{name}.json")
    parser.add_argument("--output-predictions", type=Path, required=True, help="{name}.parquet")
    options = parser.parse_args(arguments)
    lease(options.device)

    from retclip.evaluation.test_set import evaluate_external, trained_model
    from retclip.metrics.external import with_overlap

    trial = Trial.read(options.trial)
    fingerprint = read_json(options.data_dir / "fingerprint.json")
    own = Evaluation.read(options.evaluation).per_class
    name_of = in_words_of(fingerprint["classes"])
    model, reader = trained_model(trial, options.model_dir, options.device)
    reader = reader.reading({"image": options.image_features, "text": options.text_features}, fingerprint)
    evaluation, table = evaluate_external(
        model,
        reader,
        options.data_dir,
        fingerprint,
        class_prompts(options.prompts, fingerprint["classes"]),
        {name_of(row["class"]): row["threshold"] for row in own if row["threshold"] is not None},
        options.ordered_classes,
        options.code,
    )
    evaluation = with_overlap(evaluation, table, read_json(options.overlap))
    log(f"{trial.id}: {evaluation.counts.samples} samples of {options.data_dir.name} scored")
    write_parquet(options.output_predictions, table, fingerprint["classes"])
    write_json(options.output_evaluation, evaluation.to_dict())


if __name__ == "__main__":
    run_entry(main)
