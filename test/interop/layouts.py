"""The watches of the suite and what each must publish. Expectations come from the sources, never from the program."""
import glob
import json
import os
import re

PAIR = {"autoencoder": "{run...}/checkpoints/autoencoder-epoch={epoch}.ckpt",
        "diffraction_to_obj": "{run...}/checkpoints/diffraction_to_obj-epoch={epoch}.ckpt"}
UNIFIED = {"autoencoder": None, "diffraction_to_obj": "{run...}/checkpoints/{name...}.ckpt"}    # None: the sentinel
CONFIGS = ["{run...}/configs/*.json", "{run...}/lightning_logs/*/hparams.yaml"]


class Watch:
    """One [[watch]] and what it must publish: bundles is {key: job}, jobs as check.py takes them; waiting are keys."""

    def __init__(self, name, root, members, bundles, preset="none", configs=(), select=None, waiting=()):
        self.name, self.root, self.members, self.bundles = name, root, members, bundles
        self.preset, self.configs, self.select, self.waiting = preset, configs, select, waiting

    def toml(self):
        members = "".join(f"{role} = {'{ sentinel = true }' if pattern is None else json.dumps(pattern)}\n"
                          for role, pattern in self.members.items())
        required = '["N", "gridsize"]' if self.preset == "ptychopinn" else "[]"
        payload = f"[watch.payload]\nselect = {json.dumps(self.select)}\n" if self.select else ""
        return (f"[[watch]]\nname = {json.dumps(self.name)}\nroot = {json.dumps(self.root)}\nsettle = \"100ms\"\n"
                f"[watch.members]\n{members}[watch.config]\nfiles = {json.dumps(list(self.configs))}\n"
                f"preset = {json.dumps(self.preset)}\nrequired = {required}\n{payload}")


def write_config(folder, artifacts, watches):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "bundlewatch.toml")
    with open(path, "w") as f:
        f.write(f"[artifacts]\ndir = {json.dumps(artifacts)}\n" + "".join(w.toml() for w in watches))
    return path


def job(models, params, configs=(), statistics=None):
    return {"models": models, "params": params, "configs": sorted(configs), "statistics": statistics}


def checkpoint(path, expected, select="state_dict", **more):
    model = {"source": path, "select": select, "verbatim": select is None, **more}
    return dict(model, expected=expected[path]) if path in expected else model


def run_configs(run):
    found = glob.glob(run + "/configs/*.json") + glob.glob(run + "/lightning_logs/*/hparams.yaml")
    translated = {"configs": True} if any(p.endswith("_config.json") for p in found) else None
    return found, translated


def run_of(path):
    return path[:path.index("/checkpoints/")]


def pair_watch(name, root, expected):
    bundles, waiting = {}, []
    for first in glob.glob(root + "/*/checkpoints/autoencoder-epoch=*.ckpt"):
        run, epoch = run_of(first), re.search(r"epoch=(\w+)", first)[1]
        partner = f"{run}/checkpoints/diffraction_to_obj-epoch={epoch}.ckpt"
        if not os.path.exists(partner):
            waiting.append(f"{os.path.relpath(run, root)}/{epoch}")
            continue
        configs, params = run_configs(run)
        models = {"autoencoder": checkpoint(first, expected), "diffraction_to_obj": checkpoint(partner, expected)}
        bundles[f"{os.path.relpath(run, root)}/{epoch}"] = job(models, params, configs, first)
    return Watch(name, root, PAIR, bundles, "ptychopinn", CONFIGS, waiting=waiting)


def unified_watch(name, root, expected):
    bundles = {}
    for path in glob.glob(root + "/**/checkpoints/**/*.ckpt", recursive=True):
        run = run_of(path)
        configs, params = run_configs(run)
        model, own = checkpoint(path, expected), run + "/wts.h5.zip"
        if os.path.exists(own):                                # what the trainer itself wrote at the end of this run
            model["like"] = [own, "diffraction_to_obj/model.pth"]
        key = f"{os.path.relpath(run, root)}/{os.path.relpath(path, run + '/checkpoints')[:-len('.ckpt')]}"
        bundles[key] = job({"autoencoder": {"sentinel": True}, "diffraction_to_obj": model},
                           params or {"hyper_parameters": path}, configs, path)
    return Watch(name, root, UNIFIED, bundles, "ptychopinn", CONFIGS)


def gan_watch(name, root, expected):
    bundles = {}
    for generator in glob.glob(root + "/**/G_*.pth", recursive=True):
        folder, step = os.path.dirname(generator), generator[:-len(".pth")].rsplit("_", 1)[1]
        models = {role: checkpoint(f"{folder}/{letter}_{step}.pth", expected, None)
                  for role, letter in (("generator", "G"), ("discriminator", "D"))}
        config = folder + "/config.yaml"
        bundles[f"{os.path.relpath(folder, root)}/{step}"] = job(models, {"yaml": config}, [config])
    return Watch(name, root, {"generator": "{run...}/G_{step}.pth", "discriminator": "{run...}/D_{step}.pth"}, bundles,
                 configs=["{run...}/config.yaml"])


LAYOUTS = {"pairs": pair_watch, "unified": unified_watch, "ptychopinn": unified_watch, "gan": gan_watch}    # by folder


def file_watch(name, root, pattern, files, select=None):
    """A watch of single files: {key: (model, params)}."""
    bundles = {key: job({"model": model}, {"exact": params}) for key, (model, params) in files.items()}
    return Watch(name, root, {"model": pattern}, bundles, select=select)


def read_json(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def format_watches(root, expected, configs):
    """Watches over the fixtures' formats; configs is the folder of the four config dicts that its checkpoints were saved with."""
    def bare(key, **more):
        return key, (checkpoint(f"{root}/{key}.pth", expected, None, **more), {})

    whole = ("protocol2", "protocol3", "dtypes", "views", "odd_names", "parameters", "state_dict_with_metadata")
    hyper = {"N": 64, "gridsize": 2}
    lightning = {
        "namespace": {**hyper, "lr": 1e-3, "name": "namespace"},
        "dataclass": {"model": hyper, "lr": 1e-3, "big": 2 ** 80, "neg": -5, "inf": float("inf")},
        "legacy": {name: read_json(f"{configs}/{name}.json") for name in ("model_config", "data_config", "training_config", "inference_config")},
    }
    return [
        # torch does not load protocols 4 and 5 with weights_only: these are written anew, and so are legacy files
        file_watch("pth", root, "{name}.pth", dict(
            [bare(key) for key in whole] + [bare(key, verbatim=False) for key in ("protocol4", "protocol5", "legacy")])),
        file_watch("lightning", root, "lightning_{name}.ckpt", {
            name: (checkpoint(f"{root}/lightning_{name}.ckpt", expected), params) for name, params in lightning.items()}),
        file_watch("nested", root, "nested_{name}_key.pt", {
            "model": (checkpoint(f"{root}/nested_model_key.pt", expected, "model"), {})}, select="model"),
        file_watch("module", root, "whole_{name}.pt", {}),
    ]


def fresh_watches(name, root, files):
    plain, lightning = {}, {}
    for file in files:
        stem, extension = os.path.splitext(os.path.relpath(file["path"], root))
        verbatim = file["select"] is None and not stem.endswith("protocol4")
        model = {"source": file["path"], "select": file["select"], "verbatim": verbatim, "described": file["described"]}
        if extension == ".ckpt":
            lightning[stem.replace("/checkpoints/", "/")] = model, file["params"]
        else:
            plain[os.path.basename(stem)] = model, file["params"]
    watches = [file_watch(name + "-plain", root, "plain/{name}.pth", plain)]
    if lightning:
        watches.append(file_watch(name + "-lightning", root, "{run...}/checkpoints/{name...}.ckpt", lightning))
    return watches
