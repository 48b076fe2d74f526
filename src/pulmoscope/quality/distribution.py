"""How unlike the training images an image looks to the network.

Mahalanobis distance to the nearest class in feature space (Lee et al., «A Simple Unified Framework for Detecting
Out-of-Distribution Samples and Adversarial Attacks», NeurIPS 2018), simplified: the last feature maps only, averaged
over space, no input perturbation, in the subspace of the leading principal components, with a shrunk covariance
(Ledoit & Wolf 2004), which hundreds of images suffice for.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import BundleError
from pulmoscope.core.types import FloatArray


@dataclass(frozen=True)
class Reference:
    """What the training images looked like; a distance is the Euclidean one in a whitened space.

    Attributes:
        mean: (features,), over the training images.
        projection: (dimensions, features): onto the principal components, then whitened by the covariance within
            classes and divided by the root of the number of dimensions, so that a training image's typical
            distance is 1.
        centres: (classes, dimensions), the classes' means in that space.
        quantile: the fraction of held-out images that ``limit`` lets pass.
        limit: see :meth:`with_limit`; infinite until then.
        cells: (dimensions, rows, columns), where the cells of the training images' feature maps lie in that space on
            average, each place of the map by itself; None: not known, and nothing can be said of places.
    """

    mean: FloatArray
    projection: FloatArray
    centres: FloatArray
    quantile: float = 0.99
    limit: float = float("inf")
    cells: FloatArray | None = None

    @classmethod
    def fit(
        cls, pooled: FloatArray, labels: npt.ArrayLike, dimensions: int = 64, quantile: float = 0.99
    ) -> Reference:
        """Learn from training images.

        Args:
            pooled: float32 (images, features): feature maps averaged over space, ``features.mean(axis=(2, 3))``.
            labels: (images,), the class of each.
            dimensions: principal components that are kept, as far as there are so many.
            quantile: kept for :meth:`with_limit`.
        """
        from sklearn.covariance import ledoit_wolf  # only training needs it, and it is slow to import

        images, features = pooled.shape
        mean = pooled.mean(axis=0, dtype=np.float64)
        centred = pooled - mean
        _, axes = np.linalg.eigh(centred.T @ centred)
        components = axes[:, ::-1][:, : min(dimensions, features, images - 1)]
        points = centred @ components
        classes, members = np.unique(np.asarray(labels), return_inverse=True)
        centres = np.stack([points[members == number].mean(axis=0) for number in range(len(classes))])
        covariance, _ = ledoit_wolf(points - centres[members], assume_centered=True)
        whitening = np.linalg.inv(np.linalg.cholesky(covariance)) / np.sqrt(components.shape[1])
        return cls(
            mean.astype(np.float32),
            (whitening @ components.T).astype(np.float32),
            (centres @ whitening.T).astype(np.float32),
            quantile,
        )

    def distance(self, pooled: FloatArray) -> FloatArray:
        """Distance (images,) of each image, (images, features), to the nearest class."""
        points = (pooled - self.mean) @ self.projection.T
        apart = np.linalg.norm(points[:, None] - self.centres, axis=2)
        return np.asarray(apart.min(axis=1), dtype=np.float32)

    def with_limit(self, distances: FloatArray) -> Reference:
        """Set the limit to the quantile of the distances (images,) of held-out images, unseen by :meth:`fit`."""
        return replace(self, limit=float(np.quantile(distances, self.quantile)))

    def with_cells(self, mean_map: FloatArray) -> Reference:
        """Know the places, from the mean (features, rows, columns) of the training images' feature maps."""
        return replace(self, cells=self._projected(mean_map))

    def excess(self, features: FloatArray) -> FloatArray | None:
        """Where an image is unlike the training images.

        How far each cell lies off in the direction in which the image as a whole does: the distance is that of the
        mean over all cells, so each cell has its part in it. Of that part what such a cell of the training images has
        on average is taken off: the heart is not strange where there is a heart.

        Args:
            features: the image's feature maps, (features, rows, columns).

        Returns:
            float32 (rows, columns), in [0, 1], as fractions of the largest; 0 where a cell lies no farther off than
            usual. None where the places are not known.
        """
        if self.cells is None or self.cells.shape[1:] != features.shape[1:]:
            return None
        point = (features.mean(axis=(1, 2)) - self.mean) @ self.projection.T
        offsets = point - self.centres
        offset = offsets[np.linalg.norm(offsets, axis=1).argmin()]
        parts = np.tensordot(offset, self._projected(features) - self.cells, axes=1)
        most = float(parts.max())
        return np.asarray(np.maximum(parts, 0) / (most if most > 0 else 1), dtype=np.float32)

    def _projected(self, features: FloatArray) -> FloatArray:
        """Feature maps (features, rows, columns) cell by cell in the whitened space."""
        centred = features - self.mean[:, None, None]
        return np.asarray(np.tensordot(self.projection, centred, axes=1), dtype=np.float32)

    def to_bytes(self) -> bytes:
        """As an npz file; equal references give equal bytes."""
        stream = io.BytesIO()
        parts: dict[str, Any] = {
            "mean": self.mean,
            "projection": self.projection,
            "centres": self.centres,
            "quantile": self.quantile,
            "limit": self.limit,
        }
        if self.cells is not None:
            parts["cells"] = self.cells
        np.savez(stream, **parts)
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "reference.npz") -> Reference:
        """Read what :meth:`to_bytes` wrote; nothing is unpickled.

        Args:
            name: of the file that it is from, for errors.

        Raises:
            BundleError: it is something else.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                return cls(
                    np.asarray(stored["mean"], dtype=np.float32),
                    np.asarray(stored["projection"], dtype=np.float32),
                    np.asarray(stored["centres"], dtype=np.float32),
                    float(stored["quantile"]),
                    float(stored["limit"]),
                    np.asarray(stored["cells"], dtype=np.float32) if "cells" in stored else None,
                )
        except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise BundleError(f"{name}: is not a reference distribution ({error})") from error
