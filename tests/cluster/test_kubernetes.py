"""The manifests: Ray's objects against KubeRay's schemas, the others by what Kubernetes asks of them."""

from pathlib import Path

import jsonschema
import pytest
import yaml

CRDS = {"RayCluster": "ray.io_rayclusters.yaml", "RayJob": "ray.io_rayjobs.yaml"}
VERSIONS = {
    "PersistentVolumeClaim": "v1",
    "Service": "v1",
    "StatefulSet": "apps/v1",
    "Deployment": "apps/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "RayCluster": "ray.io/v1",
    "RayJob": "ray.io/v1",
}


@pytest.fixture(scope="module")
def folder(cluster: Path) -> Path:
    return cluster / "kubernetes"


@pytest.fixture(scope="module")
def objects(folder: Path) -> dict[tuple[str, str], dict]:
    """(kind, name) → object, of all manifests."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] != "Kustomization":
                key = (document["kind"], document["metadata"]["name"])
                assert key not in found, f"{key} is declared twice"
                found[key] = document
    return found


def strict(schema: object) -> object:
    """The schema as the API server applies it with --validate=strict: no unknown fields, and its own number forms."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    if (
        isinstance(schema.get("properties"), dict)
        and "additionalProperties" not in schema
        and not schema.get("x-kubernetes-preserve-unknown-fields")
    ):
        made["additionalProperties"] = False
    return made


def validator(schemas: Path, kind: str) -> jsonschema.Draft202012Validator:
    crd = yaml.load((schemas / CRDS[kind]).read_text(), yaml.CSafeLoader)
    (version,) = [version for version in crd["spec"]["versions"] if version["name"] == "v1"]
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}  # the API server checks it itself
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("kind", CRDS)
def test_rays_objects_follow_kuberays_schemas(kind, objects, kuberay_schemas):
    check = validator(kuberay_schemas, kind)
    (found,) = [value for (is_kind, _), value in objects.items() if is_kind == kind]
    assert [f"{error.json_path}: {error.message}" for error in check.iter_errors(found)] == []


def test_the_schema_check_finds_a_misspelt_field_and_a_wrong_type(objects, kuberay_schemas):
    check = validator(kuberay_schemas, "RayCluster")
    original = yaml.safe_dump(objects["RayCluster", "pam"])
    for right, wrong in (("rayStartParams:", "rayStartParms:"), ("containerPort: 6379", "containerPort: x")):
        assert right in original
        assert not check.is_valid(yaml.safe_load(original.replace(right, wrong)))


def test_the_job_runs_on_the_same_cluster_as_the_one_that_stays(objects):
    assert objects["RayJob", "pam-sweep"]["spec"]["rayClusterSpec"] == objects["RayCluster", "pam"]["spec"]


def test_each_object_has_the_version_of_its_kind_and_belongs_to_pam(objects):
    for (kind, _), found in objects.items():
        assert found["apiVersion"] == VERSIONS[kind]
        assert found["metadata"]["labels"]["app.kubernetes.io/part-of"] == "pam"


def test_kustomize_lists_every_manifest_but_the_job(folder):
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert set(listed) == {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "rayjob.yaml"}


def templates(objects: dict) -> list[dict]:
    """Pod templates of everything that runs."""
    spec = objects["RayCluster", "pam"]["spec"]
    ray = [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]
    return ray + [
        value["spec"]["template"] for (kind, _), value in objects.items() if kind in ("StatefulSet", "Deployment")
    ]


def test_no_pod_runs_as_root_or_without_limits(objects):
    for template in templates(objects):
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        assert template["spec"]["automountServiceAccountToken"] is False
        for container in template["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert "memory" in container["resources"]["limits"]


def test_what_pods_mount_is_declared(objects):
    claims = {name for kind, name in objects if kind == "PersistentVolumeClaim"}
    for template in templates(objects):
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        for container in template["spec"]["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys()
        used = {v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v}
        assert used <= claims


def test_services_select_a_pod_and_a_port_that_exist(objects):
    pods = templates(objects)
    for (kind, name), service in objects.items():
        if kind == "Service":
            selector = service["spec"]["selector"].items()
            chosen = [pod for pod in pods if selector <= pod["metadata"]["labels"].items()]
            assert len(chosen) == 1, name
            ports = {port["name"] for c in chosen[0]["spec"]["containers"] for port in c.get("ports", ())}
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_every_workload_selects_its_own_pods(objects):
    for (kind, _), found in objects.items():
        if kind in ("StatefulSet", "Deployment"):
            labels = found["spec"]["template"]["metadata"]["labels"]
            assert found["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_network_policy_covers_every_pod(objects):
    chosen = objects["NetworkPolicy", "pam"]["spec"]["podSelector"]["matchLabels"].items()
    assert all(chosen <= template["metadata"]["labels"].items() for template in templates(objects))


def test_mlflow_has_one_address_and_no_password_stands_in_a_manifest(objects, folder):
    uris = {
        variable["value"]
        for template in templates(objects)
        for container in template["spec"]["containers"]
        for variable in container.get("env", ())
        if variable["name"] == "MLFLOW_TRACKING_URI"
    }
    service = objects["Service", "pam-mlflow"]
    assert uris == {f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"}
    arguments = objects["Deployment", "pam-mlflow"]["spec"]["template"]["spec"]["containers"][0]["args"]
    (hosts,) = [
        argument.partition("=")[2].split(",") for argument in arguments if argument.startswith("--allowed-hosts")
    ]
    assert "pam-mlflow:5000" in hosts
    assert not any(kind == "Secret" for kind, _ in objects)
    for template in templates(objects):
        for container in template["spec"]["containers"]:
            secret = [v for v in container.get("env", ()) if "PASSWORD" in v["name"] or "TOKEN" in v["name"]]
            assert all("secretKeyRef" in variable["valueFrom"] for variable in secret)


def test_the_cluster_asks_for_a_token(objects):
    assert objects["RayCluster", "pam"]["spec"]["authOptions"] == {"mode": "token"}
