"""Tiny vision encoders with random weights, as folders that transformers itself wrote."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers

SIDE = 32
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
TEXT = {"vocab_size": 50, "max_position_embeddings": 8, "bos_token_id": 1, "eos_token_id": 2} | TINY
SCALED = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
STRETCHED: dict[str, Any] = SCALED | {"size": {"height": SIDE, "width": SIDE}, "resample": 2}
CROPPED: dict[str, Any] = SCALED | {
    "size": {"shortest_edge": SIDE + 4},
    "do_center_crop": True,
    "crop_size": {"height": SIDE, "width": SIDE},
    "resample": 3,
}


def resnet() -> Any:
    shape: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
    return transformers.ResNetModel(transformers.ResNetConfig(layer_type="basic", **shape))


def vit() -> Any:
    labels = {"id2label": {0: "cat", 1: "dog"}, "label2id": {"cat": 0, "dog": 1}}
    config = transformers.ViTConfig(image_size=SIDE, patch_size=8, **labels, **TINY)
    return transformers.ViTForImageClassification(config)


def dinov2() -> Any:
    shape = {name: value for name, value in TINY.items() if name != "intermediate_size"}
    return transformers.Dinov2Model(transformers.Dinov2Config(image_size=SIDE, patch_size=8, **shape))


def siglip() -> Any:
    """Of pictures and text."""
    vision = {"image_size": SIDE, "patch_size": 8} | TINY
    return transformers.SiglipModel(transformers.SiglipConfig(vision_config=vision, text_config=TEXT))


def bert() -> Any:
    return transformers.BertModel(transformers.BertConfig(vocab_size=50, **TINY))


def clip() -> Any:
    """Of pictures and text."""
    vision = {"image_size": SIDE, "patch_size": 8} | TINY
    return transformers.CLIPModel(
        transformers.CLIPConfig(vision_config=vision, text_config=TEXT | {"pad_token_id": 0})
    )


def tiny(family: str) -> Any:
    """The bare encoder of a family, by the name that configurations have for it."""
    patches: dict[str, Any] = {"image_size": SIDE, "patch_size": 8}
    without = {name: value for name, value in TINY.items() if name != "intermediate_size"}
    windows = {"image_size": SIDE, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2]}
    stages = {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]}
    scaled = {"width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320, "batch_norm_eps": 1e-9}
    shapes: dict[str, dict[str, Any]] = {
        "beit": patches | TINY | {"vocab_size": 4, "use_mean_pooling": True},
        "convnext": stages,
        "convnextv2": stages,
        "dinov2": patches | without,
        "dinov2_with_registers": patches | without,
        "efficientnet": {"image_size": SIDE} | scaled,
        "mobilenet_v2": {"image_size": SIDE, "depth_multiplier": 0.25},
        "regnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 8},
        "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
        "swin": windows | {"window_size": 4},
        "swinv2": windows | {"window_size": 4},
    }
    config = transformers.AutoConfig.for_model(family, **shapes.get(family, patches | TINY))
    model = transformers.AutoModel.from_config(config)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # all of the batch below
        elif isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    with torch.no_grad():  # else images fade away in the many layers of some
        model.train()(pixel_values=torch.rand(16, 3, SIDE, SIDE))
    return model.eval()


ENCODERS = {"resnet": resnet, "vit": vit, "dinov2": dinov2, "siglip": siglip, "clip": clip}


def write(folder: Path, model: Any, preprocessor: dict[str, Any] = STRETCHED) -> Path:
    """The folder, with the model and its preprocessor."""
    logging = transformers.utils.logging
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    logging.enable_progress_bar()
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def made(kind: str, folder: Path, preprocessor: dict[str, Any] = STRETCHED) -> Path:
    """The folder with a tiny encoder of that kind; the same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = (ENCODERS | {"bert": bert})[kind]() if kind in {*ENCODERS, "bert"} else tiny(kind)
    return write(folder, model, preprocessor)
