#!/usr/bin/env bash
# down.sh [HOST …]: stop the jobs and the service here, then Ray on the hosts: all that this user runs of it there.
set -euo pipefail

PYTHON=${PYTHON:-$(command -v python)}
REMOTE=${REMOTE:-ssh}

"$PYTHON" -m pam.service down
for host in "$@"; do
  "$REMOTE" "$host" "$PYTHON" -m ray.scripts.scripts stop
done
