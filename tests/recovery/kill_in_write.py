#!/usr/bin/env python3
"""Kills a rank in the middle of writing a file: the output of the fields, or the trace. The job must recover, every
file of the fields must be whole and as in an undisturbed run, and the trace readable.

    kill_in_write.py --what fields|trace --mode relaunch|in_place --program GRAY_SCOTT --compare COMPARE_FIELDS
                     --cli FOREWEAVE --library KILL_IN_WRITE [--seeds N] [--first S]

The moments are calls to the system, counted in a first run and chosen by seed (kill_in_write.cpp). Exit status 77: this
MPI cannot do it (in place, without fault tolerance).
"""
import argparse
import pathlib
import random
import subprocess
import sys

from ring_job import ROOT, SKIPPED, Folder, Job, open_mpi_major

RANKS = 3
SETTINGS = ROOT / "examples" / "01_gray_scott" / "test_settings.toml"


class Test:
    def __init__(self, arguments, folder):
        self.a, self.folder = arguments, folder
        # The output goes through one rank; of the trace every hub writes its own.
        self.file, self.hubs = (".vtkhdf", [0]) if arguments.what == "fields" else ("/ranks/", [0, 1, 2])
        self.plain = folder / "plain"

    def run(self, name, plain=False, hub=0, call=0):
        """(exit status, what was said) of a job whose process `hub` dies in its call number `call`."""
        out = self.folder / name
        settings = {"KILL_FILE": self.file, "KILL_HUB": hub, "KILL_CALL": call, "KILL_NOTE": out}
        program = ["env", f"LD_PRELOAD={self.a.library}", *(f"{key}={value}" for key, value in settings.items()),
                   self.a.program, SETTINGS, "--output", out / "fields", *(["--plain"] if plain else [])]
        launch = ["--job", name, "--recover", "none" if plain else self.a.mode]
        if not plain:
            launch += ["--trace", out / "trace", *(["--spares", "1"] if self.a.mode == "in_place" else [])]
        return Job(program, RANKS, {"store": self.folder / "host", "every": 3}, launch).end()

    def calls(self, name):
        return {hub: int(pathlib.Path(f"{self.folder / name}.calls.{hub}").read_text(encoding="ascii"))
                for hub in self.hubs}

    def faults(self, name, code, text, struck):
        """What is wrong with a run, in words."""
        out = self.folder / name
        if code != 0:
            return [f"exit status {code}"]
        wrong = []
        way = {"in_place": "recovery: in place\n", "relaunch": "recovery: by relaunch (1 of 3)\n"}[self.a.mode]
        recovered = way in text
        # The trace is closed after the program has ended: with a death there nothing is left to be recovered.
        over = self.a.what == "trace" and "recovery: none needed" in text
        if recovered != struck and not (struck and over):
            wrong.append(f"{'not ' if struck else ''}recovered, though a rank was {'' if struck else 'not '}killed")
        expected = sorted(file.name for file in (self.plain / "fields").glob("*.vtkhdf*"))
        found = sorted(file.name for file in (out / "fields").glob("*.vtkhdf*"))
        if found != expected:
            wrong.append(f"files {found}, not {expected}")
        for file in expected:
            done = subprocess.run([self.a.compare, self.plain / "fields" / file, out / "fields" / file],
                                  capture_output=True, text=True, check=False)
            if done.returncode != 0:
                wrong.append(f"{file}: {done.stdout}{done.stderr}")
        said = subprocess.run([self.a.cli, "ls", out / "trace"], capture_output=True, text=True, check=False)
        if said.returncode != 0 or "not there" in said.stdout or recovered != ("recovered (" in said.stdout):
            wrong.append(f"the trace: {said.stdout}{said.stderr}")
        return wrong

    def check(self):
        code, text = self.run("plain", plain=True)
        if code != 0:
            print(text)
            return 1
        code, text = self.run("counted")
        wrong = self.faults("counted", code, text, False)
        if wrong:
            print("\n".join([text, "without a death:", *wrong]))
            return 1
        calls = self.calls("counted")
        print(f"calls that change a file, by hub: {calls}", flush=True)
        failures = hits = 0
        for seed in range(self.a.first, self.a.first + self.a.seeds):
            dice = random.Random(seed)
            hub = dice.choice(self.hubs)
            # How often the trace is written depends on the time: the later calls may not come.
            last = calls[hub] if self.a.what == "fields" else max(1, calls[hub] * 2 // 3)
            call, name = dice.randint(1, last), f"seed-{seed}"
            code, text = self.run(name, hub=hub, call=call)
            struck = pathlib.Path(f"{self.folder / name}.struck").exists()
            hits += struck and "recovery: none needed" not in text
            wrong = self.faults(name, code, text, struck)
            print(f"seed {seed}: hub {hub} killed in call {call}: "
                  f"{'FAILED' if wrong else 'whole' if struck else 'whole, but the call did not come'}", flush=True)
            if wrong:
                failures += 1
                print("\n".join([text, *wrong]))
        if hits * 2 < self.a.seeds:
            print(f"only {hits} of {self.a.seeds} deaths had to be recovered from")
            failures += 1
        return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--what", choices=["fields", "trace"], required=True)
    parser.add_argument("--mode", choices=["relaunch", "in_place"], required=True)
    for name in ("program", "compare", "cli", "library"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.mode == "in_place" and open_mpi_major() < 5:
        print("skipped: in place needs Open MPI 5 or newer (ULFM)")
        return SKIPPED
    with Folder() as folder:
        return Test(arguments, folder).check()


if __name__ == "__main__":
    sys.exit(main())
