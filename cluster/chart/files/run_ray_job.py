"""`run_ray_job.py MANIFEST`: creates a RayJob in this namespace, waits for its end, and ends as it ended.

For clusters whose operator has no RayCronJob. It runs from a ConfigMap, in the image of the jobs.
Environment: JOB_NAME and JOB_UID name the Kubernetes Job, which owns the RayJob: both are deleted together.
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

ACCOUNT = Path(os.environ.get("SERVICE_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
ENDS = {"Complete": 0, "Failed": 1, "ValidationFailed": 1}
_WAIT_S = float(os.environ.get("WAIT_S", "10"))


def main() -> int:
    """Exit status: 0 the job succeeded, 1 it failed."""
    manifest = owned(yaml.safe_load(Path(sys.argv[1]).read_text()), os.environ["JOB_NAME"], os.environ["JOB_UID"])
    namespace = manifest["metadata"]["namespace"]
    created = call("POST", f"/apis/ray.io/v1/namespaces/{namespace}/rayjobs", manifest)
    name = created["metadata"]["name"]
    print(f"created rayjob/{name}; its log: kubectl logs -n {namespace} -l job-name={name}", flush=True)
    while True:
        status = found(f"/apis/ray.io/v1/namespaces/{namespace}/rayjobs/{name}").get("status", {})
        state = status.get("jobDeploymentStatus", "")
        if state in ENDS:
            print(f"rayjob/{name}: {state} {status.get('jobStatus', '')} {status.get('message', '')}", flush=True)
            return 1 if status.get("jobStatus") in ("FAILED", "STOPPED") else ENDS[state]
        time.sleep(_WAIT_S)


def owned(manifest: dict[str, Any], job: str, uid: str) -> dict[str, Any]:
    """The manifest with the Kubernetes Job as its owner."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": uid}
    return manifest | {"metadata": manifest["metadata"] | {"ownerReferences": [owner]}}


def found(path: str) -> dict[str, Any]:
    """What stands there now; nothing while the API server is away, for it comes back."""
    try:
        return call("GET", path)
    except urllib.error.HTTPError as error:
        if error.code < 500:
            raise
        return {}
    except OSError:
        return {}


def call(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One call of the API server with this pod's own rights.

    Raises:
        urllib.error.HTTPError: it refused; the reason is printed.
    """
    server = os.environ.get("API_SERVER", "https://kubernetes.default.svc")
    headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server + path, data, headers, method=method)  # noqa: S310 - the address is ours
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")) if server.startswith("https") else None
    try:
        with urllib.request.urlopen(request, timeout=30, context=trust) as answer:  # noqa: S310
            read: dict[str, Any] = json.load(answer)
            return read
    except urllib.error.HTTPError as error:
        print(f"{method} {path}: {error.code} {error.read().decode(errors='replace')[:500]}", file=sys.stderr)
        raise


if __name__ == "__main__":
    sys.exit(main())
