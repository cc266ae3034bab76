#!/usr/bin/env python3
# quick: --megabytes 16 --repeats 1
"""perf/recovery.py: how long the state of a lost rank takes to be in place, once its death is known.

Two ranks; one is killed and its memory erased, so that its state comes from the other's mirror. By relaunch the time
runs from the end of the old mpirun to the end of restore() in the new processes, their start included; in place (where
MPI has fault tolerance) from the moment a survivor knew to the end of restore(). recovery.seconds is the slower way.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
RUN = ROOT / "mpi-launch" / "foreweave-run"
STEPS, FAULT_STEP = 5, 4


def launch(a, *args):
    env = {k: v for k, v in os.environ.items() if not k.startswith("FOREWEAVE_")}
    env["FOREWEAVE_FAULT"] = f"kill:rank=1,step={FAULT_STEP},memory=lost"
    return subprocess.run([sys.executable, "-B", str(RUN), "-n", "2", *args, str(a.build / "perf" / "perf_recovery_job"),
                           str(a.megabytes), str(STEPS)], env=env, capture_output=True, text=True, timeout=300, check=False)


def once(a, way):
    done = launch(a, "--recover", way)
    found = re.search(r"recovered (in place|by relaunch): .*?([0-9.e-]+) s from the death", done.stderr, re.M)
    if done.returncode or not found or found[1].replace(" ", "_").removeprefix("by_") != way:
        sys.exit(f"{way}: exit status {done.returncode}\n{done.stderr[-3000:]}")
    return float(found[2])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", type=pathlib.Path, required=True)
    p.add_argument("--json", type=pathlib.Path)
    p.add_argument("--megabytes", type=int, default=256, help="a rank")
    p.add_argument("--repeats", type=int, default=3)
    a = p.parse_args()
    ways = ["relaunch"]
    if launch(a, "--recover", "in_place", "--dry-run").returncode == 0:
        ways.append("in_place")
    print(f"{a.megabytes} MB a rank, 2 ranks; seconds from death known to state in place, median of {a.repeats} (least, greatest)")
    results = []
    for way in ways:
        taken = sorted(once(a, way) for _ in range(a.repeats))
        print(f"  {way:10} {statistics.median(taken):.3f}  ({taken[0]:.3f}, {taken[-1]:.3f})", flush=True)
        results.append({"id": f"recovery.seconds_{way}", "value": statistics.median(taken), "unit": "s", "spread": [taken[0], taken[-1]]})
    slower = max(results, key=lambda r: r["value"])
    results.append({**slower, "id": "recovery.seconds"})
    if a.json:
        a.json.write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
