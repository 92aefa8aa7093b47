"""Leases GPUs and runs a command on them, which sees no others and keeps them until it ends.

  lease_gpus.py --gpus 2 -- python -m torch.distributed.run --standalone --nproc-per-node 2 scripts/train_trial.py ...

Every other entry leases the one GPU that it needs by itself. Where other jobs have the GPUs, it waits.
"""

import argparse
import os

from retclip.core.gpu_lease import lease, lend
from retclip.core.logs import run_entry


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, required=True, help="how many")
    parser.add_argument("--device", default="auto", help="of the command: auto, cuda, or cpu, which leases none")
    parser.add_argument("command", nargs="+", metavar="-- command", help="and its arguments")
    options = parser.parse_args(arguments)

    lease(options.device, options.gpus)
    lend()
    os.execvp(options.command[0], options.command)


if __name__ == "__main__":
    run_entry(main)
