"""Seeds, checkpoints, and how a job ends."""

import hashlib
import io
import logging
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from deep_restoration.files.tensors import save_tensors
from deep_restoration.runtime import devices
from deep_restoration.runtime.checkpoints import (
    Checkpoint,
    content_stamps,
    optimiser_state,
    restore_optimiser,
)
from deep_restoration.runtime.progress import progress
from deep_restoration.runtime.seeds import generator, seed_of

LIBRARY = Path(devices.__file__).parents[2]


# ------------------------------------------------------------------------------ memory


FAULTS = """
import resource, sys
import numpy as np
from deep_restoration.runtime import devices
if sys.argv[1] == "kept":
    devices.keep_memory()
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    maps = [np.empty(50_000_000, np.uint8) for _ in range(3)]
    for each in maps:
        each.fill(1)
    del maps, each
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif("glibc" not in platform.libc_ver(), reason="another C library")
def test_a_job_asks_the_kernel_only_once_for_the_memory_of_its_maps():
    faults = {}
    for memory in ("returned", "kept"):
        command = [sys.executable, "-c", FAULTS, memory]
        environment = {**os.environ, "PYTHONPATH": str(LIBRARY)}
        done = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
        faults[memory] = int(done.stdout)
    assert faults["returned"] > 10 * max(1, faults["kept"])


# ------------------------------------------------------------------------------ seeds


def test_seeds_depend_on_every_name_and_its_place():
    calls = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", "b"), (0, "b", "a"), (0, "ab"), (0, "a", "")]
    seeds = [seed_of(*call) for call in calls]
    assert len(set(seeds)) == len(calls)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_are_the_same_in_every_process_and_release():
    assert seed_of(0, "start", 3) == seed_of(0, "start", "3")
    digest = hashlib.sha256(b'[0, "start", "3"]').hexdigest()
    assert seed_of(0, "start", 3) == int(digest[:16], 16) // 2


def test_generators_repeat_and_differ_by_name():
    def draw(*names):
        return torch.rand(4, generator=generator(7, *names)).tolist()

    assert draw("x") == draw("x")
    assert draw("x") != draw("y")


# ------------------------------------------------------------------------------ precision


CPU = torch.device("cpu")


def dtype_in(precision):
    with devices.precision_context(precision, CPU):
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def test_mixed_precision_computes_in_bfloat16_where_the_device_does(bfloat16):
    assert dtype_in("float32") == torch.float32
    assert dtype_in("mixed") == torch.bfloat16
    assert devices.lowers("mixed", CPU)
    assert not devices.lowers("float32", CPU)


def test_mixed_precision_is_float32_where_bfloat16_is_emulated_and_says_so_once(
    monkeypatch, caplog
):
    monkeypatch.setattr(devices, "computes_in_bfloat16", lambda where: False)
    devices._say_once.cache_clear()
    with caplog.at_level("INFO", logger="deep_restoration"):
        assert [dtype_in("mixed") for _ in range(3)] == [torch.float32] * 3
    (record,) = caplog.records
    assert "this cpu has no arithmetic in bfloat16; computing in float32" in record.message


@pytest.mark.parametrize("word", ["half", "bfloat16", "", None])
def test_other_precisions_are_refused(word):
    for function in (devices.precision_context, devices.lowers):
        with pytest.raises(ValueError, match="allowed: float32, mixed"):
            function(word, CPU)


def test_what_this_cpu_computes_in_follows_its_features():
    flags = Path("/proc/cpuinfo")
    if not flags.exists() or platform.machine() != "x86_64":
        pytest.skip("the features of this CPU cannot be read")
    found = set(flags.read_text().split())
    assert devices.computes_in_bfloat16(CPU) == bool(found & {"avx512_bf16", "amx_bf16"})


# ------------------------------------------------------------------------------ progress


def test_progress_yields_every_step_and_logs_by_the_clock(caplog):
    with caplog.at_level(logging.INFO, "deep_restoration"):
        assert list(progress(range(3, 6), "counting", interval=0)) == [3, 4, 5]
    assert caplog.messages == [f"counting: {n} of 6" for n in (4, 5, 6)]


def test_progress_is_quiet_within_the_interval(caplog):
    with caplog.at_level(logging.INFO, "deep_restoration"):
        list(progress(range(100), "counting", interval=60))
    assert caplog.messages == []


def test_a_note_stands_beside_the_progress(caplog, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    clock = iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    with caplog.at_level(logging.INFO, "deep_restoration"):
        list(progress(range(3), "counting", interval=0, note=lambda: "objective 2"))
    messages = [f"counting: {n} of 3, objective 2, {3 - n} s left" for n in (1, 2, 3)]
    assert caplog.messages == messages
    monkeypatch.setattr(sys, "stderr", Terminal())
    list(progress(range(3), "counting", note=lambda: "objective 3"))
    assert "counting" in sys.stderr.getvalue()
    assert "objective 3" in sys.stderr.getvalue()


# ------------------------------------------------------------------------------ checkpoints


def checkpoint(tmp_path, key="key", **options):
    return Checkpoint(tmp_path / "out.h5", key, **options)


def test_checkpoint_round_trip(tmp_path):
    saved = checkpoint(tmp_path, {"b": 1, "a": [2]})
    assert saved.load() is None
    saved.save({"x": torch.arange(3.0)}, step=4, history=[0.1, 0.2])
    tensors, values = checkpoint(tmp_path, {"a": [2], "b": 1}).load()
    assert tensors["x"].tolist() == [0, 1, 2]
    assert values == {"step": 4, "history": [0.1, 0.2]}
    assert os.listdir(tmp_path) == ["out.h5.checkpoint"]
    saved.remove()
    saved.remove()
    assert os.listdir(tmp_path) == []


def test_checkpoint_of_another_key_is_left_aside(tmp_path, caplog):
    checkpoint(tmp_path, {"rate": 1}).save({"x": torch.ones(1)}, step=4)
    with caplog.at_level(logging.INFO, "deep_restoration"):
        assert checkpoint(tmp_path, {"rate": 2}).load() is None
    assert "belongs to other settings" in caplog.text
    assert checkpoint(tmp_path, {"rate": 1}).load() is not None


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_truncated_checkpoint_is_left_aside_with_a_warning(tmp_path, caplog, share):
    state = checkpoint(tmp_path)
    state.save({"x": torch.ones(100)}, step=4)
    whole = state.path.read_bytes()
    state.path.write_bytes(whole[: int(share * len(whole))])
    assert state.load() is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "out.h5.checkpoint" in caplog.text
    assert "starting afresh" in caplog.text


def test_file_of_another_stage_is_no_checkpoint(tmp_path, caplog):
    state = checkpoint(tmp_path)
    save_tensors(state.path, {"x": torch.ones(1)}, "prior", {})
    assert state.load() is None
    assert "starting afresh" in caplog.text


def test_checkpoint_is_due_after_its_interval(tmp_path):
    assert not checkpoint(tmp_path, interval=60).due()
    always = checkpoint(tmp_path, interval=0)
    assert always.due()
    always.interval = 60
    always.save({"x": torch.ones(1)})
    assert not always.due()


def test_stamps_are_hashes_of_content(tmp_path):
    for name, text in {"a": "1", "b": "1", "c": "2"}.items():
        (tmp_path / name).write_text(text)
    a, b, c = content_stamps(tmp_path / "a", "", tmp_path / "b", tmp_path / "c")
    assert a == b != c


# ------------------------------------------------------------------------------ optimisers


def optimise(optimiser, parameters, steps):
    for step in steps:
        optimiser.zero_grad()
        sum(((p - step) ** 2 * (i + 1)).sum() for i, p in enumerate(parameters)).backward()
        optimiser.step()


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad])
def test_reconstructed_optimiser_takes_exactly_the_same_steps(tmp_path, kind):
    parameters = [torch.zeros(3, requires_grad=True), torch.ones(2, 2, requires_grad=True)]
    optimiser = kind(parameters, lr=0.1)
    optimise(optimiser, parameters, range(3))
    state = checkpoint(tmp_path)
    tensors = {f"p{i}": p for i, p in enumerate(parameters)}
    state.save({**tensors, **optimiser_state(optimiser)})

    loaded, _ = checkpoint(tmp_path).load()
    again = [loaded[f"p{i}"].clone().requires_grad_() for i in range(2)]
    reconstructed = kind(again, lr=0.1)
    restore_optimiser(reconstructed, loaded)
    optimise(optimiser, parameters, range(3, 6))
    optimise(reconstructed, again, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(parameters, again, strict=True))


# ------------------------------------------------------------------------------ jobs


def run_job(tmp_path, body):
    code = (
        "from types import SimpleNamespace\n"
        "from deep_restoration.jobs import job\n"
        "with job.job(SimpleNamespace(log=['logs/a.log'], threads=2, params={})):\n" + body
    )
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    return done, (tmp_path / "logs/a.log").read_text(encoding="utf-8")


def test_finished_job_logs_its_time_and_says_nothing(tmp_path):
    done, log = run_job(tmp_path, "    job.log.info('12 images')")
    assert done.returncode == 0
    assert done.stdout == done.stderr == ""
    assert "12 images" in log
    assert "done in " in log


def test_expected_error_ends_with_its_message_and_the_traceback_in_the_log(tmp_path):
    done, log = run_job(tmp_path, "    raise ValueError('the file a.jpg is odd')")
    assert done.returncode == 1
    assert done.stderr.strip() == "error: the file a.jpg is odd"
    assert "Traceback" in log
    assert "ValueError: the file a.jpg is odd" in log


def test_other_errors_show_their_traceback_in_both_places(tmp_path):
    done, log = run_job(tmp_path, "    [][1]")
    assert done.returncode == 1
    assert "IndexError" in done.stderr
    assert "IndexError" in log


def test_warnings_and_any_file_name_reach_log_and_terminal(tmp_path):
    body = (
        "    import warnings, os\n"
        "    warnings.warn('odd data')\n"
        "    job.log.warning('skipped %s', os.fsdecode(bytes([255])))\n"
        "    assert os.environ['OMP_NUM_THREADS'] == '2'\n"
        "    assert os.environ['OMP_WAIT_POLICY']"
    )
    done, log = run_job(tmp_path, body)
    assert done.returncode == 0
    for text in (log, done.stderr):
        assert "odd data" in text
        assert "skipped \\udcff" in text
    assert "Logging error" not in done.stderr


# ------------------------------------------------------------------------------ faults around a job


def test_a_job_ends_when_what_started_it_is_killed(tmp_path):
    """An orphan that went on could write over its successor's file."""
    job = (
        "import os, pathlib, time; from types import SimpleNamespace\n"
        "from deep_restoration.jobs import job\n"
        "with job.job(SimpleNamespace(log=['a.log'], threads=1, params={})):\n"
        "    pathlib.Path('pid').write_text(str(os.getpid()))\n"
        "    time.sleep(600)\n"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {job!r}])"
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY)}
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path, env=environment)
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = int((tmp_path / "pid").read_text())
    time.sleep(1.5)
    assert is_alive(pid)
    process.kill()
    process.wait()
    wait_for(lambda: not is_alive(pid))
    assert "stopped, because Snakemake is gone" in (tmp_path / "a.log").read_text()


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_checkpoint_that_cannot_be_saved_is_said_once_and_stops_nothing(small_disk, caplog):
    state = Checkpoint(small_disk / "out.h5", "key", interval=0)
    assert state.save({"x": torch.ones(1000)}, step=1)
    with caplog.at_level(logging.INFO, "deep_restoration"):
        assert not state.save({"x": torch.ones(1 << 20)}, step=2)
        assert not state.save({"x": torch.ones(1 << 20)}, step=3)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "the computation goes on without" in caplog.messages[0]
    assert "out.h5.checkpoint cannot be written: No space left on device" in caplog.messages[0]
    assert os.listdir(small_disk) == ["out.h5.checkpoint"]
    assert state.load()[1] == {"step": 1}
    assert state.save({"x": torch.ones(1000)}, step=4)


@pytest.mark.parametrize("place", range(0, 2000, 97))
def test_a_checkpoint_with_a_flipped_bit_is_left_aside(tmp_path, caplog, place):
    state = checkpoint(tmp_path)
    state.save({"x": torch.arange(100.0)}, step=4)
    damaged = bytearray(state.path.read_bytes())
    damaged[place % len(damaged)] ^= 16
    state.path.write_bytes(damaged)
    assert state.load() is None
    assert "starting afresh" in caplog.text


def test_a_checkpoint_that_cannot_be_read_now_is_not_thrown_away(ordinary_folder, ordinary_user):
    state = Checkpoint(ordinary_folder / "out.h5", "key")
    state.save({"x": torch.ones(3)}, step=4)
    state.path.chmod(0)
    with (
        ordinary_user(),
        pytest.raises(ValueError, match=r"out\.h5\.checkpoint cannot be read: Perm"),
    ):
        state.load()
    state.path.chmod(0o644)
    with ordinary_user():
        assert state.load()[1] == {"step": 4}
