"""What the server of forked.py has imported before it forks: the libraries of trainers, of builds and of snakemake."""

# ruff: noqa: E402
import atexit
import gc

gc.disable()  # all of it stays: to look through it again and again is a fifth of the time of importing it

import datasets  # noqa: F401
import forked  # noqa: F401
import jsonschema  # noqa: F401
import lmdb  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import open_clip  # noqa: F401
import optuna  # noqa: F401
import pandas  # noqa: F401
import pyarrow.parquet  # noqa: F401
import pydicom  # noqa: F401
import sklearn.linear_model
import sklearn.metrics  # noqa: F401
import snakemake.cli  # noqa: F401
import snakemake_executor_plugin_slurm  # noqa: F401
import timm  # noqa: F401
import torch
import torch._dynamo
import torch_lr_finder  # noqa: F401
from transformers import AutoModel, BertModel  # noqa: F401

from retclip.evaluation import predict  # noqa: F401
from retclip.models import image_weights, pretrained  # noqa: F401
from retclip.training import trainer  # noqa: F401

torch.set_num_threads(1)
gc.freeze()  # what a fork's collector looks at, it copies
atexit.register(gc.unfreeze)  # else libraries print at the end what they think has leaked
gc.enable()
