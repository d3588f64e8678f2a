#!/usr/bin/env python3
"""Runs bundlewatch over real checkpoints and has every given Python read what it published. Started by run.sh."""
import argparse
import filecmp
import glob
import json
import os
import random
import re
import shutil
import subprocess
import sys

import layouts
from layouts import Watch, format_watches, fresh_watches, write_config

HERE = os.path.dirname(os.path.abspath(__file__))
DOCS = os.path.join(HERE, "..", "..", "docs")
FLIPS = 200


class Published:
    """What one `bundlewatch once --json` said."""

    def __init__(self, code, stdout, stderr):
        self.code, self.stderr, self.events, self.noise = code, stderr, [], []
        for line in stdout.splitlines():
            try:
                self.events.append(json.loads(line))
            except ValueError:
                self.noise.append(f"not JSON on stdout: {line!r}")

    def named(self, event):
        return {(e.get("watch"), e.get("key")): e for e in self.events if e.get("event") == event}

    def problems(self, watches, code, events=("bundle",)):
        """How this differs from exactly the bundles of the watches, under the given kind of event."""
        want = {(w.name, key) for w in watches for key in w.bundles}
        got = {pair for event in events for pair in self.named(event)}
        lines = [f"{event} {pair}: not expected" for event in events for pair in sorted(got - want)]
        lines += [f"bundle {pair}: missing" for pair in sorted(want - got)]
        waiting = set(self.named("waiting"))
        lines += [f"{(w.name, key)}: does not wait" for w in watches for key in w.waiting if (w.name, key) not in waiting]
        if self.code != code:
            lines.append(f"exit code {self.code}, want {code}; stderr: {self.stderr[-600:]}")
        if not self.events or self.events[-1].get("event") != "summary":
            lines.append("the last line is not a summary")
        return lines + self.noise

    def jobs(self, watches):
        found, jobs = self.named("bundle"), []
        for watch in watches:
            for key, expectation in watch.bundles.items():
                if (watch.name, key) in found:
                    jobs.append(dict(expectation, name=f"{watch.name}/{key}", dir=found[watch.name, key]["path"]))
        return jobs


class Suite:
    def __init__(self, args):
        self.binary, self.work, self.pythons = args.binary, args.work, args.python
        self.examples, self.fixtures = args.examples, args.fixtures
        self.groups = self.failed = 0
        self.expected = {}
        self.versions = {p: subprocess.check_output([p, "-c", "import torch; print('torch', torch.__version__)"], text=True).strip()
                         for p in self.pythons}

    def report(self, group, problems, note=""):
        self.groups += 1
        self.failed += bool(problems)
        print(f"{'FAIL' if problems else 'ok  '} {group}{note and f' ({note})'}", flush=True)
        for line in problems[:20]:
            print(f"     {line}")
        if len(problems) > 20:
            print(f"     and {len(problems) - 20} more")

    def folder(self, *parts):
        return os.path.join(self.work, *parts)

    def bundlewatch(self, *args, wrapper=(), **how):
        return subprocess.run([*wrapper, self.binary, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300, **how)

    def once(self, config, **how):
        p = self.bundlewatch("once", "--config", config, "--json", **how)
        return Published(p.returncode, p.stdout, p.stderr)

    def read_everywhere(self, what, jobs):
        """Every Python reads every bundle; one report line per Python and check."""
        for python, version in self.versions.items():
            answer = self.check(python, jobs)
            if not answer:
                self.report(f"{what}, {version}", ["no bundle was checked"])
            for group, found in answer.items():
                self.report(f"{what}, {version}: {group}", found["problems"], f"{found['bundles']} bundles")
        self.report(f"{what}: sha256sum -c", [line for job in jobs for line in self.wrong_sums(job["dir"])], f"{len(jobs)} bundles")

    def check(self, python, jobs, script="check.py"):
        path = self.folder("jobs.json")
        with open(path, "w") as f:
            json.dump(jobs, f)
        p = subprocess.run([python, "-B", os.path.join(HERE, script), path], stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(p.stdout)

    def wrong_sums(self, bundle):
        p = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=bundle, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        with open(os.path.join(bundle, "SHA256SUMS")) as f:
            unlisted = set(os.listdir(bundle)) - {"SHA256SUMS"} - {line.split(None, 1)[1].strip().lstrip("*") for line in f}
        lines = [f"{bundle}: {p.stdout.strip()}"] if p.returncode else []
        return lines + [f"{bundle}: {name} is not in SHA256SUMS" for name in sorted(unlisted)]

    def copy(self, source, to):
        return shutil.copytree(source, self.folder(to))

    def load_expected(self):
        """expected.json by absolute path of the copies under work/."""
        if self.fixtures:
            with open(os.path.join(self.fixtures, "expected.json")) as f:
                self.expected = {self.folder(rel): tensors for rel, tensors in json.load(f)["files"].items()}

    # The groups, in the order in which they run.

    def run_watches(self, runs):
        """Watches over a copy of the fixture runs or of the examples, whichever of the known layouts it holds."""
        return [make(f"{os.path.basename(runs)}-{name}", f"{runs}/{name}", self.expected)
                for name, make in layouts.LAYOUTS.items() if os.path.isdir(f"{runs}/{name}")]

    def runs(self):
        copies = [self.copy(self.examples, "examples")]
        if self.fixtures:
            copies.append(self.copy(self.fixtures + "/runs", "runs"))
        self.watches = [w for runs in copies for w in self.run_watches(runs)]
        self.config = write_config(self.folder("first"), self.folder("first", "artifacts"), self.watches)
        self.published = self.once(self.config)
        self.report("runs: every complete set published, the lonely member waits", self.published.problems(self.watches, 0))
        self.read_everywhere("runs", self.published.jobs(self.watches))
        again = self.once(self.config)
        self.report("runs: a second pass publishes nothing", again.problems(self.watches, 0, ("published_before",))
                    + [f"published again: {pair}" for pair in again.named("bundle")])

    def formats(self):
        if not self.fixtures:
            return
        root = self.copy(self.fixtures + "/formats", "formats")
        os.remove(root + "/sentinel.pth")                      # no state_dict: whether it may stand alone is not asked here
        watches = format_watches(root, self.expected, self.fixtures + "/runs/pairs/run_20251017_104700/configs")
        published = self.once(write_config(self.folder("formats-run"), self.folder("formats-run", "artifacts"), watches))
        self.report("formats: published", published.problems(watches, 3))
        self.report("formats: refused by name", self.not_refused(published, ["whole_module.pt"]))
        self.read_everywhere("formats", published.jobs(watches))

    def not_refused(self, published, names):
        refused = {os.path.basename(e.get("path", "")): e for e in published.named("refused").values()}
        lines = [f"{name}: not refused" for name in names if name not in refused]
        lines += [f"{name}: refused without a reason" for name in names if name in refused and not refused[name].get("reason")]
        return lines + [f"{name}: not named on stderr" for name in names if name not in published.stderr]

    def hostile(self):
        if not self.fixtures:
            return
        root = self.copy(self.fixtures + "/hostile", "hostile")
        config = write_config(self.folder("hostile-run"), self.folder("hostile-run", "artifacts"),
                              [Watch("hostile", root, {"model": "{name}.pth"}, {})])
        here = self.folder("hostile-here")
        os.makedirs(here)
        before = glob.glob("/tmp/PWNED")
        published = self.once(config, cwd=here)
        # os_system.pth holds a sound state_dict beside the call: to leave the call out is as good as to refuse.
        problems = [p for p in published.problems([], 3) if "'os_system'" not in p]
        left = glob.glob(self.folder("**/PWNED"), recursive=True) + [p for p in glob.glob("/tmp/PWNED") if p not in before]
        self.report("hostile: nothing published, nothing executed", problems + [f"{p} was written" for p in left])

    def fresh(self):
        watches = []
        for i, (python, version) in enumerate(self.versions.items()):
            root = self.folder(f"fresh{i}")
            p = subprocess.run([python, "-B", os.path.join(HERE, "fresh.py"), root], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.report(f"fresh, {version}: written", [p.stdout[-600:]] if p.returncode else [])
            if p.returncode == 0:
                with open(root + "/files.json") as f:
                    watches += fresh_watches(f"fresh{i}", root, json.load(f))
        published = self.once(write_config(self.folder("fresh-run"), self.folder("fresh-run", "artifacts"), watches))
        self.report("fresh: published", published.problems(watches, 0))
        self.fresh_jobs = published.jobs(watches)
        self.read_everywhere("fresh", self.fresh_jobs)

    def docs(self):
        """The pages on loading are run as they stand: configs, shell and Python."""
        with open(os.path.join(DOCS, "ptychopinn.md")) as f:
            configs = re.findall(r"^```toml\n(.*?)^```$", f.read(), re.M | re.S)
        environment = dict(os.environ, PATH=self.folder("bin") + os.pathsep + os.environ["PATH"])
        os.makedirs(self.folder("bin"))
        os.symlink(self.binary, self.folder("bin", "bundlewatch"))
        for page, config, runs, least in (("ptychopinn.md", configs[0], "unified", 4), ("loading.md", configs[1], "pairs", 8)):
            for i, (python, version) in enumerate(self.versions.items()):
                here = self.folder(f"docs-{runs}{i}")
                shutil.copytree(os.path.join(self.examples, runs), os.path.join(here, "runs"))
                with open(os.path.join(here, "bundlewatch.toml"), "w") as f:
                    f.write(config)
                once = self.once("bundlewatch.toml", cwd=here)
                p = subprocess.run([python, "-B", os.path.join(HERE, "docs.py"), os.path.join(DOCS, page)], cwd=here, env=environment,
                                   stdout=subprocess.PIPE, text=True, check=True)
                report = json.loads(p.stdout)
                problems = report["problems"] + [f"exit code {once.code}: {once.stderr}"] * bool(once.code)
                if report["blocks"] < least:
                    problems.append(f"only {report['blocks']} blocks were run")
                for line in report["skipped"]:
                    print(f"SKIP: docs/{page}, {version}: {line}")
                self.report(f"docs/{page}, {version}", problems, f"{report['blocks']} blocks")

    def self_test(self):
        """Broken bundles and expectations must be noticed by the checks above."""
        jobs = {j["name"]: j for j in self.published.jobs(self.watches) + self.fresh_jobs}
        kinds = {"pair": "examples-pairs/", "unified": "examples-unified/", "views": "fresh0-plain/views"}
        picked = {kind: next((jobs[n] for n in sorted(jobs) if n.startswith(start)), None) for kind, start in kinds.items()}
        if not all(picked.values()):
            return self.report("self-test", [f"no {kind} bundle to break" for kind, j in picked.items() if not j])
        for python, version in self.versions.items():
            self.report(f"self-test, {version}: every sabotage is noticed", self.check(python, picked, "sabotage.py"))
        copy = self.copy(picked["pair"]["dir"], "self-test")
        flip(copy + "/wts.h5.zip", 1000, 0)
        self.report("self-test: sha256sum notices a flipped bit", [] if self.wrong_sums(copy) else ["it went unnoticed"])
        other = filecmp.cmp(copy + "/wts.h5.zip", picked["pair"]["dir"] + "/wts.h5.zip", shallow=False)
        self.report("self-test: a flipped bit is a difference", ["it went unnoticed"] if other else [])

    def determinism(self):
        """The same sources elsewhere, with other times, on another host: the same archives."""
        moved = self.copy(self.work + "/examples", "elsewhere/deeper/examples")
        copies = [moved]
        if self.fixtures:
            copies.append(self.copy(self.work + "/runs", "elsewhere/deeper/runs"))
        for i, path in enumerate(glob.glob(self.folder("elsewhere/**"), recursive=True)):
            os.utime(path, (1e9 + i, 1e9 + 1000 * i))
        watches = [w for runs in copies for w in self.run_watches(runs)]
        wrapper, note = other_host()
        second = self.once(write_config(self.folder("second"), self.folder("second", "other artifacts"), watches), wrapper=wrapper,
                           cwd="/", env=dict(os.environ, TZ="Asia/Tokyo", LANG="C", LC_ALL="C"))
        problems = second.problems(watches, 0)
        first = self.published.named("bundle")
        for pair, event in second.named("bundle").items():
            if pair in first and not filecmp.cmp(event["path"] + "/wts.h5.zip", first[pair]["path"] + "/wts.h5.zip", shallow=False):
                problems.append(f"{pair}: wts.h5.zip differs")
        self.report("determinism: other roots, times and host give equal archives", problems, note)

    def verify(self):
        whole = [self.folder(run, "artifacts") for run in ("first", "formats-run", "fresh-run") if os.path.isdir(self.folder(run, "artifacts"))]
        p = self.bundlewatch("verify", *whole)
        self.report("verify: everything published is whole", [f"exit code {p.returncode}: {p.stderr[-600:]}"] if p.returncode else [])
        bundles = [e["path"] for (watch, _), e in sorted(self.published.named("bundle").items())
                   if watch.startswith("examples-")]
        bundles = [bundles[0], bundles[-1]] if bundles else []
        problems = [] if bundles else ["no bundle to flip bits in"]
        for i, bundle in enumerate(bundles):
            problems += self.unnoticed_flips(self.copy(bundle, f"flips{i}"), random.Random(20251017 + i), FLIPS // len(bundles))
        self.report("verify: every flipped bit is noticed", problems, f"{FLIPS} flips in {len(bundles)} bundles")

    def unnoticed_flips(self, bundle, rng, times):
        """Flips one bit at a time, in a file chosen by size and in any file by turns."""
        names = sorted(os.listdir(bundle))
        sizes = [os.path.getsize(os.path.join(bundle, n)) for n in names]
        for path in [bundle] + [os.path.join(bundle, n) for n in names]:
            os.chmod(path, 0o755)
        problems = [] if self.bundlewatch("verify", bundle).returncode == 0 else [f"{bundle}: an untouched copy does not verify"]
        for i in range(times):
            name = rng.choices(names, sizes if i % 2 else None)[0]
            path = os.path.join(bundle, name)
            at, bit = rng.randrange(os.path.getsize(path)), rng.randrange(8)
            flip(path, at, bit)
            code = self.bundlewatch("verify", bundle).returncode
            flip(path, at, bit)
            if code != 3:
                problems.append(f"{name}: bit {bit} of byte {at} flipped: exit code {code}, want 3")
        if self.bundlewatch("verify", bundle).returncode != 0:
            problems.append(f"{bundle}: does not verify after every flip was undone")
        return problems


def flip(path, at, bit):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1 << bit]))


def other_host():
    """A command that runs its arguments under another host name, and a note where that cannot be had."""
    wrapper = ["unshare", "--uts", "sh", "-c", "hostname elsewhere && exec \"$@\"", "sh"]
    try:
        subprocess.run([*wrapper, "true"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return [], "on the same host: unshare --uts needs root"
    return wrapper, ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True, type=os.path.abspath)
    parser.add_argument("--work", required=True, type=os.path.realpath, help="an empty directory")
    parser.add_argument("--examples", required=True)
    parser.add_argument("--fixtures", default="", help="the shared fixtures, if there are any")
    parser.add_argument("--python", action="append", required=True)
    suite = Suite(parser.parse_args())
    suite.load_expected()
    for group in (suite.runs, suite.formats, suite.hostile, suite.fresh, suite.self_test, suite.determinism, suite.verify):
        group()
    print(f"{'FAILED' if suite.failed else 'PASSED'}: {suite.failed} of {suite.groups} groups failed")
    sys.exit(1 if suite.failed else 0)


if __name__ == "__main__":
    main()
