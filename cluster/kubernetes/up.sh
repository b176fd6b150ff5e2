#!/usr/bin/env bash
# up.sh [NAMESPACE]: volumes, PostgreSQL, MLflow and a Ray cluster in the namespace (default: pam).
#
# Needs: kubectl with a cluster in which the KubeRay operator (1.6 or newer) runs, and the images pam:cpu and pam:cuda
# (../docker) where it can pull them from; README.md says how to name another registry.
set -euo pipefail

namespace=${1:-pam}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

kubectl create namespace "$namespace" --dry-run=client --output=yaml | kubectl apply -f -
# The password is made once: a database keeps the one that it was created with. It goes through a pipe, so that no list
# of processes shows it.
if ! kubectl --namespace "$namespace" get secret pam-postgres > /dev/null 2>&1; then
  openssl rand -hex 24 | tr -d '\n' |
    kubectl --namespace "$namespace" create secret generic pam-postgres --from-file=password=/dev/stdin
fi
kubectl --namespace "$namespace" apply -k "$here"
kubectl --namespace "$namespace" rollout status statefulset/pam-postgres --timeout=300s
kubectl --namespace "$namespace" rollout status deployment/pam-mlflow --timeout=300s
kubectl --namespace "$namespace" wait raycluster/pam --for=condition=RayClusterProvisioned --timeout=600s
