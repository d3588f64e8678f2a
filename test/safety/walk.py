"""The imports of a pickle, found with Python's own disassembler: a stack and a memo of strings, nothing else."""
import io
import pickletools
import zipfile


def pickle_of(content):
    """The pickle of a checkpoint: data.pkl of a torch zip, else the bytes themselves."""
    if not content.startswith(b"PK"):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as z:
        names = [n for n in z.namelist() if n.count("/") == 1 and n.endswith("/data.pkl")]
        return z.read(names[0])


def imports(raw):
    """The dotted names that a pickle imports, each once, in order."""
    found, rest = [], io.BytesIO(raw)
    for _ in range(LEGACY_PICKLES if LEGACY_MAGIC in raw[:16] else 1):
        machine = Machine()
        for opcode, argument, _ in pickletools.genops(rest):
            machine.step(opcode, argument)
        found += machine.found
    return list(dict.fromkeys(found))


# Torch before 1.6 wrote five pickles: a magic number, the protocol, the system, the value, the keys of the storages.
LEGACY_MAGIC, LEGACY_PICKLES = bytes.fromhex("8a0a6cfc9c46f9206aa85019"), 5

MARK = object()
UNKNOWN = object()  # a value that is no string
STRINGS = (pickletools.pyunicode, pickletools.pybytes_or_str)


class Machine:
    """Strings keep their value, so that STACK_GLOBAL can be told; everything else is unknown."""

    def __init__(self):
        self.stack, self.memo, self.found = [], {}, []

    def step(self, opcode, argument):
        name = opcode.name
        if name in ("GLOBAL", "INST"):
            self.found.append(argument.replace(" ", ".", 1))
        elif name == "STACK_GLOBAL":
            self.found.append(f"{self.stack[-2]}.{self.stack[-1]}")
        elif name.startswith("EXT"):
            self.found.append(f"copyreg.extension {argument}")
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        else:
            self.move(opcode, argument)

    def move(self, opcode, argument):
        """Take from the stack and put on it what pickletools says of the opcode."""
        if opcode.name == "POP" and self.stack[-1] is MARK:
            self.stack.pop()
            return
        before, after = opcode.stack_before, opcode.stack_after
        if pickletools.markobject in before:
            while self.stack.pop() is not MARK:
                pass
            before = before[:before.index(pickletools.markobject)]
        if before:
            del self.stack[-len(before):]
        for kind in after:
            self.stack.append(MARK if kind is pickletools.markobject else argument if kind in STRINGS else UNKNOWN)


def model_of(archive):
    """The pickle of the one model in an archive."""
    with zipfile.ZipFile(archive) as z:
        return pickle_of(z.read("model/model.pth"))


def other_pickles(archive):
    """Records of the one model in an archive that are named as pickles, but are not the one that torch reads."""
    with zipfile.ZipFile(archive) as z, zipfile.ZipFile(io.BytesIO(z.read("model/model.pth"))) as model:
        return [n for n in model.namelist() if n.endswith(".pkl") and n.split("/", 1)[1] != "data.pkl"]
