#!/usr/bin/env python3
"""Jobs of ring_program that end, lose what nodes held, and are started again from what is left in the tiers.

    tiers.py --program RING_PROGRAM --cli FOREWEAVE [SCENARIO...]

Each scenario is a job of 3 ranks that runs half of its steps, loses memory, disks or both, and runs the other half: it
must end with the undisturbed result, from the version that it says.
"""
import argparse
import json
import random
import re
import shutil
import subprocess
import sys

from ring_job import Folder, digests_of, run_ring

RANKS, EVERY, STEPS = 3, 2, 60
HALF = STEPS // 2
ELEMENTS = 200_000   # 1.6 MB a rank, a third of it new in a step


class Scenarios:
    def __init__(self, program, cli, folder):
        self.program, self.cli, self.folder = program, cli, folder

    def undisturbed(self):
        result = self.folder / "undisturbed"
        code, text = run_ring(self.program, RANKS, result, STEPS, ELEMENTS, 0, {"enabled": "false"},
                              ["--recover", "none", "--job", "plain"])
        assert code == 0, text
        return digests_of(result, RANKS)[0]

    def place(self, tier, name, hub):
        return self.folder / tier / name / f"hub-{hub}"

    def start(self, name, steps, pause=0, fails=False, **options):
        """One start of the job; returns (digests, what was said)."""
        result = self.folder / f"{name}-{steps}"
        every_tier = {tier: self.folder / folder for tier, folder in
                      (("store", "host"), ("file_store", "file"), ("shared_store", "shared"))}
        code, text = run_ring(self.program, RANKS, result, steps, ELEMENTS, pause,
                              {**every_tier, "every": EVERY, "shared_every": 4, "log": "info", **options},
                              ["--recover", "none", "--job", name, "--keep", "--trace", self.folder / f"{name}-trace"])
        assert (code != 0) == fails, f"exit status {code}\n{text}"
        return digests_of(result, RANKS)[0], text

    def flushes(self, name):
        """What `foreweave ls` of the trace says of files: {tier: the entries of all hubs}."""
        said = subprocess.run([self.cli, "ls", "--json", self.folder / f"{name}-trace"], capture_output=True, text=True,
                              check=True)
        tiers = {}
        for hub in json.loads(said.stdout)["hubs"]:
            for one in hub["flushes"]:
                tiers.setdefault(one["tier"], []).append(one)
        return tiers

    def memory_lost(self):
        """All memory is lost: everything comes from the node-local files, to which the job brought its last version."""
        self.start("memory_lost", HALF, pause=2000)
        tiers = self.flushes("memory_lost")
        assert len(tiers["file"]) == RANKS and len(tiers["shared"]) == RANKS, tiers
        assert all(one["newest_version"] == HALF // EVERY and one["failed"] == 0 for one in tiers["file"]), tiers
        assert all(one["versions"] > 1 for one in tiers["file"]), f"nothing went in the background: {tiers}"
        shutil.rmtree(self.folder / "host" / "memory_lost")
        found, text = self.start("memory_lost", STEPS)
        assert f"restored version {HALF // EVERY} from file " in text, text
        return found

    def nodes_lost(self):
        """The memory and the disks of all nodes are lost: everything comes from the parallel file system."""
        self.start("nodes_lost", HALF)
        for tier in ("host", "file"):
            shutil.rmtree(self.folder / tier / "nodes_lost")
        found, text = self.start("nodes_lost", STEPS)
        assert len(re.findall(f"restored version {HALF // EVERY} from file .*/shared/", text)) == RANKS, text
        return found

    def mixture(self):
        """Of each rank something else is left: its own memory, only its partner's, its disk, the shared files, or links
        of its chain spread over all of them."""
        for seed in range(4):
            dice = random.Random(seed)
            name = f"mixture-{seed}"
            self.start(name, HALF, keep=20, max_chain=20, shared_every=1)
            links = {}   # rank, version and base -> the tiers that have it
            for tier in ("host", "file", "shared"):
                for file in (self.folder / tier / name).glob("hub-*/r*-v*-b*"):
                    links.setdefault(file.name[:36], {}).setdefault(tier, []).append(file)
            # One of the tiers keeps each link, and the others lose it two times out of three.
            for link, tiers in sorted(links.items()):
                keeper = dice.choice(sorted(tiers))
                for tier in sorted(set(tiers) - {keeper}):
                    if dice.random() < 2 / 3:
                        for file in tiers[tier]:
                            file.unlink()
            found, text = self.start(name, STEPS)
            assert text.count(f"restored version {HALF // EVERY} from ") == RANKS, text
            assert found == self.expected, f"seed {seed}: the result is another\n{text}"
        return found

    def killed_in_a_flush(self):
        """A rank dies while versions are on their slow way to files, and all memory is lost: the newest version that all
        ranks had brought there is what the job goes on from, and nothing unfinished is left."""
        self.start("killed", HALF, pause=20_000, flush_bandwidth=4, fails=True, fault=f"kill:rank=1,step={HALF - 1}")
        shutil.rmtree(self.folder / "host" / "killed")
        found, text = self.start("killed", STEPS)
        restored = {int(version) for version in re.findall(r"restored version (\d+) from", text)}
        assert len(restored) == 1 and 0 < min(restored) < HALF // EVERY, text
        left = [file for tier in ("file", "shared") for file in (self.folder / tier / "killed").glob("**/.tmp-*")]
        assert not left, left
        return found

    def slow_files(self):
        """Files are slower than captures: versions are passed over, and that is reported."""
        found, text = self.start("slow", STEPS, pause=5000, flush_bandwidth=2)
        tiers = self.flushes("slow")
        assert all(one["passed_over"] > 0 for one in tiers["file"]), tiers
        assert "passed over" in text, text
        said = subprocess.run([self.cli, "ls", self.folder / "slow-trace"], capture_output=True, text=True, check=True)
        assert "passed over" in said.stdout, said.stdout
        return found

    def older_when_allowed(self):
        """What memory had is lost and a disk, too, and the last version is not on the parallel file system: going below
        what was committed is refused, and done where that is asked for."""
        self.start("older", HALF, pause=1000)
        shutil.rmtree(self.place("file", "older", 1))
        for hub in range(RANKS):
            for file in self.place("host", "older", hub).glob("r*"):
                file.unlink()
            newest = max(self.place("shared", "older", hub).glob("r*"), key=lambda file: file.name.split("-v")[1])
            newest.unlink()
        _, text = self.start("older", STEPS, fails=True)
        assert f"version {HALF // EVERY} was committed, but not every rank can be restored to it" in text, text
        assert "restore_older=true" in text, text
        found, text = self.start("older", STEPS, restore_older="true")
        assert f"version {HALF // EVERY} was committed and is lost; going on from version" in text, text
        return found


def main():
    names = [name for name, of in vars(Scenarios).items() if callable(of) and not name.startswith("_") and
             name not in ("undisturbed", "place", "start", "flushes")]
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--cli", required=True)
    parser.add_argument("scenarios", nargs="*", choices=[[], *names], metavar="SCENARIO", help=", ".join(names))
    arguments = parser.parse_args()
    failures = 0
    with Folder() as folder:
        scenarios = Scenarios(arguments.program, arguments.cli, folder)
        scenarios.expected = scenarios.undisturbed()
        for name in arguments.scenarios or names:
            try:
                same = getattr(scenarios, name)() == scenarios.expected
                print(f"{name}: {'identical' if same else 'FAILED, the result is another'}", flush=True)
                failures += not same
            except AssertionError as problem:
                print(f"{name}: FAILED\n{problem}", flush=True)
                failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
