"""Writes the checkpoints of this folder with the torch that runs it, and says in expected.json what torch sees in them.

Run once per torch: the file names carry its version, and entries of other versions in expected.json are kept.

    python make.py
"""

import collections
import hashlib
import io
import json
import os
import pathlib
import zipfile

import torch

HERE = pathlib.Path(__file__).parent
VERSION = ".".join(torch.__version__.split(".")[:2])
NEW = tuple(int(x) for x in VERSION.split(".")) >= (2, 6)
EXPECTED = HERE / "expected.json"

torch.manual_seed(7)


def raw(t):
    """The tensor's elements in the order of its indexes, as bytes."""
    t = t.detach().resolve_conj().resolve_neg() if hasattr(t, "resolve_conj") else t.detach()
    if t.is_quantized:
        t = t.int_repr()
    flat = t.contiguous().reshape(-1)
    if flat.numel() == 0:
        return b""
    return bytes(flat.view(torch.uint8).tolist() if flat.dtype != torch.bool else [int(x) for x in flat])


def describe(t):
    d = {"dtype": str(t.dtype).removeprefix("torch."), "shape": list(t.shape)}
    if t.layout == torch.strided:
        d["sha256"] = hashlib.sha256(raw(t)).hexdigest()
    return d


def tensors(state):
    return {k: describe(v) for k, v in state.items() if isinstance(v, torch.Tensor)}


files = {}


def save(name, value, state=None, **kwargs):
    path = HERE / f"{name}.torch{VERSION}.pt"
    torch.save(value, str(path), **kwargs)
    files[path.name] = tensors(value if state is None else state)


def ordered(**items):
    return collections.OrderedDict(items)


model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
state = model.state_dict()
optimizer = torch.optim.Adam(model.parameters())
model(torch.randn(4, 3)).sum().backward()
optimizer.step()
save("lightning", {
    "epoch": 1, "global_step": 20, "pytorch-lightning_version": "2.6.0", "state_dict": state, "loops": {},
    "callbacks": {}, "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [],
    "hparams_name": "kwargs", "hyper_parameters": {"N": 64, "lr": 1e-3},
}, state)
save("bare", state)
base = torch.arange(12, dtype=torch.float32)
views = ordered(tied_a=base.view(3, 4), tied_b=base.view(3, 4), transposed=base.view(3, 4).t(), tail=base[5:],
                expanded=base[:3].view(3, 1).expand(3, 5), scalar=torch.tensor(2.5), empty=torch.empty(0, 4))
save("views", views)
save("parameters", {"w": torch.nn.Parameter(base.clone()), "b": torch.nn.Parameter(torch.zeros(2), requires_grad=False)})
save("empty_state_dict", ordered())
save("sentinel", {"_sentinel": "autoencoder"})
save("quantized", {"q": torch.quantize_per_tensor(base, 0.1, 3, torch.quint8),
                   "c": torch.quantize_per_channel(base.view(3, 4), torch.ones(3), torch.zeros(3), 0, torch.qint8)})
sparse = torch.sparse_coo_tensor([[0, 2], [1, 0]], [3.0, 4.0], (3, 2)).coalesce()
save("sparse", {"s": sparse, "dense": torch.ones(2)})
save("nested", {"net": {"model.ema": {"w": torch.ones(2, dtype=torch.float64)}}}, {"w": torch.ones(2, dtype=torch.float64)})
save("int_keys", {1: torch.ones(1)}, {})
save("dtypes", {str(d).removeprefix("torch."): torch.ones(3).to(d) for d in [
    torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    torch.complex64, torch.complex128]})
for protocol in (2, 3, 4, 5):
    save(f"protocol{protocol}", ordered(w=torch.ones(2), b=torch.zeros(1)), pickle_protocol=protocol)
save("ключ", {"вес": torch.ones(2)})

buffer = io.BytesIO()
torch.save({"w": torch.ones(2)}, buffer)
path = HERE / f"buffer.torch{VERSION}.pt"
path.write_bytes(buffer.getvalue())
files[path.name] = tensors({"w": torch.ones(2)})

path = HERE / f"torchscript.torch{VERSION}.pt"
torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(path))

if NEW:
    # What Python's zipfile writes, with sizes in the local headers and, to a stream, behind the data.
    class Stream(io.RawIOBase):
        def __init__(self, to):
            self.to = to

        def writable(self):
            return True

        def write(self, b):
            return self.to.write(b)

    def rezip(name, to):
        with zipfile.ZipFile(HERE / f"bare.torch{VERSION}.pt") as old, zipfile.ZipFile(to, "w") as new:
            for info in old.infolist():
                new.writestr(zipfile.ZipInfo(info.filename), old.read(info))
        files[name] = tensors(state)

    for name in (f"rezipped.torch{VERSION}.pt", f"streamed.torch{VERSION}.pt"):
        with open(HERE / name, "wb") as to:
            rezip(name, Stream(to) if name.startswith("streamed") else to)

    save("v3", {"f8": torch.ones(4).to(torch.float8_e4m3fn), "u16": torch.arange(5).to(torch.uint16),
                "u64": torch.arange(2).to(torch.uint64)})
    save("meta", {"m": torch.empty(2, 3, device="meta"), "w": torch.ones(1)}, {"w": torch.ones(1)})
    torch.serialization.set_crc32_options(False)
    save("nocrc", {"w": torch.ones(2)})
    torch.serialization.set_crc32_options(True)
    with torch.serialization.skip_data():
        torch.save({"w": torch.ones(8)}, str(HERE / f"skip_data.torch{VERSION}.pt"))
    from torch.utils.serialization import config
    config.save.storage_alignment = 4096
    save("aligned", {"w": torch.ones(2)})
    config.save.storage_alignment = 64

known = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
known.update(files)
EXPECTED.write_text(json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
