"""Vision encoders of the library `transformers`: their outputs, pooled, are the scores.

Built from a configuration alone: no code that comes with a model is run, and nothing is looked up anywhere.
"""

from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.networks.embedding import EmbeddingNetwork, OrthantEmbedding, SphereEmbedding
from models.networks.standardised import Standardised

Pooling = Literal["pooler", "first", "mean"]
Head = Literal["identity", "linear", "rectified"]

# Families whose last operation before pooling is the activation that their configuration names.
_ENDED_BY_ACTIVATION = {"resnet", "regnet"}


class EncoderError(ModelError):
    """No encoder can be made of this configuration; the message says why."""


class _Encoder(EmbeddingNetwork):
    """Pixels, standardised by `mean` and `std` of each channel, through `encoder`, pooled, through `head`.

    pooling  "pooler": what the encoder's own pooler gives; "first": the first token, which stands for all;
             "mean": the mean over all tokens or places
    head     "identity": nothing; else a linear layer to `dimension` numbers, "rectified" if a ReLU follows

    Raises `EncoderError`.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        config: dict[str, Any],
        pooling: Pooling,
        dimension: int,
        head: Head,
    ) -> None:
        super().__init__()
        self.standard = Standardised(input_shape[0], mean, std)
        self.pooling = pooling
        self.encoder = built(config, pooling).eval()
        width = encoder_width(self.encoder, pooling, input_shape)
        if head == "identity" and width != dimension:
            raise EncoderError(f"the encoder gives {width} numbers, not {dimension}")
        self.head = nn.Identity() if head == "identity" else nn.Linear(width, dimension)

    def scores(self, pixels: Tensor) -> Tensor:
        """What the head gives (B, d), before it is made an embedding."""
        scores: Tensor = self.head(pooled(self.encoder, self.pooling, self.standard(pixels)))
        return scores


class EncoderEmbedding(_Encoder, SphereEmbedding):
    """An encoder whose numbers have any sign."""


class RectifiedEncoderEmbedding(_Encoder, OrthantEmbedding):
    """An encoder or head that ends in a ReLU, which is the one that proves the orthant."""


def encoder_embedding(
    input_shape: tuple[int, int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    config: dict[str, Any],
    pooling: Pooling,
    dimension: int,
    head: Head,
) -> EmbeddingNetwork:
    """The embedding network around the encoder that `config` describes, with untrained weights.

    Of the class with the smaller space where that loses nothing, and where the head was trained for it.
    Raises `EncoderError`.
    """
    rectified = head == "rectified" or (
        head == "identity"
        and config["model_type"] in _ENDED_BY_ACTIVATION
        and config.get("hidden_act", "relu") == "relu"
    )
    kind = RectifiedEncoderEmbedding if rectified else EncoderEmbedding
    return kind(input_shape, mean, std, config, pooling, dimension, head)


def pooled(encoder: nn.Module, pooling: Pooling, standard: Tensor) -> Tensor:
    """What stands for each image (B, width), of standardised pixels (B, C, H, W)."""
    found = encoder(pixel_values=standard)
    if pooling == "pooler":
        vectors: Tensor = found.pooler_output.flatten(1)
        return vectors
    states: Tensor = found.last_hidden_state
    if pooling == "first":
        return states[:, 0]
    return states.mean(dim=1) if states.ndim == 3 else states.mean(dim=(2, 3))


@torch.no_grad()
def encoder_width(encoder: nn.Module, pooling: Pooling, input_shape: tuple[int, int, int]) -> int:
    """How many numbers stand for an image; `EncoderError` if the encoder cannot read such an input."""
    try:
        shape = pooled(encoder, pooling, torch.zeros(1, *input_shape)).shape
    except Exception as error:  # of any kind, as the numbers of a configuration may be any
        raise EncoderError(
            f"the encoder cannot read an input of {input_shape}: {first_line(error)}"
        ) from error
    if len(shape) != 2:
        raise EncoderError(f"the encoder gives no vector for an image, but numbers of shape {tuple(shape)}")
    return shape[1]


def built(config: dict[str, Any], pooling: Pooling) -> nn.Module:
    """The encoder that `config` describes, with untrained weights; `EncoderError` if that is none."""
    transformers = library()
    try:
        described = transformers.AutoConfig.for_model(**config)
        kind = transformers.MODEL_MAPPING[type(described)]
        check_reads_pixels(kind)
        options = class_options(kind, pooling)
        encoder = transformers.AutoModel.from_config(described, dtype=torch.float32, **options)
        # It has none; and the library warns of that whenever the encoder is traced.
        encoder.loss_function = None
    except EncoderError:
        raise
    except Exception as error:  # of any kind, as the numbers of a configuration may be any
        raise EncoderError(
            f"transformers makes no {config['model_type']!r} of this: {first_line(error)}"
        ) from error
    found: nn.Module = encoder
    return found


def check_reads_pixels(kind: Any) -> None:
    """`EncoderError` if the class `kind` of models reads anything but pixels."""
    if getattr(kind, "main_input_name", None) != "pixel_values":
        raise EncoderError(
            f"{kind.__name__} reads {getattr(kind, 'main_input_name', 'no pixels')}, no images"
        )


def class_options(kind: Any, pooling: Pooling) -> dict[str, Any]:
    """How the class `kind` of models is made: without a pooler that is not used, and with which attention.

    torch's own, where the class knows it: left to itself, the library may choose what it would download.
    """
    options: dict[str, Any] = {"attn_implementation": "sdpa" if kind._supports_sdpa else "eager"}
    if pooling != "pooler" and "add_pooling_layer" in signature(kind.__init__).parameters:
        options["add_pooling_layer"] = False
    return options


def first_line(error: Exception) -> str:
    """What happened, in a line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def library() -> Any:
    """The module `transformers`; `EncoderError` where it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise EncoderError(
            f"this model needs the library transformers ({error}): pip install 'retrievalguard[backbones]'"
        ) from error
    return transformers


def encoder_library() -> str:
    """The library and its version: another one may compute otherwise."""
    try:
        return f"transformers {version('transformers')}"
    except PackageNotFoundError:
        return "transformers none"
