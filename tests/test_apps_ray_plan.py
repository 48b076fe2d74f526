"""The plan of a run on many machines, and its results: names of copies, what is done already, names that clash."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bundles import tiny_bundle
from films import film, save
from pulmoscope.apps.ray import command, pool, worker
from pulmoscope.apps.ray import diagnose as driver
from pulmoscope.apps.ray.plan import Planner
from pulmoscope.apps.ray.pool import Done, WorkError
from pulmoscope.apps.ray.results import FolderResults, StoreResults
from pulmoscope.apps.ray.stores import Store
from pulmoscope.apps.ray.worker import Planned, Settings, Shared, sums_of
from pulmoscope.core.errors import OutputExistsError, ResourceError
from pulmoscope.core.files import write_text
from pulmoscope.io import Study, entries, studies
from pulmoscope.pipeline import film_studies
from pulmoscope.pipeline import outputs as files
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.names import BY_CONTENT, Naming
from pulmoscope.pipeline.objects.write import ObjectMaker
from pulmoscope.pipeline.runs.run import Outcome, Run
from radiographs import chest, dicom_file

pytest.importorskip("fsspec", reason="the extra `scale` is not installed")


def planner(asked: list[str] | None = None, settings: str = "s", naming: Naming = BY_CONTENT) -> Planner:
    def sums(chunk: Sequence[Study]) -> list[str]:
        if asked is not None:
            asked.extend(Path(study.name).name for study in chunk)
        return sums_of(chunk)

    return Planner(settings, naming, ["place-1"], lambda _: (), sums)


def listed(folder: Path) -> list[Study]:
    return list(studies(entries([folder])))


def test_copies_are_numbered_in_order_and_only_what_may_be_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, content in (
        ("a", b"12"),
        ("b", b"345"),
        ("c", b"12"),
        ("d", b"21"),
        ("e", b"12"),
        ("f", b"6789"),
    ):
        (tmp_path / f"in/{name}.png").write_bytes(content)
    asked: list[str] = []
    planned = list(planner(asked).planned(listed(tmp_path / "in")))
    assert [one.copy for one in planned] == [1, 1, 2, 1, 3, 1]
    assert [one.name_of("xray-1") for one in planned[:3]] == ["xray-1", "xray-1", "xray-1-2"]
    assert asked == ["a.png", "c.png", "d.png", "e.png"]


def test_kept_names_are_those_of_files_and_none_that_is_reserved(tmp_path: Path) -> None:
    for name in ("place-1", "x"):
        save(tmp_path / f"in/{name}.png", film(0))
    planned = list(planner(naming=Naming(keep=True)).planned(listed(tmp_path / "in")))
    assert [one.name_of("xray-1") for one in planned] == ["place-1-2", "x"]


def test_a_stamp_changes_with_file_and_settings_and_with_nothing_else(tmp_path: Path) -> None:
    path = save(tmp_path / "in/a.png", film(0))
    (before,) = planner().planned(listed(tmp_path / "in"))
    (again,) = planner().planned(listed(tmp_path / "in"))
    assert (again.key, again.stamp) == (before.key, before.stamp)
    (other,) = planner(settings="t").planned(listed(tmp_path / "in"))
    assert (other.key, other.stamp != before.stamp) == (before.key, True)
    path.write_bytes(path.read_bytes() + b" ")
    (changed,) = planner().planned(listed(tmp_path / "in"))
    assert (changed.key, changed.stamp != before.stamp) == (before.key, True)


@pytest.mark.parametrize("kind", ["folder", "store"])
def test_results_of_another_run_are_replaced_only_by_force(kind: str, tmp_path: Path) -> None:
    store = Store(f"memory://claim/{kind}")
    results = FolderResults(tmp_path / "out") if kind == "folder" else StoreResults(store)
    assert not results.claim({"settings": "a"}, force=False)
    results.put_entry("0" * 32, {"name": "xray-1", "plain": None})
    assert results.claim({"settings": "a"}, force=False)
    assert results.entry("0" * 32) == {"name": "xray-1", "plain": None}
    made = b'{"input": 1}'
    if isinstance(results, FolderResults):
        (tmp_path / "out/xray-1").mkdir()
        (tmp_path / "out/xray-1/diagnosis.json").write_bytes(made)
        (tmp_path / "out/mine.txt").write_text("mine")
    else:
        store.write("xray-1/diagnosis.json", made)
        store.write("mine.txt", b"mine")
    with pytest.raises(OutputExistsError):
        results.claim({"settings": "b"}, force=False)
    assert not results.claim({"settings": "b"}, force=True)
    assert results.entry("0" * 32) is None
    left = {path.name for path in (tmp_path / "out").rglob("*")} if kind == "folder" else set(store.found())
    assert "mine.txt" in left
    assert not any("diagnosis" in name for name in left)


def test_a_node_without_the_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="not there on every node"):
        FolderResults(tmp_path / "elsewhere").check_shared()


class Here:
    """A pool that does everything here, one after the other."""

    def __init__(self, ray: Any) -> None:
        pass

    def spread(
        self, work: Callable[[Any], Any], items: Iterable[Any], memory: Callable[[Any], int] = lambda _: 0
    ) -> Iterator[Done[Any, Any]]:
        for item in items:
            yield Done(item, work(item), "", "here (000000)", 0.1)


def run_here(settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    """Diagnose a folder's studies as on a cluster, but here."""
    shared = Run(settings.models(), Path(), settings.reports, pdf=settings.pdf)
    monkeypatch.setattr(driver, "Pool", Here)
    monkeypatch.setattr(worker, "_opened", lambda _: (settings, shared))
    ray, run = SimpleNamespace(put=lambda _: None), replace(shared, models=Models(settings.model))
    return list(driver.Archive(ray, run, settings, "identity").outcomes(listed(folder)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Outcome]]:
    """A run of two different radiographs, done here."""
    for number in range(2):
        save(tmp_path / f"in/{number}.png", film(number))
    bundle = str(tiny_bundle(tmp_path / "bundle").folder)
    settings = Settings(FolderResults(tmp_path / "out"), bundle, severity="none", reports="none")
    return lambda: run_here(settings, tmp_path / "in", monkeypatch)


def test_studies_whose_names_clash_have_one_each(
    here: Callable[[], list[Outcome]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clashing(planned: Planned, content: str) -> str:
        return planned.name or "xray-000000000000"

    monkeypatch.setattr(Planned, "name_of", clashing)
    here()
    index = json.loads((tmp_path / "out/index.json").read_text())
    names = [entry["input"] for entry in index["inputs"]]
    assert names == ["xray-000000000000", "xray-000000000000-2"]
    sums = [
        json.loads((tmp_path / f"out/{name}/diagnosis.json").read_text())["input"]["files"][0]["sha256"]
        for name in names
    ]
    assert len(set(sums)) == 2


def test_what_is_done_is_kept_and_what_has_lost_its_results_is_done_again(
    here: Callable[[], list[Outcome]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(driver.Archive, "_complete", lambda _: None)  # killed before its end
        first = here()
    shutil.rmtree(tmp_path / "out" / first[1].name)
    second = {outcome.name: outcome.kept for outcome in here()}
    assert second == {first[0].name: True, first[1].name: False}
    assert not (tmp_path / "out/.entries").exists()
    assert (tmp_path / "out" / first[1].name / "diagnosis.json").exists()


def test_pages_in_a_store_tell_of_their_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("weasyprint", reason="the extra `results` is not installed")
    for number in range(2):
        path = tmp_path / f"in/{number}.dcm"
        path.parent.mkdir(exist_ok=True)
        dicom_file(path, chest(256, number), StudyInstanceUID="1.2", SOPInstanceUID=f"1.2.{number + 1}")
    bundle = str(tiny_bundle(tmp_path / "bundle").folder)
    drawn: list[str] = []

    def paper(html: str) -> bytes:
        drawn.append(html)
        return html.encode()

    monkeypatch.setattr(film_studies, "to_pdf", paper)
    store = Store("memory://pages-of-a-study")
    run_here(Settings(StoreResults(store), bundle, severity="none", pdf=True), tmp_path / "in", monkeypatch)
    index = json.loads(store.read("index.json"))
    names = [entry["input"] for entry in index["inputs"]]
    assert len(names) == 2
    pages = [store.read(f"{name}/report.html") for name in names]
    assert all(f"Radiograph {number} of 2 ".encode() in pages[number - 1] for number in (1, 2))
    assert [store.read(f"{name}/report.pdf") for name in names] == pages
    assert [page.decode() for page in pages] == drawn


def test_results_appear_whole_and_leave_files_of_others(tmp_path: Path) -> None:
    results = FolderResults(tmp_path / "out")
    results.claim({"settings": "a"}, force=False)
    place = tmp_path / "out/xray-1"

    def published(content: str, *names: str) -> None:
        with results.folder() as folder:
            for name in names:
                write_text(folder / "xray-1" / name, content)
            results.publish(folder, "xray-1")

    def found() -> dict[str, str]:
        return {path.relative_to(place).as_posix(): path.read_text() for path in place.rglob("*.*")}

    published("1", "diagnosis.json", "report.html", "dicom/pdf.dcm")
    assert set(found().values()) == {"1"}
    assert len(found()) == 3
    published("2", "diagnosis.json", "report.pdf")  # a copy of the study, or another try
    (place / "mine.txt").write_text("mine")
    published("3", "diagnosis.json", "heat-COVID.png")
    assert found() == {"diagnosis.json": "3", "heat-COVID.png": "3", "mine.txt": "mine"}
    assert [path.name for path in (tmp_path / "out/.entries").iterdir()] == ["run.json"]


def test_results_that_come_in_between_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = FolderResults(tmp_path / "out")
    results.claim({"settings": "a"}, force=False)
    place, clear, left = tmp_path / "out/xray-1", files.clear, [1, 2]

    def cleared(folder: Path) -> None:
        clear(folder)
        if left:  # another node has its results there before this one moves its own
            write_text(folder / "diagnosis.json", f"another's {left.pop()}")
            write_text(folder / "report.html", "another's")

    monkeypatch.setattr(files, "clear", cleared)
    monkeypatch.setattr(Path, "exists", lambda self: False)
    with results.folder() as folder:
        write_text(folder / "xray-1/diagnosis.json", "own")
        results.publish(folder, "xray-1")
    assert {path.name: path.read_text() for path in place.iterdir()} == {"diagnosis.json": "own"}


def test_a_store_loses_only_what_runs_have_written() -> None:
    store = Store("memory://not-ours")
    others = ["scans/lungs.nii.gz", "scans/report.pdf", "fhir/fhir.json", "mine.txt"]
    for name in [*others, "xray-1/diagnosis.json", "xray-1/lungs.nii.gz", "xray-1/mine.txt"]:
        store.write(name, b"{}")
    results = StoreResults(store)
    with pytest.raises(OutputExistsError):
        results.claim({"settings": "a"}, force=False)
    results.claim({"settings": "a"}, force=True)
    assert set(store.found()) == {*others, "xray-1/mine.txt", ".entries/run.json"}
    store.write("xray-2/diagnosis.json", b"{}")
    results.stale({"xray-1"})
    assert set(store.found()) == {*others, "xray-1/mine.txt", ".entries/run.json"}


@pytest.mark.parametrize("kind", ["objects", "pdf"])
def test_a_node_without_an_extra_says_so(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray comes with the extra `scale`")
    results = FolderResults(tmp_path / "out")
    results.claim({"settings": "a"}, force=False)
    settings = Settings(results, objects=ObjectMaker() if kind == "objects" else None, pdf=kind == "pdf")
    monkeypatch.setattr(ray, "get", lambda _: settings)
    monkeypatch.setattr("pulmoscope.pipeline.objects.write.find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(ResourceError, match=r"a node lacks .*pip install 'pulmoscope\[results\]'"):
        Shared(kind, None).get()


def test_what_fails_on_a_node_tells_its_class_alone() -> None:
    pytest.importorskip("ray", reason="Ray comes with the extra `scale`")

    def fail(item: Exception) -> None:
        raise item

    with pytest.raises(WorkError) as raised:
        pool._timed(fail, KeyError("DOE^JANE"), 60.0)
    assert str(raised.value) == "KeyError"
    assert raised.value.__suppress_context__
    with pytest.raises(ResourceError):
        pool._timed(fail, ResourceError("the disk is full"), 60.0)


def test_a_run_with_other_earlier_reports_is_another_run(tmp_path: Path) -> None:
    def identity(*uids: str) -> str:
        reports: Any = [SimpleNamespace(uid=uid) for uid in uids]
        settings = Settings(
            FolderResults(tmp_path), str(tiny_bundle(tmp_path / "bundle").folder), severity="none"
        )
        return command._identity(Run(settings.models(), tmp_path, objects=ObjectMaker(reports)), settings)

    assert identity("1.2", "1.3") == identity("1.3", "1.2")
    assert len({identity(), identity("1.2"), identity("1.3")}) == 3
