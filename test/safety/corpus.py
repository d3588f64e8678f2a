"""The generated corpus: hostile checkpoints, by what is done, where, and in which container.

    corpus.py FOLDER    writes it there, with an index.json
"""
import json
import os
import sys
import zipfile
from typing import NamedTuple

from attacks import ARGUMENT, SYSTEM, all_attacks
from opcodes import STOP, call, data, dict_of, integer, list_of, name, pickled, state_dict, storage, tensor, text, tuple_of
from torchzip import WEIGHTS, flagged, rename, torch_zip, zip_of


class Case(NamedTuple):
    group: str
    label: str
    content: bytes
    imports: tuple = ()  # what Python would import besides what tensors need; a reader that is right names each
    reason: str = ""  # a pattern that a refusal matches when it names no import
    runs: bool = False  # unpickling it runs the payload: proven with Python's own unpickler
    hostile: bool = True  # it has a pickle in it that imports what tensors do not need: a scanner should flag it
    pickle: bytes = b""  # the pickle in it, when a reader can get through it


# A whole checkpoint that is a call is refused for what it is not, before anybody asks what it imports.
NO_WEIGHTS = "not a state_dict"


def opcode_cases():
    """Every attack as the whole of a torch zip and of a bare file, and beside the weights."""
    for a in all_attacks():
        for container, wrap in (("torch zip", torch_zip), ("bare pickle", bytes)):
            p = pickled(a.value, a.protocol)
            yield Case(f"{a.group}, whole {container}", a.label, wrap(p), a.imports, a.reason or NO_WEIGHTS, a.runs, bool(a.imports), p)
        p = pickled(state_dict(text("x"), a.value), a.protocol)
        yield Case(f"{a.group}, among the weights", a.label, torch_zip(p), a.imports, a.reason, a.runs, bool(a.imports), p)


CALL = SYSTEM + ARGUMENT + b"R"


def place_cases():
    """One attack, everywhere in a checkpoint."""
    stay_behind = dict_of(text("state_dict"), state_dict(), text("optimizer_states"), list_of(CALL))
    for label, value in (
        ("in a nested dict", state_dict(text("x"), dict_of(text("y"), list_of(tuple_of(CALL))))),
        ("in _metadata", state_dict() + dict_of(text("_metadata"), dict_of(text(""), CALL)) + b"b"),
        ("as a key", dict_of(text("state_dict"), state_dict(text("x"), dict_of(CALL, b"N")))),
        ("popped before the weights", CALL + b"0" + state_dict()),
        ("popped with a mark", b"(" + CALL + b"1" + state_dict()),
        ("a name alone, never called", state_dict(text("x"), SYSTEM)),
        ("in the hooks of a tensor", dict_of(text("w"), tensor(hooks=CALL))),
        ("as the type of a storage", dict_of(text("w"), tensor(kind=SYSTEM))),
        ("as the arguments of an OrderedDict", call(name("collections.OrderedDict"), list_of(tuple_of(text("w"), CALL)))),
        ("in a set", state_dict(text("x"), call(name("__builtin__.set"), list_of(CALL)))),
        ("as the class of an instance", state_dict(text("x"), call(SYSTEM, text("touch PWNED")) + b"}b", text("y"), b"N")),
        ("in the optimizer's state", stay_behind),
        ("memoized in the optimizer's state, called in the weights",
         dict_of(text("optimizer_states"), SYSTEM + b"q\x07", text("state_dict"), state_dict(text("x"), b"h\x07" + ARGUMENT + b"R"))),
        ("in hyper_parameters", dict_of(text("state_dict"), state_dict(), text("hyper_parameters"), dict_of(text("N"), CALL))),
    ):
        p = pickled(value)
        runs = label not in ("a name alone, never called", "as the type of a storage")
        yield Case("place", label, torch_zip(p), ("posix.system",), f"sets the state|{NO_WEIGHTS}", runs, pickle=p)


GOOD = pickled(state_dict())
EVIL = pickled(CALL)


def container_cases():
    """Zips in which another reader could find another pickle."""
    group = "container"
    good, evil, foreign = torch_zip(GOOD), torch_zip(EVIL), ("posix.system",)
    twice = torch_zip(GOOD, [("archive/data.pkx", EVIL)])
    local, central = twice.index(b"archive/data.pkx"), twice.rindex(b"archive/data.pkx")
    assert local != central
    for label, content, reason in (
        ("two records named data.pkl", rename(rename(twice, "archive/data.pkx", "archive/data.pkl", 0), "archive/data.pkx", "archive/data.pkl", 0), "twice"),
        ("data.pkl and DATA.PKL", torch_zip(GOOD, [("archive/DATA.PKL", EVIL)]), "case"),
        ("data.pkl in two folders", torch_zip(GOOD, [("other/data.pkl", EVIL)]), "outside of"),
        ("folders that differ in case", torch_zip(GOOD, [("ARCHIVE/data.pkl", EVIL)]), "outside of"),
        ("another name in the local header", rename(twice, "archive/data.pkx", "archive/data.pkl", 0), "another name"),
        ("another name in the central directory", rename(twice, "archive/data.pkx", "archive/data.pkl", 1), "twice|another name"),
        ("a pickle before the zip", EVIL + good, "begins with|begins at|follow the end of the pickle"),
        ("a zip before the zip", evil + good, "begins at|does not end where"),
        ("a zip behind the zip", good + evil, "begins at|does not end where"),
        ("a pickle behind the zip", good + EVIL, "no end record"),
        ("encryption flag", flagged(good, 1), "flags"),
        ("patch flag", flagged(good, 1 << 5), "flags"),
        ("hidden headers flag", flagged(good, 1 << 13), "flags"),
        ("compressed records", torch_zip(GOOD, compression=zipfile.ZIP_DEFLATED), "compressed"),
        ("TorchScript program", torch_zip(GOOD, [("archive/constants.pkl", EVIL), ("archive/code/a.py", b"x")]), "TorchScript"),
        ("record that leaves the folder", torch_zip(GOOD, [("archive/../../PWNED", b"x")]), r"\.\."),
        ("absolute record", torch_zip(GOOD, [("/tmp/PWNED", b"x")]), "absolute|outside"),
        ("two pickles, the second hostile", torch_zip(GOOD + EVIL), "follow the end of the pickle"),
        ("no version", zip_of([("archive/data.pkl", GOOD), ("archive/data/0", WEIGHTS)]), "missing"),
        ("storage of another size", torch_zip(GOOD, [("archive/data/0", WEIGHTS[:7])]), "bytes, but the pickle says"),
        ("a zip that is no checkpoint", zip_of([("data.pkl", EVIL)]), "no <name>/data.pkl|not a torch checkpoint"),
    ):
        yield Case(group, label, content, (), reason, hostile=EVIL in content)
    yield Case(group, "hostile pickle, whole prefix in capitals", torch_zip(EVIL, prefix="ARCHIVE"), foreign, runs=True, pickle=EVIL)
    yield Case(group, "a hostile pickle that torch never reads", torch_zip(GOOD, [("archive/extra/data.pkl", EVIL)]), (), "extra", pickle=GOOD)


def bomb_cases():
    """Small or large files that ask for much time, memory or stack."""
    group = "bomb"
    million = 1_000_000
    deep = b")" + b"\x85" * million
    laughs = list_of(text("ha")) + b"q\x00" + b"".join(b"0](" + (b"h" + bytes([i])) * 10 + b"eq" + bytes([i + 1]) for i in range(40))
    for label, value in (
        ("a tuple a million deep", state_dict(text("x"), deep)),
        ("a tuple a million deep as a key", state_dict(text("x"), dict_of(deep, b"N"))),
        ("calls a million deep", state_dict(text("x"), name("collections.OrderedDict") + b"q\x000N" + b"q\x010h\x00h\x01\x85R" * million)),
        ("lists that hold lists, 10^40", state_dict(text("x"), laughs)),
        ("a list that holds itself", state_dict(text("x"), b"]q\x00h\x00a")),
        ("ten million marks", b"(" * (10 * million)),
        ("an int of a million digits", b"L" + b"9" * million + b"L\n"),
        ("an int of a million bytes", b"\x8b" + million.to_bytes(4, "little") + b"\x7f" * million),
        ("a length of 2^63", b"\x8e" + b"\xff" * 7 + b"\x7f"),
        ("a memo index of 2^32", b"Nr\xff\xff\xff\xff"),
        ("60 MB of empty lists", b"(" + b"]" * (60 * million) + b"l"),
        ("60 MB of empty dicts in a list", b"](" + b"}" * (60 * million) + b"e"),
        ("60 MB of memoized values", b"N" + b"\x94" * (60 * million)),
        ("one long key set a million times", b"}" + text("k" * 100_000) + b"q\x000(" + b"h\x00N" * million + b"u"),
        ("one tensor listed a million times", dict_of(text("w"), b"](" + tensor() + b"q\x00" + b"h\x00" * million + b"e")),
        ("a tensor of 2^60 elements", dict_of(text("w"), call(name("torch._utils._rebuild_tensor_v2"), storage(), b"K\x00",
         tuple_of(b"\x8a\x08" + (1 << 60).to_bytes(8, "little")), tuple_of(b"K\x00"), b"\x89", call(name("collections.OrderedDict"))))),
        ("a huge bytearray to be made", state_dict(text("x"), call(name("__builtin__.bytearray"), integer(2**31 - 1)))),
    ):
        yield Case(group, label, torch_zip(pickled(value)), (), ".", hostile=False)
    yield Case(group, "a pickle of more than 64 MiB", torch_zip(pickled(data(bytes(65 << 20)), 3)), (), "are more than", hostile=False)
    yield Case(group, "100,000 records", torch_zip(GOOD, [(f"archive/data/{i}", b"") for i in range(1, 100_001)]), (), ".", hostile=False)
    yield Case(group, "no STOP", torch_zip(EVIL.rstrip(STOP)), ("posix.system",), hostile=True)


def all_cases():
    for family in (opcode_cases, place_cases, container_cases, bomb_cases):
        yield from family()


def write(folder):
    """Write every case to a file of its own, and what is known of each to index.json."""
    index = []
    for number, case in enumerate(all_cases()):
        file = f"{number:03}.pth"
        with open(os.path.join(folder, file), "wb") as f:
            f.write(case.content)
        known = case._asdict()
        index.append({"file": file, **known, "content": None, "pickle": bool(case.pickle)})
    with open(os.path.join(folder, "index.json"), "w") as f:
        json.dump(index, f, indent=1)


if __name__ == "__main__":
    write(sys.argv[1])
