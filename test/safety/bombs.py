"""Config files, bundles and places that ask for more than they should get."""
import os
import socket

GIBIBYTE = 1 << 30


def configs():
    """Config files of a run: name, and how to write one. The set is bundled without it, or refused; never more."""
    def text(content):
        return lambda path: open(path, "w").write(content)

    def sparse(path):
        with open(path, "wb") as f:
            f.write(b"{")
            f.truncate(GIBIBYTE)

    doubled = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i-1}, *a{i-1}, *a{i-1}, *a{i-1}]\n" for i in range(1, 40))
    merged = "a0: &a0 {k: v}\n" + "".join(f"a{i}: &a{i}\n  <<: [*a{i-1}, *a{i-1}, *a{i-1}, *a{i-1}]\n  k{i}: v\n" for i in range(1, 30))
    yield "aliases.yaml", text(doubled)
    yield "merges.yaml", text(merged)
    yield "itself.yaml", text("a: &a [*a]\n")
    yield "deep_flow.yaml", text("[" * 1_000_000)
    yield "deep_block.yaml", text("".join(" " * i + "a:\n" for i in range(1900)))
    yield "python.yaml", text("a: !!python/object/apply:os.system ['touch PWNED']\nb: !!python/name:os.system ''\n")
    yield "many.yaml", text("[" + "a," * 900_000 + "a]")
    yield "deep.json", text('{"a":' * 1_000_000)
    yield "deep_arrays.json", text("[" * 8_000_000)
    yield "many.json", text("[" + "1," * 7_000_000 + "1]")
    yield "exponent.json", text('{"a": 1e999999999, "b": ' + "9" * 1_000_000 + "}")
    yield "twice.json", text('{"a":1,' * 1 + '"a":1,' * 2_000_000 + '"a":1}')
    yield "deep.toml", text("a = " + "[" * 200_000)
    yield "dots.toml", text("a" + ".a" * 100_000 + " = 1\n")
    for name in ("sparse.json", "sparse.yaml", "sparse.toml", "sparse.cfg"):
        yield name, sparse
    yield "pipe.json", os.mkfifo
    yield "link.json", lambda path: os.symlink("/etc/passwd", path)


def places():
    """What a member's name may be instead of a file, and how to make it."""
    yield "pipe", os.mkfifo
    yield "link out of the root", lambda path: os.symlink("/etc/passwd", path)
    yield "link to an endless device", lambda path: os.symlink("/dev/zero", path)
    yield "socket", make_socket
    yield "folder", os.mkdir
    yield "sparse file of 1 TiB", lambda path: grow(path, 1 << 40)


def make_socket(path):
    here = os.getcwd()
    os.chdir(os.path.dirname(path))  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(os.path.basename(path))
    os.chdir(here)


def grow(path, size):
    with open(path, "wb") as f:
        f.truncate(size)


def bundles():
    """Folders that look like bundles, to be verified and inspected: the name of a file in one, and how to make it."""
    for name in ("bundle_manifest.json", "SHA256SUMS", "wts.h5.zip"):
        yield f"pipe for {name}", name, os.mkfifo
        yield f"endless device for {name}", name, lambda path: os.symlink("/dev/zero", path)
        yield f"sparse {name}", name, lambda path: grow(path, 2 * GIBIBYTE)
    yield "deep bundle_manifest.json", "bundle_manifest.json", lambda path: open(path, "w").write("[" * 10_000_000)
    yield "wide bundle_manifest.json", "bundle_manifest.json", lambda path: open(path, "w").write('{"notes":[' + '"",' * 20_000_000 + '""]}')
