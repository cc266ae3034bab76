"""foreweave-run: what it starts for which MPI, when it starts again and when not, and what it leaves behind.

Most tests stand a scripted mpirun in the place of the real one; those of RealMpi use the machine's own.
"""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

RUN = pathlib.Path(__file__).resolve().parents[2] / "mpi-launch" / "foreweave-run"
VERSION_4 = "mpirun (Open MPI) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/"
VERSION_5 = "mpirun (Open MPI) 5.0.7\n\nReport bugs to https://www.open-mpi.org/community/help/"

# Runs the program once, as its only rank, whatever -n says; and speaks like the real one of a rank that was killed.
MPIRUN = """#!/bin/bash
[ "$1" = --version ] && { cat "$(dirname "$0")/version"; exit 0; }
echo "$*" >> "$(dirname "$0")/calls"
while [ "${1:0:1}" = - ]; do case $1 in -n|-x|--bind-to|--with-ft|--host) shift 2 ;; *) shift ;; esac; done
"$@" & program=$!
trap 'kill -TERM $program' TERM INT
while :; do wait $program; code=$?; kill -0 $program 2>/dev/null || break; done
[ $code -lt 129 ] || printf 'prterun noticed that process rank 1 with PID 70 on node vm exited on\\nsignal %d.\\n' $((code - 128)) >&2
exit $code
"""


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="foreweave-run-"))
        self.addCleanup(shutil.rmtree, self.dir)
        self.store = self.dir / "store"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("FOREWEAVE_", "SLURM_"))}
        self.env.update(FOREWEAVE_STORE=str(self.store), HOME=str(self.dir))

    def run_it(self, *args, **more):
        return subprocess.run([sys.executable, str(RUN), *args], env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60, check=False, **more)


class Scripted(Case):
    def setUp(self):
        super().setUp()
        bin_dir = self.dir / "bin"
        bin_dir.mkdir()
        self.tool("mpirun", MPIRUN)
        self.speak(VERSION_4)
        self.env["PATH"] = f"{bin_dir}:{self.env['PATH']}"

    def tool(self, name, text):
        path = self.dir / "bin" / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def speak(self, version, fault_tolerance="yes"):
        (self.dir / "bin" / "version").write_text(version, encoding="utf-8")
        self.tool("ompi_info", f"#!/bin/sh\necho options:ft_mpi_support:{fault_tolerance}\n")

    def program(self, text):
        """A shell script; $store is the job's folder in the host tier."""
        path = self.dir / "program"
        path.write_text(f'#!/bin/bash\nstore=$FOREWEAVE_STORE/$FOREWEAVE_JOB\necho "$FOREWEAVE_ATTEMPT" >> {self.dir}/starts\n'
                        f"{text}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    def starts(self):
        path = self.dir / "starts"
        return path.read_text(encoding="utf-8").split() if path.exists() else []


class CommandLine(Scripted):
    def command(self, *args):
        done = self.run_it("--dry-run", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_open_mpi_4_relaunches(self):
        said = self.command("-n", "3", "./program", "input.toml")
        self.assertIn("recovery: relaunch, spares: 0", said)
        self.assertIn("FOREWEAVE_RECOVER=relaunch\n", said)
        self.assertNotIn("--with-ft", said)
        self.assertRegex(said.splitlines()[-1], r"mpirun -n 3 .*--bind-to none .*-x FOREWEAVE_JOB .*\./program input\.toml$")

    def test_open_mpi_5_keeps_a_spare_and_goes_on_in_place(self):
        self.speak(VERSION_5)
        said = self.command("-n", "3", "./program")
        self.assertIn("FOREWEAVE_RECOVER=in_place\n", said)
        self.assertIn("FOREWEAVE_SPARES=1\n", said)
        self.assertIn("OMPI_MCA_pml=ob1\n", said)
        self.assertIn("OMPI_MCA_async_mpi_finalize=1\n", said)
        self.assertIn("mpirun --with-ft ulfm -n 4 ", said)

    def test_open_mpi_5_by_relaunch_when_asked_or_without_spares(self):
        self.speak(VERSION_5)
        for args in (("--recover", "relaunch"), ("--spares", "0")):
            said = self.command("-n", "3", *args, "./program")
            self.assertIn("FOREWEAVE_RECOVER=relaunch\n", said)
            self.assertIn("mpirun -n 3 ", said)

    def test_open_mpi_5_built_without_fault_tolerance(self):
        self.speak(VERSION_5, fault_tolerance="no")
        self.assertIn("FOREWEAVE_RECOVER=relaunch\n", self.command("-n", "2", "./program"))
        refused = self.run_it("-n", "2", "--recover", "in_place", "./program")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("--recover relaunch works with any", refused.stderr)

    def test_in_place_is_refused_where_mpi_cannot(self):
        refused = self.run_it("-n", "2", "--recover", "in_place", "./program")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("Open MPI 4.1.4", refused.stderr)

    def test_srun_inside_an_allocation(self):
        self.tool("srun", "#!/bin/sh\nexit 0\n")
        self.env["SLURM_JOB_ID"] = "7"
        said = self.command("-n", "8", "./program")
        self.assertRegex(said.splitlines()[-1], r"srun -n 8 --kill-on-bad-exit=1 \./program$")
        self.assertIn("mpirun", self.command("-n", "8", "--launcher", "mpirun", "./program"))

    def test_hosts_of_the_users_are_left_alone(self):
        said = self.command("-n", "4", "--mpirun-args", "--host a:2,b:2", "./program")
        self.assertNotIn("--oversubscribe", said)
        self.assertIn("--host a:2,b:2 ./program", said)

    def test_the_programs_own_options_pass(self):
        said = self.command("-n", "2", "--", "./program", "-n", "5", "--spares", "x y")
        self.assertTrue(said.rstrip().endswith("./program -n 5 --spares 'x y'"), said)

    def test_what_the_program_is_told_of_job_and_store_counts(self):
        said = self.command("-n", "2", "./program", "x", "--foreweave-job=mine", "--foreweave-store", "/tmp/here")
        self.assertIn("host tier: /tmp/here/mine\n", said)
        self.assertIn("FOREWEAVE_JOB=mine\nFOREWEAVE_", said)
        self.assertNotIn("/mine", self.command("-n", "2", "--", "./program", "--", "--foreweave-job=mine").splitlines()[0])
        refused = self.run_it("-n", "2", "--job", "one", "./program", "--foreweave-job=two")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("one job has one name", refused.stderr)

    def test_bad_input_is_named(self):
        for args, word in ((("-n", "0", "p"), "-n 0"), (("-n", "2"), "which program"), (("-n", "2", "--spares", "-1", "p"), "--spares"),
                           (("-n", "2", "--job", "a/b", "p"), "a/b"), (("-n", "2", "--job", "", "p"), "--job ''"), (("-n", "2", "--recover", "magic", "p"), "magic"),
                           (("-n", "2", "--key", "--key-file", "f", "p"), "--key-file")):
            done = self.run_it(*args)
            self.assertEqual(done.returncode, 2, args)
            self.assertIn(word, done.stderr)

    def test_no_mpirun(self):
        (self.dir / "bin" / "mpirun").unlink()
        self.env["PATH"] = str(self.dir / "bin")
        done = self.run_it("-n", "2", "./program")
        self.assertEqual(done.returncode, 2)
        self.assertIn("install Open MPI", done.stderr)


class Watching(Scripted):
    def test_success_needs_one_start_and_leaves_nothing(self):
        done = self.run_it("-n", "2", self.program('mkdir -p "$store"; touch "$store/x"; echo result'))
        self.assertEqual((done.returncode, done.stdout), (0, "result\n"))
        self.assertIn("recovery: none needed", done.stderr)
        self.assertEqual(self.starts(), ["0"])
        self.assertEqual(os.listdir(self.store), [])

    def test_keep(self):
        self.run_it("-n", "2", "--keep", "--job", "j", self.program('mkdir -p "$store"; touch "$store/x"'))
        self.assertTrue((self.store / "j" / "x").exists())

    def test_a_killed_rank_is_started_again_in_the_same_job(self):
        done = self.run_it("-n", "2", self.program('echo "$FOREWEAVE_JOB $FOREWEAVE_RUN_ID"; [ "$FOREWEAVE_ATTEMPT" = 1 ] || kill -9 $$'))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.starts(), ["0", "1"])
        first, second = done.stdout.splitlines()
        self.assertEqual(first, second)
        self.assertIn("SIGKILL", done.stderr)
        self.assertIn("recovery: by relaunch (1 of 3)", done.stderr)

    def test_the_next_start_is_told_when_the_death_was_seen(self):
        before = time.time_ns()   # the wall clock: the ranks may be on other machines
        done = self.run_it("-n", "2", self.program('echo "$FOREWEAVE_DIED_AT"; [ "$FOREWEAVE_ATTEMPT" = 1 ] || kill -9 $$'))
        first, second = map(int, done.stdout.split())
        self.assertEqual(first, 0)
        self.assertTrue(before < second < time.time_ns())

    def test_an_error_of_the_program_is_not_started_again(self):
        for code in (1, 3, 125):
            done = self.run_it("-n", "2", self.program(f"exit {code}"))
            self.assertEqual(done.returncode, code)
        self.assertEqual(self.starts(), ["0", "0", "0"])

    def test_an_error_that_the_ranks_wrote_down_counts_whatever_killed_them(self):
        done = self.run_it("-n", "2", self.program('mkdir -p "$store"; echo "error: no such file" > "$store/outcome-0"; kill -ABRT $$'))
        self.assertEqual(done.returncode, 134)
        self.assertEqual(self.starts(), ["0"])

    def test_ranks_that_give_up_are_started_again(self):
        done = self.run_it("-n", "2", self.program('[ "$FOREWEAVE_ATTEMPT" = 1 ] || exit 86'))
        self.assertEqual(done.returncode, 0)
        self.assertIn("could not be replaced", done.stderr)
        self.assertEqual(self.starts(), ["0", "1"])

    def test_ranks_that_give_up_are_started_again_whatever_mpirun_ends_with(self):
        done = self.run_it("-n", "2", self.program('[ "$FOREWEAVE_ATTEMPT" = 1 ] || { mkdir -p "$store"; '
                                                  'echo "lost: no spare is left" > "$store/outcome-0"; }'))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("could not be replaced: starting again", done.stderr)
        self.assertEqual(self.starts(), ["0", "1"])

    def test_an_mpirun_that_hangs_in_an_abort_is_ended_and_what_was_aborted_with_counts(self):
        text = "MPI_ABORT was invoked on rank 0 in communicator MPI_COMM_WORLD\n  Proc: [[1,1],2]\n  Errorcode: {}\n"
        hang = 'printf "{}" >&2; exec sleep 50'
        done = self.run_it("-n", "2", self.program(f'[ "$FOREWEAVE_ATTEMPT" = 1 ] || {{ {hang.format(text.format(86))}; }}'))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.starts(), ["0", "1"])
        done = self.run_it("-n", "2", self.program(hang.format(text.format(3))))
        self.assertEqual(done.returncode, 3, done.stderr)   # an error of the program's own
        self.assertEqual(self.starts(), ["0", "1", "0"])

    def test_recovery_in_place_is_said(self):
        self.speak(VERSION_5)
        done = self.run_it("-n", "2", self.program('mkdir -p "$store"; echo "in place: rank 1, version 4, 0.021 s" > "$store/recovered-0"\n'
                                                  'echo finished > "$store/outcome-0"'))
        self.assertIn("recovered in place: rank 1, version 4", done.stderr)
        self.assertIn("recovery: in place", done.stderr)

    def test_it_gives_up_after_the_relaunches_that_are_allowed(self):
        done = self.run_it("-n", "2", "--relaunches", "2", "--job", "j", self.program(
            'mkdir -p "$store"; touch "$store/r000000-v000000000012-b000000000000-s0001.fwsnap"; kill -SEGV $$'))
        self.assertEqual(done.returncode, 139)
        self.assertEqual(self.starts(), ["0", "1", "2"])
        self.assertIn("newest version in memory 12", done.stderr)
        self.assertIn("go on with: --job j", done.stderr)
        self.assertTrue((self.store / "j").exists())

    def test_recover_none(self):
        self.run_it("-n", "2", "--recover", "none", self.program("kill -9 $$"))
        self.assertEqual(self.starts(), ["0"])

    def test_a_key_is_made_readable_by_the_owner_alone_and_goes_with_the_job(self):
        done = self.run_it("-n", "2", "--key", self.program('stat -c %a "$FOREWEAVE_KEY_FILE"; wc -c < "$FOREWEAVE_KEY_FILE"; echo "$FOREWEAVE_KEY_FILE"'))
        mode, size, path = done.stdout.split()
        self.assertEqual((mode, size), ("600", "65"))
        self.assertFalse(os.path.exists(path))

    def test_a_key_file_that_others_can_read_is_refused(self):
        key = self.dir / "key"
        key.write_text("0" * 64, encoding="utf-8")
        key.chmod(0o644)
        done = self.run_it("-n", "2", "--key-file", str(key), self.program("exit 0"))
        self.assertEqual(done.returncode, 2)
        self.assertIn("chmod 600", done.stderr)
        self.assertEqual(self.starts(), [])

    def test_folders_that_cannot_be_are_named(self):
        file = self.dir / "file"
        file.touch()
        inside = str(file / "folder")
        for args, env, word in ((("--trace", inside), {}, "--trace"), ((), {"FOREWEAVE_STORE": inside}, "FOREWEAVE_STORE"),
                                (("--key",), {"XDG_STATE_HOME": inside}, "XDG_STATE_HOME"),
                                (("--mpirun-args", "'"), {}, "--mpirun-args")):
            with unittest.mock.patch.dict(self.env, env):
                done = self.run_it("-n", "2", *args, self.program("exit 0"))
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(word, done.stderr)
            self.assertNotIn("Traceback", done.stderr)
        self.assertEqual(self.starts(), [])
        self.assertEqual(list(self.store.glob(".*.lock")), [])

    def test_output_that_has_no_room_ends_nothing(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([sys.executable, str(RUN), "-n", "2", self.program("echo lost; sleep 0.5; touch $0.end")],
                                  env=self.env, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, timeout=60,
                                  check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue((self.dir / "program.end").exists())

    def test_two_jobs_of_one_name(self):
        first = subprocess.Popen([sys.executable, str(RUN), "-n", "2", "--job", "j", self.program("echo up; exec sleep 20")],
                                 env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            self.assertEqual(first.stdout.readline(), b"up\n")
            second = self.run_it("-n", "2", "--job", "j", self.program("exit 0"))
            self.assertEqual(second.returncode, 2)
            self.assertIn("'j' is running already", second.stderr)
        finally:
            first.terminate()
            first.communicate(timeout=30)

    def test_signals_end_the_program_and_are_not_answered_with_a_relaunch(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            process = subprocess.Popen([sys.executable, str(RUN), "-n", "2", self.program(
                f"trap 'echo ended >> {self.dir}/ended; exit 143' TERM INT; echo up; while :; do sleep 0.1; done")],
                env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.assertEqual(process.stdout.readline(), b"up\n")
            process.send_signal(number)
            _, said = process.communicate(timeout=30)
            self.assertEqual(process.returncode, 128 + number, said)
        self.assertEqual(self.starts(), ["0", "0"])


@unittest.skipUnless(shutil.which("mpirun"), "no mpirun")
class RealMpi(Case):
    def test_a_program_that_cannot_be_started_is_no_lost_rank(self):
        for program in ("/no/such/program", "no_such_program", "/etc/passwd"):
            done = self.run_it("-n", "2", program)
            self.assertEqual(done.returncode, 127, done.stderr)
            self.assertIn(f"{program} could not be started", done.stderr)
            self.assertNotIn("starting again", done.stderr)

    PROGRAM = ('rank=${OMPI_COMM_WORLD_RANK:-$PMIX_RANK}; echo "start $FOREWEAVE_ATTEMPT rank $rank"; '
               '[ "$FOREWEAVE_ATTEMPT$rank" != 01 ] || { sleep 0.3; kill -9 $$; }; sleep 0.6')

    def test_a_killed_rank_is_started_again(self):
        done = self.run_it("-n", "3", "--recover", "relaunch", "bash", "-c", self.PROGRAM)
        self.assertEqual(done.returncode, 0, done.stderr)
        for attempt in (0, 1):
            for rank in (0, 1, 2):
                self.assertIn(f"start {attempt} rank {rank}", done.stdout)
        self.assertIn("by relaunch (1 of 3)", done.stderr)

    def test_an_error_is_not(self):
        done = self.run_it("-n", "2", "--recover", "relaunch", "bash", "-c", "exit 5")
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertNotIn("starting again", done.stderr)

    def test_interrupt(self):
        process = subprocess.Popen([sys.executable, str(RUN), "-n", "2", "--recover", "relaunch", "bash", "-c", "echo up; exec sleep 50"],
                                   env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b"up\n")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=40)
        self.assertEqual(process.returncode, 130, said)


if __name__ == "__main__":
    unittest.main()
