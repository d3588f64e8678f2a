"""A run tree with friendly and hostile names, the daemon beside it, and what it has published in the past."""
import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "safety"))
from opcodes import call, integer, name, pickled, text, tuple_of  # noqa: E402
from torchzip import zip_of  # noqa: E402

# Names that a page could fall for. A slash in them makes two directories, which is a name as good as any.
HOSTILE = ["<script>window.pwned=1<", '"><img src=x onerror=window.pwned=2>', "'+window.pwned+'", "javascript:window.pwned=3",
           "a&b=c#d?e%2f..%2f", "{{.Config}}", "<!--", "</title><svg onload=window.pwned=4>", "שלום-run", "dots…", " spaces  "]
# These cannot be the key of a bundle, and are refused.
REFUSED = ["escape\x1b[31m".encode(), "right\u202eto-left".encode(), b"not-utf8-\xff\xfe", b"line\nbreak"]

HOSTILE_TENSOR = "<script>window.pwned=5</script>\u202e\x07"
HOSTILE_PARAM = '</pre><img src="http://leak.example/x" onerror=window.pwned=6>'

CONFIG = """
[artifacts]
dir = "artifacts"

[[watch]]
name = "ptycho"
root = "runs"
settle = "50ms"

[watch.members]
autoencoder        = "{{run...}}/checkpoints/autoencoder-epoch={{epoch}}.ckpt"
diffraction_to_obj = "{{run...}}/checkpoints/diffraction_to_obj-epoch={{epoch}}.ckpt"

[watch.config]
files = ["{{run...}}/configs/*.json"]

[[watch]]
name = "elsewhere"
root = "not-mounted"
members.model = "{{run}}/{{step}}.pt"

[[store]]
name = "nowhere"
endpoint = "http://127.0.0.1:1"
bucket = "bundles"
credentials = "keys"

[[tidy]]
root = "project"
match = ["*.log"]
move_to = "reports/{{utc}}"
min_age = "{min_age}"

[limits]
read_rate = "{rate}"

[http]
listen = "127.0.0.1:0"
hosts = ["bundles.example"]

[status]
socket = "status.sock"
"""

STORE_KEY, STORE_SECRET = "AKIAOFNOBODY", "secret-of-nobody"


def checkpoint(tensors, elements=64):
    """A torch zip of a state_dict of float32 tensors, all of the same number of elements."""
    items, records = b"", []
    for i, tensor in enumerate(tensors):
        key = str(i)
        storage = tuple_of(text("storage"), name("torch.FloatStorage"), text(key), text("cpu"), integer(elements)) + b"Q"
        items += text(tensor) + call(name("torch._utils._rebuild_tensor_v2"), storage, integer(0), tuple_of(integer(elements)),
                                     tuple_of(integer(1)), b"\x89", call(name("collections.OrderedDict")))
        records.append((f"archive/data/{key}", struct.pack("<f", i) * elements))
    pickle = pickled(call(name("collections.OrderedDict")) + b"(" + items + b"u")
    return zip_of([("archive/data.pkl", pickle), ("archive/byteorder", b"little"), *records, ("archive/version", b"3\n")])


class World:
    def __init__(self, binary, home):
        self.binary, self.home, self.process = binary, home, None
        for directory in ("runs", "project"):
            os.mkdir(self.path(directory))

    def path(self, *names):
        return os.path.join(self.home, *names)

    def configure(self, rate="0", min_age="1m"):
        with open(self.path("bundlewatch.toml"), "w") as f:
            f.write(CONFIG.format(rate=rate, min_age=min_age))
        with open(self.path("keys"), "w") as f:
            f.write(f"[default]\naws_access_key_id = {STORE_KEY}\naws_secret_access_key = {STORE_SECRET}\n")

    def write(self, content, *names):
        path = os.path.join(os.fsencode(self.home), *(os.fsencode(n) for n in names))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + b".part", "wb") as f:
            f.write(content)
        os.rename(path + b".part", path)

    def run_config(self, run, params=None):
        params = params or {"N": 64, "gridsize": 2, "learning_rate": 1e-3, "probe": {"scale": 4.0, "trainable": False}, "note": HOSTILE_PARAM}
        self.write(json.dumps(params).encode(), "runs", run, "configs", "model.json")

    def epoch(self, run, number, tensors=("conv.weight", "conv.bias", HOSTILE_TENSOR), elements=64, roles=("autoencoder", "diffraction_to_obj")):
        for role in roles:
            content = checkpoint([f"{role}.{t}" for t in tensors], elements)
            self.write(content, "runs", run, "checkpoints", f"{role}-epoch={number:02}.ckpt")

    def once(self):
        subprocess.run([self.binary, "once"], cwd=self.home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)

    def start(self):
        self.log = open(self.path("log"), "ab")
        start = self.log.tell()
        self.process = subprocess.Popen([self.binary, "run"], cwd=self.home, stderr=self.log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with open(self.path("log"), encoding="utf-8", errors="replace") as f:
                f.seek(start)
                found = re.search(r'"address":"([^"]+)"', f.read())
            if found:
                self.address = found[1]
                return
            time.sleep(0.05)
        raise SystemExit("the daemon does not serve: " + open(self.path("log")).read()[-2000:])

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
            self.process = None

    def backdate(self, gaps):
        """Give the bundles of each run times of the past, so many seconds apart."""
        now = datetime.now(timezone.utc) - timedelta(seconds=90)
        for place, directories, files in os.walk(self.path("artifacts", "ptycho")):
            if "bundle_manifest.json" not in files:
                continue
            key = os.path.relpath(place, self.path("artifacts", "ptycho"))
            run, number = os.path.split(key)
            ages = gaps(run, int(number))
            if ages is not None:
                self.republish(place, now - timedelta(seconds=ages))

    @staticmethod
    def republish(place, at):
        path = os.path.join(place, "bundle_manifest.json")
        with open(path) as f:
            manifest = json.load(f)
        manifest["provenance"]["published"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        data = json.dumps(manifest, indent=2).encode()
        with open(path, "wb") as f:
            f.write(data)
        os.utime(path, (at.timestamp(), at.timestamp()))
        sums = os.path.join(place, "SHA256SUMS")
        with open(sums) as f:
            lines = [re.sub(r"^[0-9a-f]{64}", hashlib.sha256(data).hexdigest(), l) if "bundle_manifest" in l else l for l in f]
        with open(sums, "w") as f:
            f.writelines(lines)
