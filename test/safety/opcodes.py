"""Pieces of pickles, written by hand: each leaves one value on the stack unless it says otherwise."""
import struct

STOP = b"."


def text(s):
    raw = s.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def short_text(s):
    raw = s.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def data(raw):
    return b"B" + struct.pack("<I", len(raw)) + raw


def integer(n):
    return b"J" + struct.pack("<i", n)


def name(dotted):
    """GLOBAL; the attribute is what follows the last dot."""
    module, attribute = dotted.rsplit(".", 1)
    return f"c{module}\n{attribute}\n".encode()


def stack_name(module, attribute):
    """STACK_GLOBAL, of protocol 4."""
    return short_text(module) + short_text(attribute) + b"\x93"


def tuple_of(*items):
    return b"(" + b"".join(items) + b"t"


def list_of(*items):
    return b"](" + b"".join(items) + b"e"


def dict_of(*pairs):
    return b"}(" + b"".join(pairs) + b"u"


def call(function, *arguments):
    return function + tuple_of(*arguments) + b"R"


def pickled(value, protocol=2):
    return b"\x80" + bytes([protocol]) + value + STOP


def storage(key="0", kind=None, elements=4):
    kind = kind or name("torch.FloatStorage")
    return tuple_of(text("storage"), kind, text(key), text("cpu"), integer(elements)) + b"Q"


def tensor(hooks=None, **of_storage):
    """Four float32 in storage 0, as torch.save writes a tensor."""
    return call(name("torch._utils._rebuild_tensor_v2"), storage(**of_storage), integer(0), tuple_of(integer(4)),
                tuple_of(integer(1)), b"\x89", hooks or call(name("collections.OrderedDict")))


def state_dict(*pairs):
    """An OrderedDict of one tensor and what else is given."""
    return call(name("collections.OrderedDict")) + b"(" + text("w") + tensor() + b"".join(pairs) + b"u"
