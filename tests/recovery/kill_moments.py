#!/usr/bin/env python3
"""Kills a rank of ring_program at seeded moments of captures and commits; the job must end with the undisturbed result.

    kill_moments.py --mode relaunch|in_place --program RING_PROGRAM [--seeds N] [--first S] [--ranks R]

Each seed chooses who dies, in which version's capture or commit, how many microseconds into it, whether the memory of
its node goes with it, how much state there is, and the size of the window between versions. A failing seed is printed
with the command that repeats it. Exit status 77: this MPI cannot do it (in place, without fault tolerance).
"""
import argparse
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "mpi-launch" / "foreweave-run"


def open_mpi_major():
    text = subprocess.run(["mpirun", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\b(\d+)\.\d+\.\d+", text)
    return int(found.group(1)) if found else 0


def job(program, ranks, result, steps, elements, pause, options, launcher_arguments, timeout=150):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FOREWEAVE_")}
    environment.update({f"FOREWEAVE_{name.upper()}": str(value) for name, value in options.items()})
    command = [str(LAUNCHER), "-n", str(ranks), *launcher_arguments, "--", program, str(steps), str(elements), str(result),
               str(pause)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    return done.returncode, done.stdout + done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--mode", choices=["relaunch", "in_place"], required=True)
    parser.add_argument("--program", required=True)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument("--transport", choices=["ucx", "mpi"], default="ucx")
    arguments = parser.parse_args()
    if arguments.mode == "in_place" and open_mpi_major() < 5:
        print("skipped: in place needs Open MPI 5 or newer (ULFM)")
        return 77

    base = pathlib.Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else pathlib.Path(tempfile.gettempdir())
    folder = pathlib.Path(tempfile.mkdtemp(prefix="foreweave-kill-", dir=base))
    failures = 0
    try:
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            dice = random.Random(seed)
            elements = dice.choice([1, 1000, 30_000, 300_000])
            every = dice.choice([1, 2, 5])
            versions = 12
            steps = every * versions + dice.randrange(every)
            pause = dice.choice([0, 500, 3000])
            victim = dice.randrange(arguments.ranks)
            fault = f"kill:rank={victim},version={dice.randrange(2, versions)},after={dice.expovariate(1 / 4.0):.3f}"
            if dice.random() < 0.6:
                fault += ",memory=lost"
            common = {"store": folder / "host", "every": every, "max_chain": dice.choice([1, 3, 8]),
                      "transport": arguments.transport}
            undisturbed, result = folder / "undisturbed", folder / "result"
            for file in (undisturbed, result):
                file.unlink(missing_ok=True)
            code, text = job(arguments.program, arguments.ranks, undisturbed, steps, elements, 0,
                             {**common, "enabled": "false"}, ["--recover", "none", "--job", f"plain-{seed}"])
            if code != 0 or not undisturbed.exists():
                print(text)
                print(f"seed {seed}: the undisturbed run failed ({code})")
                return 1
            how = ["--recover", arguments.mode, "--job", f"kill-{seed}"]
            if arguments.mode == "in_place":
                how += ["--spares", "1"]
            try:
                code, text = job(arguments.program, arguments.ranks, result, steps, elements, pause,
                                 {**common, "fault": fault, "log": "info"}, how)
            except subprocess.TimeoutExpired as hung:
                code, text = -1, f"hung: {hung}\n{(hung.stdout or b'').decode()}{(hung.stderr or b'').decode()}"
            expected = undisturbed.read_text(encoding="utf-8").splitlines()[:arguments.ranks]
            lines = result.read_text(encoding="utf-8").splitlines() if result.exists() else []
            recovered = bool(lines) and lines[-1].startswith("recoveries 1 ")
            # A fault late in the last version may come after the end: then nothing died, and the result must still hold.
            struck = any((folder / "host").glob(f"kill-{seed}/fault-0")) or "restored version" in text or code != 0
            # The way that was asked for, not another that also works.
            way = {"in_place": "recovery: in place", "relaunch": "recovery: by relaunch"}[arguments.mode]
            recovered = recovered and way in text
            good = code == 0 and lines[:arguments.ranks] == expected and (recovered or not struck)
            print(f"seed {seed}: {fault} elements={elements} every={every}: "
                  f"{'identical' if good else 'FAILED'}, {lines[-1] if lines else 'no result'}", flush=True)
            if not good:
                failures += 1
                print(text)
                print(f"repeat: {__file__} --mode {arguments.mode} --transport {arguments.transport} "
                      f"--program {arguments.program} --seeds 1 --first {seed}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
