"""Writes the files of the formats that are not torch's, each with the library of the format, and says in
expected_formats.json which tensors they hold.

    python -m venv v && v/bin/pip install safetensors numpy gguf h5py keras torch && v/bin/python make_formats.py
"""

import io
import json
import os
import pathlib
import pickle
import zipfile

os.environ.setdefault("KERAS_BACKEND", "torch")

import gguf
import h5py
import keras
import numpy as np
from safetensors import TensorSpec, serialize_file
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
files = {}


def listing(name, tensors):
    files[name] = {k: {"dtype": d, "shape": list(s), "bytes": b} for k, (d, s, b) in tensors.items()}
    return str(HERE / name)


def of(arrays):
    return {k: (str(a.dtype), a.shape, a.nbytes) for k, a in arrays.items()}


rng = np.random.default_rng(7)
arrays = {"w": rng.standard_normal((3, 4), dtype=np.float32), "b": rng.standard_normal(5), "n": np.array(7),
          "flag": np.array([True, False, True]), "c": np.ones(2, np.complex64), "h": np.ones((2, 0, 3), np.float16),
          "i": np.arange(6, dtype=np.uint16).reshape(2, 3)}

save_file(arrays, listing("plain.safetensors", of(arrays)), metadata={"format": "pt", "epoch": "3"})
raw = {"bf": ("BF16", "bfloat16", [2, 2], 8), "f8": ("F8_E4M3", "float8_e4m3fn", [3], 3), "f8b": ("F8_E5M2", "float8_e5m2", [3], 3),
       "f4": ("F4", "F4", [4], 2), "e8": ("F8_E8M0", "float8_e8m0fnu", [1], 1)}
names = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F4": "float4_e2m1fn_x2", "F8_E8M0": "float8_e8m0fnu"}
buffers = {k: np.arange(1, n + 1, dtype=np.uint8) for k, (_, _, _, n) in raw.items()}
serialize_file({k: TensorSpec(dtype=names[d], shape=[2] if d == "F4" else s, data_ptr=buffers[k].ctypes.data, data_len=n)
                for k, (d, _, s, n) in raw.items()}, listing("small.safetensors", {k: (d, s, n) for k, (_, d, s, n) in raw.items()}), None)
save_file({}, listing("empty.safetensors", {}))

np.savez(listing("plain.npz", of(arrays)), **arrays)
np.savez_compressed(listing("compressed.npz", of(arrays)), **arrays)
objects = np.array([{"a": 1}, None], dtype=object)
np.savez(listing("objects.npz", {"o": ("object", (2,), 0)}), o=objects)
np.save(listing("fortran.npy", {"arr_0": ("float32", (3, 4), 48)}), np.asfortranarray(arrays["w"]))
np.save(listing("big.npy", {"arr_0": (">f8", (5,), 40)}), arrays["b"].astype(">f8"))
np.save(listing("scalar.npy", {"arr_0": ("int64", (), 8)}), arrays["n"])
np.save(listing("objects.npy", {"arr_0": ("object", (2,), 0)}), objects)
record = np.zeros(3, dtype=[("a", "<f4"), ("b", "<i8", (2,)), ("название", "S5"), ("d", [("x", "<u2")])])
np.save(listing("structured.npy", {"arr_0": ("structured", (3,), record.nbytes)}), record)
np.save(listing("dates.npy", {"arr_0": ("<M8[D]", (2,), 16)}), np.array(["2025-10-17", "2025-10-18"], dtype="M8[D]"))
np.save(listing("text.npy", {"arr_0": ("<U3", (2,), 24)}), np.array(["abc", "d"]))
with open(listing("two.npy", {"arr_0": ("bool", (3,), 3), "arr_1": ("uint16", (2, 3), 12)}), "wb") as f:
    np.save(f, arrays["flag"])
    np.save(f, arrays["i"])


def write_gguf(name, endian=gguf.GGUFEndian.LITTLE, quantized=True):
    q8 = np.zeros((4, 64), dtype=np.float32)
    tensors = {"w": ("float32", (3, 4), 48), "h": ("float16", (5,), 10)}
    w = gguf.GGUFWriter(listing(name, tensors), "llama", endianess=endian)
    w.add_uint32("llama.block_count", 2)
    w.add_array("tokenizer.ggml.tokens", ["a", "бв", ""])
    w.add_array("numbers", [1.5, 2.5])
    w.add_array("nested", [[1, 2], [3]])
    w.add_bool("yes", True)
    w.add_float64("x", 0.5)
    w.add_tensor("w", arrays["w"])
    w.add_tensor("h", np.ones(5, np.float16))
    if quantized:
        files[name]["q"] = {"dtype": "Q8_0", "shape": [4, 64], "bytes": 4 * 2 * 34}
        w.add_tensor("q", gguf.quants.quantize(q8, gguf.GGMLQuantizationType.Q8_0), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


write_gguf("plain.gguf")
write_gguf("big.gguf", gguf.GGUFEndian.BIG, False)

for libver, version in (("earliest", 0), ("v108", 2), ("v110", 3)):
    with h5py.File(listing(f"superblock{version}.h5", {}), "w", libver=(libver, "latest" if libver == "earliest" else libver)) as f:
        f["layers/dense/vars/0"] = arrays["w"]
        f.attrs["epoch"] = 3

model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
model.save(listing("model.keras", {}))
model.save_weights(listing("model.weights.h5", {}))
with zipfile.ZipFile(HERE / "model.keras") as old, zipfile.ZipFile(listing("deflated.keras", {}), "w", zipfile.ZIP_DEFLATED) as new:
    for info in old.infolist():
        new.writestr(info.filename, old.read(info))

for protocol in (0, 2, 5):
    with open(listing(f"plain{protocol}.pkl", {}), "wb") as f:
        pickle.dump({"epoch": 3, "params": [1.5, "x"]}, f, protocol)
with open(listing("numpy.pkl", {}), "wb") as f:
    pickle.dump(arrays["w"], f)

buffer = io.BytesIO()
with zipfile.ZipFile(listing("sb3.zip", {}), "w") as z:  # as stable-baselines3 lays it out
    z.writestr("data", json.dumps({"policy_class": "MlpPolicy"}))
    z.write(HERE / "bare.torch2.15.pt", "policy.pth")
    z.writestr("_stable_baselines3_version", "2.7.0")

(HERE / "expected_formats.json").write_text(json.dumps(files, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
