"""Scores the untouched initial weights of a final training on the test split: the row that a tuned model has to beat.

Its heads are random, so that its zero-shot scores are near chance; its linear probe sees the vision tower's own
features: what the same tower gives with labels and without RET-CLIP.
"""

import argparse
from pathlib import Path

from retclip.core.files import read_json, write_json, write_parquet
from retclip.core.logs import run_entry, say
from retclip.core.schemas import check


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trial", type=Path, required=True, help="trial.json of the final training")
    parser.add_argument("--encoder-dir", type=Path, required=True, help="the text encoder's folder")
    parser.add_argument("--vision-weights", type=Path, help="initial weights of the image tower")
    parser.add_argument("--data-dir", type=Path, required=True, help="samples, LMDBs and fingerprint.json")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--ordered-classes", nargs="*", help="from the least to the most severe, for kappa")
    parser.add_argument("--output-evaluation", type=Path, required=True, help="evaluation.json")
    parser.add_argument("--output-predictions", type=Path, required=True, help="predictions.parquet")
    options = parser.parse_args(arguments)

    from retclip.ml.assemble import build_model
    from retclip.ml.final import evaluate_on_test, make_reader

    trial = read_json(options.trial)
    fingerprint = read_json(options.data_dir / "fingerprint.json")
    reader = make_reader(trial, options.encoder_dir, options.device)
    model = build_model(trial, options.encoder_dir, options.vision_weights).to(reader.device)
    document, table = evaluate_on_test(
        model, reader, options.data_dir, fingerprint, options.ordered_classes, tower=True
    )
    check(document, "evaluation", "evaluation.json")
    say(f"initial weights of {trial['id']}: {document['counts']['samples']} test samples scored")
    write_parquet(options.output_predictions, table)
    write_json(options.output_evaluation, document)


if __name__ == "__main__":
    run_entry(main)
