"""Runs torch-lr-finder's range test on the baseline configuration: how the loss falls as the learning rate rises.

Writes curve.csv (learning_rate, loss, smoothed_loss) and suggestion.json: the suggested rate, the grid that
`phase1.space.learning_rate: auto` uses, and the measured throughput.
"""

import argparse
import json
import time
from pathlib import Path

from retclip.core.gpu_lease import lease
from retclip.core.io import read_json, write_csv, write_json
from retclip.core.logs import log, run_entry
from retclip.core.preprocessing import with_weights_settings


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--specification", type=json.loads, required=True, help="JSON: the trial specification")
    parser.add_argument("--data-dir", type=Path, required=True, help="samples, LMDBs and fingerprint.json")
    parser.add_argument("--encoder-dir", type=Path, required=True, help="the text encoder's folder")
    parser.add_argument("--image-weights", type=Path, help="initial weights of the image encoder")
    parser.add_argument(
        "--image-features", type=Path, nargs="*", default=[], help="of a frozen image encoder, by cache_features"
    )
    parser.add_argument(
        "--text-features", type=Path, nargs="*", default=[], help="of a frozen text encoder, by cache_features"
    )
    parser.add_argument("--start-lr", type=float, required=True)
    parser.add_argument("--end-lr", type=float, required=True)
    parser.add_argument("--num-iter", type=int, required=True, help="optimizer steps")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--output-curve", type=Path, required=True)
    parser.add_argument("--output-suggestion", type=Path, required=True)
    options = parser.parse_args(arguments)
    lease(options.device)

    import torch

    from retclip.loading.dataset import Split
    from retclip.loading.device import choose_device, choose_precision, prepare_device
    from retclip.loading.feature_cache import frozen_features
    from retclip.models.factory import build_model
    from retclip.models.text_encoder import load_tokenizer, refuse_longer
    from retclip.search.budget import plan
    from retclip.search.space import AUTO_FACTORS
    from retclip.training.lr_finder import range_test

    fingerprint = read_json(options.data_dir / "fingerprint.json")
    counts = {name: split["samples"] for name, split in fingerprint["splits"].items()}
    own = {"learning_rate": options.start_lr, "warmup_steps": 0, "warmup_share": 0.0}
    values = {**options.specification["values"], **own}
    image_encoder = with_weights_settings(options.specification["image_encoder"], options.image_weights)
    trial = plan({**options.specification, "image_encoder": image_encoder, "class_prompts": {}}, values, counts)
    hyperparameters = trial.hyperparameters
    device = choose_device(options.device)
    precision = choose_precision(hyperparameters["precision"], device)
    prepare_device(device, precision)
    encoder = read_json(options.encoder_dir / "source.json")
    cached = {"image": options.image_features, "text": options.text_features}
    train = Split(
        options.data_dir,
        "train",
        fingerprint,
        load_tokenizer(options.encoder_dir, trial.text_encoder_settings.truncation_side),
        hyperparameters["context_length"],
        text_columns=trial.text_encoder_settings.texts,
        frozen=frozen_features(cached, trial, fingerprint, encoder, precision),
    )
    model = build_model(trial, options.encoder_dir, options.image_weights)
    refuse_longer(model.bert, trial.text_encoder, hyperparameters["context_length"])
    started = time.monotonic()
    curve, suggestion = range_test(
        trial,
        model,
        train,
        device,
        precision,
        options.end_lr,
        options.num_iter,
    )
    seconds = time.monotonic() - started
    note = "the steepest fall of the smoothed loss"
    if suggestion is None:
        suggestion = options.specification["values"]["learning_rate"]
        note = "the loss did not fall by more than its noise, so this is the default; look at lr_finder and its curve"
    log(f"suggested learning rate {suggestion:.2e}: {note}")
    write_csv(options.output_curve, curve)
    write_json(
        options.output_suggestion,
        {
            "suggestion": suggestion,
            "note": note,
            "grid": [float(f"{factor * suggestion:.3g}") for factor in AUTO_FACTORS],
            "batch_size": hyperparameters["batch_size"],
            "steps": len(curve),
            "samples_per_second": len(curve) * hyperparameters["batch_size"] / seconds,
            "wall_seconds": seconds,
            "device": device.type,
            "threads": torch.get_num_threads(),
        },
    )


if __name__ == "__main__":
    run_entry(main)
