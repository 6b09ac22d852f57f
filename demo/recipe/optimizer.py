"""Muon for matrices, AdamW for the rest, and the schedule of both."""

import math

import torch


def orthogonal(update: torch.Tensor) -> torch.Tensor:
    """Newton–Schulz: the nearest matrix with singular values near one, in bf16."""
    x = update.bfloat16()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(
            x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445
        )
    return (x.T if tall else x).float()


class Muon:
    """Momentum, made orthogonal, scaled to the size that an AdamW update has."""

    def __init__(self, weights: list[torch.Tensor], decay: float, momentum: float = 0.95):
        self._weights = weights
        self._momenta = [torch.zeros_like(weight) for weight in weights]
        self._decay, self._momentum = decay, momentum

    @torch.no_grad()
    def step(self, rate: float):
        for weight, momentum in zip(self._weights, self._momenta):
            momentum.lerp_(weight.grad, 1 - self._momentum)
            update = orthogonal(weight.grad.lerp(momentum, self._momentum))
            weight.mul_(1 - rate * self._decay)
            weight.add_(update, alpha=-rate * 0.2 * math.sqrt(max(weight.shape)))


def scale_at(progress: float, warm_up: float) -> float:
    """Of the top rate, at `progress` from 0 to 1: a linear warm-up, then a cosine down to 2 %."""
    if progress < warm_up:
        return (progress + 1e-3) / (warm_up + 1e-3)
    rest = (progress - warm_up) / (1 - warm_up)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))
