"""The command deep-restoration, in processes of its own where that matters."""

import logging
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deep_restoration.interface import shell
from deep_restoration.interface.commands import table

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments, folder=ROOT, **more):
    """The command in a process, from a folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "deep_restoration", *map(str, arguments)]
    options = {"capture_output": True, "text": True, "cwd": folder, "env": environment}
    return subprocess.run(command, **options, **more)


@pytest.fixture(autouse=True)
def _level_of_the_log():
    """That of before, which `main` sets."""
    log = logging.getLogger("deep_restoration")
    before = log.level
    yield
    log.setLevel(before)


@pytest.fixture
def photo(tmp_path):
    rows, columns = np.mgrid[:80, :100]
    pixels = np.stack([3 * rows, 2 * columns, rows + columns], -1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_the_command_is_installed_by_its_name():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"deep-restoration": "deep_restoration.interface.shell:main"}
    assert callable(shell.main)
    assert project["name"] == shell.PROGRAM


@pytest.mark.parametrize("arguments", [["--help"], ["invert", "--help"], ["layers", "--help"]])
def test_help_has_examples_and_takes_no_torch(arguments):
    code = (
        "import sys, contextlib; from deep_restoration.interface.shell import main\n"
        f"with contextlib.suppress(SystemExit): main({arguments!r})\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "workflow", capture_output=True, text=True
    )
    assert done.returncode == 0
    assert re.search(r"examples?:\n  deep-restoration ", done.stdout)


def test_the_examples_of_the_help_are_understood():
    parser = shell.parser()
    commands = parser._subparsers._group_actions[0].choices
    texts = [one.epilog for one in (parser, *commands.values())]
    lines = re.findall(r"^  deep-restoration (.+)$", "\n".join(texts), re.M)
    assert len(lines) > 6
    for line in lines:
        assert parser.parse_args(line.split()).command in line


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as ended:
        shell.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"deep-restoration {version('deep-restoration')}\n"


def test_recipes_are_listed_without_torch():
    code = (
        "import sys; from deep_restoration.interface.shell import main; main(['recipes']); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "workflow", capture_output=True, text=True
    )
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"tv +100 iterations of lbfgs, tv +yes", lines[2])
    assert any(line.startswith("foe ") and "foe.safetensors in --priors" in line for line in lines)
    assert any(line.startswith("annealed ") and " no: " in line for line in lines)


def test_layers_are_listed_with_what_they_see(capsys):
    assert shell.main(["layers", "squeezenet1_1", "--size", "64"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^features\.0 +Conv2d +64 x 31 x 31 +2 +3$", out, re.M)
    assert re.search(r"^features\.3 +block +128 x 15 x 15 +4 +15$", out, re.M)
    assert len({line.rstrip()[-1:] for line in out.splitlines()}) > 1
    assert shell.main(["layers", "alexnet", "--size", "32"]) == 0
    assert "Images of 32 x 32 reach no further: pool" in capsys.readouterr().out


def test_columns_are_aligned():
    assert table(("a", "bb"), [("ccc", 1), ("d", 22)], right=1) == "a    bb\nccc   1\nd    22"


def test_from_the_shell_to_the_picture_of_one_layer(photo, tmp_path, capsys, one_thread):
    command = ("invert", photo, "--network", "squeezenet1_1", "--layer", "features.3")
    command += ("--weights", "random", "--size", 48, "--iterations", 4)
    done = run(*command, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "RANDOM weights" in done.stderr
    pattern = (
        r"features.3: PSNR [\d.]+ dB, SSIM -?0\.\d+, MSE 0\.\d+, representation error [\d.e-]+, "
    )
    first, second = done.stdout.splitlines()
    assert re.match(pattern, first)
    assert second == "photo-squeezenet1_1-features.3.png"
    with Image.open(tmp_path / second) as image:
        assert image.size == (48, 48)
        pixels = np.asarray(image)
    assert shell.main([*map(str, command), "-o", str(tmp_path / "again.png")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "again.png")
    with Image.open(tmp_path / "again.png") as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_without_a_layer_the_picture_shows_every_stage(photo, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["invert", str(photo), "--network", "resnet18", "--weights", "random"]
    assert shell.main([*arguments, "--size", "32", "--iterations", "2", "--recipe", "pure"]) == 0
    lines = capsys.readouterr().out.splitlines()
    stages = ["layer1", "layer2", "layer3", "layer4"]
    assert [line.partition(":")[0] for line in lines[:-1]] == stages
    with Image.open(tmp_path / lines[-1]) as image:
        assert image.width == 8 + 5 * (32 + 8)


def test_a_stage_that_diverges_costs_only_itself(photo, tmp_path, capsys, monkeypatch):
    from deep_restoration.interface import inverting
    from deep_restoration.runtime.errors import DivergedError

    genuine, bad = inverting.of_network, ["layer2"]

    def of_network(network, layer, *more, **options):
        if layer in bad:
            raise DivergedError(f"the optimisation of {layer} diverged")
        return genuine(network, layer, *more, **options)

    monkeypatch.setattr(inverting, "of_network", of_network)
    monkeypatch.chdir(tmp_path)
    arguments = ["invert", str(photo), "--network", "resnet18", "--weights", "random"]
    arguments += ["--size", "32", "--iterations", "1", "--recipe", "pure"]
    assert shell.main(arguments) == 0
    told = capsys.readouterr()
    assert "layer2 is left out: the optimisation of layer2 diverged" in told.err
    assert [line[:6] for line in told.out.splitlines()[:-1]] == ["layer1", "layer3", "layer4"]
    bad += ["layer1", "layer3", "layer4"]
    assert shell.main(arguments) == 1
    assert "error: the optimisation of layer4 diverged" in capsys.readouterr().err


def test_real_weights_give_a_real_image(real_data, tmp_path):
    photo = sorted((real_data / "data" / "imagenet-sample" / "test").iterdir())[3]
    weights = real_data / "weights" / "squeezenet1_0-imagenet.pth"
    arguments = ("--network", "squeezenet1_0", "--weights", weights, "--layer", "features.3")
    done = run("invert", photo, *arguments, "--size", 96, "--iterations", 40, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "RANDOM" not in done.stderr
    found = re.search(r"SSIM ([\d.]+), MSE ([\d.]+), representation error ([\d.]+)", done.stdout)
    similar, _, wrong = map(float, found.groups())
    assert similar > 0.2
    assert wrong < 0.1


RECIPE = "optimiser: adam\nphases: [{iterations: 2, rate: 5.0}]\n"


@pytest.mark.parametrize("nested", [False, True])
def test_a_recipe_of_the_users_own_is_read_from_a_file(nested, photo, tmp_path, capsys):
    text = RECIPE
    if nested:
        text = "recipes:\n  mine:\n" + "".join(f"    {line}\n" for line in RECIPE.splitlines())
    (tmp_path / "recipe.yaml").write_text(text)
    arguments = ["invert", str(photo), "--network", "squeezenet1_1", "--layer", "features.3"]
    arguments += ["--weights", "random", "--size", "48", "-o", str(tmp_path / "out.png")]
    assert shell.main([*arguments, "--recipe-file", str(tmp_path / "recipe.yaml")]) == 0
    assert (tmp_path / "out.png").exists()
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out.png")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--layer", "features.99"], "has no layer 'features.99'; nearest: features.9"),
        (["--recipe", "tvv"], "there is no recipe 'tvv'; nearest: tv"),
        (["--recipe", "annealed"], "needs an annealing.*snakemake"),
        (["--recipe", "foe"], "needs the learned prior 'foe'"),
        (["--weights", "nowhere.pth"], "--weights is 'nowhere.pth', and there is no such file"),
        (["--device", "gpu"], "--device is 'gpu', which this machine does not have"),
        (["--size", "200"], r"photo.png cannot be used: too small: 100 x 80, 200 needed"),
        (["--size", "5"], "size is 5; it must be at least 11"),
        (["--recipe-file", "nowhere.yaml"], "nowhere.yaml"),
        (["--recipe-file", "bad.yaml"], "bad.yaml is no valid YAML"),
        (["--recipe-file", "list.yaml"], "list.yaml holds no recipe"),
        (["--recipe-file", "two.yaml"], "two.yaml has 2 recipes"),
        (["--recipe-file", "wrong.yaml"], "recipes.yours.rate is not a key"),
        (
            ["--network", "squeezenet9"],
            "there is no architecture 'squeezenet9'; nearest: squeezenet",
        ),
        (["-o", "kept.txt"], "no image can be written as kept.txt"),
    ],
)
def test_what_the_user_can_mend_is_one_message_and_status_2(
    more, words, photo, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "bad": "a: [",
        "list": "- a",
        "two": "recipes: {a: {}, b: {}}",
        "wrong": "rate: 3",
    }.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    plain = ["invert", str(photo), "--network", "squeezenet1_1", "--weights", "random"]
    plain += ["--layer", "features.3", "--size", "48", "--iterations", "1"]
    assert shell.main([*plain, *more]) == 2
    error = capsys.readouterr().err
    assert re.search(f"^deep-restoration: error: .*{words}", error, re.M | re.S)
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["invert", "photo.jpg"], "--network"),
        (["invert", "p.jpg", "--network", "n", "--size", "0"], "'0' is no whole number from 1"),
        (["invert", "p.jpg", "--network", "n", "--seed", "-1"], "'-1' is no whole number from 0"),
        (
            ["invert", "p.jpg", "--network", "n", "--recipe", "a", "--recipe-file", "b"],
            "not allowed",
        ),
    ],
)
def test_a_command_that_is_not_understood_has_status_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        shell.main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_an_interruption_is_no_traceback(photo, capsys, monkeypatch):
    from deep_restoration.interface import commands

    def interrupted(given):
        raise KeyboardInterrupt

    monkeypatch.setitem(commands.COMMANDS, "recipes", interrupted)
    assert shell.main(["recipes"]) == 130
    assert capsys.readouterr().err == "deep-restoration: interrupted\n"


def test_a_reader_that_stops_reading_is_no_error():
    command = f"{sys.executable} -m deep_restoration recipes | true"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    done = subprocess.run(
        ["bash", "-c", f"for n in 1 2 3; do {command}; done"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.stderr == ""
