"""Training radiographs for the lung finder: real radiographs and masks, made harder.

The radiographs at hand show healthy or tuberculous adult lungs. So that dense, small, cropped or badly exposed lungs
are found too, every batch is disturbed: simulated opacities inside the lungs (the mask stays), a strong affine change,
exposure, local contrast, blur and noise, and letters, frames and borders on top.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class FilmMaker:
    """Draws batches of disturbed radiographs.

    Args:
        images: float32 (radiographs, 1, side, side) in [0, 1].
        masks: the same shape, 1 inside the lungs.
        seed: of every draw; the same seed gives the same batches.
    """

    def __init__(self, images: Tensor, masks: Tensor, seed: int) -> None:
        self.images, self.masks = images, masks
        self.random = torch.Generator().manual_seed(seed)
        line = torch.linspace(-1, 1, images.shape[-1])
        self.down, self.across = torch.meshgrid(line, line, indexing="ij")

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Images and masks (size, 1, side, side), stretched as ``segment.xray_lungs.finder_input`` does."""
        chosen = torch.randint(len(self.images), (size,), generator=self.random)
        images, masks = self.images[chosen], self.masks[chosen]
        images = torch.where(self._coin(size, 0.6), self._opacities(images, masks), images)
        images, masks, inside = self._affine(images, masks)
        images = self._exposure(images)
        border = self._coin(size, 0.3) * self._between(size, 0, 1)
        images = torch.where(inside, images, border).clamp(0, 1)
        for image, mask in zip(images, masks, strict=True):
            self._clutter(image[0], mask[0])
        return _stretched(images), masks

    def _between(self, size: int, low: float, high: float) -> Tensor:
        return torch.empty(size, 1, 1, 1).uniform_(low, high, generator=self.random)

    def _coin(self, size: int, probability: float) -> Tensor:
        return torch.rand(size, 1, 1, 1, generator=self.random) < probability

    def _whole(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.random))

    def _opacities(self, images: Tensor, masks: Tensor) -> Tensor:
        """Bright clouds and a veil over the lower zones, only inside the lungs."""
        size = len(images)
        cloud = torch.zeros_like(images)
        for _ in range(6):
            row, column = self._between(size, -0.6, 0.8), self._between(size, -0.7, 0.7)
            height, width = self._between(size, 0.08, 0.4), self._between(size, 0.08, 0.4)
            strength = self._between(size, 0.1, 0.8) * self._coin(size, 0.45)
            shape = torch.exp(-(((self.across - column) / width) ** 2) - ((self.down - row) / height) ** 2)
            cloud = torch.maximum(cloud, strength * shape)
        veil = torch.sigmoid((self.down - self._between(size, -0.5, 0.6)) * 8)
        cloud = torch.maximum(cloud, self._between(size, 0, 0.6) * self._coin(size, 0.25) * veil)
        grain = torch.randn(size, 1, 24, 24, generator=self.random)
        texture = 1 + 0.25 * functional.interpolate(grain, size=images.shape[-2:], mode="bilinear")
        soft = functional.avg_pool2d(masks, 7, 1, 3)
        cover = (cloud * texture.clamp(0.3, 1.5)).clamp(0, 0.95) * soft
        return images * (1 - cover) + self._between(size, 0.6, 0.95) * cover

    def _affine(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Turn (15°), scale (0.6 to 1.4), squeeze, shift and flip image and mask together."""
        size = len(images)
        angle, scale = self._between(size, -0.26, 0.26), self._between(size, -0.35, 0.5).exp()
        squeeze = self._between(size, -0.25, 0.25).exp()
        flip = 1 - 2 * self._coin(size, 0.5).float()
        rows = [
            torch.cat([scale * squeeze * angle.cos() * flip, -scale * squeeze * angle.sin()], dim=-1),
            torch.cat([scale / squeeze * angle.sin() * flip, scale / squeeze * angle.cos()], dim=-1),
        ]
        shift = torch.cat([self._between(size, -0.25, 0.25), self._between(size, -0.25, 0.25)], dim=2)
        matrix = torch.cat([torch.cat(rows, dim=2), shift], dim=3)[:, 0]
        grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
        moved = functional.grid_sample(
            torch.cat([images, masks, torch.ones_like(masks)], dim=1), grid, align_corners=False
        )
        return moved[:, :1], moved[:, 1:2], moved[:, 2:] > 0.99

    def _exposure(self, images: Tensor) -> Tensor:
        """Gamma, local contrast, brightness, shading, sharpness and noise."""
        size = len(images)
        images = images.clamp(0, 1) ** self._between(size, -0.7, 0.7).exp()
        mean = functional.avg_pool2d(images, 25, 1, 12, count_include_pad=False)
        spread = (
            functional.avg_pool2d((images - mean) ** 2, 25, 1, 12, count_include_pad=False).add(1e-3).sqrt()
        )
        local = self._coin(size, 0.4) * self._between(size, 0.3, 1.0)
        images = images * (1 - local) + local * (0.5 + 0.2 * (images - mean) / spread)
        slope = self.across * self._between(size, -1, 1) + self.down * self._between(size, -1, 1)
        shade = self._coin(size, 0.5) * self._between(size, -0.3, 0.3) * slope
        images = images * self._between(size, 0.6, 1.25) + self._between(size, -0.2, 0.25) + shade
        smooth = functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
        images = images + (images - smooth) * self._between(size, -1, 1.5)
        noise = torch.randn(images.shape, generator=self.random)
        return images + noise * self._between(size, 0, 0.06) * self._coin(size, 0.5)

    def _clutter(self, image: Tensor, mask: Tensor) -> None:
        """Boxes like markers; flat bars at two sides; a flat patch over the chest: where nothing shows, no lung is."""
        rows, columns = image.shape
        if self._whole(0, 99) < 8:
            height, width = self._whole(rows // 2, rows), self._whole(columns // 2, columns)
            top, left = self._whole(0, rows - height), self._whole(0, columns - width)
            patch = (slice(top, top + height), slice(left, left + width))
            image[patch], mask[patch] = (0.0, 0.0, 0.3, 0.6, 1.0)[self._whole(0, 4)], 0.0
        if self._whole(0, 99) < 35:
            for _ in range(self._whole(1, 3)):
                height, width = self._whole(3, rows // 8), self._whole(3, columns // 4)
                top, left = self._whole(0, rows - height), self._whole(0, columns - width)
                image[top : top + height, left : left + width] = (0.0, 0.5, 1.0)[self._whole(0, 2)]
        if self._whole(0, 99) < 30:
            bar, grey = self._whole(1, rows // 6), (0.0, 0.0, 1.0)[self._whole(0, 2)]
            turned_image, turned_mask = (image, mask) if self._whole(0, 1) else (image.T, mask.T)
            for side in (slice(None, bar), slice(-bar, None)):
                turned_image[side], turned_mask[side] = grey, 0.0


def _stretched(images: Tensor) -> Tensor:
    """The finder's own grey scale: 1st to 99th percentile to [0, 1]."""
    ends = torch.quantile(images.flatten(1), torch.tensor([0.01, 0.99]), dim=1)
    low, high = ends[0].view(-1, 1, 1, 1), ends[1].view(-1, 1, 1, 1)
    return ((images - low) / (high - low).clamp_min(0.03)).clamp(0, 1)
