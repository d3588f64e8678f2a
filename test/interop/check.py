#!/usr/bin/env python3
"""Reads published bundles as their consumers do and compares them with their sources.

    python3 check.py JOBS.json      prints {"check": {"bundles": n, "problems": [...]}, …}

A job is one bundle:
    name, dir        for messages; the bundle's directory
    models           {role: model}, in the order of the watch's members; a model is
                       {"sentinel": true} or
                       {"source": path, "select": key or null, "verbatim": bool, "expected": names from expected.json,
                        "described": a description, "like": [archive, member]}; all but select and verbatim may be absent
    configs          [path]: files that must travel verbatim in the archive
    params           {"configs": true}: translate the *_config.json among configs by the contract
                     {"hyper_parameters": path}: the same from the four dicts in that checkpoint
                     {"exact": {…}} or {"yaml": path}: just that
    statistics       path of the checkpoint whose ci_statistics belong into torch_scaling_metadata.pt
"""
import dataclasses
import inspect
import io
import json
import os
import pickletools
import sys
import tempfile
import warnings
import zipfile

import dill
import torch
import yaml

import contract
import tensors

warnings.simplefilter("ignore")
MMAP = "mmap" in inspect.signature(torch.load).parameters
FLOATS = not torch.__version__.startswith("1.")        # torch 1 has no floats with weights_only
CALLS = {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD", "PERSID", "BINPERSID",
         "EXT1", "EXT2", "EXT4"}


@dataclasses.dataclass
class ModelConfig:
    """The class that a fixture's hyper_parameters import from __main__."""
    N: int = 64
    gridsize: int = 2


def load_trusted(path, select):
    value = torch.load(path, map_location="cpu", weights_only=False)
    return value if select is None else value[select]


def load_weights(path, **how):
    return torch.load(path, map_location="cpu", weights_only=True, **how)


def load_scaling(file):
    return torch.load(file, map_location="cpu", weights_only=FLOATS)


class Bundle:
    """One job with its archive extracted; each check_ method returns problems as lines, None where it does not apply."""

    def __init__(self, job, extracted):
        self.job, self.root = job, extracted
        self.archive = os.path.join(job["dir"], "wts.h5.zip")
        with zipfile.ZipFile(self.archive) as z:
            z.extractall(extracted)

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def real_models(self):
        return ((role, model) for role, model in self.job["models"].items() if not model.get("sentinel"))

    def check_archive(self):
        want = {"manifest.dill"} | {f"{role}/{file}" for role in self.job["models"] for file in ("model.pth", "params.dill")}
        if self.configs():
            want.add("torch_scaling_metadata.pt")
        with zipfile.ZipFile(self.archive) as z:
            names = [n for n in z.namelist() if not n.startswith("bundlewatch/")]
            lines = [f"entry {i.filename!r} is compressed" for i in z.infolist() if i.compress_type != zipfile.ZIP_STORED]
            lines += [f"bad CRC in {z.testzip()!r}"] if z.testzip() else []
            ours = [z.read(n) for n in z.namelist() if n.startswith("bundlewatch/")]
        if sorted(names) != sorted(want):
            lines.append(f"entries {sorted(names)}, want {sorted(want)}")
        for path in self.job["configs"]:
            with open(path, "rb") as f:
                if f.read() not in ours:
                    lines.append(f"{path} is not in the archive verbatim")
        beside = sorted(os.listdir(self.job["dir"]))
        if beside != ["SHA256SUMS", "archive_tree.txt", "bundle_manifest.json", "wts.h5.zip"]:
            lines.append(f"the bundle's directory holds {beside}")
        return lines

    def check_manifest(self):
        with open(self.path("manifest.dill"), "rb") as f:
            want = {"models": list(self.job["models"]), "version": "2.0-pytorch", "backend": "pytorch"}
            return contract.differences(want, dill.load(f), "manifest.dill") + plain_pickle(self.path("manifest.dill"))

    def check_params(self):
        want, lines = self.params(), []
        for role in self.job["models"]:
            path = self.path(role, "params.dill")
            with open(path, "rb") as f:
                lines += contract.differences(want, dill.load(f), f"{role}/params.dill") + plain_pickle(path)
        return lines

    def params(self):
        source = self.job["params"]
        if "exact" in source:
            return source["exact"]
        if "yaml" in source:
            with open(source["yaml"]) as f:
                return yaml.safe_load(f)
        return contract.params(self.configs())

    def configs(self):
        """The torch configs of the run by name, None where params come from elsewhere."""
        source = self.job["params"]
        if "hyper_parameters" in source:
            hyper = load_trusted(source["hyper_parameters"], "hyper_parameters")
            return {name: hyper[name] for name in contract.SCALING}
        if "configs" in source:
            found = {os.path.basename(p)[:-len(".json")]: p for p in self.job["configs"] if p.endswith("_config.json")}
            return {name: json.load(open(path)) for name, path in found.items()}
        return None

    def check_scaling(self):
        configs = self.configs()
        if configs is None:
            return None
        path = self.path("torch_scaling_metadata.pt")
        with zipfile.ZipFile(path) as z:
            calls = imports(z.read(next(n for n in z.namelist() if n.endswith("/data.pkl"))))
        if calls:
            return [f"torch_scaling_metadata.pt: opcode {name}" for name in calls]
        got = load_scaling(path)
        # PyYAML's tuples may come back as tuples or lists, both are in the contract; JSON has lists alone.
        exact = "configs" in self.job["params"]
        return contract.differences(contract.scaling(configs, self.statistics()), got, "torch_scaling_metadata.pt", exact)

    def statistics(self):
        statistics = torch.load(self.job["statistics"], map_location="cpu", weights_only=False).get("ci_statistics")
        return statistics and {k: [float(x) for x in v.flatten().tolist()] for k, v in statistics.items()}

    def check_sentinels(self):
        roles = [role for role, model in self.job["models"].items() if model.get("sentinel")]
        return [line for role in roles for line in contract.differences(
            {"_sentinel": role}, load_weights(self.path(role, "model.pth")), f"{role}/model.pth")] if roles else None

    def check_tensors(self):
        lines = []
        for role, model in self.real_models():
            got = tensors.describe(load_weights(self.path(role, "model.pth")))
            for want in expectations(model):
                lines += [f"{role}/model.pth: {d}" for d in tensors.differences(want, got)]
        return lines

    def check_mapped(self):
        """torch.load(mmap=True) sees the same; tensors start at multiples of 64 bytes."""
        lines = []
        for role, _ in self.real_models():
            path = self.path(role, "model.pth")
            lines += [f"{role}/model.pth: {name} starts at byte {start}" for name, start in payloads(path) if start % 64]
            if MMAP:
                want, got = tensors.describe(load_weights(path)), tensors.describe(load_weights(path, mmap=True))
                lines += [f"{role}/model.pth, mapped: {d}" for d in tensors.differences(want, got)]
        return lines

    def check_verbatim(self):
        carried, lines = [(r, m["source"]) for r, m in self.real_models() if m["verbatim"]], []
        for role, source in carried:
            with open(self.path(role, "model.pth"), "rb") as got, open(source, "rb") as want:
                if got.read() != want.read():
                    lines.append(f"{role}/model.pth is not byte for byte {source}")
        return lines if carried else None

    def check(self):
        lines = {}
        for group in GROUPS:
            try:
                found = getattr(self, "check_" + group)()
                if found is not None:
                    lines[group] = [f"{self.job['name']}: {line}" for line in found]
            except Exception as e:                      # whatever a loader raises is a finding
                lines[group] = [f"{self.job['name']}: {type(e).__name__}: {e}"]
        return lines


GROUPS = [name[len("check_"):] for name in vars(Bundle) if name.startswith("check_")]


def expectations(model):
    """Every description that the model's state_dict must agree with."""
    if "described" in model:
        yield model["described"]
    else:
        yield tensors.describe(load_trusted(model["source"], model["select"]))
    if "expected" in model:
        yield tensors.listed(model["expected"])
    if "like" in model:
        archive, member = model["like"]
        with zipfile.ZipFile(archive) as z:
            other = tensors.describe(load_weights(io.BytesIO(z.read(member))))
        facts = ("dtype", "shape", "sha256")
        yield {"tensors": [[n, {k: t[k] for k in facts}] for n, t in other["tensors"]]}


def payloads(path):
    """(name, offset in the file) of every storage in a torch zip."""
    with zipfile.ZipFile(path) as z, open(path, "rb") as f:
        for i in z.infolist():
            if "/data/" in i.filename and i.file_size:
                f.seek(i.header_offset + 26)
                name, extra = (int.from_bytes(f.read(2), "little") for _ in range(2))
                yield i.filename, i.header_offset + 30 + name + extra


def plain_pickle(path):
    """Problems of a pickle that must import, call and build nothing, at protocol 2."""
    with open(path, "rb") as f:
        data = f.read()
    lines = [f"{os.path.basename(path)}: opcode {name}" for name in imports(data)]
    return lines if data[:2] == b"\x80\x02" else lines + [f"{os.path.basename(path)}: starts with {data[:2]}, want protocol 2"]


def imports(pickled):
    """The opcodes of a pickle that could run something or refer to something outside."""
    return [op.name for op, _, _ in pickletools.genops(pickled) if op.name in CALLS]


def check_job(job):
    with tempfile.TemporaryDirectory() as extracted:
        try:
            bundle = Bundle(job, extracted)
        except (OSError, zipfile.BadZipFile) as e:
            return {"archive": [f"{job['name']}: {e}"]}
        return bundle.check()


def holds(job):
    """Can this torch hold the bundle's tensors at all?"""
    return all(tensors.can_hold(m["described"]) for m in job["models"].values() if "described" in m)


def check_all(jobs):
    report = {}
    for job in filter(holds, jobs):
        for group, lines in check_job(job).items():
            report.setdefault(group, {"bundles": 0, "problems": []})
            report[group]["bundles"] += 1
            report[group]["problems"] += lines
    return report


def main():
    with open(sys.argv[1]) as f:
        json.dump(check_all(json.load(f)), sys.stdout)


if __name__ == "__main__":
    main()
