"""Lays a final model out as a repository of the Hugging Face hub: weights, text encoder, prompts, card and license.

Its card shows how to score photographs with open_clip or timm and transformers alone. Nothing is sent anywhere: look at
the folder, then upload it with the hub's own client (hf upload OWNER/NAME FOLDER).
Every file is searched for each id, text and image path of the run's data, as make share does.

    export_hub.py --model-dir results/full/final/pubmedbert-s2001/model --repository OWNER/NAME --license cc-by-nc-4.0 \
      --license-file LICENSE.txt --output-dir hub/NAME --onnx
"""

import argparse
from pathlib import Path

from retclip.core.io import whole_folder
from retclip.core.logs import log, run_entry
from retclip.report.sharing import prove


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir", type=Path, required=True, help="results/{run}/final/{trial}/model")
    parser.add_argument("--repository", required=True, help="OWNER/NAME, as the hub is to call it")
    parser.add_argument(
        "--license", required=True, help="the hub's word for the license, such as cc-by-nc-4.0 or other"
    )
    parser.add_argument("--license-file", type=Path, required=True, help="its text")
    parser.add_argument("--onnx", action="store_true", help="both encoders as ONNX, too; needs packages of its own")
    parser.add_argument("--output-dir", type=Path, required=True, help="new, or of an earlier call")
    options = parser.parse_args(arguments)
    if not (options.model_dir / "model.json").is_file():
        raise ValueError(f"{options.model_dir}: has no model.json, so it is no exported model.")

    from retclip.models.hub_folder import check_flags, lay_out, places_in
    from retclip.models.onnx_files import export_onnx

    check_flags(options.repository, options.license, options.license_file)
    with whole_folder(options.output_dir) as made:
        lay_out(options.model_dir, made, options.repository, options.license, options.license_file)
        if options.onnx:
            log(f"ONNX features differ from PyTorch's by {export_onnx(options.model_dir, made):.1e} at most")
        proved = prove(made, options.model_dir.resolve().parents[2], places_in(options.model_dir))
    log(f"{options.output_dir}: {proved}")


if __name__ == "__main__":
    run_entry(main)
