#!/usr/bin/env python3
"""Writes checkpoints with the installed torch, and with Lightning's own Trainer where it is installed.

    python3 fresh.py OUTDIR

plain/<name>.pth                         torch.save of state_dicts
plain/<name>_in_checkpoint.pth           the same inside of what a Lightning module is saved as
lightning/<hyper>/checkpoints/*.ckpt     ModelCheckpoint and Trainer.save_checkpoint, hyper_parameters of every kind
files.json                               [{"path", "select", "described", "params"}, …]: select is the key of the
                                         state_dict, described what torch reads back from under it (tensors.py),
                                         params the hyper_parameters as plain values
"""
import argparse
import collections
import dataclasses
import enum
import json
import os
import pathlib
import sys
import warnings

import torch

import tensors

try:
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint
    from omegaconf import OmegaConf
except ImportError:
    lightning = None

warnings.simplefilter("ignore")
torch.manual_seed(20251017)


class Mode(enum.Enum):
    UNSUPERVISED = "Unsupervised"


@dataclasses.dataclass
class Optimizer:
    lr: float = 1e-3
    betas: tuple = (0.9, 0.999)


@dataclasses.dataclass
class Config:
    N: int = 64
    gridsize: int = 2
    mode: Mode = Mode.UNSUPERVISED
    data: pathlib.PurePosixPath = pathlib.PurePosixPath("/data/train.npz")
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)


PLAIN = {"N": 64, "gridsize": 2, "lr": 1e-3, "name": "run é", "big": 2 ** 80, "none": None, "list": [1, 2.5, "x", True]}


def network():
    """Shared weights, a complex buffer, batch norm's int64 counter."""
    shared = torch.nn.Linear(16, 16, bias=False)
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), shared, shared)
    net.register_buffer("probe", torch.randn(4, 4, dtype=torch.complex64))
    return net


def written(path, select, params):
    value = torch.load(path, map_location="cpu", weights_only=False)
    return {"path": path, "select": select, "params": params,
            "described": tensors.describe(value if select is None else value[select])}


def state_dicts():
    base = torch.randn(6, 8)
    yield "views", collections.OrderedDict(base=base, row=base[2], column=base[:, 3], transposed=base.t(), tied=base), {}
    yield "module", network().state_dict(), {}
    yield "half", {"bf16": torch.randn(5).bfloat16(), "f16": torch.randn(2, 3).half(), "empty": torch.empty(0, 4),
                   "empty_inside": torch.empty(3, 0, 2), "empty_tail": torch.randn(5)[5:]}, {}
    yield "protocol4", network().state_dict(), {"pickle_protocol": 4}
    narrow = {n: torch.arange(8, dtype=torch.uint8).view(getattr(torch, n))
              for n in ("float8_e4m3fn", "float8_e5m2", "uint16", "uint32") if hasattr(torch, n)}
    if narrow:
        yield "narrow", narrow, {}


def write_plain(out):
    os.makedirs(out)
    for name, state, how in state_dicts():
        path = os.path.join(out, name + ".pth")
        torch.save(state, path, **how)
        yield written(path, None, {})
        path = os.path.join(out, name + "_in_checkpoint.pth")
        torch.save({"epoch": 1, "pytorch-lightning_version": "2.6.6", "state_dict": state, "hyper_parameters": PLAIN}, path, **how)
        yield written(path, "state_dict", PLAIN)


def hyper_parameters():
    yield "dict", PLAIN, PLAIN
    yield "namespace", argparse.Namespace(**PLAIN), PLAIN
    yield "dataclass", {"config": Config()}, {"config": {
        "N": 64, "gridsize": 2, "mode": "Unsupervised", "data": "/data/train.npz",
        "optimizer": {"lr": 1e-3, "betas": [0.9, 0.999]}}}
    tree = {"N": 64, "gridsize": 2, "model": {"width": 32, "layers": [1, 2, 3], "act": "silu"}, "seed": None}
    yield "omegaconf", OmegaConf.create(tree), tree


def write_lightning(out):
    class Module(lightning.LightningModule):
        def __init__(self, hyper):
            super().__init__()
            self.save_hyperparameters(hyper)
            self.net = network()

        def training_step(self, batch):
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(8, 8)), batch_size=4)
    for name, hyper, params in hyper_parameters():
        folder = os.path.join(out, name, "checkpoints")
        trainer = lightning.Trainer(
            max_epochs=2, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder,
            callbacks=[ModelCheckpoint(dirpath=folder, save_top_k=-1, save_last=True)])
        trainer.fit(Module(hyper), data)
        trainer.save_checkpoint(os.path.join(folder, "by_hand.ckpt"))
        trainer.save_checkpoint(os.path.join(folder, "weights_only.ckpt"), weights_only=True)
        for file in sorted(os.listdir(folder)):
            yield written(os.path.join(folder, file), "state_dict", params)


def main():
    out = sys.argv[1]
    files = list(write_plain(os.path.join(out, "plain")))
    if lightning:
        files += write_lightning(os.path.join(out, "lightning"))
    with open(os.path.join(out, "files.json"), "w") as f:
        json.dump(files, f)


if __name__ == "__main__":
    main()
