"""What picklescan and fickling say of files: scanners.py LIST, where LIST is a JSON array of paths.

Prints an object with the scanners' versions and, for every path, their verdicts: "flagged", "passed" or "error". Fickling reads
pickles, not torch zips: it is given the data.pkl.
"""
import contextlib
import json
import logging
import multiprocessing
import sys
from importlib.metadata import version

from fickling.analysis import Severity, check_safety
from fickling.fickle import StackedPickle
from picklescan.scanner import scan_file_path

from walk import pickle_of

SECONDS = 60


def picklescan(path):
    """As its command line: dangerous imports alone are found; a file that it cannot read is an error."""
    result = scan_file_path(path)
    return "flagged" if result.infected_files else "error" if result.scan_err else "passed"


def fickling(path):
    """The gravest verdict over the pickles in a file."""
    with open(path, "rb") as f:
        stacked = StackedPickle.load(pickle_of(f.read()))
    return max((check_safety(p).severity for p in stacked), default=Severity.LIKELY_SAFE)


def judge(path):
    verdict = {"picklescan": "error", "fickling": "error", "fickling, malicious": "error"}
    with contextlib.suppress(Exception, RecursionError):
        verdict["picklescan"] = picklescan(path)
    with contextlib.suppress(Exception, RecursionError):
        gravest = fickling(path)
        verdict["fickling"] = "flagged" if gravest > Severity.LIKELY_SAFE else "passed"
        verdict["fickling, malicious"] = "flagged" if gravest >= Severity.LIKELY_OVERTLY_MALICIOUS else "passed"
    return verdict


def main():
    logging.disable(logging.CRITICAL)
    with open(sys.argv[1]) as f:
        asked = json.load(f)
    verdicts = []
    with contextlib.redirect_stdout(sys.stderr), multiprocessing.Pool(1, maxtasksperchild=50) as pool:
        for path in asked:
            try:
                verdicts.append(pool.apply_async(judge, [path]).get(SECONDS))
            except multiprocessing.TimeoutError:
                sys.exit(f"the scanners took longer than {SECONDS} s for {path}")
    json.dump({"versions": {n: version(n) for n in ("picklescan", "fickling")}, "verdicts": verdicts}, sys.stdout)


if __name__ == "__main__":
    main()
