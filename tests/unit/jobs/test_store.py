"""The store of shared results: its keys, and jobs that publish, take, and meet what is damaged."""

import ast
import copy
import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake.iocontainers import (
    InputFiles,
    Log,
    OutputFiles,
    Params,
    ResourceList,
    Snakemake,
    Wildcards,
)

from deep_restoration.jobs import store
from deep_restoration.jobs.fingerprint import fingerprint

WORKFLOW = Path(store.__file__).resolve().parents[2]

# What Snakemake does around a script. `meddle` is run first; the modules imported are told at the end.
RUNNER = """
import os, pickle, signal, sys
snakemake, __file__, meddle = pickle.load(sys.stdin.buffer)
exec(meddle)
for path in snakemake.output:
    os.makedirs(os.path.dirname(path), exist_ok=True)
try:
    exec(compile(open(__file__).read(), __file__, "exec"))
finally:
    print("numpy" if "numpy" in sys.modules else "nothing", flush=True)
"""

SCRIPT = """
from deep_restoration.jobs.job import job, log

with job(snakemake):
    import time
    from pathlib import Path

    import numpy as np

    log.info("computing")
    text = "".join(Path(path).read_text() for path in snakemake.input)
    Path(snakemake.output.table).write_text(f"{snakemake.params.settings} {text} {np.pi}")
    Path(snakemake.output.arrays).write_bytes(bytes(range(256)) * 40)
"""


def grouped(groups):
    """Input files as Snakemake names them."""
    files = InputFiles([path for group in groups.values() for path in group])
    start = 0
    for name, group in groups.items():
        files._set_name(name, start, end=start + len(group))
        start += len(group)
    return files


class Copy:
    """A working copy with one input and one job."""

    def __init__(self, root, shared):
        self.root, self.shared = root, shared
        (root / "results").mkdir(parents=True)
        self.script = root / "work.py"
        self.script.write_text(SCRIPT)
        (root / "results/in.txt").write_text("input")

    def job(self, **changes):
        parts = {
            "input": {"maps": ["results/in.txt"]},
            "output": {"table": "results/out/a.csv", "arrays": "results/out/a.h5"},
            "wildcards": {"layer": "conv1", "classifier": "alexnet"},
            "settings": {"rate": 0.5, "recipe": {"tv": 1, "foe": None}},
            "folder": str(self.root),
            "rule": "work",
            "threads": 2,
            "store": str(self.shared),
            "code": fingerprint(self.script, WORKFLOW / "deep_restoration"),
        } | changes
        params = {name: parts[name] for name in ("settings", "folder", "code", "store")}
        return Snakemake(
            grouped(parts["input"]),
            OutputFiles(fromdict=parts["output"]),
            Params(fromdict=params | parts.get("params", {})),
            Wildcards(fromdict=parts["wildcards"]),
            parts["threads"],
            ResourceList(fromdict={}),
            Log(["work.log"]),
            {},
            parts["rule"],
            None,
            str(self.root),
        )

    def start(self, meddle="", prefix=(), preexec=None, **changes):
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", RUNNER],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": str(WORKFLOW)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=preexec,
        )
        process.stdin.write(pickle.dumps((self.job(**changes), str(self.script), meddle)))
        process.stdin.close()
        process.stdin = None
        return process

    def run(self, *arguments, **changes):
        """The exit status, what was imported, the log."""
        process = self.start(*arguments, **changes)
        out, self.said = (stream.decode() for stream in process.communicate(timeout=120))
        return process.returncode, out.strip(), (self.root / "work.log").read_text()

    def computes(self, *arguments, **changes):
        """Run; the log of a job that had to compute."""
        status, imported, log = self.run(*arguments, **changes)
        assert (status, imported) == (0, "numpy"), log + self.said
        assert "computing" in log
        return log

    def takes(self, **changes):
        """Run; the log of a job that found its files."""
        status, imported, log = self.run(**changes)
        assert (status, imported) == (0, "nothing"), log + self.said
        assert "taken from the store" in log
        assert self.said == ""
        return log

    def results(self):
        return {path.name: path.read_bytes() for path in (self.root / "results/out").iterdir()}

    def entries(self):
        return sorted(self.shared.glob("work/*"))

    def entry(self):
        (entry,) = self.entries()
        return entry


@pytest.fixture
def one(tmp_path):
    return Copy(tmp_path / "one", tmp_path / "store")


@pytest.fixture
def two(tmp_path):
    return Copy(tmp_path / "two", tmp_path / "store")


# ------------------------------------------------------------------------------ keys


@pytest.fixture
def key_of(one, monkeypatch):
    """The key of a job of the first working copy, with changes."""
    monkeypatch.chdir(one.root)
    (one.root / "results/more.txt").write_text("more")
    return lambda **changes: store.key(store.material(one.job(**changes)))


DIFFERENT = {
    "rule": {"rule": "other"},
    "a wildcard": {"wildcards": {"layer": "conv2", "classifier": "alexnet"}},
    "the name of a wildcard": {"wildcards": {"map": "conv1", "classifier": "alexnet"}},
    "a setting": {"settings": {"rate": 0.25, "recipe": {"tv": 1, "foe": None}}},
    "an inner setting": {"settings": {"rate": 0.5, "recipe": {"tv": 2, "foe": None}}},
    "the type of a setting": {"settings": {"rate": 0.5, "recipe": {"tv": 1.0, "foe": None}}},
    "the order of settings": {"settings": {"rate": 0.5, "recipe": {"foe": None, "tv": 1}}},
    "a further param": {"params": {"layers": ["conv1"]}},
    "code": {"code": "0" * 16},
    "the group of an input": {"input": {"patches": ["results/in.txt"]}},
    "a further input": {"input": {"maps": ["results/in.txt"], "found": ["results/more.txt"]}},
    "the name of an output": {"output": {"table": "results/b.csv", "arrays": "results/out/a.h5"}},
    "outputs the other way": {"output": {"table": "results/out/a.h5", "arrays": "results/out/a.csv"}},
}  # fmt: skip


@pytest.mark.parametrize("change", DIFFERENT)
def test_another_job_has_another_key(key_of, change):
    assert key_of(**DIFFERENT[change]) != key_of()


@pytest.mark.parametrize("change", [{"folder": "/elsewhere"}, {"store": "/other"}, {"threads": 1}])
def test_where_files_lie_and_threads_are_not_in_the_key(key_of, change):
    assert key_of(**change) == key_of()


def test_the_content_of_inputs_is_in_the_key_and_their_time_is_not(one, key_of):
    path, before = one.root / "results/in.txt", key_of()
    os.utime(path, (1, 1))
    assert key_of() == before
    path.write_text("INPUT")
    os.utime(path, (1, 1))  # size and time of change as before
    assert key_of() != before
    path.write_text("input")
    assert key_of() == before


def test_the_names_of_equal_inputs_are_in_the_key(one, key_of):
    shutil.copy(one.root / "results/in.txt", one.root / "results/tv.txt")
    assert key_of(input={"maps": ["results/tv.txt"]}) != key_of()


def test_packages_are_in_the_key_and_plugins_are_not(key_of, tmp_path, monkeypatch):
    keys = []
    for name in ("", "torch-1.dist-info", "torch-2.dist-info"):
        folder = tmp_path / f"packages{name}"
        (folder / name).mkdir(parents=True)
        (folder / "snakemake_executor_plugin_slurm-1.dist-info").mkdir()
        with monkeypatch.context() as patch:
            patch.syspath_prepend(folder)
            keys.append(key_of())
    assert keys[0] == key_of()
    assert len(set(keys)) == 3


def test_python_processor_and_device_are_in_the_key(key_of, monkeypatch):
    keys = [key_of()]
    for where, name, value in (
        (store.sys, "version", "3.99"),
        (store.platform, "machine", lambda: "z80"),
        (store, "device", lambda: "abacus"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, value)
            keys.append(key_of())
    assert len(set(keys)) == 4


def test_the_device_is_that_of_torch():
    import torch

    assert store.device() == ("cuda" if torch.cuda.is_available() else "cpu")


def test_every_leaf_of_the_material_is_in_the_key(one, monkeypatch):
    monkeypatch.chdir(one.root)
    material = store.material(one.job())

    def leaves(value, path=()):
        if isinstance(value, dict | list) and value:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for name, inner in items:
                yield from leaves(inner, (*path, name))
        else:
            yield path

    keys = {store.key(material)}
    paths = list(leaves(material))
    for path in paths:
        changed = copy.deepcopy(material)
        place = changed
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = "changed"
        keys.add(store.key(changed))
    assert len(keys) == len(paths) + 1 > 20


# What scripts may ask Snakemake for: what is in the key, the log, and threads, which only round.
ASKED = {"input", "output", "params", "wildcards", "rule", "log", "threads"}


def test_scripts_learn_of_nothing_that_is_not_in_the_key():
    scripts = sorted((WORKFLOW / "scripts").glob("*.py"))
    assert len(scripts) > 20
    for script in scripts:
        tree = ast.parse(script.read_text())
        asked = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "snakemake"
        }
        bare = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == "snakemake"]
        assert asked <= ASKED, script.name
        # Handed on as a whole only to the job itself.
        assert len(bare) == len(re.findall(r"\bsnakemake\.", script.read_text())) + 1, script.name
        environment = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        assert not environment & {"environ", "getenv", "getcwd"}, script.name


def test_the_library_reads_no_setting_from_the_environment():
    # Threads, checkpoints, the processes of a training, the store itself, the cache of plans.
    known = {"runtime/__init__.py", "runtime/checkpoints.py", "runtime/parallel.py"}
    known |= {"study/configuration.py", "files/kept.py", "interface/shell.py"}
    library = WORKFLOW / "deep_restoration"
    for path in library.rglob("*.py"):
        if str(path.relative_to(library)) not in known and path.parent.name != "jobs":
            assert not re.search(r"os\.(environ|getenv)", path.read_text()), path


def test_params_outside_the_key_are_those_that_snakemake_does_not_record():
    rules = "".join(path.read_text() for path in (WORKFLOW / "rules").rglob("*.smk"))
    derived = "|".join(
        re.findall(r"^def (\w+)\([^)]*\b(?:threads|resources|input|output)\b", rules, re.M)
    )
    assert set(re.findall(rf"^        (\w+)=(?:{derived}),$", rules, re.M)) == store.UNRECORDED
    # Every param has a name, so that all are in the key.
    for block in re.findall(r"^    params:\n((?:        .*\n)+)", rules, re.M):
        for line in re.findall(r"^        (\S.*)$", block, re.M):
            assert re.match(r"\w+=|[)}\]]", line), line


def test_rules_that_draw_and_gather_are_not_shared_and_all_others_are():
    rules = "".join(path.read_text() for path in sorted((WORKFLOW / "rules").glob("*.smk")))
    drawn = {"report", "tables", "time_to_quality", "write_pictures"}
    for name, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", rules, re.M):
        gathers = name.startswith("plot_") or name.endswith(("_table", "_tables")) or name in drawn
        assert ("store=store" in body) != gathers, name


# ------------------------------------------------------------------------------ publish and take


def test_what_one_working_copy_made_another_takes(one, two):
    log = one.computes()
    entry = one.entry()
    assert f"published in the store: {entry}" in log
    manifest = json.loads((entry / "manifest.json").read_text())
    assert entry.name == store.key(manifest["material"])
    assert entry.name in two.takes(threads=1, folder="/elsewhere")
    assert two.results() == one.results()
    assert set(two.results()) == {"a.csv", "a.h5"}
    one.takes()
    assert one.entry() == entry  # no second one, and the first stays


def test_taken_files_are_new_and_nobodys_but_the_copys(one, two):
    one.computes()
    for path in [*one.shared.rglob("*"), one.shared]:
        os.utime(path, (1, 1))
    two.takes()
    kept = {path: path.read_bytes() for path in one.entry().iterdir()}
    for path in (two.root / "results/out").iterdir():
        assert path.stat().st_mtime >= (two.root / "results/in.txt").stat().st_mtime
        assert path.stat().st_nlink == 1
        assert not path.is_symlink()
        with open(path, "ab") as file:
            file.write(b"appended")
    assert {path: path.read_bytes() for path in one.entry().iterdir()} == kept
    assert one.entry().stat().st_mtime > 1  # used just now
    two.takes()
    assert two.results() == one.results()


@pytest.mark.parametrize(
    "change",
    [DIFFERENT["a setting"], DIFFERENT["a wildcard"], DIFFERENT["the name of an output"]],
)
def test_another_job_is_not_served(one, two, change):
    one.computes()
    two.computes(**change)
    assert len(one.entries()) == 2
    two.takes()  # and the former again


def test_another_input_and_other_code_are_not_served(one, two):
    one.computes()
    (two.root / "results/in.txt").write_text("INPUT")
    two.computes()
    two.script.write_text(SCRIPT.replace("np.pi", "np.e"))
    two.computes()
    (two.root / "results/in.txt").write_text("input")
    assert b"2.718" in (two.computes() and two.results()["a.csv"])
    two.script.write_text(SCRIPT)
    two.takes()
    assert two.results() == one.results()


def test_without_a_store_a_job_computes(one):
    log = one.computes(store="")
    assert "store" not in log
    assert not one.shared.exists()


def test_what_an_interrupted_computation_left_goes_when_its_result_is_taken(one, two):
    one.computes()
    (two.root / "results/out").mkdir()
    left = [two.root / f"results/out/a.h5.{name}checkpoint" for name in ("", "0.", "now.")]
    for path in left:
        path.write_text("half")
    (two.root / "results/out/b.h5.checkpoint").write_text("another's")
    two.takes()
    assert set(two.results()) == {"a.csv", "a.h5", "b.h5.checkpoint"}


# ------------------------------------------------------------------------------ never stale


def touch_after(text, statement):
    """The script with a statement after the one that logs."""
    return SCRIPT.replace('log.info("computing")', f'log.info("computing")\n    {statement}')


@pytest.mark.parametrize("path", ["results/in.txt", "work.py"])
def test_what_changed_while_the_job_ran_is_not_published(one, path):
    meddled = f"import os; os.utime({path!r}, (1, 1))"
    one.script.write_text(touch_after(SCRIPT, meddled))
    log = one.computes()
    assert "not published in the store" in log
    assert f"{path} changed while the job ran" in log
    assert not one.shared.exists()
    assert set(one.results()) == {"a.csv", "a.h5"}


def test_code_edited_since_the_plan_is_not_published(one, two):
    planned = one.job().params.code
    one.script.write_text(SCRIPT.replace("np.pi", "np.e"))
    assert "edited after the run was planned" in one.computes(code=planned)
    assert one.entries() == []
    assert b"3.14" in (two.computes() and two.results()["a.csv"])


def test_a_failed_job_publishes_nothing(one):
    one.script.write_text(SCRIPT + '    raise ValueError("no")\n')
    status, _, log = one.run()
    assert status == 1
    assert "ValueError: no" in log
    assert not one.shared.exists()


# ------------------------------------------------------------------------------ damage


def flip(path):
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def foreign(path):
    path.chmod(0o644)
    path.write_text(path.read_text().replace("conv1", "conv2"))


DAMAGE = {
    "a flipped bit": ("1-a.h5", flip),
    "a truncated file": ("1-a.h5", lambda path: os.truncate(path, 100)),
    "an empty file": ("0-a.csv", lambda path: os.truncate(path, 0)),
    "a missing file": ("0-a.csv", Path.unlink),
    "a missing manifest": ("manifest.json", Path.unlink),
    "a truncated manifest": ("manifest.json", lambda path: os.truncate(path, 100)),
    "a manifest that is no dictionary": ("manifest.json", lambda path: os.truncate(path, 0)),
    "another job's manifest": ("manifest.json", foreign),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_named_moved_aside_and_made_again(one, two, damage):
    one.computes()
    entry, (name, spoil) = one.entry(), DAMAGE[damage]
    spoil(entry / name)
    log = two.computes()
    assert f"{entry} in the store is damaged" in log
    assert f"{entry} in the store is damaged" in two.said
    assert two.results() == one.results()
    assert len(list(one.shared.glob("damaged/*"))) == 1
    assert one.entry() == entry
    two.takes()
    assert two.results() == one.results()


# Ends the process with SIGKILL in the middle of its second copy.
KILLED = """
import fcntl, shutil
from deep_restoration.jobs import store
def half(old, new, length):
    new.write(old.read(100)); new.flush()
    if "a.h5" in str(old.name):
        os.kill(os.getpid(), signal.SIGKILL)
    new.write(old.read())
def refuse(*arguments):
    raise OSError("no copies by reference")
fcntl.ioctl, shutil.copyfileobj = refuse, half
"""


def test_killed_while_publishing_there_is_no_entry(one, two):
    assert one.run(KILLED)[0] == -signal.SIGKILL
    assert set(one.results()) == {"a.csv", "a.h5"}  # whole, in their place
    assert one.entries() == []
    assert len(list(one.shared.glob("unfinished/*"))) == 1
    two.computes()
    one.takes()


def test_killed_while_taking_there_is_no_half_file(one, two):
    one.computes()
    assert two.run(KILLED)[0] == -signal.SIGKILL
    assert all(name.startswith(".") for name in two.results())
    two.takes()
    left = {name for name in two.results() if not name.startswith(".")}
    assert left == {"a.csv", "a.h5"}


def test_two_that_publish_at_once_leave_one_whole_entry(one, two, tmp_path):
    wait = (
        f"Path({str(tmp_path)!r}, str(time.time_ns()) + '.ready').touch()\n"
        f"    while len(list(Path({str(tmp_path)!r}).glob('*.ready'))) < 2: time.sleep(0.001)"
    )
    for each in (one, two):
        each.script.write_text(touch_after(SCRIPT, wait))
    running = [one.start(), two.start()]
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.strip() == b"numpy"
        assert err == b""
    assert one.results() == two.results()
    assert len(one.entries()) == 1
    assert list(one.shared.glob("unfinished/*")) == []
    one.takes()


# ------------------------------------------------------------------------------ stores that cannot be used


def test_a_store_without_a_parent_is_named_and_the_result_kept(one):
    missing = one.root / "not mounted" / "store"
    log = one.computes(store=str(missing))
    assert f"the store {missing} cannot be used: " in log
    assert f"the store {missing} cannot be used: " in one.said
    assert set(one.results()) == {"a.csv", "a.h5"}
    assert not missing.parent.exists()


def test_a_file_is_no_store(one):
    one.shared.write_text("a file")
    assert "cannot be used: " in one.computes()
    assert set(one.results()) == {"a.csv", "a.h5"}


def ordinary():
    """How to run a command bound by permissions, even as root."""
    if os.geteuid():
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("root may write everywhere, and there is no setpriv")
    return ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


def test_a_store_that_may_only_be_read_serves_and_is_not_written(one, two):
    one.computes()
    before = sorted(one.shared.rglob("*"))
    folders = [one.shared, *(path for path in before if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        status, imported, log = two.run(prefix=ordinary())
        assert (status, imported) == (0, "nothing"), log
        log = two.computes(prefix=ordinary(), **DIFFERENT["a setting"])
        assert f"the store {one.shared} cannot be used: " in log
        assert "Permission denied" in log
        assert set(two.results()) == {"a.csv", "a.h5"}
        assert sorted(one.shared.rglob("*")) == before
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_where_an_entry_does_not_fit_the_result_is_kept(one):
    few = 1000  # bytes: the results fit, the manifest does not
    one.script.write_text(SCRIPT.replace("* 40", "* 2"))
    log = one.computes(preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (few, few)))
    assert f"the store {one.shared} cannot be used: " in log
    assert "File too large" in log
    assert set(one.results()) == {"a.csv", "a.h5"}
    assert one.entries() == list(one.shared.glob("unfinished/*")) == []
    one.computes()
    one.takes()


@pytest.mark.parametrize(
    ("umask", "folders", "files", "taken"),
    [
        (0o000, 0o775, 0o444, 0o666),
        (0o002, 0o775, 0o444, 0o664),
        (0o022, 0o755, 0o444, 0o644),
        (0o027, 0o750, 0o440, 0o640),
    ],
)
def test_the_store_is_open_to_whom_the_umask_allows_and_never_to_all(
    one, two, umask, folders, files, taken
):
    one.computes(preexec=lambda: os.umask(umask))
    for path in [one.shared, *one.shared.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (folders if path.is_dir() else files), path
    two.takes(preexec=lambda: os.umask(umask))
    for name in two.results():
        assert (two.root / "results/out" / name).stat().st_mode & 0o777 == taken


def test_old_entries_are_found_by_the_line_of_the_readme(one, two):
    one.computes()
    one.computes(**DIFFERENT["a setting"])
    for entry in one.entries():
        os.utime(entry, (1, 1))
    two.takes()
    readme = (WORKFLOW.parent / "README.md").read_text()
    (line,) = re.findall(r"^    (find .*-mtime.*rm -rf .*)$", readme, re.M)
    subprocess.run(line.replace("/group/store", str(one.shared)), shell=True, check=True)
    assert len(one.entries()) == 1
    two.takes()
