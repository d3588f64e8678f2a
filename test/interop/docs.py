#!/usr/bin/env python3
"""Runs the code blocks of a documentation page, in their order, as a reader would.

    python3 docs.py PAGE      in the directory that the page's relative paths are meant for; prints {"blocks": n, "skipped": [...], "problems": [...]}

Python blocks share one namespace; sh blocks run with the shell's -eu. A comment <!-- needs torch 2.1 --> before a block leaves it
out for an older torch, <!-- needs PtychoPINN --> where that cannot be imported.
"""
import contextlib
import importlib.util
import io
import json
import re
import subprocess
import sys
import traceback

import torch

BLOCK = re.compile(r"(?:^<!-- needs (.+?) -->\n)?^```(python|sh)\n(.*?)^```$", re.M | re.S)


def missing(needs):
    """Why a block cannot run here, None when it can."""
    if not needs:
        return None
    name, _, version = needs.partition(" ")
    if name == "torch":
        have = [int(n) for n in re.findall(r"\d+", torch.__version__)[:2]]
        return None if have >= [int(n) for n in version.split(".")] else f"torch {torch.__version__} is older than {version}"
    if name == "PtychoPINN":
        return None if importlib.util.find_spec("ptycho_torch") else "PtychoPINN is not installed"
    return f"nobody knows {needs!r}"


def run(language, text, names):
    if language == "sh":
        p = subprocess.run(["bash", "-euo", "pipefail", "-c", text], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return None if p.returncode == 0 else f"exit code {p.returncode}: {p.stdout[-600:]}"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(text, "block", "exec"), names)
    except Exception:
        return traceback.format_exc(limit=-1)
    return None


def main():
    with open(sys.argv[1]) as f:
        page = f.read()
    report, names = {"blocks": 0, "skipped": [], "problems": []}, {"__name__": "page"}
    for needs, language, text in BLOCK.findall(page):
        first = next(line for line in text.splitlines() if line.strip())
        why = missing(needs)
        if why:
            report["skipped"].append(f"{first}: {why}")
            continue
        report["blocks"] += 1
        problem = run(language, text, names)
        if problem:
            report["problems"].append(f"{first}: {problem}")
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
