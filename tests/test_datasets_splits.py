from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from films import film, save
from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import Sample
from pulmoscope.datasets.splits import FRACTIONS, assign_splits, image_groups

samples_of_few_patients = st.lists(
    st.tuples(st.sampled_from(["COVID", "Normal", "Viral Pneumonia"]), st.sampled_from(["", *"abcdefgh"])),
    min_size=1,
    max_size=60,
).map(
    lambda rows: [
        Sample(f"{number}.png", label, patient=patient) for number, (label, patient) in enumerate(rows)
    ]
)


@given(samples=samples_of_few_patients, seed=st.integers(0, 2**32 - 1))
def test_a_patient_is_never_in_two_splits(samples: list[Sample], seed: int) -> None:
    given_splits = assign_splits(samples, seed=seed)
    assert [sample.file for sample in given_splits] == [sample.file for sample in samples]
    assert {sample.split for sample in given_splits} <= set(FRACTIONS)
    places = {(sample.patient, sample.split) for sample in given_splits if sample.patient}
    assert max(Counter(patient for patient, _ in places).values(), default=1) == 1


@given(
    groups=st.lists(st.integers(0, 9), min_size=1, max_size=50),
    seed=st.integers(0, 1000),
    train=st.floats(0.1, 0.9),
)
def test_a_given_group_is_never_in_two_splits(groups: list[int], seed: int, train: float) -> None:
    samples = [Sample(f"{number}.png", "COVID") for number in range(len(groups))]
    given_splits = assign_splits(samples, {"train": train, "test": 1 - train}, seed, list(map(str, groups)))
    places = {(group, sample.split) for group, sample in zip(groups, given_splits, strict=True)}
    assert len(places) == len(set(groups))


@given(samples=samples_of_few_patients, seed=st.integers(0, 100), data=st.data())
def test_the_order_of_the_samples_does_not_matter(
    samples: list[Sample], seed: int, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(samples))
    one, other = assign_splits(samples, seed=seed), assign_splits(shuffled, seed=seed)
    assert {s.file: s.split for s in one} == {s.file: s.split for s in other}


def test_every_class_is_shared_out_by_the_fractions() -> None:
    samples = [Sample(f"{label}{n}", label) for label, total in (("a", 200), ("b", 20)) for n in range(total)]
    counts = Counter((sample.label, sample.split) for sample in assign_splits(samples))
    assert counts == {
        ("a", "train"): 140,
        ("a", "val"): 30,
        ("a", "test"): 30,
        ("b", "train"): 14,
        ("b", "val"): 3,
        ("b", "test"): 3,
    }


@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_one_image_more_moves_at_most_one_at_each_border_between_splits(sizes: list[int], seed: int) -> None:
    samples = [
        Sample(f"{label}/{n}.png", str(label)) for label, size in enumerate(sizes) for n in range(size)
    ]
    before = {sample.file: sample.split for sample in assign_splits(samples, seed=seed)}
    after = assign_splits([*samples, Sample("more.png", "0")], seed=seed)
    moved = [sample for sample in after if before.get(sample.file, sample.split) != sample.split]
    assert len(moved) <= 2
    assert {sample.label for sample in moved} <= {"0"}


@given(size=st.integers(3, 400), seed=st.integers(0, 1000))
def test_shares_of_single_images_are_right_to_one(size: int, seed: int) -> None:
    counts = Counter(
        sample.split for sample in assign_splits([Sample(str(n), "a") for n in range(size)], seed=seed)
    )
    assert all(counts[split] >= 1 for split in FRACTIONS)
    assert all(abs(counts[split] - share * size) <= 1.5 for split, share in FRACTIONS.items())


def test_large_groups_leave_no_split_empty_and_do_not_flood_one() -> None:
    five_of_four = [Sample(f"{n}.png", "a", patient=str(n % 5)) for n in range(20)]
    assert Counter(s.split for s in assign_splits(five_of_four)) == {"train": 12, "val": 4, "test": 4}
    one_of_many = [Sample(f"{n}.png", "a", patient="p" if n < 500 else "") for n in range(600)]
    for seed in range(5):
        counts = Counter(sample.split for sample in assign_splits(one_of_many, seed=seed))
        assert counts["train"] >= 500
        assert min(counts["val"], counts["test"]) >= 10


def test_another_seed_draws_another_split() -> None:
    samples = [Sample(str(number), "a") for number in range(40)]
    assert assign_splits(samples, seed=1) == assign_splits(samples, seed=1)
    assert assign_splits(samples, seed=1) != assign_splits(samples, seed=2)


@pytest.mark.parametrize("fractions", [{"train": 0.7, "test": 0.2}, {"train": 1.1, "test": -0.1}])
def test_fractions_must_be_positive_and_sum_to_one(fractions: dict[str, float]) -> None:
    with pytest.raises(DatasetError, match="must be positive and sum to 1"):
        assign_splits([Sample("a", "b")], fractions)


def test_image_groups_join_patients_and_near_duplicates_transitively(tmp_path: Path) -> None:
    save(tmp_path / "a.png", film(1))
    save(tmp_path / "b.png", film(2))
    save(tmp_path / "b-darker.png", film(2) * 0.8)
    save(tmp_path / "c.png", film(3))
    samples = [
        Sample("a.png", "x", patient="p"),
        Sample("b.png", "x", patient="p"),
        Sample("b-darker.png", "x"),
        Sample("c.png", "x"),
        Sample("absent.png", "x"),
    ]
    groups = image_groups(tmp_path, samples)
    assert groups[0] == groups[1] == groups[2]
    assert len({groups[0], groups[3], groups[4]}) == 3


def test_image_groups_are_named_by_content(tmp_path: Path) -> None:
    save(tmp_path / "a.png", film(1))
    save(tmp_path / "b.png", film(2))
    save(tmp_path / "renamed.png", film(1))
    one, other, renamed = image_groups(
        tmp_path, [Sample("a.png", "x"), Sample("b.png", "x"), Sample("renamed.png", "x")]
    )
    assert one == renamed != other
    seen: list[tuple[int, int]] = []
    alone = image_groups(
        tmp_path, [Sample("renamed.png", "x")], lambda done, total: seen.append((done, total))
    )
    assert alone == [one]
    assert seen == [(1, 1)]
