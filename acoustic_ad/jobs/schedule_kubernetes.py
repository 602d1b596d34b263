"""A Kubernetes CronJob for a scheduled job."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from acoustic_ad import __version__
from acoustic_ad.errors import UsageError
from acoustic_ad.jobs.schedule import ScheduledJob, check_job, cron_times

LONGEST_NAME: Final = 52  # a CronJob's; its jobs and pods get suffixes

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a cluster must be told beyond the job."""

    image: str = f"acoustic-ad:{__version__}"
    volumes: tuple[str, ...] = ()  # CLAIM:/path
    cpu: str = "1"
    memory: str = "2Gi"
    user: int = 10_001


def cron_job(job: ScheduledJob, cluster: Cluster) -> str:
    """The manifest of a CronJob, as YAML. Raises UsageError for what Kubernetes cannot take."""
    import yaml

    check_job(job)
    _check_name(job.name, "--name", LONGEST_NAME)
    for option, quantity in (("--cpu", cluster.cpu), ("--memory", cluster.memory)):
        if not _QUANTITY.fullmatch(quantity):
            raise UsageError(f"{option} {quantity!r} is no quantity: write 500m, 2 or 2Gi")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", cluster.image):
        raise UsageError(f"--image {cluster.image!r} is no name of an image")
    text: str = yaml.safe_dump(_manifest(job, cluster), sort_keys=False, allow_unicode=True, width=1_000_000)
    return f"# printed by `acoustic-ad schedule kubernetes`\n{text}"


def _manifest(job: ScheduledJob, cluster: Cluster) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "acoustic-ad", "app.kubernetes.io/instance": job.name}
    template = {"metadata": {"labels": dict(labels)}, "spec": _pod(job, cluster)}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": job.name, "labels": labels},
        "spec": {
            "schedule": cron_times(job.every_min),
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            # A run that could not start for half the interval is left to the next one, which scores all that is new.
            "startingDeadlineSeconds": max(30, min(job.every_min * 30, 3_600)),
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 5,
            # Not tried again at once: the next run is the retry, and failed clips would fail again.
            "jobTemplate": {"spec": {"backoffLimit": 0, "template": template}},
        },
    }


def _pod(job: ScheduledJob, cluster: Cluster) -> dict[str, Any]:
    claims = _claims(job, cluster)
    names = {claim: f"data-{number}" for number, claim in enumerate(dict.fromkeys(claims.values()))}
    # The database, its journal and its lock are beside one another; read-only mounts would have to leave them out.
    mounts = [{"name": names[claim], "mountPath": path} for path, claim in claims.items()]
    command = job.command("--log-format", "json")
    container: dict[str, Any] = {
        "name": "score",
        "image": cluster.image,
        # Kubernetes reads $(NAME) as a variable, and $$ as $.
        "command": [word.replace("$", "$$") for word in job.program],
        "args": [word.replace("$", "$$") for word in command[len(job.program) :]],
        "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
        "resources": {
            "requests": {"cpu": cluster.cpu, "memory": cluster.memory},
            "limits": {"cpu": cluster.cpu, "memory": cluster.memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [*mounts, {"name": "tmp", "mountPath": "/tmp"}],
    }
    if job.environment is not None:
        _check_name(job.environment, "--environment", 253)
        container["envFrom"] = [{"secretRef": {"name": job.environment}}]
    ids = {"runAsUser": cluster.user, "runAsGroup": cluster.user, "fsGroup": cluster.user}
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {"runAsNonRoot": True, **ids, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [
            *({"name": name, "persistentVolumeClaim": {"claimName": claim}} for claim, name in names.items()),
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _claims(job: ScheduledJob, cluster: Cluster) -> dict[str, str]:
    """Path -> the claim that is mounted there; raises UsageError where one of the job's paths is on none of them."""
    # A manifest is a file, and a volume is mounted at a folder.
    needed = [job.folder.parent if job.folder.suffix == ".csv" else job.folder, job.models, *job.writable]
    if not cluster.volumes:
        common = os.path.commonpath(needed)
        if common == "/":
            raise UsageError(
                f"{', '.join(map(str, needed))} have no folder in common: pass --volume CLAIM:/path for each volume"
            )
        if ":" in common:
            raise UsageError(f"{common}: Kubernetes mounts nothing at a path with a colon: rename it")
        return {common: job.name}
    found: dict[str, str] = {}
    for volume in cluster.volumes:
        claim, colon, path = volume.partition(":")
        if not colon or not path.startswith("/") or ":" in path or not _is_plain(path):
            raise UsageError(f"--volume {volume!r}: write CLAIM:/path")
        _check_name(claim, "--volume", 253)
        if path in found:
            raise UsageError(f"--volume: two volumes at {path}")
        found[path] = claim
    for place in needed:
        if not any(place.is_relative_to(mount) for mount in found):
            raise UsageError(f"{place} is on no --volume: there are {', '.join(found)}")
    return found


def _is_plain(path: str) -> bool:
    return path == str(PurePosixPath(path)) and ".." not in PurePosixPath(path).parts and path != "/"


def _check_name(name: str, option: str, longest: int) -> None:
    if len(name) > longest or not _NAME.fullmatch(name):
        raise UsageError(
            f"{option} {name!r}: Kubernetes takes names of small letters, digits and hyphens within, "
            f"up to {longest} characters"
        )
