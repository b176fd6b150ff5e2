#!/usr/bin/env bash
# one_node_slurm.sh FOLDER COMMAND …: run a command on a Slurm cluster of one node, in a network of its own. Needs root.
set -euo pipefail

if [ -z "${PAM_TEST_NETWORK:-}" ]; then
  PAM_TEST_NETWORK=own exec unshare --net --kill-child --pid --fork --mount-proc "$0" "$@"
fi
ip link set lo up
ip address add 198.51.100.1/32 dev lo # where all addresses are loopback's, names are not resolved

folder=$1
shift
mkdir -p "$folder"/{state,spool,munge}
chmod 755 "$folder" # munge wants no folder above its socket to be writable for others
chmod 711 "$folder/munge"
head -c 128 /dev/urandom > "$folder/key"
chmod 400 "$folder/key"
munged --force --key-file="$folder/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" \
  --log-file="$folder/munge.log" --seed-file="$folder/seed"

cat > "$folder/slurm.conf" << END
ClusterName=test
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$folder/munge/socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=$(hostname) NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
END
touch "$folder/cgroup.conf"
export SLURM_CONF=$folder/slurm.conf
slurmctld
slurmd
for _ in $(seq 60); do
  sinfo --noheader --format=%T 2> /dev/null | grep -q idle && exec "$@"
  sleep 0.5
done
echo "the node did not come up; see $folder/slurmd.log" >&2
tail "$folder"/slurm*.log >&2
exit 1
