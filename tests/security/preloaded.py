"""What the server of attacks has imported before the first of them."""

import datasets  # noqa: F401
import lmdb  # noqa: F401
import numpy as np  # noqa: F401
import open_clip  # noqa: F401
import pandas as pd  # noqa: F401
import pydicom  # noqa: F401
import timm  # noqa: F401
import torch
from transformers import AutoModel, BertModel  # noqa: F401

import build_lmdb  # noqa: F401
import fetch_text_encoder  # noqa: F401
import fetch_vision_weights  # noqa: F401
import predict as predict_entry  # noqa: F401
from retclip.data import build  # noqa: F401
from retclip.evaluation import predict  # noqa: F401
from retclip.models import image_weights, pretrained  # noqa: F401

torch.set_num_threads(1)
