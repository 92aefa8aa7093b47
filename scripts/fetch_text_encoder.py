"""Brings a text encoder from the Hugging Face hub, or from a local folder, to resources/: whatever AutoModel loads.

Run it where there is a network: training jobs never download. Writes the model, tokenizer.json and
source.json (source, resolved revision, license, pooling).
"""

import argparse
from pathlib import Path

from retclip.core.logs import log, run_entry


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="its name in model.text_encoders")
    parser.add_argument("--source", required=True, help="hub id or local folder")
    parser.add_argument("--revision", default="main", help="commit, tag or branch (default: main)")
    parser.add_argument("--pooling", choices=("cls", "mean", "pooler"), help="(default: the model's own)")
    parser.add_argument("--train-last-layers", type=int, help="of its config: so many blocks it must have")
    parser.add_argument(
        "--adapted", action="store_true", help="refuse one without attention projections, for lora_rank"
    )
    parser.add_argument("--context-length", type=int, help="of the config: so many tokens it must be able to read")
    parser.add_argument("--output", type=Path, required=True, help="folder of the encoder")
    options = parser.parse_args(arguments)

    from retclip.models.pretrained import fetch_text_encoder

    source = fetch_text_encoder(
        options.name,
        options.source,
        options.revision,
        options.output,
        options.pooling,
        options.train_last_layers,
        options.adapted,
        options.context_length,
    )
    revision, license, pooling = (source[key] for key in ("revision", "license", "pooling"))
    log(f"{options.name}: {source['source']} at {revision}, license {license}, pooling {pooling}")


if __name__ == "__main__":
    run_entry(main)
