"""Writes the *.pkl files beside it: hyper_parameters as training programs pickle them.

Needs omegaconf, numpy, torch and lightning.
"""

import argparse
import collections
import dataclasses
import enum
import pathlib
import pickle
import sys
import types

import numpy as np
import omegaconf
import torch
from lightning.fabric.utilities.data import AttributeDict

here = pathlib.Path(__file__).parent
app = types.ModuleType("app")
sys.modules["app"] = app


def in_app(cls):
    cls.__module__ = "app"
    cls.__qualname__ = cls.__name__
    setattr(app, cls.__name__, cls)
    return cls


@in_app
class Color(enum.Enum):
    RED = "red"


@in_app
@dataclasses.dataclass
class Optim:
    lr: float = 1e-3
    betas: tuple = (0.9, 0.999)


@in_app
class Slotted:
    __slots__ = ("width", "depth")

    def __init__(self):
        self.width, self.depth = 8, 2


@in_app
class Both(Slotted):
    def __init__(self):
        super().__init__()
        self.name = "both"


Pair = in_app(collections.namedtuple("Pair", "left right"))

ring = {"name": "ring"}
ring["self"] = ring

values = {
    "namespace": argparse.Namespace(lr=0.1, layers=[1, 2], optim=Optim()),
    "attributedict": AttributeDict(lr=0.1, inner={"a": (1, 2)}),
    "omegaconf": omegaconf.OmegaConf.create(
        {"a": 1, "b": [1, "x", {"c": None}], "p": "${a}", "q": "???", "f": 1.5, 7: True}
    ),
    "classes": {
        "color": Color.RED,
        "slotted": Slotted(),
        "both": Both(),
        "pair": Pair(1, 2),
        "path": pathlib.PurePosixPath("/data/run 1/x.npz"),
        "relative": pathlib.PurePosixPath("a/b"),
        "ordered": collections.OrderedDict(z=1, a=2),
        "default": collections.defaultdict(list, k=[1]),
        "set": {3},
        "frozen": frozenset({"x"}),
        "bytes": b"\x00\xff",
        "activation": torch.nn.ReLU,
        5: "five",
        (1, "a"): "tuple",
        True: "yes",
    },
    "numpy": {
        "f8": np.float64(1.5),
        "f4": np.float32(0.5),
        "f2": np.float16(-2.25),
        "i8": np.int64(-7),
        "u8": np.uint64(2**64 - 1),
        "i1": np.int8(-1),
        "b1": np.bool_(True),
        "big": np.array([258], dtype=">i4")[0],
        "str": np.str_("né"),
        "c8": np.complex64(1),
        "array": np.arange(3),
        "dtype": np.dtype("f4"),
        "type": np.float32,
    },
    "torch": {
        "dtype": torch.float32,
        "device": torch.device("cuda", 1),
        "cpu": torch.device("cpu"),
        "size": torch.Size([2, 3]),
        "mask": torch.ones(2),
        "list": [1, torch.ones(1), 3],
        "parameter": torch.nn.Parameter(torch.ones(1)),
    },
    "ring": ring,
}


for name, value in values.items():
    for protocol in (2, 4):
        (here / f"{name}.p{protocol}.pkl").write_bytes(pickle.dumps(value, protocol))
