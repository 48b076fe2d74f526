from __future__ import annotations

import torch

from pulmoscope.training.anogan.batches import NormalSlices

# Ten slices, each of one grey of its own.
GREYS = (torch.arange(10) / 20)[:, None, None, None].expand(10, 1, 32, 32).clone()


def test_every_slice_comes_as_often_as_any_other_to_one() -> None:
    slices = NormalSlices(GREYS, 6, 4, 2, 0.0, 1)
    batches = list(slices.batches(0, 3))
    assert [batch.shape for batch in batches] == [(4, 1, 32, 32)] * 6
    seen = torch.cat(batches)[:, 0, 0, 0]
    counts = [int((seen == grey).sum()) for grey in GREYS[:, 0, 0, 0]]
    assert sum(counts) == 24
    assert set(counts) == {2, 3}


def test_a_batch_depends_on_stage_epoch_and_torchs_seed() -> None:
    images = torch.rand(10, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    slices = NormalSlices(images, 3, 4, 2, 0.1, 1)

    def batches(stage: int, epoch: int) -> list[torch.Tensor]:
        torch.manual_seed(4)  # as the training loop does
        return list(slices.batches(stage, epoch))

    whole, again = batches(0, 5), batches(0, 5)
    assert all(torch.equal(one, other) for one, other in zip(whole, again, strict=True))
    for stage, epoch in ((1, 5), (0, 6)):
        assert not torch.equal(batches(stage, epoch)[0], whole[0])


def test_slices_are_moved_by_whole_pixels_and_brightened_a_little() -> None:
    ramp = (torch.arange(32.0) / 62)[:, None].expand(1, 1, 32, 32)
    moves, gains = set(), set()
    for batch in NormalSlices(ramp, 8, 8, 2, 0.0, 1).batches(0, 0):
        for own in batch:
            # Within the border, a moved ramp differs from the ramp by a whole number of its steps.
            step = (own[0, 16, 16] - ramp[0, 0, 16, 16]) * 62
            moves.add(round(float(step), 4))
            assert torch.equal(own[0, :, :1].expand(32, 32), own[0])
    assert moves == {-2, -1, 0, 1, 2}
    for batch in NormalSlices(torch.full((1, 1, 32, 32), 0.5), 8, 8, 0, 0.1, 1).batches(0, 0):
        gains |= {float(own[0, 0, 0] / 0.5) for own in batch}
    assert 0.9 <= min(gains) < 0.93
    assert 1.07 < max(gains) <= 1.1
