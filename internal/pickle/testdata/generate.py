"""Writes corpus.jsonl: pickles, and what CPython makes of them.

Each line has the pickle (base64), the imports that it makes in their order, found by a walk over
pickletools.genops that follows stack and memo, and one of: "value", a text form of the value when it is plain (its
SHA-256 when it is long);
"error", when CPython refuses it; neither, when the value is not plain.

    python generate.py > corpus.jsonl
"""

import array
import base64
import collections
import datetime
import decimal
import fractions
import hashlib
import io
import json
import pathlib
import pickle
import pickletools
import random
import struct
import sys
import uuid

random.seed(1)


class Point:
    def __init__(self, x):
        self.x = x


class Slots:
    __slots__ = ("a",)

    def __init__(self):
        self.a = 1


class Keywords:
    def __new__(cls, *, a):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return (), {"a": 1}


class Mapping(dict):
    pass


class Sequence(list):
    pass


MARK = object()


def imports(data):
    """The imports of a pickle, by the stack effects that pickletools documents."""
    found, stack, memo = [], [], {}

    def pop_mark():
        while stack.pop() is not MARK:
            pass

    for op, arg, _ in pickletools.genops(data):
        name = op.name
        if name in ("GLOBAL", "INST"):
            found.append(arg.replace(" ", "\n", 1))
        elif name == "STACK_GLOBAL":
            found.append(f"{stack[-2]}\n{stack[-1]}")
        elif name.startswith("EXT"):
            found.append(f"copyreg\nextension {arg}")
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[arg] = stack[-1]
            continue
        if name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
            continue
        if name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[arg])
            continue
        if name == "DUP":
            stack.append(stack[-1])
            continue
        if name == "POP":
            stack.pop()
            continue
        kept = None
        before = list(op.stack_before)
        if pickletools.markobject in before:
            pop_mark()
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            kept = stack.pop()
        for after in op.stack_after:
            if after is pickletools.markobject:
                stack.append(MARK)
            elif isinstance(arg, str):
                stack.append(arg)
            else:
                stack.append(kept if name in ("BUILD", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS") else None)
    return found


def plain(v, depth=0):
    if depth > 20:
        return False
    if v is None or type(v) in (bool, int, float, str, bytes, bytearray):
        return True
    if type(v) in (list, tuple, set, frozenset):
        return all(plain(x, depth + 1) for x in v)
    if type(v) is dict:
        return all(plain(k, depth + 1) and plain(x, depth + 1) for k, x in v.items())
    return False


def text(v):
    """A form of a plain value that another language can write as well."""
    if v is None or isinstance(v, bool):
        return repr(v)
    if isinstance(v, int):
        return "i%x" % v if v >= 0 else "i-%x" % -v
    if isinstance(v, float):
        return "nan" if v != v else "f" + struct.pack(">d", v).hex()
    if isinstance(v, str):
        return "s" + v.encode("utf-8", "surrogatepass").hex()
    if isinstance(v, (bytes, bytearray)):
        return "b" + bytes(v).hex()
    if isinstance(v, list):
        return "[" + ",".join(map(text, v)) + "]"
    if isinstance(v, tuple):
        return "(" + ",".join(map(text, v)) + ")"
    if isinstance(v, (set, frozenset)):
        return "{" + ",".join(sorted(map(text, v))) + "}"
    return "<" + ",".join(text(k) + ":" + text(x) for k, x in v.items()) + ">"


class WithoutImports(pickle.Unpickler):
    def find_class(self, module, name):
        raise LookupError(name)


def emit(data, name):
    """Only pickles without imports are loaded: what CPython says of values must not depend on classes."""
    line = {"name": name, "pickle": base64.b64encode(data).decode()}
    try:
        names = imports(data)
    except Exception:
        names = None
    if names is not None:
        line["imports"] = names
    if not names:
        try:
            value = WithoutImports(io.BytesIO(data), encoding="utf-8").load()
        except Exception as e:
            line["error"] = type(e).__name__
        else:
            if plain(value):
                form = text(value)
                line["value"] = form if len(form) < 100 else "sha256:" + hashlib.sha256(form.encode()).hexdigest()
    print(json.dumps(line))


shared = [1, 2]
many = [str(i) for i in range(260)]
values = {
    "scalars": [None, True, False, 0, 1, -1, 255, 256, 65535, 65536, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63), 2**63, -(2**80), 1.5, -0.0,
                float("inf"), float("-inf"), float("nan"), 1e-310],
    "long int": 1 << 2100,
    "strings": ["", "a", "ключ", "back\\slash", "\\u0041", "line\nbreak", "\x1a\r\0", "\ud800", "\U0001f600", "'\"", "x" * 300],
    "bytes": [b"", b"\0\xff", b"x" * 300],
    "bytearray": bytearray(b"abc"),
    "containers": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [[]], {}, {"a": {}}, {1: 2, "b": (3,)}],
    "sets": [set(), {1, 2}, frozenset(), frozenset({"x"})],
    "shared": [shared, shared, (shared,), {"k": shared}],
    "many": [None] * 1100,
    "late reference": many + [many[-1]],
    "tuple keys": {(1, 2): 3, ("a", (1.5,)): None},
    "equal keys": {1: "a", 2.0: "b", 2**70: "c", b"x": "d", "x": "e"},
    "ordered": collections.OrderedDict(a=1, b=2),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "counter": collections.Counter("abca"),
    "deque": collections.deque([1, 2], 5),
    "datetime": datetime.datetime(2025, 10, 17, 10, 47),
    "decimal": decimal.Decimal("1.5"),
    "fraction": fractions.Fraction(1, 3),
    "uuid": uuid.UUID(int=5),
    "path": pathlib.PurePosixPath("/a/b"),
    "complex": 1 + 2j,
    "range": range(3),
    "array": array.array("d", [1.0]),
    "class": Point,
    "instance": Point([1]),
    "two instances": [Point(1), Point(2)],
    "mapping": Mapping(a=1),
    "sequence": Sequence([1, 2]),
    "functions": [len, print, json.dumps],
}
for name, value in values.items():
    for protocol in range(6):
        emit(pickle.dumps(value, protocol), f"{name}, protocol {protocol}")
for protocol in range(2, 6):
    emit(pickle.dumps(Slots(), protocol), f"slots, protocol {protocol}")
    emit(pickle.dumps(Keywords(a=1), protocol), f"keywords, protocol {protocol}")


def random_value(depth):
    kind = random.randrange(10 if depth else 6)
    if kind == 0:
        return random.choice([None, True, False])
    if kind == 1:
        return random.randrange(-(2 ** random.choice([4, 15, 31, 40, 63, 90])), 2 ** random.choice([4, 15, 31, 40, 63, 90]))
    if kind == 2:
        return random.uniform(-1e9, 1e9)
    if kind in (3, 4):
        return "".join(random.choice("ab\\'\"\nж\u2028\U0001f600u0041") for _ in range(random.randrange(8)))
    if kind == 5:
        return bytes(random.randrange(256) for _ in range(random.randrange(6)))
    items = [random_value(depth - 1) for _ in range(random.randrange(5))]
    if kind in (6, 7):
        return items
    if kind == 8:
        return tuple(items)
    return {random_value(0): x for x in items}


for i in range(120):
    emit(pickle.dumps(random_value(3), i % 6), f"random {i}")

by_hand = {
    "inst": b"(S'id'\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nS'id'\no.",
    "memo global": b"\x80\x04\x8c\x05posix\x940\x8c\x06system\x940h\x00h\x01\x93\x8c\x02id\x85R.",
    "memoize after put": b"\x80\x04\x8c\x01aq\x05\x940\x8c\x01b\x940h\x05h\x01\x86.",
    "memo overwritten": b"\x8c\x01aq\x000\x8c\x01bq\x000h\x00.",
    "ext": b"\x80\x02\x82\x05\x83\x05\x01\x84\x05\x00\x01\x00\x87.",
    "list op": b"(K\x01K\x02l.",
    "dict op": b"(K\x01K\x02d.",
    "dict of one": b"(K\x01d.",
    "dup": b"K\x012\x86.",
    "pop mark": b"K\x01(K\x02K\x031.",
    "pop a mark": b"K\x01(0.",
    "pop in a mark": b"K\x01(K\x0200.",
    "append, setitem": b"](K\x01K\x02e}K\x01K\x02sa.",
    "repeated keys": b"}(K\x01K\x02\x88K\x03G\x3f\xf0\x00\x00\x00\x00\x00\x00K\x04u.",
    "set of repeats": b"\x80\x04\x8f(K\x01\x88K\x02K\x02\x90.",
    "frozenset of repeats": b"\x80\x04(K\x01\x88K\x01\x91.",
    "get text": b"]p7\n0g7\n.",
    "string escapes": b"S'a\\n\\x41\\101\\7\\8\\'\\\"\\q\\\\x'\n.",
    "string double quoted": b'S"it\'s"\n.',
    "string unquoted": b"Sabc\n.",
    "string trailing backslash": b"S'a\\'\n.",
    "string with blank": b"S'a' \n.",
    "string short hex": b"S'\\x4'\n.",
    "string high byte": b"S'\\xff'\n.",
    "binstring": b"T\x02\x00\x00\x00hiU\x01x\x86.",
    "binstring utf-8": b"U\x02\xc3\xa9.",
    "binstring not utf-8": b"U\x01\xff.",
    "unicode escaped backslash": b"V\\\\u0041\n.",
    "unicode escapes": b"V\\u0041\\U0001f600\\x41\xe9\n.",
    "unicode cut escape": b"V\\u12\n.",
    "unicode surrogates": b"V\\ud83d\\ude00\n.",
    "unicode too large": b"V\\U00110000\n.",
    "binunicode surrogate": b"X\x03\x00\x00\x00\xed\xa0\x80.",
    "binunicode not utf-8": b"X\x01\x00\x00\x00\xff.",
    "binunicode overlong": b"X\x02\x00\x00\x00\xc0\x80.",
    "binunicode8": b"\x8d\x02\x00\x00\x00\x00\x00\x00\x00hi.",
    "binbytes8": b"\x8e\x02\x00\x00\x00\x00\x00\x00\x00hi.",
    "int bools": b"I00\nI01\n\x86.",
    "int octal": b"I010\n.",
    "int hex": b"I0x10\n.",
    "int blank": b"I 10\n.",
    "int underscore": b"I1_0\n.",
    "int plus": b"I+5\n.",
    "int long": b"I99999999999999999999\n.",
    "long without L": b"L12\n.",
    "long octal": b"L012L\n.",
    "long two L": b"L12LL\n.",
    "float forms": b"F1\nF-2.5e3\nFinf\n\x87.",
    "float nan": b"Fnan\n.",
    "float hex": b"F0x1p3\n.",
    "float underscore": b"F1_0.5\n.",
    "float too large": b"F1e999\n.",
    "float blank": b"F1.5 \n.",
    "long4": b"\x8b\x03\x00\x00\x00\x01\x02\x83.",
    "long4 empty": b"\x8b\x00\x00\x00\x00.",
    "long4 negative size": b"\x8b\xff\xff\xff\xff.",
    "appends to a set": b"\x8f(K\x01e.",
    "additems to a list": b"](K\x01\x90.",
    "additems to a frozenset": b"(\x91(K\x01\x90.",
    "list as key": b"}]K\x01s.",
    "dict as key": b"}}K\x01s.",
    "set as key": b"}\x8fK\x01s.",
    "list in a tuple as key": b"}]\x85K\x01s.",
    "frozenset as key": b"}(\x91K\x01s.",
    "list in a set": b"\x8f(]\x90.",
    "tuple keys": b"}(K\x01\x85K\x02K\x01\x85K\x03u.",
    "build of a dict": b"}}b.",
    "build of a list": b"]}b.",
    "nothing but stop": b".",
    "stop in a mark": b"K\x01(.",
    "get of nothing": b"h\x05.",
    "put of nothing": b"q\x00.",
    "put in a mark": b"K\x01(q\x00.",
    "dup in a mark": b"K\x01(2.",
    "protocol 6": b"\x80\x06N.",
    "frame too long": b"\x80\x04\x95\xff\x00\x00\x00\x00\x00\x00\x00N.",
    "next buffer": b"\x80\x05\x97.",
    "readonly buffer": b"\x80\x05C\x01a\x98.",
    "reduce without a tuple": b"cos\nsystem\n]R.",
    "global line break": b"cos\r\nsystem\n(tR.",
    "global without end": b"cos\nsystem",
    "unknown opcode": b"\xff.",
    "persistent id": b"Pabc\n.",
    "binary persistent id": b"K\x01Q.",
}
for name, data in by_hand.items():
    emit(data, "by hand: " + name)
print(f"written by Python {sys.version.split()[0]}", file=sys.stderr)
