"""Scores a tuned model on validation under each single template, random halves of its class prompts, and without each.

Says how far the zero-shot score hangs on the words of the prompts. The features of the validation images are kept, so
that try_prompts.py scores other prompts in seconds. Nothing of test is read.
"""

import argparse
from pathlib import Path

from retclip.core.gpu_lease import lease
from retclip.core.io import read_json, write_json
from retclip.core.logs import log, run_entry
from retclip.core.trial import Trial


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trial", type=Path, required=True, help="trial.json of the final model")
    parser.add_argument("--model-dir", type=Path, required=True, help="the exported model")
    parser.add_argument("--data-dir", type=Path, required=True, help="samples, LMDBs and fingerprint.json")
    parser.add_argument("--image-features", type=Path, nargs="*", default=[], help="of a frozen image encoder")
    parser.add_argument("--text-features", type=Path, nargs="*", default=[], help="of a frozen text encoder")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--output-prompts", type=Path, required=True, help="prompts.json")
    parser.add_argument("--output-features", type=Path, required=True, help="val_features.npz, for try_prompts.py")
    options = parser.parse_args(arguments)
    lease(options.device)

    from retclip.evaluation.prompts import score_prompts
    from retclip.evaluation.test_set import trained_model

    trial = Trial.read(options.trial)
    model, reader = trained_model(trial, options.model_dir, options.device)
    fingerprint = read_json(options.data_dir / "fingerprint.json")
    reader = reader.reading({"image": options.image_features, "text": options.text_features}, fingerprint)
    images, found = score_prompts(model, reader, options.data_dir, fingerprint)
    images.save(options.output_features)
    write_json(options.output_prompts, found.to_dict())
    log(f"{trial.id}: prompts scored on {found.units:,} units of validation")


if __name__ == "__main__":
    run_entry(main)
