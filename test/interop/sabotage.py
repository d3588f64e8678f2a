#!/usr/bin/env python3
"""Breaks copies of sound bundles one way at a time: the check that is there for it must notice every one.

    python3 sabotage.py JOBS.json      prints a list of what went unnoticed

JOBS.json holds {"pair": job, "unified": job, "views": job}, jobs as check.py takes them.
"""
import collections
import copy
import io
import json
import os
import shutil
import sys
import tempfile
import zipfile

import dill
import torch

import tensors
from check import check_job, load_scaling, load_trusted, load_weights


def rewrite(job, entry, change):
    """Replaces one entry of the bundle's archive by change(its bytes)."""
    path = os.path.join(job["dir"], "wts.h5.zip")
    with zipfile.ZipFile(path) as z:
        entries = [(i, z.read(i)) for i in z.infolist()]
    with zipfile.ZipFile(path, "w") as z:
        for info, data in entries:
            z.writestr(info, change(data) if info.filename == entry else data)


def rewrite_state(job, change):
    def changed(data):
        state, out = load_weights(io.BytesIO(data)), io.BytesIO()
        torch.save(change(state) or state, out)
        return out.getvalue()
    rewrite(job, last_role(job) + "/model.pth", changed)


def last_role(job):
    return list(job["models"])[-1]


def one_ulp(state):
    weight = next(t for t in state.values() if t.dtype == torch.float32 and t.numel())
    flat = weight.detach().as_strided((1,), (1,), weight.storage_offset())
    flat.copy_(torch.nextafter(flat, torch.tensor(float("inf"))))


def other_metadata(state):
    state._metadata = collections.OrderedDict({"": {"version": 99}})


def untied(state):
    return collections.OrderedDict((k, v.clone()) for k, v in state.items())


def untransposed(state):
    state["transposed"] = state["transposed"].contiguous()


def dropped_tensor(state):
    state.popitem()


def other_params(change):
    def changed(data):
        value = dill.loads(data)
        change(value)
        return dill.dumps(value, protocol=2)
    return lambda job: rewrite(job, last_role(job) + "/params.dill", changed)


def other_scaling(job):
    def changed(data):
        value, out = load_scaling(io.BytesIO(data)), io.BytesIO()
        value["data_config"]["one_more"] = 1
        torch.save(value, out)
        return out.getvalue()
    rewrite(job, "torch_scaling_metadata.pt", changed)


def other_digest(job):
    state = load_trusted(job["models"][last_role(job)]["source"], job["models"][last_role(job)]["select"])
    expected = {name: {"sha256": facts["sha256"]} for name, facts in tensors.describe(state)["tensors"]}
    expected[list(expected)[-1]]["sha256"] = "0" * 64
    job["models"][last_role(job)]["expected"] = expected


def stray_file(job):
    open(os.path.join(job["dir"], "stray"), "w").close()


def cut_archive(job):
    os.truncate(os.path.join(job["dir"], "wts.h5.zip"), 1000)


SABOTAGES = {          # what is done to which job, and the check that must notice it
    "one ulp in one weight": ("pair", "tensors", lambda job: rewrite_state(job, one_ulp)),
    "a tensor dropped": ("pair", "tensors", lambda job: rewrite_state(job, dropped_tensor)),
    "another digest expected": ("pair", "tensors", other_digest),
    "other _metadata": ("pair", "tensors", lambda job: rewrite_state(job, other_metadata)),
    "tied tensors untied": ("views", "tensors", lambda job: rewrite_state(job, untied)),
    "other strides": ("views", "tensors", lambda job: rewrite_state(job, untransposed)),
    "a bare state_dict saved again": ("views", "verbatim", lambda job: rewrite_state(job, untied)),
    "an int param as float": ("pair", "params", other_params(lambda p: p.update(N=float(p["N"])))),
    "a param gone": ("pair", "params", other_params(lambda p: p.pop("gridsize"))),
    "a param more": ("pair", "params", other_params(lambda p: p.update(more=None))),
    "a config key more": ("pair", "scaling", other_scaling),
    "another manifest": ("pair", "manifest", lambda job: rewrite(job, "manifest.dill", lambda _: dill.dumps({}, protocol=2))),
    "an importing pickle": ("pair", "manifest", lambda job: rewrite(job, "manifest.dill", lambda d: dill.dumps(
        collections.OrderedDict(dill.loads(d)), protocol=2))),
    "another sentinel": ("unified", "sentinels", lambda job: rewrite(
        job, "autoencoder/model.pth", lambda d: d.replace(b"autoencoder", b"autoencodeR"))),
    "a stray file": ("pair", "archive", stray_file),
    "a cut archive": ("pair", "archive", cut_archive),
}


def unnoticed(jobs):
    """The sabotages that no check saw, as lines; what is wrong with the untouched bundles, if anything is."""
    lines = []
    for kind, job in jobs.items():
        lines += [f"untouched {kind}: {line}" for found in check_job(job).values() for line in found]
    if lines:
        return lines
    for what, (kind, group, sabotage) in SABOTAGES.items():
        with tempfile.TemporaryDirectory() as tmp:
            job = copy.deepcopy(jobs[kind])
            job["dir"] = shutil.copytree(job["dir"], os.path.join(tmp, "bundle"), copy_function=shutil.copyfile)
            os.chmod(job["dir"], 0o755)
            sabotage(job)
            if not check_job(job).get(group):
                lines.append(f"{what} went unnoticed")
    return lines


def main():
    with open(sys.argv[1]) as f:
        json.dump(unnoticed(json.load(f)), sys.stdout)


if __name__ == "__main__":
    main()
