"""Imports what takes seconds to import, and is forked for each job of a run, until that run's snakemake is gone.

fork_jobs.py PROCESS    (of snakemake; standard input is the socket where jobs ask)
"""

import gc
import importlib
import os
import socket
import sys

from retclip.core.fork_server import serve

# Of plans, trials, evaluations and tables. Ours are not among them: a job finds the code as its rule knows it.
LIBRARIES = (
    "jsonschema",
    "lmdb",
    "open_clip",
    "pandas",
    "pyarrow.parquet",
    "scipy.stats",
    "sklearn.linear_model",
    "timm",
    "torch._dynamo",  # by the first step of any optimizer
    "torch_lr_finder",
    "transformers.models.bert.modeling_bert",
)

if __name__ == "__main__":
    variables = dict(os.environ)  # as libraries find them, some of which set more
    gc.disable()  # all of it stays: to look through it again and again is a fifth of the time of importing it
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.collect()
    gc.freeze()  # what a fork's collector looks at, it copies
    gc.enable()
    serve(socket.socket(fileno=0), int(sys.argv[1]), variables)
