"""Train a demo model on Fashion-MNIST and write its weights and a record of the run.

    python training/train_demo.py teacher                   # first: a small convolutional network, kept out of the repository
    python training/train_demo.py demo_vit|demo_swin [--source /usr/share/datasets/fashion-mnist] [--threads 1] [--device cpu]

Seeded. 55,000 training images: the 5,000 calibration images are left out and serve as the validation set printed each epoch;
the test images are never read here. Half of a demo model's loss are the softened outputs of the teacher, which learned from the
same images: with so few epochs that is worth more than augmentation. In a paired trial Muon was after 150 steps where AdamW was
after 300. Patch dropout makes most of the ViT's epochs cheaper; the last ones see every patch. The weights kept are the
exponential moving average after the last epoch, whatever the validation figure says.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import timm
import torch
from make_data import calibration_indices
from safetensors.torch import load_file, save_file
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn import functional as F

from toast_core.data.idx import read_idx
from toast_core.files import write_text, write_whole
from toast_core.models.demo import DEMO_BUILDERS, DEMO_MEAN, DEMO_STD

ASSETS = Path(__file__).parents[1] / "toast_core" / "assets" / "fashion_mnist"
RECIPE = {
    "teacher": {"epochs": 8, "peak_lr": 3e-3, "optimizer": "adamw"},
    "demo_vit": {"epochs": 9, "peak_lr": 3e-3, "optimizer": "muon", "patch_drop_rate": 0.5, "full_epochs": 2},
    "demo_swin": {"epochs": 9, "peak_lr": 3e-3, "optimizer": "muon"},
}
BATCH_SIZE = 128
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
TEMPERATURE = 2.0
PAD_PIXELS = 2


class Residual(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(width, width), conv(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x))


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def build(name: str) -> nn.Module:
    """Return the untrained model; timm's `jax` initialisation starts faster than its default at these widths."""
    if name == "demo_swin":
        return DEMO_BUILDERS[name](weight_init="jax")
    if name == "demo_vit":
        return start_like_attention(DEMO_BUILDERS[name](weight_init="jax", patch_drop_rate=RECIPE[name]["patch_drop_rate"]))
    body = [conv(1, 32), conv(32, 64, 2), Residual(64), conv(64, 128, 2), Residual(128)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


@torch.no_grad()
def start_like_attention(model: nn.Module) -> nn.Module:
    """Start a ViT where trained ones are found (Trockman and Kolter, 2023): sinusoidal positions, q k^T near the identity,
    v followed by the output projection near its negative. In place, on a fresh model; worth epochs on small data."""
    grid, width = model.patch_embed.grid_size[0], model.embed_dim
    rows, columns = torch.meshgrid(torch.arange(grid).float(), torch.arange(grid).float(), indexing="ij")
    frequency = 100.0 ** -(torch.arange(width // 4) / (width // 4))
    waves = [wave(axis.flatten()[:, None] * frequency) for axis in (columns, rows) for wave in (torch.sin, torch.cos)]
    model.pos_embed[:, model.num_prefix_tokens :] = 0.5 * torch.cat(waves, 1)
    for block in model.blocks:
        heads, dim, weight = block.attn.num_heads, block.attn.head_dim, block.attn.qkv.weight
        for head in range(heads):
            u, s, vh = torch.linalg.svd(0.7 * torch.eye(width) + 0.7 * torch.randn(width, width) / width**0.5)
            scale = s[:dim].sqrt()
            weight[head * dim : (head + 1) * dim] = (u[:, :dim] * scale).t()
            weight[width + head * dim : width + (head + 1) * dim] = scale[:, None] * vh[:dim]
        u, s, vh = torch.linalg.svd(-0.4 * torch.eye(width) + 0.4 * torch.randn(width, width) / width**0.5)
        weight[2 * width :] = s.sqrt()[:, None] * vh
        block.attn.proj.weight.copy_(u * s.sqrt())
    return model


def normalize(images: np.ndarray) -> torch.Tensor:
    """Return (B, 1, 28, 28) float images from uint8 (B, 28, 28)."""
    return (torch.from_numpy(images.copy()).float().div_(255).unsqueeze(1) - DEMO_MEAN[0]) / DEMO_STD[0]


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the images and shift each by up to PAD_PIXELS in both directions; (B, 1, H, W) in and out."""
    batch, _, height, width = images.shape
    flip = torch.rand(batch, generator=generator) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(-1), images)
    background = -DEMO_MEAN[0] / DEMO_STD[0]
    padded = F.pad(images, (PAD_PIXELS,) * 4, value=background)
    top, left = torch.randint(0, 2 * PAD_PIXELS + 1, (2, batch), generator=generator)
    rows = top[:, None] + torch.arange(height)
    columns = left[:, None] + torch.arange(width)
    return padded[torch.arange(batch)[:, None, None], 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return top-1 in percent, float32."""
    model.eval()
    with torch.inference_mode():
        correct = sum((model(x).argmax(1) == y).sum().item() for x, y in zip(images.split(500), labels.split(500), strict=True))
    return 100.0 * correct / len(labels)


def loss_of(logits: torch.Tensor, labels: torch.Tensor, teacher_logits: torch.Tensor | None) -> torch.Tensor:
    """Cross entropy alone, or half of it with half of the divergence from the teacher (soft distillation)."""
    hard = F.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
    if teacher_logits is None:
        return hard
    student, target = F.log_softmax(logits.float() / TEMPERATURE, 1), F.log_softmax(teacher_logits.float() / TEMPERATURE, 1)
    return 0.5 * hard + 0.5 * TEMPERATURE**2 * F.kl_div(student, target, log_target=True, reduction="batchmean")


def train(name: str, source: Path, teacher_path: Path, device: torch.device, seed: int) -> None:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    recipe = RECIPE[name]
    model = build(name).to(device)
    ema = ModelEmaV3(model, decay=0.998, use_warmup=True)
    teacher = None
    if name != "teacher":
        teacher = build("teacher").to(device).eval()
        teacher.load_state_dict(load_file(teacher_path))

    labels = read_idx(source / "train-labels-idx1-ubyte.gz")
    held_out = calibration_indices(labels)
    kept = np.setdiff1d(np.arange(len(labels)), held_out)
    images = read_idx(source / "train-images-idx3-ubyte.gz")
    x_train, y_train = normalize(images[kept]), torch.from_numpy(labels[kept].copy()).long()
    x_val, y_val = normalize(images[held_out]).to(device), torch.from_numpy(labels[held_out].copy()).long().to(device)

    steps = len(x_train) // BATCH_SIZE
    optimizer = create_optimizer_v2(model, opt=recipe["optimizer"], lr=recipe["peak_lr"], weight_decay=WEIGHT_DECAY)
    scheduler = CosineLRScheduler(
        optimizer, t_initial=recipe["epochs"] * steps, lr_min=1e-5, warmup_t=steps // 2, warmup_lr_init=1e-5, t_in_epochs=False
    )
    started, cpu_started, history = time.time(), time.process_time(), []
    for epoch in range(recipe["epochs"]):
        if epoch == recipe["epochs"] - recipe.get("full_epochs", 0):
            model.patch_drop = nn.Identity()
        model.train()
        order = torch.randperm(len(x_train), generator=generator)[: steps * BATCH_SIZE].view(steps, BATCH_SIZE)
        total = 0.0
        for step, index in enumerate(order):
            inputs = augment(x_train[index], generator).to(device)
            with torch.autocast(device.type, torch.bfloat16):
                with torch.no_grad():
                    teacher_logits = None if teacher is None else teacher(inputs)
                loss = loss_of(model(inputs), y_train[index].to(device), teacher_logits)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step_update(epoch * steps + step + 1)
            ema.update(model, step=epoch * steps + step)
            total += loss.item()
        history.append({"epoch": epoch + 1, "loss": total / steps, "calibration_top1": accuracy(ema.module, x_val, y_val)})
        print(json.dumps(history[-1] | {"minutes": round((time.time() - started) / 60, 1)}), flush=True)
        record = {
            "model": name,
            "recipe": recipe,
            "batch_size": BATCH_SIZE,
            "weight_decay": WEIGHT_DECAY,
            "label_smoothing": LABEL_SMOOTHING,
            "temperature": TEMPERATURE,
            "seed": seed,
            "training_images": len(x_train),
            "history": history,
            "wall_minutes": (time.time() - started) / 60,
            "cpu_minutes": (time.process_time() - cpu_started) / 60,
            "device": device.type,
            "threads": torch.get_num_threads(),
            "processor": platform.machine(),
            "torch": torch.__version__,
            "timm": timm.__version__,
        }
        write(teacher_path if name == "teacher" else ASSETS / f"{name}.safetensors", ema.module, record)


def write(weights: Path, model: nn.Module, record: dict) -> None:
    """Write the weights and the record of the run beside them, each whole or not at all."""
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_whole(weights, lambda temporary: save_file(state, temporary))
    write_text(weights.with_suffix(".training.json"), json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(RECIPE))
    parser.add_argument("--source", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--teacher", type=Path, default=Path("teacher.safetensors"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.model, arguments.source, arguments.teacher, torch.device(arguments.device), arguments.seed)
