"""Writes legacy.*.pt with the torch that runs it, and the tar that torch wrote before 0.1.10, after torch's own reader
(torch/serialization.py, legacy_load). Says in expected_legacy.json what torch sees in them.

    python make_legacy.py
"""

import collections
import hashlib
import io
import json
import pathlib
import pickle
import struct
import tarfile

import torch

HERE = pathlib.Path(__file__).parent
VERSION = ".".join(torch.__version__.split(".")[:2])
EXPECTED = HERE / "expected_legacy.json"

files = {}


def describe(t):
    t = t.detach()
    flat = t.contiguous().reshape(-1)
    data = bytes(flat.view(torch.uint8).tolist()) if flat.numel() and flat.dtype != torch.bool else bytes(int(x) for x in flat)
    return {"dtype": str(t.dtype).removeprefix("torch."), "shape": list(t.shape), "sha256": hashlib.sha256(data).hexdigest()}


def check(path, state, select=lambda x: x):
    loaded = select(torch.load(str(path), **({} if VERSION == "1.13" else {"weights_only": False})))
    assert list(loaded) == list(state) and all(torch.equal(loaded[k], state[k]) for k in state), path
    files[path.name] = {k: describe(v) for k, v in state.items()}


def save(name, value, state, select=lambda x: x, protocol=2):
    path = HERE / f"legacy_{name}.torch{VERSION}.pt"
    torch.save(value, str(path), _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    check(path, state, select)


torch.manual_seed(7)
base = torch.arange(12, dtype=torch.float32)
state = collections.OrderedDict(
    w=torch.randn(3, 2), b=torch.randn(2).double(), h=torch.ones(3, dtype=torch.bfloat16), n=torch.tensor(7),
    flag=torch.tensor([True, False]), tied_a=base.view(3, 4), tied_b=base.view(3, 4), transposed=base.view(3, 4).t(),
    tail=base[5:], empty=torch.empty(0, 4))
save("bare", state, state)
save("lightning", {"epoch": 1, "state_dict": state, "optimizer_states": [{"m": torch.zeros(50)}],
                   "hyper_parameters": {"N": 64}}, state, lambda x: x["state_dict"])
for protocol in (3, 4, 5):
    save(f"protocol{protocol}", {"w": torch.ones(2)}, {"w": torch.ones(2)}, protocol=protocol)


def write_tar(path, state):
    """Storages and tensors are told apart by numbers, as torch used their addresses."""
    storages, tensors, numbers = io.BytesIO(), io.BytesIO(), {}
    unique = {t.storage().data_ptr(): t for t in state.values()}
    pickle.dump(len(unique), storages, 2)
    for n, t in enumerate(unique.values()):
        s = t.storage()
        numbers[s.data_ptr()] = 1000 + n
        pickle.dump((1000 + n, "cpu", getattr(torch, s.pickle_storage_type() if hasattr(s, "pickle_storage_type") else s._pickle_storage_type())),
                    storages, 2)
        storages.write(struct.pack("<q", len(s)) + bytes(torch.tensor(s.tolist(), dtype=t.dtype).view(torch.uint8).tolist()))
    pickle.dump([], storages, 2)
    pickle.dump(len(state), tensors, 2)
    for n, t in enumerate(state.values()):
        pickle.dump((2000 + n, numbers[t.storage().data_ptr()], torch.FloatTensor), tensors, 2)
        tensors.write(struct.pack("<ii", t.dim(), 0) + struct.pack(f"<{t.dim()}q", *t.shape))
        tensors.write(struct.pack(f"<{t.dim()}q", *t.stride()) + struct.pack("<q", t.storage_offset()))

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return 2000 + [id(t) for t in state.values()].index(id(obj)) if isinstance(obj, torch.Tensor) else None

    obj, info = io.BytesIO(), io.BytesIO()
    Pickler(obj, 2).dump({"state_dict": state, "epoch": 3})
    pickle.dump({"protocol_version": 1000, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}, info, 2)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in (("sys_info", info), ("pickle", obj), ("tensors", tensors), ("storages", storages)):
            member = tarfile.TarInfo(name)
            member.size = len(data.getvalue())
            tar.addfile(member, io.BytesIO(data.getvalue()))


if VERSION != "1.13":
    tar_state = collections.OrderedDict((k, state[k]) for k in ("w", "b", "tied_a", "tied_b", "transposed", "tail"))
    write_tar(HERE / "legacy_tar.pt", tar_state)
    check(HERE / "legacy_tar.pt", tar_state, lambda x: x["state_dict"])

known = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
known.update(files)
EXPECTED.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
