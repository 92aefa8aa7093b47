"""Checks the machine that a run is to train on, in minutes: its GPU against its CPU, what a training run survives
there, its file system, its clock, and how fast the config's encoders train. Needs no data.

Prints one page, a line a check: ok, slow or broken (with what to do), or not run (with why). Writes the same with all
numbers as JSON. Ends with an error where a line is broken.
"""

import argparse
import json
from pathlib import Path

from retclip.core.gpu_lease import lease
from retclip.core.io import write_json
from retclip.core.logs import run_entry
from retclip.core.preprocessing import with_weights_settings


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--specification", type=json.loads, required=True, help="JSON: the trial specification")
    parser.add_argument("--encoder-dir", type=Path, required=True, help="the text encoder's folder")
    parser.add_argument("--image-weights", type=Path, help="initial weights of the image encoder")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--gpus", type=int, default=1, help="training.gpus of the config (default: 1)")
    parser.add_argument("--submitted", type=Path, help="by note_time, on the machine that submits jobs")
    parser.add_argument("--code", required=True, help="hash of the code, recorded")
    parser.add_argument(
        "--output", type=Path, required=True, help="check_gpu.json, in the folder whose disk is checked"
    )
    options = parser.parse_args(arguments)
    lease(options.device, max(1, options.gpus))

    from retclip.checks.check_gpu import SAMPLES, Question, check_gpu, page_of
    from retclip.search.budget import plan

    image_encoder = with_weights_settings(options.specification["image_encoder"], options.image_weights)
    specification = {**options.specification, "image_encoder": image_encoder, "class_prompts": {}}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    lines, document = check_gpu(
        Question(
            trial=plan(specification, specification["values"], SAMPLES),
            encoder_dir=options.encoder_dir,
            image_weights=options.image_weights,
            device=options.device,
            gpus=options.gpus,
            folder=options.output.parent,
            submitted=options.submitted,
            code=options.code,
        )
    )
    write_json(options.output, {**document, "specification": options.specification})
    print(page_of(lines, document), flush=True)
    if any(line.state == "broken" for line in lines):
        raise ValueError(
            f"this machine is not fit for a run: the page above says why, {options.output} has its numbers."
        )


if __name__ == "__main__":
    run_entry(main)
