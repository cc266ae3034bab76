#!/usr/bin/env python3
"""Kills a rank of ring_program at seeded moments of captures and commits; the job must end with the undisturbed result.

    kill_moments.py --mode relaunch|in_place --program RING_PROGRAM [--seeds N] [--first S] [--ranks R]

Each seed chooses who dies, in which version's capture or commit, how many microseconds into it, whether the memory of
its node goes with it, how much state there is, and the size of the window between versions. A failing seed is printed
with the command that repeats it. Exit status 77: this MPI cannot do it (in place, without fault tolerance).
"""
import argparse
import random
import sys

from ring_job import SKIPPED, Folder, digests_of, open_mpi_major, run_ring


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--mode", choices=["relaunch", "in_place"], required=True)
    parser.add_argument("--program", required=True)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument("--redundancy", default="copies", help="copies, or rs:K+M: memory is then always lost, and the "
                        "state must have come from parity")
    parser.add_argument("--transport", choices=["ucx", "mpi"], default="ucx")
    arguments = parser.parse_args()
    if arguments.mode == "in_place" and open_mpi_major() < 5:
        print("skipped: in place needs Open MPI 5 or newer (ULFM)")
        return SKIPPED
    with Folder() as folder:
        return check(arguments, folder)


def check(arguments, folder):
    failures = 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        dice = random.Random(seed)
        elements = dice.choice([1, 1000, 30_000, 300_000])
        every = dice.choice([1, 2, 5])
        versions = 12
        steps = every * versions + dice.randrange(every)
        pause = dice.choice([0, 500, 3000])
        victim = dice.randrange(arguments.ranks)
        fault = f"kill:rank={victim},version={dice.randrange(2, versions)},after={dice.expovariate(1 / 4.0):.3f}"
        parity = arguments.redundancy != "copies"
        if dice.random() < 0.6 or parity:
            fault += ",memory=lost"
        common = {"store": folder / "host", "every": every, "max_chain": dice.choice([1, 3, 8]),
                  "transport": arguments.transport, "redundancy": arguments.redundancy}
        undisturbed, result = folder / "undisturbed", folder / "result"
        for file in (undisturbed, result):
            file.unlink(missing_ok=True)
        code, text = run_ring(arguments.program, arguments.ranks, undisturbed, steps, elements, 0,
                              {**common, "enabled": "false"}, ["--recover", "none", "--job", f"plain-{seed}"])
        expected, _ = digests_of(undisturbed, arguments.ranks)
        if code != 0 or not expected:
            print(text)
            print(f"seed {seed}: the undisturbed run failed ({code})")
            return 1
        how = ["--recover", arguments.mode, "--job", f"kill-{seed}"]
        if arguments.mode == "in_place":
            how += ["--spares", "1"]
        code, text = run_ring(arguments.program, arguments.ranks, result, steps, elements, pause,
                              {**common, "fault": fault, "log": "info"}, how)
        found, last = digests_of(result, arguments.ranks)
        # A fault late in the last version may come after the end: then nothing died, and the result must still hold.
        struck = any((folder / "host").glob(f"kill-{seed}/fault-0")) or "restored version" in text or code != 0
        # The way that was asked for, not another that also works.
        way = {"in_place": "recovery: in place", "relaunch": "recovery: by relaunch"}[arguments.mode]
        recovered = last.startswith("recoveries 1 ") and way in text
        if parity and "restored version" in text:
            recovered = recovered and f"from parity ({arguments.redundancy})" in text
        good = code == 0 and found == expected and (recovered or not struck)
        print(f"seed {seed}: {fault} elements={elements} every={every}: "
              f"{'identical' if good else 'FAILED'}, {last or 'no result'}", flush=True)
        if not good:
            failures += 1
            print(text)
            print(f"repeat: {__file__} --mode {arguments.mode} --transport {arguments.transport} "
                  f"--redundancy {arguments.redundancy} --ranks {arguments.ranks} "
                  f"--program {arguments.program} --seeds 1 --first {seed}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
