"""What a state_dict holds, down to raw bytes, strides and shared storages, as something JSON can carry."""
import hashlib

import torch


def raw_bytes(tensor):
    """The elements in row-major order as bytes, whatever the strides."""
    flat = tensor.detach().resolve_conj().contiguous().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def storage_of(tensor):
    """The tensor's whole storage as a flat uint8 tensor."""
    storage = tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else tensor.storage()._storage
    return torch.empty(0, dtype=torch.uint8).set_(storage)


def describe(state):
    """{"type", "metadata", "tensors": [[name, facts], …]} of a state_dict, equal for equal state_dicts."""
    groups, tensors = {}, []
    for name, tensor in state.items():
        storage = storage_of(tensor)
        # Empty storages have no address to share.
        group = groups.setdefault(storage.data_ptr(), len(groups)) if storage.numel() else None
        tensors.append([name, {
            "type": type(tensor).__name__, "requires_grad": tensor.requires_grad,
            "dtype": str(tensor.dtype).replace("torch.", ""), "shape": list(tensor.shape),
            "stride": list(tensor.stride()), "offset": tensor.storage_offset(), "storage": group,
            "storage_bytes": storage.numel(), "storage_sha256": hashlib.sha256(storage.numpy().tobytes()).hexdigest(),
            "sha256": hashlib.sha256(raw_bytes(tensor)).hexdigest(),
        }])
    metadata = getattr(state, "_metadata", None)
    return {"type": type(state).__name__, "metadata": None if metadata is None else [[k, v] for k, v in metadata.items()],
            "tensors": tensors}


def differences(want, got):
    """Where two descriptions differ, as lines; want may leave out facts and even names of facts."""
    lines = [f"{fact}: {got[fact]!r}, want {want[fact]!r}" for fact in ("type", "metadata")
             if fact in want and want[fact] != got[fact]]
    names, wanted = [n for n, _ in got["tensors"]], [n for n, _ in want["tensors"]]
    if want.get("ordered", True) and names != wanted or sorted(names) != sorted(wanted):
        return lines + [f"tensor names: {names!r}, want {wanted!r}"]
    there = dict(got["tensors"])
    return lines + [f"tensor {name!r}: {fact} {there[name][fact]!r}, want {value!r}"
                    for name, facts in want["tensors"] for fact, value in facts.items() if there[name][fact] != value]


def listed(expected):
    """A description out of expected.json's {name: {dtype, shape, sha256}}, which is sorted by name."""
    return {"ordered": False, "tensors": list(expected.items())}


def can_hold(description):
    """Does the installed torch know every dtype of the description?"""
    return all(hasattr(torch, facts["dtype"]) for _, facts in description["tensors"])
