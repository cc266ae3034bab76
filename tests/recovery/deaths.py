#!/usr/bin/env python3
"""What follows from deaths that are more than one rank's: of a spare, of a spare and a rank, of two ranks.

    deaths.py --program RING_PROGRAM --cli FOREWEAVE [SCENARIO...]

Each scenario is a job of ring_program with 3 ranks and a spare, and must end with the undisturbed result, by the way
that it names. Exit status 77: this MPI has no fault tolerance.
"""
import argparse
import subprocess
import sys

from ring_job import SKIPPED, Folder, Job, digests_of, kill_hub, open_mpi_major, run_ring, wait_for_version

RANKS, SPARE = 3, 3
ELEMENTS, EVERY, PAUSE = 1000, 5, 3000
STEPS = 600   # at least 1.8 s: time for a death in the middle to be noticed


class Scenarios:
    def __init__(self, program, cli, folder):
        self.program, self.cli, self.folder = program, cli, folder
        self.options = {"store": folder / "host", "every": EVERY, "log": "info"}

    def undisturbed(self):
        result = self.folder / "undisturbed"
        code, text = run_ring(self.program, RANKS, result, STEPS, ELEMENTS, 0,
                              {**self.options, "enabled": "false"}, ["--recover", "none", "--job", "plain"])
        assert code == 0, text
        return digests_of(result, RANKS)[0]

    def job(self, name, spare_dies=False, fault=""):
        """Runs it; returns (digests, last line of the result, what was said, what the trace says)."""
        result = self.folder / name
        job = Job([self.program, STEPS, ELEMENTS, result, PAUSE], RANKS, {**self.options, "fault": fault},
                  ["--recover", "in_place", "--spares", "1", "--job", name, "--trace", self.folder / f"{name}-trace"])
        if spare_dies:
            up = wait_for_version(self.folder / "host", name, 3, job.process)
            assert up and kill_hub(name, SPARE, self.program), job.end()[1]
        code, text = job.end()
        assert code == 0, f"exit status {code}\n{text}"
        said = subprocess.run([self.cli, "ls", self.folder / f"{name}-trace"], capture_output=True, text=True, check=True)
        return (*digests_of(result, RANKS), text, said.stdout)

    def spare_dies(self):
        """An idle spare dies: no rank steps back; the death is in the trace."""
        found, last, text, trace = self.job("spare_dies", spare_dies=True)
        assert last == f"recoveries 0 steps {STEPS}", f"{last}\n{text}"
        assert "recovery: none needed" in text, text
        assert "restored version" not in text, text
        assert trace.count(f"found hub {SPARE} dead: a spare died") == RANKS, trace
        return found

    def spare_then_rank(self):
        """The spare is dead when a rank dies: nobody can take over, the job is started again."""
        found, last, text, _ = self.job("spare_then_rank", spare_dies=True, fault="kill:rank=1,version=100")
        assert last.startswith("recoveries 1 "), f"{last}\n{text}"
        assert "recovery: by relaunch (1 of 3)" in text, text
        return found

    def takeover_then_relaunch(self):
        """The spare takes a rank over, then another rank dies: one recovery in place, one by relaunch, and the state of
        the taken-over rank, which lies with the spare, reaches the rank's new process."""
        found, last, text, trace = self.job("takeover_then_relaunch",
                                            fault="kill:rank=1,version=30,memory=lost;kill:rank=0,version=90")
        assert last.startswith("recoveries 1 "), f"{last}\n{text}"
        assert "recovery: in place and by relaunch (1 of 3)" in text, text
        assert "recovered (in_place) from the loss of rank 1" in trace, trace
        assert "recovered (relaunch)" in trace, trace
        # Not from the start, and not from where the first death was.
        restored = [int(line.split("restored version ")[1].split()[0]) for line in text.splitlines()
                    if "restored version " in line]
        assert min(restored) >= 28 and max(restored) >= 88, restored
        return found


def main():
    names = [name for name in vars(Scenarios) if not name.startswith("_") and name not in ("undisturbed", "job")]
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--cli", required=True)
    parser.add_argument("scenarios", nargs="*", choices=[[], *names], metavar="SCENARIO", help=", ".join(names))
    arguments = parser.parse_args()
    if open_mpi_major() < 5:
        print("skipped: in place needs Open MPI 5 or newer (ULFM)")
        return SKIPPED
    failures = 0
    with Folder() as folder:
        scenarios = Scenarios(arguments.program, arguments.cli, folder)
        expected = scenarios.undisturbed()
        for name in arguments.scenarios or names:
            try:
                same = getattr(scenarios, name)() == expected
                print(f"{name}: {'identical' if same else 'FAILED, the result is another'}", flush=True)
                failures += not same
            except AssertionError as problem:
                print(f"{name}: FAILED\n{problem}", flush=True)
                failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
