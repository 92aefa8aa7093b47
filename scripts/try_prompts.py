"""Scores a file of class prompts on validation with an exported model, beside the model's own prompts, in seconds.

The prompts are those of --prompts, a YAML file such as config/prompts.yaml; the difference is paired over the same
patients. Choose prompts here, never on test. A finished run has kept the features of the validation images; without
them the image encoder reads these once more.

    try_prompts.py --model-dir results/demo/final/pubmedbert-s2001/model --prompts mine.yaml
"""

import argparse
from pathlib import Path

from retclip.core.gpu_lease import lease
from retclip.core.logs import run_entry


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir", type=Path, required=True, help="results/{run}/final/{trial}/model")
    parser.add_argument("--prompts", type=Path, required=True, help="YAML: class name -> list of sentences")
    parser.add_argument("--data-dir", type=Path, help="of the run (default: results/{run}/data)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    options = parser.parse_args(arguments)
    lease(options.device)

    from retclip.evaluation.prompts import try_prompts

    data_dir = options.data_dir or options.model_dir.resolve().parents[2] / "data"
    for line in try_prompts(options.model_dir, data_dir, options.prompts, options.device):
        print(line)


if __name__ == "__main__":
    run_entry(main)
