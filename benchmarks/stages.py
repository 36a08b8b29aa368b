"""Where a run's time went: seconds, CPU seconds and peak memory of every rule, from its benchmark files.

python benchmarks/stages.py [folder with logs/, default: here]
"""

import csv
import re
import sys
from collections import defaultdict
from pathlib import Path

root = Path(sys.argv[1] if len(sys.argv) > 1 else ".") / "logs"
rules = defaultdict(lambda: {"jobs": 0, "s": 0.0, "cpu": 0.0, "mb": 0.0, "inside": 0.0})
for path in sorted((root / "benchmarks").rglob("*.tsv")):
    name = path.relative_to(root / "benchmarks").parts[0].removesuffix(".tsv")
    with open(path, newline="") as file:
        row = next(csv.DictReader(file, delimiter="\t"))
    log = root / path.relative_to(root / "benchmarks").with_suffix(".log")
    inside = re.search(r"done in ([\d.]+) s", log.read_text()) if log.exists() else None
    entry = rules[name]
    entry["jobs"] += 1
    entry["s"] += float(row["s"])
    entry["cpu"] += float(row["cpu_time"] if row["cpu_time"] not in ("NA", "-") else 0)
    entry["mb"] = max(
        entry["mb"], float(row["max_rss"] if row["max_rss"] not in ("NA", "-") else 0)
    )
    entry["inside"] += float(inside[1]) if inside else 0.0

print(
    f"{'rule':22}{'jobs':>5}{'seconds':>9}{'of which in the script':>24}{'CPU s':>8}{'peak MB':>9}"
)
for name, entry in sorted(rules.items(), key=lambda item: -item[1]["s"]):
    print(
        f"{name:22}{entry['jobs']:5}{entry['s']:9.1f}{entry['inside']:24.1f}"
        f"{entry['cpu']:8.0f}{entry['mb']:9.0f}"
    )
total = {key: sum(entry[key] for entry in rules.values()) for key in ("jobs", "s", "inside", "cpu")}
print(f"{'all':22}{total['jobs']:5}{total['s']:9.1f}{total['inside']:24.1f}{total['cpu']:8.0f}")
