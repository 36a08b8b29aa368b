"""The command deep-restoration: what it takes. Imports no torch, so that `--help` answers at once.

What it does is in `commands`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

PROGRAM = "deep-restoration"
ABOUT = "What does a layer of an image classifier keep of a photograph?"
NETWORKS = (
    "resnet50 (torchvision), timm:vit_small_patch16_224, path/to/file.py:function, module:function"
)
EXAMPLES = f"""examples:
  {PROGRAM} invert photo.jpg --network resnet50
      every stage of ResNet-50 beside the photograph, in photo-resnet50.png
  {PROGRAM} invert photo.jpg --network squeezenet1_0 --weights squeezenet.pth --layer features.7
      one layer, weights from a file
  {PROGRAM} invert photo.jpg --network timm:tf_efficientnet_lite0
      an ImageNet classifier whose weights are installed with this program
  {PROGRAM} layers resnet50
      which layers there are, and what their units see
  {PROGRAM} recipes
      by what an image can be reconstructed

In Python: import deep_restoration; deep_restoration.invert(model, "layer3", "photo.jpg").
Whole studies, of many photographs and with trained priors, are run by Snakemake: see README.md."""


def parser() -> argparse.ArgumentParser:
    top = _parser(argparse.ArgumentParser, prog=PROGRAM, description=ABOUT, epilog=EXAMPLES)
    top.add_argument("--version", action="version", version=f"{PROGRAM} {version(PROGRAM)}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_invert(commands)
    _add_layers(commands)
    _parser(
        commands.add_parser,
        "recipes",
        help="list what an image can be reconstructed by",
        description="List the recipes of config/everything.yaml, and which of them take more than one image.",
        epilog=f"example:\n  {PROGRAM} recipes",
    )
    return top


def _parser(make, *arguments, **options) -> argparse.ArgumentParser:
    return make(*arguments, formatter_class=argparse.RawDescriptionHelpFormatter, **options)


def _add_invert(commands) -> None:
    one = _parser(
        commands.add_parser,
        "invert",
        help="reconstruct a photograph from a layer, or from every stage of a network",
        description="Reconstruct a photograph from the feature maps of one layer, and measure how well.\n"
        "Without --layer: from every stage of the network, side by side with the photograph.",
        epilog=f"""examples:
  {PROGRAM} invert photo.jpg --network resnet50 --layer layer3
  {PROGRAM} invert photo.jpg --network vgg16 --recipe mahendran2016 -o stages.png
  {PROGRAM} invert photo.jpg --network resnet18 --weights random --size 96 --iterations 30""",
    )
    one.add_argument("photo", help="any image file; reduced to --size, and cropped to a square")
    one.add_argument("--network", required=True, metavar="NAME", help=NETWORKS)
    one.add_argument("--layer", metavar="NAME", help="a layer or block of `layers NETWORK`")
    one.add_argument(
        "--weights",
        default="DEFAULT",
        metavar="NAME|FILE",
        help="published weights by name (DEFAULT: the best, downloaded once), a file, or random; of a "
        "function by default those of the module that it returns",
    )
    how = one.add_mutually_exclusive_group()
    how.add_argument("--recipe", default="tv", metavar="NAME", help="of `recipes`; by default tv")
    how.add_argument(
        "--recipe-file", metavar="FILE", help="YAML: a recipe as in a study, or a study with one"
    )
    one.add_argument(
        "--priors", metavar="FOLDER", help="of <name>.safetensors, if the recipe has learned priors"
    )
    one.add_argument("--size", type=_count, default=224, help="side in pixels; by default 224")
    one.add_argument("--iterations", type=_count, metavar="N", help="in place of the recipe's own")
    one.add_argument("--seed", type=_seed, default=0, help="of the start noise; by default 0")
    one.add_argument(
        "--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1, ..."
    )
    one.add_argument(
        "-o", "--output", metavar="FILE", help="by default PHOTO-NETWORK[-LAYER].png, here"
    )


def _add_layers(commands) -> None:
    one = _parser(
        commands.add_parser,
        "layers",
        help="list the layers and blocks of a network",
        description="List the layers and blocks of a network in the order of its forward pass: the shape of\n"
        "their maps, the stride of their units in pixels, and the side of the square that one unit\n"
        "sees (its receptive field; all: the whole image; and a mean: of the whole map, besides). Layers of\n"
        "tokens are maps of their positions; those of the class and registers are NAME.class.",
        epilog=f"example:\n  {PROGRAM} layers squeezenet1_0 --size 224",
    )
    one.add_argument("network", help=NETWORKS)
    one.add_argument("--size", type=_count, default=224, help="of the image; by default 224")


def _count(text: str) -> int:
    return _whole(text, 1)


def _seed(text: str) -> int:
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least}")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 2 for what the user can mend, 1 for an optimisation that
    diverged and for output that nobody reads, 130 when interrupted."""
    given = parser().parse_args(arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: see runtime/devices
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    # A bar on a terminal says as much as the log.
    level = logging.WARNING if sys.stderr.isatty() else logging.INFO
    logging.getLogger("deep_restoration").setLevel(level)
    from ..runtime.errors import EXPECTED, DivergedError
    from . import commands

    try:
        commands.COMMANDS[given.command](given)
        sys.stdout.flush()
    except BrokenPipeError:  # of `| head`, say: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except EXPECTED as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return 1 if isinstance(error, DivergedError) else 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return 130
    return 0
