#!/usr/bin/env bash
# up.sh ADDRESS [HOST …]: start the service here, reachable at ADDRESS, and let the hosts join it. Run it on the head.
#
# Needs: the same Python environment at the same path on every host, PAM_HOME on storage that all of them share,
# and ssh to each host without a password. PYTHON and REMOTE (default: ssh) may be set.
set -euo pipefail

[ $# -ge 1 ] || { echo "usage: up.sh ADDRESS [HOST …]" >&2; exit 2; }
: "${PAM_HOME:?set PAM_HOME to a folder that all hosts share}"
PYTHON=${PYTHON:-$(command -v python)}
REMOTE=${REMOTE:-ssh}
RAY_PORT=${RAY_PORT:-6379}
address=$1
shift

"$PYTHON" -m pam.service up --host "$address" --ray-port "$RAY_PORT" --token

for host in "$@"; do
  # The token goes through standard input: an argument would show in the host's list of processes.
  "$REMOTE" "$host" 'umask 077; mkdir -p ~/.ray; cat > ~/.ray/auth_token' < ~/.ray/auth_token
  "$REMOTE" "$host" env RAY_AUTH_MODE=token "PAM_HOME=$PAM_HOME" \
    "$PYTHON" -m ray.scripts.scripts start --address "$address:$RAY_PORT" --disable-usage-stats
  echo "$host joined"
done
