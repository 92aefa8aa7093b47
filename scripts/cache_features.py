"""Runs one frozen encoder over train and val once, so that no trial has to: features per image, or per text.

Only frozen encoders are cached, and the image encoder only without augmentation and with given initial weights; trials
then train heads and temperatures in seconds. Test is read for a file of its own, which evaluations alone read.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from retclip.core.gpu_lease import lease
from retclip.core.io import read_json
from retclip.core.logs import log, run_entry
from retclip.core.preprocessing import with_weights_settings
from retclip.core.trial import FeaturesSpecification


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--specification", type=json.loads, required=True, help="JSON: the parts of trial.json that both encoders need"
    )
    parser.add_argument("--modality", choices=("image", "text"), required=True, help="which of the two")
    parser.add_argument("--data-dir", type=Path, required=True, help="samples, LMDBs and fingerprint.json")
    parser.add_argument("--encoder-dir", type=Path, required=True, help="the text encoder's folder")
    parser.add_argument("--image-weights", type=Path, help="initial weights of the image encoder")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--splits", nargs="+", default=["train", "val"], help="of the data (default: train val)")
    parser.add_argument("--threads", type=int, default=1, help="that compute a batch each (default: 1)")
    parser.add_argument("--output", type=Path, required=True, help="safetensors file")
    options = parser.parse_args(arguments)
    lease(options.device)

    from retclip.loading.dataset import Split
    from retclip.loading.device import choose_device, choose_precision, prepare_device
    from retclip.loading.feature_cache import features_key, write_features
    from retclip.models.encode import eye_features, pooled_texts
    from retclip.models.factory import build_model
    from retclip.models.text_encoder import load_tokenizer, refuse_longer

    fingerprint = read_json(options.data_dir / "fingerprint.json")
    trial = FeaturesSpecification.from_dict(options.specification)
    trial = replace(trial, image_encoder=with_weights_settings(trial.image_encoder, options.image_weights))
    hyperparameters, reading = trial.hyperparameters, trial.text_encoder_settings
    device = choose_device(options.device)
    precision = choose_precision(hyperparameters["precision"], device)
    prepare_device(device, precision)
    tokenize = load_tokenizer(options.encoder_dir, reading.truncation_side)
    model = build_model(trial, options.encoder_dir, options.image_weights).to(device).eval()
    length = hyperparameters["context_length"]
    refuse_longer(model.bert, trial.text_encoder, length)
    features = {}
    for name in options.splits:
        split = Split(options.data_dir, name, fingerprint, tokenize, length, text_columns=reading.texts)
        if options.modality == "image":
            features[f"{name}.eyes"] = eye_features(model, split, device, precision, options.threads)
        else:
            features[f"{name}.texts"] = pooled_texts(model, split, tokenize, length, device, precision, options.threads)
        log(f"{options.modality} encoder: {len(split)} {name} samples on {device} in {precision}")
    encoder = read_json(options.encoder_dir / "source.json")
    key = features_key(options.modality, trial, fingerprint, encoder, precision, options.splits)
    write_features(options.output, features, key)


if __name__ == "__main__":
    run_entry(main)
