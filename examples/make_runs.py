#!/usr/bin/env python3
"""Trains two small models on synthetic diffraction data and leaves the run directories that a trainer leaves.

    python3 make_runs.py [OUTDIR]       default: the folder `runs` beside this file

Needs torch, lightning and pyyaml; takes seconds on a CPU. Lightning records absolute paths in its checkpoints: the
runs in the repository were written to /data/runs and copied here.

pairs/    two trainers in one run directory, a checkpoint of each per epoch; the autoencoder is one epoch ahead
unified/  one module that holds both models: best, last and milestones, hparams.yaml from the CSV logger
"""
import json
import sys
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

N, CHANNELS = 32, 4

DATA_CONFIG = dict(
    nphotons=1e9, scale_contract_version="ci_intensity_v2", measurement_domain="count_intensity", N=N, C=CHANNELS, K=6,
    n_subsample=7, subsample_seed=None, grid_size=(2, 2), neighbor_function="Nearest", probe_scale=4.0,
    probe_normalize=True, normalize="Batch", x_bounds=(0.1, 0.9), y_bounds=(0.1, 0.9))
MODEL_CONFIG = dict(
    mode="Unsupervised", architecture="cnn", C_model=CHANNELS, C_forward=CHANNELS, n_filters_scale=1,
    amp_activation="silu", probe_mask=False, probe_mask_tensor=None, object_big=True, probe_big=True, pad_object=True,
    intensity_scale_trainable=False, intensity_scale=10000.0, gaussian_smoothing_sigma=0.0, loss_function="Poisson",
    physics_forward_mode="amplitude", max_hidden_channels=None, resnet_width=None, batch_norm=True)
TRAINING_CONFIG = dict(
    epochs=8, batch_size=8, learning_rate=1e-3, nll=True, strategy=None, n_devices=1, scheduler="Default",
    train_data_file="/data/npz/train.npz", test_data_file=None, output_dir="/data/runs", n_groups=16,
    optimizer="adam", momentum=0.9, experiment_name="Synthetic_Runs", torch_loss_mode="poisson",
    training_directories=[])
INFERENCE_CONFIG = dict(middle_trim=16, batch_size=100, pad_eval=True, window=8, patch_weighting="probe",
                        varpro_scaling=True)
DATAGEN_CONFIG = dict(objects_per_probe=4, diff_per_object=16, object_class="dead_leaves", image_size=(64, 64))

HYPER_PARAMETERS = dict(model_config=MODEL_CONFIG, data_config=DATA_CONFIG, training_config=TRAINING_CONFIG,
                        inference_config=INFERENCE_CONFIG)


def illumination():
    """A round probe with a curved phase, as complex64."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, N), torch.linspace(-1, 1, N), indexing="ij")
    r2 = x * x + y * y
    return torch.polar(torch.exp(-4 * r2), 2 * r2)


def diffraction(samples):
    """Diffraction amplitudes of random smooth phase objects under the probe: (samples, CHANNELS, N, N)."""
    coarse = torch.rand(samples, CHANNELS, 4, 4)
    phase = nn.functional.interpolate(coarse, size=(N, N), mode="bilinear")
    wave = illumination() * torch.polar(torch.ones_like(phase), phase)
    return torch.fft.fftshift(torch.fft.fft2(wave, norm="ortho"), dim=(-2, -1)).abs()


def convolutions(width, outputs):
    return nn.Sequential(nn.Conv2d(CHANNELS, width, 3, padding=1), nn.BatchNorm2d(width), nn.SiLU(),
                         nn.Conv2d(width, outputs, 3, padding=1))


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = convolutions(6, CHANNELS)

    def loss(self, amplitude):
        return nn.functional.mse_loss(self.layers(amplitude), amplitude)


class DiffractionToObject(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = convolutions(8, 2 * CHANNELS)
        self.register_buffer("probe", illumination())

    def loss(self, amplitude):
        magnitude, phase = self.layers(amplitude).chunk(2, dim=1)
        wave = self.probe * torch.polar(magnitude.sigmoid(), phase)
        rate = torch.fft.fftshift(torch.fft.fft2(wave, norm="ortho"), dim=(-2, -1)).abs().square() + 1e-6
        return nn.functional.poisson_nll_loss(rate, amplitude.square(), log_input=False)


class Training(lightning.LightningModule):
    """Trains the given models together; its hyper_parameters are the four config dicts."""

    def __init__(self, models, model_config, data_config, training_config, inference_config):
        super().__init__()
        self.save_hyperparameters(ignore="models")
        for name, model in models.items():
            self.add_module(name, model)
        self.models = list(models)
        self.statistics = None

    def loss(self, batch):
        return sum(getattr(self, name).loss(batch[0]) for name in self.models)

    def training_step(self, batch):
        self.statistics = {"rms_input_scale": batch[0].square().mean().sqrt(),
                           "mean_measured_intensity": batch[0].square().mean(dim=(0, 2, 3))}
        return self.loss(batch)

    def validation_step(self, batch):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=TRAINING_CONFIG["learning_rate"])

    def on_save_checkpoint(self, checkpoint):
        checkpoint["ci_statistics"] = self.statistics


def train(models, run, epochs, callbacks, logger=False):
    lightning.seed_everything(20251017)
    batches = DataLoader(TensorDataset(diffraction(16)), batch_size=TRAINING_CONFIG["batch_size"])
    trainer = lightning.Trainer(
        default_root_dir=run, max_epochs=epochs, accelerator="cpu", devices=1, callbacks=callbacks, logger=logger,
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1, num_sanity_val_steps=0)
    trainer.fit(Training(models, **HYPER_PARAMETERS), batches, batches)


def every_epoch(run, role):
    return ModelCheckpoint(dirpath=run / "checkpoints", filename=role + "-{epoch:02d}", save_top_k=-1)


def write_pairs(run):
    configs = run / "configs"
    configs.mkdir(parents=True)
    for name, config in dict(HYPER_PARAMETERS, datagen_config=DATAGEN_CONFIG).items():
        (configs / f"{name}.json").write_text(json.dumps(config, indent=4))
    train({"autoencoder": Autoencoder()}, run, 3, [every_epoch(run, "autoencoder")])
    train({"diffraction_to_obj": DiffractionToObject()}, run, 2, [every_epoch(run, "diffraction_to_obj")])


def write_unified(run):
    checkpoints = run / "checkpoints"
    best = ModelCheckpoint(dirpath=checkpoints, filename="best-checkpoint", monitor="val_loss", save_last=True)
    milestones = ModelCheckpoint(dirpath=checkpoints / "milestones", filename="epoch-{epoch:04d}", save_top_k=-1,
                                 auto_insert_metric_name=False, every_n_epochs=6)
    models = {"autoencoder": Autoencoder(), "diffraction_to_obj": DiffractionToObject()}
    train(models, run, 8, [best, milestones], CSVLogger(run, name="lightning_logs"))


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "runs"
    if out.exists() and any(out.iterdir()):
        sys.exit(f"make_runs.py: {out} is not empty: remove it, or name another directory")
    write_pairs(out / "pairs" / "run_20251017_104700")
    write_unified(out / "unified" / TRAINING_CONFIG["experiment_name"] / "run_20260108_143022")
    print(f"wrote {sum(p.is_file() for p in out.rglob('*'))} files under {out}")


if __name__ == "__main__":
    main()
