"""Torch zips, and zips that two readers could understand differently."""
import io
import struct
import zipfile

WEIGHTS = struct.pack("<4f", 1, 2, 3, 4)


def torch_zip(pickle, records=(), prefix="archive", compression=zipfile.ZIP_STORED):
    """A torch zip around a pickle, with one storage. records are added, or replace those of the same name."""
    usual = {f"{prefix}/data.pkl": pickle, f"{prefix}/byteorder": b"little", f"{prefix}/data/0": WEIGHTS,
             f"{prefix}/version": b"3\n"}
    usual.update(dict(records))
    return zip_of(usual.items(), compression)


def zip_of(entries, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as z:
        for name, content in entries:
            z.writestr(zipfile.ZipInfo(name), content, compress_type=compression)
    return out.getvalue()


def rename(archive, old, new, nth):
    """Replace the nth occurrence of a name: 0 is the local header, 1 the central directory."""
    old, new = old.encode(), new.encode()
    assert len(old) == len(new)
    at = -1
    for _ in range(nth + 1):
        at = archive.index(old, at + 1)
    return archive[:at] + new + archive[at + len(old):]


def flagged(archive, bits):
    """Set general purpose flags in every header."""
    out = bytearray(archive)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = out.find(signature)
        while at >= 0:
            out[at + offset] |= bits & 0xFF
            out[at + offset + 1] |= bits >> 8
            at = out.find(signature, at + 4)
    return bytes(out)
