"""Collects what a report shows of a final model: examples with their nearest prompts, occlusion maps, an embedding.

Small images of the test split, drawn at random; nothing is chosen by them. With --private, none. The arrays of
qualitative_examples.npz are described in retclip/core/qualitative_examples.py.
"""

import argparse
from pathlib import Path

from retclip.core.gpu_lease import lease
from retclip.core.io import read_json
from retclip.core.logs import log, run_entry
from retclip.core.qualitative_examples import write_examples
from retclip.core.trial import Trial


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trial", type=Path, required=True, help="trial.json of the final training")
    parser.add_argument("--model-dir", type=Path, required=True, help="the exported model")
    parser.add_argument("--predictions", type=Path, required=True, help="predictions.parquet of the same model")
    parser.add_argument("--data-dir", type=Path, required=True, help="samples, LMDBs and fingerprint.json")
    parser.add_argument("--image-features", type=Path, nargs="*", default=[], help="of a frozen image encoder")
    parser.add_argument("--text-features", type=Path, nargs="*", default=[], help="of a frozen text encoder")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--private", action="store_true", help="no images, only the embedding")
    parser.add_argument("--output", type=Path, required=True, help="qualitative_examples.npz")
    options = parser.parse_args(arguments)
    lease(options.device)

    import pandas as pd

    from retclip.evaluation.examples import collect_examples
    from retclip.evaluation.test_set import trained_model

    trial = Trial.read(options.trial)
    fingerprint = read_json(options.data_dir / "fingerprint.json")
    model, reader = trained_model(trial, options.model_dir, options.device)
    split = reader.split(options.data_dir, "test", fingerprint)
    cached = reader.reading({"image": options.image_features, "text": options.text_features}, fingerprint)
    examples = collect_examples(
        model,
        reader,
        split,
        reader.embed(model, cached.split(options.data_dir, "test", fingerprint)),
        pd.read_parquet(options.predictions),
        fingerprint["splits"]["train"]["per_class"],
        options.private,
    )
    write_examples(options.output, examples)
    log(f"{trial.id}: {len(examples.eye)} examples, {len(examples.embedding)} patients in the embedding")


if __name__ == "__main__":
    run_entry(main)
