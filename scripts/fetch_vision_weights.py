"""Brings the initial weights of the image encoder: OpenAI's by name, or a file of yours, as safetensors.

A RET-CLIP checkpoint is accepted too: its image encoder is taken. Run it where there is a network.
"""

import argparse
from pathlib import Path

from retclip.core.logs import log, run_entry


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", required=True, help="model.image_encoder.architecture of the config")
    parser.add_argument("--weights", required=True, help="an open_clip tag such as openai, or a file")
    parser.add_argument("--output", type=Path, required=True, help=".safetensors")
    options = parser.parse_args(arguments)

    from retclip.models.pretrained import fetch_vision_weights

    fetch_vision_weights(options.architecture, options.weights, options.output)
    log(f"image encoder {options.architecture}, weights {options.weights}: written to {options.output}")


if __name__ == "__main__":
    run_entry(main)
