"""An epoch of a model of the zoo as a person writes it in PyTorch, channels first. Called by bench_training.py.

python train_torch.py eager|compiled MODEL BATCH STEPS

Adam with foreach updates; loss and accuracy are added up on the device and read once an epoch.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from training import Case, Trainer, serve


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(128, 10),
    )  # fmt: skip


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1, relu: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs, 1e-3, 0.01)]
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))


def cnn() -> nn.Module:
    return nn.Sequential(
        conv(1, 32), conv(32, 32), nn.MaxPool2d(2), conv(32, 64), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64 * 49, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10),
    )  # fmt: skip


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(conv(inputs, outputs, stride=stride), conv(outputs, outputs, relu=False))
        self.short = conv(inputs, outputs, 1, stride, relu=False) if stride == 2 else nn.Identity()

    def forward(self, x: Any) -> Any:
        return F.relu(self.body(x) + self.short(x))


def resnet() -> nn.Module:
    blocks, width = [], 16
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            blocks.append(Residual(width, filters, 2 if stage and not block else 1))
            width = filters
    return nn.Sequential(conv(3, 16), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm, self.head = nn.Embedding(1000, 32), nn.LSTM(32, 64, batch_first=True), nn.Linear(64, 2)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(self.embed(x))[1][0][0])


class Block(nn.Module):
    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Any) -> Any:
        n, length, width = x.shape
        q, k, v = (a.view(n, length, self.heads, -1).transpose(1, 2) for a in self.qkv(self.norm1(x)).chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(y.transpose(1, 2).reshape(n, length, width))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self, tokens: int, width: int, heads: int, causal: bool, outputs: int):
        super().__init__()
        self.embed, self.causal = nn.Embedding(tokens, width), causal
        self.position = nn.Parameter(torch.randn(256, width) * 0.05)
        self.blocks = nn.Sequential(*(Block(width, heads, causal) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(width, 1e-6), nn.Linear(width, outputs)

    def forward(self, x: Any) -> Any:
        x = self.norm(self.blocks(self.embed(x) + self.position[: x.shape[1]]))
        return self.head(x if self.causal else x.mean(1))


def autoencoder() -> nn.Module:
    def up(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, 1), nn.ReLU(), nn.BatchNorm2d(outputs, 1e-3, 0.01)]

    def down(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.ReLU(), nn.BatchNorm2d(outputs, 1e-3, 0.01)]

    return nn.Sequential(
        *down(1, 16), *down(16, 32), nn.Flatten(), nn.Linear(7 * 7 * 32, 16),
        nn.Linear(16, 7 * 7 * 32), nn.ReLU(), nn.Unflatten(1, (32, 7, 7)), *up(32, 32), *up(32, 16),
        nn.Conv2d(16, 1, 3, padding=1), nn.Sigmoid(),
    )  # fmt: skip


MODELS = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "lstm": Lstm,
    "transformer": lambda: Transformer(1000, 256, 4, False, 4),
    "gpt": lambda: Transformer(256, 192, 6, True, 256),
    "autoencoder": autoencoder,
    "neuron": lambda: nn.Linear(1, 1),
}


class Loop(Trainer):
    def __init__(self, case: Case, batch: int):
        self.model, self.case, self.batch = MODELS[case.model](), case, batch
        self.run: Any = torch.compile(self.model) if sys.argv[1] == "compiled" else self.model
        weights = self.model.parameters()
        if case.optimizer == "sgd":
            self.optimizer: Any = torch.optim.SGD(weights, 0.01)
        else:
            self.optimizer = torch.optim.Adam(weights, 0.001, eps=1e-7, foreach=True)

    def fit(self, x: Any, y: Any) -> None:
        x, y = torch.from_numpy(x), torch.from_numpy(y)
        if x.ndim == 4:
            x = x.permute(0, 3, 1, 2).contiguous()
        if self.case.classes:
            y = y.long()
        elif x.ndim == 4:
            y = x
        total, right = torch.zeros(()), torch.zeros(())
        for start in range(0, len(x), self.batch):
            truth = y[start : start + self.batch]
            out = self.run(x[start : start + self.batch])
            if self.case.classes:
                out, truth = out.reshape(-1, out.shape[-1]), truth.reshape(-1)
                loss = F.cross_entropy(out, truth)
            else:
                loss = F.mse_loss(out, truth)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            with torch.no_grad():
                total += loss.detach() * len(truth)
                if self.case.classes:
                    right += (out.detach().argmax(-1) == truth).sum()
        total.item(), right.item()

    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())


if __name__ == "__main__":
    serve(Loop)
