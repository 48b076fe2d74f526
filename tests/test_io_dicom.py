from __future__ import annotations

import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from pulmoscope.core.errors import InputError, UnreadableError, UnsuitableError
from pulmoscope.io.xray.dicom import decode
from pulmoscope.io.xray.picture import Picture
from radiographs import chest, compressed, dicom_bytes, dicom_dataset, dicom_file, encoded, ramp
from refusals import figures, refused

RAMP = ramp()
GREY = RAMP / np.float32(255)
DEEP = ramp(top=4095)  # 12 bits in 16


def made(pixels: np.ndarray = RAMP, bits: int | None = None, **elements: Any) -> Picture:
    return decode(dicom_bytes(dicom_dataset(pixels, bits, **elements)), "x.dcm")


def codes(picture: Picture) -> list[str]:
    return [flag.code for flag in picture.remarks]


def lut(descriptor: list[int], data: list[int]) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", descriptor)
    item.add_new("LUTData", "US", data)
    item.ModalityLUTType = "US"
    return Sequence([item])


def test_8_bits_without_a_window_are_divided_by_255() -> None:
    picture = made()
    np.testing.assert_allclose(picture.pixels, GREY, atol=1e-6)
    assert picture.pixels.dtype == np.float32
    assert (picture.view, picture.spacing_mm, picture.remarks) == ("PA", None, ())


def test_monochrome1_is_inverted_so_that_air_is_dark() -> None:
    picture = made(PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(picture.pixels, 1 - GREY, atol=1e-6)
    assert codes(picture) == ["inverted"]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_presentation_lut_shape_inverse_inverts_once(photometric: str) -> None:
    picture = made(PhotometricInterpretation=photometric, PresentationLUTShape="INVERSE")
    np.testing.assert_allclose(picture.pixels, 1 - GREY, atol=1e-6)


def test_window_is_the_standards_formula_and_the_first_of_several() -> None:
    picture = made(DEEP, 12, WindowCenter=[2000, 5], WindowWidth=[1001, 6])
    # C.11.2.1.2 with c = 2000, w = 1001: (x - 1999.5) / 1000 + 0.5.
    expected = np.clip((DEEP.astype(float) - 1999.5) / 1000 + 0.5, 0, 1)
    np.testing.assert_allclose(picture.pixels, expected, atol=1e-6)
    assert codes(picture) == []


def test_sigmoid_window() -> None:
    picture = made(DEEP, 12, WindowCenter=2000, WindowWidth=1000, VOILUTFunction="SIGMOID")
    np.testing.assert_allclose(picture.pixels, 1 / (1 + np.exp(-4 * (DEEP - 2000.0) / 1000)), atol=1e-6)


def test_rescale_comes_before_the_window() -> None:
    picture = made(
        DEEP,
        12,
        RescaleSlope=2,
        RescaleIntercept=-100,
        RescaleType="US",
        WindowCenter=3900.5,
        WindowWidth=2001,
    )
    # 2 x - 100 against centre 3900.5, width 2001: (2 x - 100 - 3900) / 2000 + 0.5.
    expected = np.clip((2.0 * DEEP - 4000) / 2000 + 0.5, 0, 1)
    np.testing.assert_allclose(picture.pixels, expected, atol=1e-6)


def test_negative_slope_inverts_also_without_a_window() -> None:
    picture = made(RescaleSlope=-1, RescaleIntercept=255, RescaleType="US")
    np.testing.assert_allclose(picture.pixels, 1 - GREY, atol=1e-6)


def test_modality_lut_comes_before_the_window() -> None:
    # Stored 0 ... 255 become 255 ... 0; the window covers 0 ... 255.
    picture = made(
        ModalityLUTSequence=lut([256, 0, 16], [255 - x for x in range(256)]),
        WindowCenter=128,
        WindowWidth=256,
    )
    np.testing.assert_allclose(picture.pixels, 1 - GREY, atol=1e-6)


def test_voi_lut_wins_over_the_window() -> None:
    # 100 entries from stored value 50 on, 10 bits: below is the first entry, above the last.
    table = [min(1023, 10 * x) for x in range(100)]
    picture = made(VOILUTSequence=lut([100, 50, 10], table), WindowCenter=1, WindowWidth=2)
    index = np.clip(RAMP.astype(int) - 50, 0, 99)
    np.testing.assert_allclose(picture.pixels, np.array(table)[index] / 1023, atol=1e-6)


def test_without_a_window_deep_pixels_are_stretched_between_robust_percentiles() -> None:
    # 1000 x 100 pixels: 200 of them 0, 200 of them 4000, the others 1000 and 2000. 0.5 % is 500 pixels.
    stored = np.full((1000, 400), 1000, dtype=np.uint16)
    stored[:, 200:] = np.arange(1000, 2000, 5)
    stored[0, :200], stored[1, :200] = 0, 4000
    picture = made(stored, 12)
    found = picture.pixels
    assert codes(picture) == ["no-window"]
    assert found[0, 0] == 0
    assert found[1, 0] == 1
    # 200 of 400,000 are 0, and then comes 1000; the highest 2,000 are 4000 (200) and 1995 (1,000), then 1990.
    np.testing.assert_allclose(found[5, [0, 200, 300, 398]], [0, 0, 500 / 990, 1], atol=1e-6)


def test_signed_pixels_of_12_bits() -> None:
    signed = (DEEP.astype(np.int32) - 2048).astype(np.int16)
    picture = made(signed, 12, WindowCenter=0, WindowWidth=4096)
    # (x + 0.5) / 4095 + 0.5 with x = stored: -2048 gives 0, 2047 gives 1.
    np.testing.assert_allclose(picture.pixels, DEEP / 4095, atol=1e-6)


def test_bits_above_bits_stored_do_not_count() -> None:
    picture = made(DEEP | np.uint16(0x8000), 12, WindowCenter=2048, WindowWidth=4096)
    np.testing.assert_allclose(picture.pixels, DEEP / 4095, atol=1e-6)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_counts_for_nothing(photometric: str) -> None:
    stored = DEEP // 4 + np.uint16(1000)
    stored[:, :10] = 4095
    picture = made(stored, 12, PhotometricInterpretation=photometric, PixelPaddingValue=4095)
    assert not picture.pixels[:, :10].any()
    plain = made(stored[:, 10:], 12, PhotometricInterpretation=photometric)
    np.testing.assert_allclose(picture.pixels[:, 10:], plain.pixels, atol=1e-6)


def test_padding_range() -> None:
    stored = np.maximum(DEEP, np.uint16(20))
    stored[:5], stored[5:10] = 3, 7
    picture = made(
        stored, 12, PixelPaddingValue=2, PixelPaddingRangeLimit=8, WindowCenter=-1000, WindowWidth=100
    )
    assert not picture.pixels[:10].any()
    assert np.all(picture.pixels[10:] == 1)


def test_constant_after_the_window_is_refused() -> None:
    with refused(UnsuitableError, "blank"):
        made(DEEP, 12, WindowCenter=9000, WindowWidth=100)


def test_noise_of_a_few_steps_is_not_blown_up() -> None:
    noise = np.random.default_rng(0).integers(1000, 1010, (100, 100)).astype(np.uint16)
    with refused(UnsuitableError, "blank") as caught:
        made(noise, 12)
    assert figures(caught.value.finding) == (10,)  # grey values


def test_rgb_of_equal_channels_is_grey() -> None:
    picture = made(
        np.stack([RAMP] * 3, axis=2),
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
    )
    np.testing.assert_allclose(picture.pixels, GREY, atol=1e-6)
    assert codes(picture) == []


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (["L", "F"], DEEP),
        (["R", "F"], DEEP[:, ::-1]),
        (["L", "H"], DEEP[::-1]),
        (["R", "H"], DEEP[::-1, ::-1]),
        (["F", "L"], DEEP.T),  # along a row to the feet, down a column to the left
        (["H", "R"], DEEP[::-1, ::-1].T),
        (["F", "R"], DEEP[:, ::-1].T),
        (["H", "L"], DEEP[::-1].T),
        (["", ""], DEEP),
    ],
)
def test_patient_orientation_brings_the_image_upright(orientation: list[str], stored: np.ndarray) -> None:
    swapped = stored.shape != DEEP.shape
    picture = made(
        np.ascontiguousarray(stored),
        12,
        PatientOrientation=orientation,
        PixelSpacing=[0.201, 0.2] if swapped else [0.2, 0.201],
        WindowCenter=2048,
        WindowWidth=4096,
    )
    np.testing.assert_allclose(picture.pixels, DEEP / 4095, atol=1e-6)
    assert picture.spacing_mm == (0.2, 0.201)
    assert codes(picture) == ([] if orientation in (["L", "F"], ["", ""]) else ["turned"])


def test_spacing_is_the_patients_else_the_detectors_else_unknown() -> None:
    assert made(PixelSpacing=[0.2, 0.201], ImagerPixelSpacing=[0.3, 0.3]).spacing_mm == (0.2, 0.201)
    assert made(PixelSpacing=[0, 0], ImagerPixelSpacing=[0.3, 0.301]).spacing_mm == (0.3, 0.301)
    assert made(PixelSpacing=[0, 0]).spacing_mm is None


@pytest.mark.parametrize(
    "elements",
    [
        {"ViewPosition": "LL"},
        {"ViewPosition": "RL"},
        {"ViewPosition": "LATERAL"},
        {"ViewPosition": "", "PatientOrientation": ["A", "F"]},
        {"ViewPosition": "", "SeriesDescription": "Chest lat."},
    ],
)
def test_a_lateral_view_is_read_and_referred(elements: dict[str, Any]) -> None:
    picture = made(**elements)
    np.testing.assert_allclose(picture.pixels, GREY, atol=1e-6)
    assert [(flag.code, flag.level) for flag in picture.remarks] == [("lateral", "refuse")]
    assert "Chest" not in picture.remarks[0].message


@pytest.mark.parametrize("view", ["PA", "AP", "", "LLD"])
def test_a_frontal_view_is_not_lateral(view: str) -> None:
    assert codes(made(ViewPosition=view, SeriesDescription="Chest, collateral")) == []


STORAGE = "1.2.840.10008.5.1.4.1.1"


@pytest.mark.parametrize(
    ("elements", "kind", "code", "shown"),
    [
        ({"Modality": "MR"}, UnsuitableError, "unsupported-modality", "MR"),
        ({"Modality": "CT"}, UnsuitableError, "lone-ct-object", ""),
        ({"Modality": "US"}, UnsuitableError, "unsupported-modality", "US"),
        ({"Modality": None}, UnsuitableError, "unsupported-modality", ""),
        ({"SOPClassUID": f"{STORAGE}.88.11"}, UnsuitableError, "unsupported-object", "Basic Text SR Storage"),
        ({"SOPClassUID": f"{STORAGE}.66.4"}, UnsuitableError, "unsupported-object", "Segmentation Storage"),
        ({"SOPClassUID": f"{STORAGE}.4"}, UnsuitableError, "unsupported-object", "MR Image Storage"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, UnsuitableError, "localizer", "LOCALIZER"),
        ({"PresentationIntentType": "FOR PROCESSING"}, UnsuitableError, "raw-data", "FOR PROCESSING"),
        ({"NumberOfFrames": 2}, UnsuitableError, "several-images", "2"),
        ({"PixelData": None}, UnreadableError, "no-pixels", ""),
        ({"BodyPartExamined": "ABDOMEN"}, UnsuitableError, "other-body-part", "ABDOMEN"),
        ({"BodyPartExamined": "CHESTABDOMEN"}, UnsuitableError, "other-body-part", "CHESTABDOMEN"),
        ({"BodyPartExamined": "HAND"}, UnsuitableError, "other-body-part", "HAND"),
        (
            {"BodyPartExamined": "", "StudyDescription": "Secret abdomen"},
            UnsuitableError,
            "other-body-part",
            "",
        ),
        (
            {"BodyPartExamined": None, "Modality": "OT", "SOPClassUID": f"{STORAGE}.7"},
            UnsuitableError,
            "body-part-unknown",
            "OT",
        ),
        ({"Rows": 65535, "Columns": 65535}, UnsuitableError, "too-many-pixels", "65535 x 65535"),
        ({"Rows": 40}, UnsuitableError, "too-small", "40 x"),
        ({"BitsAllocated": 32, "BitsStored": 32}, UnreadableError, "unsupported-pixels", "32"),
        (
            {"PhotometricInterpretation": "PALETTE COLOR"},
            UnreadableError,
            "unsupported-pixels",
            "PALETTE COLOR",
        ),
        ({"PixelData": RAMP.tobytes()[:-2]}, UnreadableError, "damaged", ""),
        ({"RescaleSlope": "1e300", "RescaleIntercept": "0"}, UnreadableError, "damaged", ""),
        ({"WindowCenter": 10, "WindowWidth": 0}, UnreadableError, "damaged", ""),
    ],
)
def test_refusals_say_what_was_found_on_one_line(
    elements: dict[str, Any], kind: type[InputError], code: str, shown: str
) -> None:
    with refused(kind, code) as caught:
        made(**elements)
    assert str(caught.value).startswith("x.dcm: ")
    assert shown in caught.value.finding
    assert "secret" not in str(caught.value).lower()


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"BodyPartExamined": "THORAX"}, []),
        ({"BodyPartExamined": None, "StudyDescription": "X-ray chest and abdomen"}, []),
        ({"BodyPartExamined": None}, ["body-part-unknown"]),
        ({"Modality": "OT", "SOPClassUID": f"{STORAGE}.7"}, []),
        ({"Modality": "RG"}, []),
    ],
)
def test_chest_x_rays_by_other_tags_are_read(elements: dict[str, Any], expected: list[str]) -> None:
    assert codes(made(**elements)) == expected


def test_a_file_without_preamble_is_read() -> None:
    dataset = dicom_dataset(RAMP)
    path_free = dicom_bytes(dataset)
    np.testing.assert_allclose(decode(path_free[132:], "x").pixels, GREY, atol=1e-6)
    del dataset.file_meta
    dataset.set_original_encoding(is_implicit_vr=True, is_little_endian=True)
    stream = BytesIO()
    dataset.save_as(stream, implicit_vr=True, little_endian=True)
    assert ImplicitVRLittleEndian.encode() not in stream.getvalue()
    np.testing.assert_allclose(decode(stream.getvalue(), "x").pixels, GREY, atol=1e-6)


LOSSLESS = [
    "JPEGLosslessProcess14",
    "JPEGLosslessProcess14_1",
    "JPEGLSLossless",
    "JPEG2000Lossless",
    "RLELossless",
    "DeflatedExplicitVRLittleEndian",
    "ImplicitVRLittleEndian",
    "ExplicitVRBigEndian",
]
LOSSY = ["JPEGBaselineProcess1", "JPEGExtendedProcess2_4", "JPEGLSNearLossless", "JPEG2000"]


@pytest.mark.parametrize("syntax", LOSSLESS + LOSSY)
def test_every_transfer_syntax_of_8_bits(syntax: str, tmp_path: Path) -> None:
    path = compressed(dicom_file(tmp_path / "x.dcm", RAMP), syntax)
    picture = decode(path.read_bytes(), "x.dcm")
    np.testing.assert_allclose(picture.pixels, GREY, atol=1e-6 if syntax in LOSSLESS else 3 / 255)


@pytest.mark.parametrize("syntax", [*LOSSLESS, "JPEGLSNearLossless", "JPEG2000"])
@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_every_transfer_syntax_of_more_bits(syntax: str, bits: int, signed: bool, tmp_path: Path) -> None:
    top = 2**bits - 1
    stored = ramp(top=top)
    if signed:
        stored = (stored.astype(np.int32) - 2 ** (bits - 1)).astype(np.int16)
    centre = 0 if signed else 2 ** (bits - 1)
    path = dicom_file(tmp_path / "x.dcm", stored, bits, WindowCenter=centre, WindowWidth=top + 1)
    picture = decode(compressed(path, syntax).read_bytes(), "x.dcm")
    tolerance = 1e-6 if syntax in LOSSLESS else 4 / top
    np.testing.assert_allclose(picture.pixels, ramp(top=top) / top, atol=tolerance)


@pytest.mark.skipif(not shutil.which("dcmcjpeg"), reason="dcmtk, which writes 12-bit JPEG, is not installed")
def test_jpeg_extended_of_12_bits(tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "x.dcm", DEEP, 12, WindowCenter=2048, WindowWidth=4096)
    subprocess.run(["dcmcjpeg", "+ee", path, tmp_path / "y.dcm"], check=True, capture_output=True)
    picture = decode((tmp_path / "y.dcm").read_bytes(), "y.dcm")
    np.testing.assert_allclose(picture.pixels, DEEP / 4095, atol=20 / 4095)


@pytest.mark.parametrize("syntax", ["ExplicitVRLittleEndian", *LOSSLESS, "JPEGBaselineProcess1", "JPEG2000"])
def test_every_truncation_is_refused(syntax: str, tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "x.dcm", chest())
    data = (path if syntax == "ExplicitVRLittleEndian" else compressed(path, syntax)).read_bytes()
    decode(data, "x")
    end = len(data) - data.endswith(b"\0") * (
        syntax == "DeflatedExplicitVRLittleEndian"
    )  # padded to even length
    for length in [*range(140, end, max(1, end // 30)), *range(end - 12, end)]:
        with pytest.raises(InputError):
            decode(data[:length], "x")


@pytest.mark.parametrize("syntax", ["JPEGBaselineProcess1", "JPEGLSLossless", "JPEG2000Lossless"])
def test_a_stream_that_lacks_its_end_is_refused(syntax: str, tmp_path: Path) -> None:
    data = bytearray(compressed(dicom_file(tmp_path / "x.dcm", chest()), syntax).read_bytes())
    end = data.rfind(b"\xff\xd9")
    data[end : end + 2] = b"\0\0"
    with refused(UnreadableError, "truncated"):
        decode(bytes(data), "x")


def test_a_damaged_length_does_not_bring_the_patients_name_into_the_message() -> None:
    data = bytearray(dicom_bytes(dicom_dataset(RAMP)))
    modality = data.find(b"\x08\0\x60\0CS")
    data[modality + 6] = 60  # so that Modality swallows what follows, the name included
    with refused(UnsuitableError, "unsupported-modality") as caught:
        decode(bytes(data), "x")
    assert "secret" not in str(caught.value).lower()


@pytest.mark.parametrize("value", ["DOE JANE", "123456", "19700101"])
@pytest.mark.parametrize(
    ("keyword", "code"), [("Modality", "unsupported-modality"), ("BodyPartExamined", "other-body-part")]
)
def test_a_misused_coded_element_is_not_shown(keyword: str, code: str, value: str) -> None:
    data = dicom_bytes(dicom_dataset(RAMP, **{keyword: value}))
    with refused(UnsuitableError, code) as caught:
        decode(data, "x")
    assert value not in str(caught.value)


def test_a_damaged_lossless_jpeg_is_refused_and_its_decoder_silent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = compressed(dicom_file(tmp_path / "x.dcm", chest()), "JPEGLosslessProcess14_1")
    data = bytearray(path.read_bytes())
    middle = data.rfind(b"\xff\xd9") - 2000
    data[middle : middle + 2] = b"\xff\xd9"  # the end marker comes early
    with refused(UnreadableError, "damaged"):
        decode(bytes(data), "x")
    assert capfd.readouterr() == ("", "")


def test_an_unknown_transfer_syntax_is_named() -> None:
    dataset = dicom_dataset(RAMP)
    data = dicom_bytes(dataset).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0")
    with refused(UnreadableError, "unsupported-coding") as caught:
        decode(data, "x")
    assert "1.2.840.10008.9.9.9" in caught.value.finding


def test_a_deflated_bomb_is_not_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulmoscope.io.deflated.LARGEST_INFLATED", 4000)
    path = compressed(dicom_file(tmp_path / "x.dcm", RAMP), "DeflatedExplicitVRLittleEndian")
    with refused(UnreadableError, "decompression-bomb"):
        decode(path.read_bytes(), "x.dcm")


def test_a_picture_renamed_dicom_is_no_dicom() -> None:
    with pytest.raises(InputError):
        decode(encoded(RAMP, "PNG"), "x.dcm")


def test_whose_and_when_a_radiograph_is_can_be_compared_and_not_read() -> None:
    one, same = made(StudyDate="20200314"), made(StudyDate="20200401")
    other, unknown = made(PatientID="ANOTHER"), made(PatientID=None)
    facts = [picture.facts for picture in (one, same, other, unknown)]
    assert None not in facts
    assert [known and known.study_date for known in facts] == ["2020-03-14", "2020-04-01", "", ""]
    ids = [known and known.patient for known in facts]
    assert ids[0] == ids[1] != ids[2]
    assert ids[3] == ""
    assert not any(word in f"{facts} {ids}" for word in ("SECRET", "ANOTHER", "2020"))
