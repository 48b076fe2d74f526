"""For the tests of many machines: a small archive, a store that fails now and then, tasks that kill their process."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ct_series import drawn_hu, write_series
from films import film, save, write_manifest
from pulmoscope.apps.ray.worker import Planned, Shared, diagnose_planned
from pulmoscope.pipeline.runs.run import Outcome
from radiographs import chest, dicom_file

__all__ = ["draw_archive", "film", "poisoned", "save", "store", "write_manifest"]

RADIOGRAPHS = 31


def draw_archive(folder: Path, radiographs: int = RADIOGRAPHS, side: int = 96) -> int:
    """Radiographs of one place, two of one study, two copies, a CT, and a file that is no image; how many inputs."""
    for number in range(radiographs):
        save(folder / f"xray/{number:04d}.png", film(number, side))
    for copy in ("again", "other/once-more"):
        target = folder / f"{copy}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "xray/0003.png", target)
    for number, view in enumerate(("PA", "LL")):
        study = folder / f"study/{number}.dcm"
        study.parent.mkdir(parents=True, exist_ok=True)
        dicom_file(
            study,
            chest(128, number),
            StudyInstanceUID="1.2.3.4",
            PatientID="P1",
            SOPInstanceUID=f"1.2.3.4.{number}",
            ViewPosition=view,
        )
    write_series(folder / "ct", drawn_hu(), StudyInstanceUID="1.2.3.5")
    (folder / "broken.png").write_bytes(b"no image")
    return radiographs + 2 + 2 + 1 + 1


def poisoned(shared: Shared, planned: Planned) -> Outcome:
    """Diagnose a study; one that is named so kills its process, as one that takes all memory would."""
    if "poison" in planned.study.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return diagnose_planned(shared, planned)


@contextmanager
def store(bucket: str, failing: float = 0.05, seed: int = 5) -> Iterator[dict[str, Any]]:
    """moto's S3 on loopback, some of whose requests fail; environment variables that lead there, and the counts.

    Args:
        failing: which fraction of requests gets an error of the server instead of an answer.
    """
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    inner, chance, counts = (
        DomainDispatcherApplication(create_backend_app),
        random.Random(seed),
        {"requests": 0, "failed": 0},
    )

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        counts["requests"] += 1
        if counts["requests"] > 1 and chance.random() < failing:
            counts["failed"] += 1
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("503 Service Unavailable", [("Content-Type", "text/plain"), ("Content-Length", "0")])
            return [b""]
        return inner(environ, start)

    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        import boto3

        boto3.client(
            "s3",
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        ).create_bucket(Bucket=bucket)
        yield {"variables": variables, "counts": counts}
    finally:
        server.shutdown()
        thread.join()
