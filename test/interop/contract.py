"""What params.dill and torch_scaling_metadata.pt must hold, computed from the run's config alone.

Written from the archive's contract, not from the program's code: the two must agree by themselves.
"""

RENAMED = {
    "object_big": "object.big", "probe_big": "probe.big", "probe_mask": "probe.mask",
    "probe_trainable": "probe.trainable", "intensity_scale_trainable": "intensity_scale.trainable",
    "positions_provided": "positions.provided", "output_dir": "output_prefix",
    "train_data_file": "train_data_file_path", "test_data_file": "test_data_file_path",
}
MODEL_TYPES = {"Unsupervised": "pinn", "Supervised": "supervised"}
ACTIVATIONS = {"silu": "swish", "SiLU": "swish"}
SCALING = ("data_config", "model_config", "training_config", "inference_config")


def params(configs):
    """The params dict of a run with the given torch configs, by name (data_config, model_config, …)."""
    left = {name: dict(config) for name, config in configs.items()}
    data, model, training = left["data_config"], left["model_config"], left["training_config"]
    rows, columns = data.pop("grid_size")
    if rows != columns:
        raise ValueError(f"grid_size {rows}x{columns} is not square")
    channels = model.pop("C_model", None)
    out = {
        "N": data.pop("N"), "gridsize": rows,
        "C": channels if isinstance(channels, int) else rows * rows,
        "neighbor_count": data.pop("K"),
        "model_type": MODEL_TYPES[model.pop("mode")],
        "nepochs": training.pop("epochs"),
        "nll_weight": 1.0 if training.pop("nll") else 0.0,
        "backend": "pytorch", "_version": "2.0-pytorch", "intensity_scale": model.pop("intensity_scale", 1.0),
    }
    activation = model.pop("amp_activation")
    out["amp_activation"] = ACTIVATIONS.get(activation, activation)
    mask = model.pop("probe_mask")
    out["probe.mask"] = mask if isinstance(mask, bool) and model.get("probe_mask_tensor") is None else True
    if ("scale_contract_version" in data) != ("measurement_domain" in data):
        data.pop("scale_contract_version", None), data.pop("measurement_domain", None)
    for config in (model, training, data, *left.values()):     # a translated key wins over a namesake elsewhere
        for key, value in config.items():
            out.setdefault(RENAMED.get(key, key), value)
    return plain(out)


def scaling(configs, statistics):
    """The payload of torch_scaling_metadata.pt; statistics is None or the two lists."""
    return {"schema_version": "ci-entrypoints-v1", **{name: configs[name] for name in SCALING},
            "ci_statistics": statistics}


def plain(value):
    """value with its tuples as lists, which is how params hold them."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def differences(want, got, at="", tuples=True):
    """Where two plain values differ, types included, as lines; tuples=False takes a tuple for a list."""
    if not tuples:
        want, got = plain(want), plain(got)
    if type(want) is not type(got):
        return [f"{at or 'value'}: {got!r} ({type(got).__name__}), want {want!r} ({type(want).__name__})"]
    if isinstance(want, dict):
        lines = [f"{at}[{k!r}]: missing, want {want[k]!r}" for k in want if k not in got]
        lines += [f"{at}[{k!r}]: {got[k]!r}, want nothing" for k in got if k not in want]
        return lines + [line for k in want if k in got for line in differences(want[k], got[k], f"{at}[{k!r}]")]
    if isinstance(want, (list, tuple)):
        if len(want) != len(got):
            return [f"{at}: {got!r}, want {want!r}"]
        return [line for i, (w, g) in enumerate(zip(want, got)) for line in differences(w, g, f"{at}[{i}]")]
    return [] if want == got or (want != want and got != got) else [f"{at or 'value'}: {got!r}, want {want!r}"]
