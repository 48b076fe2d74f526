from __future__ import annotations

from pathlib import Path

import pytest

from ct_trees import mosmed as tree
from ct_trees import volume
from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import Sample, load
from pulmoscope.datasets.layouts import mosmed


def test_one_sample_a_study_and_the_infected_slices_of_its_mask(tmp_path: Path) -> None:
    table = mosmed.read(tree(tmp_path))
    # the mask is stored from the head, so its second and third slices are those from the feet, too
    assert table.samples == (
        Sample("studies/CT-0/study_0001.nii.gz", "CT-0", "", "study_0001", "MosMedData", infected="none"),
        Sample(
            "studies/CT-1/study_0255.nii.gz",
            "CT-1",
            "",
            "study_0255",
            "MosMedData",
            infected="1-2",
            lesions=("masks/study_0255_mask.nii.gz",),
        ),
        Sample("studies/CT-1/study_0256.nii.gz", "CT-1", "", "study_0256", "MosMedData"),
        Sample("studies/CT-4/study_1109.nii.gz", "CT-4", "", "study_1109", "MosMedData"),
    )
    assert table.warnings == ("no slice labels: 2 of 4 studies",)


@pytest.mark.parametrize("head_first", [False, True])
def test_slices_count_from_the_feet_however_the_mask_is_stored(tmp_path: Path, head_first: bool) -> None:
    import numpy as np

    marked = np.zeros((5, 4, 4), np.uint8)
    marked[0, 1, 1] = 1
    tree(tmp_path)
    volume(tmp_path / "masks" / "study_0256_mask.nii.gz", marked, head_first=head_first)
    assert mosmed.read(tmp_path).samples[2].infected == "0"


def test_a_drawn_study_is_known_by_its_header(tmp_path: Path) -> None:
    import SimpleITK

    study = tree(tmp_path) / "studies" / "CT-1" / "study_0256.nii.gz"
    image = SimpleITK.ReadImage(str(study))
    image.SetMetaData("ITK_FileNotes", "Synthetic chest CT, no patient")
    SimpleITK.WriteImage(image, str(study))
    (tmp_path / "studies" / "CT-4" / "study_1109.nii.gz").write_bytes(b"no volume")
    sources = {sample.patient: sample.source for sample in mosmed.read(tmp_path)}
    assert sources == {
        "study_0001": "MosMedData",
        "study_0255": "MosMedData",
        "study_0256": "phantom",
        "study_1109": "MosMedData",
    }


def test_every_study_is_loaded_into_a_split(tmp_path: Path) -> None:
    assert {sample.split for sample in load(tree(tmp_path))} <= {"train", "val", "test"}


def test_a_mask_without_its_study_is_told(tmp_path: Path) -> None:
    (tree(tmp_path) / "studies" / "CT-1" / "study_0255.nii.gz").unlink()
    assert "masks: 1 of 1 masks belong to no study that is there" in mosmed.read(tmp_path).warnings


def test_a_damaged_mask_is_refused_in_one_line(tmp_path: Path) -> None:
    (tree(tmp_path) / "masks" / "study_0255_mask.nii.gz").write_bytes(b"no volume")
    with pytest.raises(DatasetError, match=r"study_0255_mask\.nii\.gz: must be a NIfTI volume") as caught:
        mosmed.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_without_any_study(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="must hold folders like studies/CT-0"):
        load(tmp_path, "mosmeddata")
