"""Gives hostile files to the program, watches what it does, and compares what it sees with what others see.

What is checked is described in docs/safety.md. Exit status 1 tells that a promise was broken.
"""
import argparse
import json
import os
import re
import shutil
import stat
import subprocess
import sys

import bombs
import table
import traced
import walk
from fires import fires

# What the pickle of a published model may import: the names that torch.save writes for tensors.
PUBLISHED = re.compile(r"collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\.(\w+Storage|Size|\w+\d+\w*)|torch\.storage\.\w*Storage"
                       r"|torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.\w+|torch\.serialization\._get_layout"
                       r"|_codecs\.encode|(builtins|__builtin__)\.(set|bytearray|complex)|torch\.\w+Tensor|torch\.Tensor|torch\.bool")

# Real checkpoints that are refused, and why: a whole module is code, and one holds weights under two names.
REFUSED = {"whole_module.pt": "imports|not a state_dict", "nested_model_key.pt": "name one with select"}

CONFIG = """
[artifacts]
dir = "artifacts"

[[watch]]
name = "w"
root = "runs"
settle = "10ms"

[watch.members]
model = "{run}/model"

[watch.config]
files = ["{run}/*.*"]
"""


class Suite:
    def __init__(self, options):
        self.binary, self.work = os.path.abspath(options.binary), os.path.abspath(options.work)
        self.failures, self.commands, self.slowest, self.largest = [], 0, 0.0, 0.0
        os.mkdir(os.path.join(self.work, "tmp"))

    def fail(self, what, reason):
        self.failures.append(f"{what}: {reason}")
        print(f"FAIL {what}: {reason}", flush=True)

    def run(self, what, home, *arguments, readable=()):
        """Run the program in a home that holds everything it is given."""
        environment = {"TMPDIR": os.path.join(self.work, "tmp"), "PATH": os.environ["PATH"], "HOME": home}
        writable = [os.path.join(home, "artifacts"), environment["TMPDIR"]]
        result = traced.run([self.binary, *arguments], home, writable, [home, *readable], environment)
        self.commands += 1
        self.slowest, self.largest = max(self.slowest, result.seconds), max(self.largest, result.mebibytes)
        for broken in result.broken:
            self.fail(f"{what}: {arguments[0]}", broken[:400])
        for folder in (home, "/tmp"):
            if os.path.lexists(os.path.join(folder, "PWNED")):
                self.fail(what, f"{folder}/PWNED is there")
        return result

    def home(self):
        """A fresh folder with a config and one run."""
        home = os.path.join(self.work, "home")
        if os.path.exists(home):
            make_removable(home)
            shutil.rmtree(home)
        os.makedirs(os.path.join(home, "runs", "r"))
        with open(os.path.join(home, "bundlewatch.toml"), "w") as f:
            f.write(CONFIG)
        return home

    def give(self, what, path):
        """Give one file to every verb. Returns what became of it and what inspect sees."""
        home = self.home()
        member = os.path.join(home, "runs", "r", "model")
        shutil.copyfile(path, member)
        self.run(what, home, "check", "--json")
        verdict = self.bundle(what, home)
        seen = self.inspect(what, home, member)
        self.run(what, home, "verify", "--json", member)
        return verdict, seen

    def bundle(self, what, home):
        """Run once: the reason of a refusal, or None for a bundle that verifies and imports nothing foreign."""
        result = self.run(what, home, "once", "--json")
        events = [json.loads(line) for line in result.out.splitlines()]
        reasons = [e["reason"] for e in events if e["event"] == "refused"]
        if reasons:
            return " ".join(reasons)
        if not any(e["event"] == "bundle" for e in events):
            self.fail(what, f"neither bundled nor refused: {result.out[:400]!r}")
            return None
        bundle = os.path.join(home, "artifacts", "w", "r")
        model = os.path.join(bundle, "wts.h5.zip")
        foreign = [n for n in walk.imports(walk.model_of(model)) if not PUBLISHED.fullmatch(n)]
        if foreign:
            self.fail(what, f"the published model.pth imports {foreign}")
        for extra in walk.other_pickles(model):
            self.fail(what, f"the published model.pth carries {extra}, which torch never reads")
        if self.run(what, home, "verify", bundle).code != 0:
            self.fail(what, "the bundle does not verify")
        return None

    def inspect(self, what, home, path):
        """The imports that inspect lists, with whether it marks them as foreign; None when it cannot read the file."""
        result = self.run(what, home, "inspect", "--json", path)
        try:
            pickles = json.loads(result.out)["pickles"]
        except (ValueError, KeyError):
            return None
        return {i["name"]: i.get("foreign", False) for p in pickles for i in p["imports"]} if pickles else None

    # The parts.

    def watcher(self):
        """The watching itself: a program that breaks each promise is caught at each."""
        home = self.home()
        program = "import os, socket; socket.socket(); open('outside', 'w'); os.path.exists(open('/etc/passwd').name); os.system('true')"
        broken = traced.run([sys.executable, "-c", program], home, [os.path.join(home, "artifacts")], [home, sys.prefix]).broken
        for promise in ("used the network", "changed something", "read something: ", "started a"):
            if not any(promise in b for b in broken):
                self.fail("the watcher", f"nobody noticed that the program {promise!r}")

    def corpus(self, folder):
        """The generated corpus: every file refused for what is wrong with it, or bundled clean."""
        with open(os.path.join(folder, "index.json")) as f:
            cases = json.load(f)
        rows = []
        for case in cases:
            path, what = os.path.join(folder, case["file"]), f"{case['group']}: {case['label']}"
            if case["runs"] and not fires(path):
                self.fail(what, "Python does not run this payload: the corpus is wrong")
            verdict, seen = self.give(what, path)
            self.judge(what, case, verdict, seen)
            if case["pickle"]:
                self.compare(what, path, seen)
            rows.append(row(case["group"], case["label"], path, case["hostile"], verdict, seen))
        return rows

    def judge(self, what, case, verdict, seen):
        """Hold a verdict against what is known of the case."""
        named = [n for n in case["imports"] if n in (verdict or "")]
        listed = [n for n in case["imports"] if (seen or {}).get(n)]
        bare = r"|not a torch checkpoint" if "bare pickle" in case["group"] else ""
        if verdict is None:
            if len(listed) < len(case["imports"]):
                self.fail(what, f"bundled, and inspect lists {listed} of {case['imports']}")
        elif not named and not re.search((case["reason"] or "$^") + bare, verdict):
            self.fail(what, f"the refusal does not name what is wrong: {verdict[:200]}")

    def compare(self, what, path, seen):
        """Inspect sees the imports that Python's disassembler sees, and that are returned."""
        with open(path, "rb") as f:
            theirs = walk.imports(walk.pickle_of(f.read()))
        if sorted(seen or {}) != sorted(theirs):
            self.fail(what, f"inspect lists {sorted(seen or {})}, pickletools {sorted(theirs)}")
        return theirs

    def fixtures(self, folder):
        """Hostile and broken files of others."""
        rows = []
        for name in sorted(os.listdir(folder)):
            path, what = os.path.join(folder, name), f"fixture {name}"
            verdict, seen = self.give(what, path)
            if verdict is None:
                self.fail(what, "bundled")
            rows.append(row("hostile fixtures", name, path, name in table.HOSTILE_FIXTURES, verdict, seen))
        return rows

    def real(self, folders):
        """Checkpoints that real trainers wrote: no alarm, and the same imports as Python sees."""
        rows = []
        for path in sorted(checkpoints(folders)):
            what = f"real {os.path.basename(path)}"
            verdict, seen = self.give(what, path)
            if verdict and not re.search(REFUSED.get(os.path.basename(path), "$^"), verdict):
                self.fail(what, f"a false alarm: {verdict[:300]}")
            foreign = [n for n in self.compare(what, path, seen) if not PUBLISHED.fullmatch(n)]
            rows.append(row("real checkpoints", os.path.basename(path), path, bool(foreign), verdict, seen))
        return rows

    def config_files(self, good):
        for name, make in bombs.configs():
            home = self.home()
            shutil.copyfile(good, os.path.join(home, "runs", "r", "model"))
            make(os.path.join(home, "runs", "r", name))
            self.run(f"config {name}", home, "check", "--json")
            result = self.run(f"config {name}", home, "once", "--json")
            if not re.search(r'"event":"(bundle|refused|failed)"', result.out):
                self.fail(f"config {name}", f"no word about the set: {result.out[:300]!r}")

    def places(self):
        for label, make in bombs.places():
            home = self.home()
            make(os.path.join(home, "runs", "r", "model"))
            for verb in ("check", "once"):
                self.run(label, home, verb, "--json")
            if label.startswith("link"):
                continue  # who names a link on the command line means what it leads to
            for verb in ("inspect", "verify"):
                self.run(label, home, verb, "--json", os.path.join(home, "runs", "r", "model"))

    def bundles(self):
        for label, name, make in bombs.bundles():
            home = self.home()
            bundle = os.path.join(home, "bundle")
            os.mkdir(bundle)
            make(os.path.join(bundle, name))
            for verb in ("inspect", "verify"):
                result = self.run(label, home, verb, "--json", bundle, readable=["/dev/zero"])
                if result.code == 0:
                    self.fail(label, f"{verb} finds nothing wrong")


def row(group, label, path, hostile, verdict, seen):
    """What became of a file, for the table: a refusal, or an import that inspect marks as foreign."""
    marked = any((seen or {}).values())
    ours = {"refused by bundlewatch": bool(verdict), "told by bundlewatch": marked or (hostile and bool(verdict))}
    return {"group": group, "label": label, "path": path, "hostile": hostile, "ours": ours, "verdict": verdict}


def make_removable(folder):
    """Published bundles are read-only."""
    for parent, folders, _ in os.walk(folder):
        for f in folders:
            os.chmod(os.path.join(parent, f), stat.S_IRWXU)


def checkpoints(folders):
    for folder in folders:
        for parent, _, names in os.walk(folder):
            yield from (os.path.join(parent, n) for n in names if n.endswith((".ckpt", ".pth", ".pt")))


def scan(python, rows, work):
    """What other scanners say of the same files."""
    if not python:
        return None
    asked = os.path.join(work, "asked.json")
    with open(asked, "w") as f:
        json.dump([r["path"] for r in rows], f)
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run([python, "-B", os.path.join(here, "scanners.py"), asked], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--examples", required=True)
    parser.add_argument("--fixtures", default="")
    parser.add_argument("--scanners", default="", help="a Python that has picklescan and fickling")
    parser.add_argument("--page", required=True)
    parser.add_argument("--write", action="store_true", help="write the table into the page")
    options = parser.parse_args()
    suite = Suite(options)
    suite.watcher()
    rows = suite.corpus(options.corpus)
    good = next(r["path"] for r in rows if r["verdict"] is None)
    suite.config_files(good)
    suite.places()
    suite.bundles()
    folders = [options.examples]
    if options.fixtures:
        rows += suite.fixtures(os.path.join(options.fixtures, "hostile"))
        folders += [os.path.join(options.fixtures, f) for f in ("runs", "formats")]
    rows += suite.real(folders)
    print(f"{suite.commands} commands watched; the slowest took {suite.slowest:.1f} s, the largest {suite.largest:.0f} MiB")
    rows = [r for r in rows if r["group"] != "bomb"]  # other scanners promise nothing about those
    text = table.make(rows, scan(options.scanners, rows, options.work))
    print(text)
    if options.fixtures and options.scanners and not table.keep(options.page, text, options.write):
        suite.fail(options.page, "its table is not this one; test/safety/run.sh --write puts it there")
    if suite.failures:
        sys.exit(f"{len(suite.failures)} broken promises")


if __name__ == "__main__":
    traced.own_limits()
    main()
