"""The table of agreement: which scanner flags what. It is kept in docs/safety.md, between two marks."""

# Of the shared fixtures, those whose pickle imports what tensors do not need. The others are broken files.
HOSTILE_FIXTURES = ("os_system.pth", "eval_in_state_dict.pth", "stack_global.pth", "memo_global.pth", "inst.pth", "obj.pth",
                    "truncated_after_call.pth")

BEGIN, END = "<!-- written by make safety -->", "<!-- end -->"


def make(rows, scanned):
    """Markdown: how many files each scanner flags, first of those that it should, then of those that it should not."""
    flags = [{name: "flagged" if flagged else "passed" for name, flagged in r["ours"].items()} for r in rows]
    if scanned:
        for ours, theirs in zip(flags, scanned["verdicts"]):
            ours.update(theirs)
    pairs, scanners = list(zip(rows, flags)), list(flags[0])
    foreign = [p for p in pairs if p[0]["hostile"]]
    clean = [p for p in pairs if not p[0]["hostile"] and p[0]["group"] == "real checkpoints"]
    lines = [*grid("with an import that tensors do not need", foreign, scanners), "", *grid("without", clean, scanners[1:])]
    for scanner in scanners[1:]:
        if "," not in scanner:
            lines += missed(scanner, foreign)
    if scanned:
        lines += ["", "Compared: " + ", ".join(f"{n} {v}" for n, v in scanned["versions"].items()) + "."]
    return "\n".join(lines)


def grid(title, pairs, scanners):
    yield f"| {title} | files | " + " | ".join(scanners) + " |"
    yield "|---|---:|" + "---:|" * len(scanners)
    yield from count(pairs, scanners)


def missed(scanner, foreign):
    """The files that a scanner lets pass, each group named once."""
    by_group = {}
    for r, flags in foreign:
        if flags[scanner] != "flagged":
            by_group.setdefault(family(r), {})[r["label"]] = True
    if by_group:
        yield ""
        yield f"Not {scanner if ' by ' in scanner else 'flagged by ' + scanner}: " + \
            "; ".join(f"{group}: {', '.join(labels)}" for group, labels in by_group.items()) + "."


def family(row):
    """The group of a file, whatever the container and the place."""
    return row["group"].partition(",")[0]


def count(pairs, scanners):
    """One line per group, in the order of the groups."""
    for group in dict.fromkeys(family(r) for r, _ in pairs):
        of_group = [flags for r, flags in pairs if family(r) == group]
        cells = [cell([v[s] for v in of_group]) for s in scanners]
        yield f"| {group} | {len(of_group)} | " + " | ".join(cells) + " |"


def cell(verdicts):
    errors = verdicts.count("error")
    return f"{verdicts.count('flagged')}" + (f" ({errors} not read)" if errors else "")


def keep(page, text, write):
    """Put the table into the page, or tell whether it is there."""
    with open(page) as f:
        before, rest = f.read().split(BEGIN)
    _, after = rest.split(END)
    content = before + BEGIN + "\n" + text + "\n" + END + after
    if write:
        with open(page, "w") as f:
            f.write(content)
        return True
    with open(page) as f:
        return f.read() == content
