"""Brings the initial weights of the image encoder, fitted to the architecture and the image size, as safetensors.

Weights are an open_clip tag (openai), `timm`, hf-hub:OWNER/NAME of either, or a file or folder of yours: of RETFound,
DINOv2, FLAIR, a CLIP, a RET-CLIP, or of your own training. Says what fits, what was dropped and what is new. The JSON
beside the output has how the weights want their images. Run it where there is a network.

    fetch_vision_weights.py --settings '{"architecture": "timm/vit_large_patch16_224", "weights": "RETFound.pth"}' \\
        --image-size 224 --output resources/vision/retfound.safetensors
"""

import argparse
import json
from pathlib import Path

from retclip.core.logs import log, run_entry


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON: model.image_encoder of the config")
    parser.add_argument("--image-size", type=int, required=True, help="data.image_size of the config")
    parser.add_argument("--train-last-layers", type=int, help="of the config: so many blocks the network must have")
    parser.add_argument("--adapted", action="store_true", help="refuse a network without attention, for lora_rank")
    parser.add_argument("--output", type=Path, required=True, help=".safetensors")
    options = parser.parse_args(arguments)

    from retclip.models.image_weights import fetch_image_weights

    layers = {"train_last_layers": options.train_last_layers} if options.train_last_layers else {}
    log(fetch_image_weights({**options.settings, **layers}, options.image_size, options.output, options.adapted))


if __name__ == "__main__":
    run_entry(main)
