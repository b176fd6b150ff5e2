#!/usr/bin/env bash
# with_postgres.sh COMMAND …: run a command with a PostgreSQL of its own, behind a socket in a folder, for MLflow. Needs root.
set -euo pipefail

programs=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -1)
folder=$(mktemp -d /tmp/pam-postgres-XXXXXX)
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups -- "$programs/$1" -D "$folder/data" "${@:2}" > /dev/null; }
stop() {
  as_postgres pg_ctl stop --mode=immediate || true
  rm -rf "$folder"
}
chown postgres "$folder"
chmod 755 "$folder"
cd "$folder"
trap stop EXIT
as_postgres initdb --auth=trust --encoding=UTF8
as_postgres pg_ctl start --wait --log="$folder/log" --options="-c listen_addresses='' -c unix_socket_directories='$folder'"
"$programs/createdb" --host="$folder" --username=postgres mlflow
cd "$OLDPWD"
MLFLOW_BACKEND_STORE_URI="postgresql+psycopg2://postgres@/mlflow?host=$folder" "$@"
