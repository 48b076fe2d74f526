"""The configuration of clusters: that it says what the documents say, and only what Ray, KubeRay and our CLI know."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from pulmoscope.apps.cli.main import app
from pulmoscope.core.version import VERSION

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
PAGE = DEPLOY.parent / "docs" / "scale.md"
SCRIPTS = ("node.sh", "slurm.sh")
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray comes with pulmoscope[scale]"
)


def loaded(name: str) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with pulmoscope[scale]")
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes" / name).read_text(encoding="utf-8"))
    return found


def groups() -> list[dict[str, Any]]:
    spec = loaded("cluster.yaml")["spec"]
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def container(group: dict[str, Any]) -> dict[str, Any]:
    (found,) = group["template"]["spec"]["containers"]
    return dict(found)


def ray_options() -> set[str]:
    from ray.scripts.scripts import start

    return {name for option in start.params for name in option.opts}


def commands() -> list[str]:
    """Every command of ours in the files and on the page, each on a line of its own."""
    texts = [
        path.read_text(encoding="utf-8") for path in [*sorted(DEPLOY.rglob("*")), PAGE] if path.is_file()
    ]
    joined = [re.sub(r"\\\n\s*", "", text) for text in texts]
    found = [
        line for text in joined for line in re.findall(r"(?:^|sh |: )(pulmoscope .*)$", text, re.MULTILINE)
    ]
    return [re.split(r" \|\| | #", line)[0].strip() for line in found]


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_a_command_is_understood(line: str) -> None:
    words = shlex.split(line)[1:]
    command = get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    if not any("--on" in option.opts for option in command.params):
        pytest.skip("the command can't be spread over a cluster yet")
    command.make_context(line, words)  # raises for an option or argument that the command does not take


def test_there_are_commands() -> None:
    assert any(line.startswith("pulmoscope diagnose s3://") for line in commands())
    assert any(line.startswith("pulmoscope diagnose /") for line in commands())


def test_a_job_brings_the_cluster_that_else_stands() -> None:
    cluster, job = loaded("cluster.yaml"), loaded("job.yaml")
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert cluster["spec"]["authOptions"] == {"mode": "token"}


def test_a_job_that_has_refused_some_studies_is_done() -> None:
    """Exit code 3 must not begin the job again, any other must."""
    entry = loaded("job.yaml")["spec"]["entrypoint"].partition("||")[2]
    codes = {
        code: subprocess.run(["sh", "-c", f"(exit {code}) || {entry}"]).returncode for code in (0, 1, 2, 3, 4)
    }
    assert {code for code, ended in codes.items() if ended == 0} == {0, 3}


def test_pods_have_fixed_sizes_and_a_logical_cpu_more_than_cores() -> None:
    head, *workers = groups()
    for group in (head, *workers):
        resources = container(group)["resources"]
        assert resources["requests"] == resources["limits"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    for group in workers:
        assert (
            int(group["rayStartParams"]["num-cpus"])
            == int(container(group)["resources"]["limits"]["cpu"]) + 1
        )


@pytest.mark.parametrize("group", range(2))
def test_pods_have_no_rights_and_no_keys(group: int) -> None:
    pod, inside = groups()[group]["template"]["spec"], container(groups()[group])
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert inside["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in inside["volumeMounts"]] == ["/tmp"]
    values = {one["name"]: one["value"] for one in inside["env"]}
    assert (values["OMP_NUM_THREADS"], values["HOME"]) == ("1", "/tmp")
    assert not [name for name in values if "KEY" in name or "SECRET" in name or "TOKEN" in name]
    assert [list(one) for one in inside["envFrom"]] == [["secretRef"]]


def test_images_and_their_recipe_name_this_version() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    (tag,) = re.findall(r"-t (\S+) \.", text)
    assert tag.endswith(f":{VERSION}")
    assert "[scale,results]" in text
    assert {container(group)["image"] for group in groups()} == {tag}
    assert re.findall(r"^USER (\d+)$", text, re.MULTILINE) == ["1000"]


@needs_ray
def test_every_option_of_ray_is_one() -> None:
    named = {f"--{name}" for group in groups() for name in group["rayStartParams"]}
    for script in SCRIPTS:
        text = (DEPLOY / script).read_text(encoding="utf-8")
        lines = re.findall(
            r"^(?:node=|    node\+=|.*ray start).*", re.sub(r"\\\n\s*", "", text), re.MULTILINE
        )
        named |= {
            name for line in lines for name in re.findall(r"(?<=[ (])--[a-z-]+", line.rpartition("srun")[2])
        }
    slurms = {"--nodes", "--ntasks", "--cpus-per-task", "--nodelist", "--exclude"}
    assert named - slurms - ray_options() == set()
    assert "--temp-dir" in named


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A folder of stand-ins, first on PATH: each writes down how it was called."""
    note = f'echo "$(basename "$0") $*" >> {shlex.quote(str(tmp_path))}/calls'
    answers = {
        "srun": "",
        "ray": "",
        # As the script waits for its nodes: else they would be ended before they have begun.
        "python": 'until (($(grep -c ^srun "${0%/*}"/calls) == ($2 > 1 ? 2 : 1))); do :; done',
        "hostname": "echo a1",
        "work": 'echo "$RAY_ADDRESS $RAY_AUTH_MODE ${#RAY_AUTH_TOKEN} $OMP_NUM_THREADS" >> "${0%/*}"/calls; exit 3',
    }
    for name, answer in answers.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{note}\n{answer}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def run(stage: Path, script: str, *words: str, **environment: str) -> tuple[int, list[str]]:
    path = f"{stage}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", str(DEPLOY / script), *words],
        env={"PATH": path, "HOME": str(stage), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    calls = stage / "calls"
    return ended.returncode, calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []


SLURM = {
    "SLURMD_NODENAME": "a1",
    "SLURM_JOB_NUM_NODES": "3",
    "SLURM_CPUS_PER_TASK": "16",
    "SLURM_JOB_ID": "7",
}


def test_slurm_starts_a_head_and_the_other_nodes_and_ends_as_the_command_does(stage: Path) -> None:
    code, calls = run(stage, "slurm.sh", "work", "-o", "out", **SLURM)
    # Both are started in the background, so either may have written its line first.
    head, others = sorted(
        (line for line in calls if line.startswith("srun")), key=lambda line: "--head" not in line
    )
    assert head.startswith(
        "srun --nodes=1 --ntasks=1 --cpus-per-task=16 --nodelist=a1 ray start --head --port=6379 "
    )
    assert others.startswith(
        "srun --nodes=2 --ntasks=2 --cpus-per-task=16 --exclude=a1 ray start --address=a1:6379 --block "
    )
    for line in (head, others):
        assert " --num-cpus=17 " in line
        assert line.endswith(" --temp-dir=/tmp/ray-7")
    assert "python - 3" in calls
    assert calls[-2:] == ["work -o out", "a1:6379 token 64 1"]
    assert code == 3


def test_slurm_on_one_node_starts_a_head_alone(stage: Path) -> None:
    code, calls = run(stage, "slurm.sh", "work", **{**SLURM, "SLURM_JOB_NUM_NODES": "1"})
    assert sum(line.startswith("srun") for line in calls) == 1
    assert code == 3


def test_by_hand_a_head_and_a_node(stage: Path) -> None:
    assert run(stage, "node.sh", "head", CORES="8", ADDRESS="10.0.0.1")[0] == 0
    code, calls = run(stage, "node.sh", "10.0.0.1:6379", CORES="4")
    assert calls == [
        "ray get-auth-token --generate",
        "ray start --head --port=6379 --include-dashboard=false --disable-usage-stats --num-cpus=9 "
        "--object-store-memory=268435456 --node-ip-address=10.0.0.1",
        "ray start --address=10.0.0.1:6379 --num-cpus=5 --object-store-memory=268435456",
    ]
    assert code == 0


def test_by_hand_anything_else_is_wrong_usage(stage: Path) -> None:
    assert run(stage, "node.sh", "10.0.0.1") == (2, [])
