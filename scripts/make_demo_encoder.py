"""Makes one of the demo's tiny text encoders: a tokenizer and a BERT, trained on generated sentences in seconds."""

import argparse
from pathlib import Path

from retclip.core.logs import log, run_entry


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="pubmedbert, bert_base or biobert")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder of the encoder")
    options = parser.parse_args(arguments)

    from retclip.demo.text_encoders import make_encoder

    make_encoder(options.name, options.seed, options.output)
    log(f"{options.name}: written to {options.output}")


if __name__ == "__main__":
    run_entry(main)
