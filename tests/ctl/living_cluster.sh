#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A node of a cluster of two, alone: real corosync and Pacemaker, in namespaces of their own. What halvmctl says of it.
# Usage: unshare --net --mount --uts --pid --ipc --fork --mount-proc --kill-child living_cluster.sh GOOD OUT HALVMCTL...
set -eu
good=$1 out=$2; shift 2
hostname serv-0001
ip link set lo up; ip address add 10.9.0.1/32 dev lo; ip address add 10.9.0.2/32 dev lo
for directory in /run /dev/shm /etc/corosync /etc/cluster /var/lib/{pacemaker,corosync,fence-halvm} /var/log/{pacemaker,corosync}; do
    mkdir -p "$directory"; mount -t tmpfs tmpfs "$directory"
done
mkdir -p /run/lock /var/lib/pacemaker/{cib,pengine,blackbox,cores}
chown -R hacluster:haclient /var/lib/pacemaker /var/log/pacemaker
# udpu needs no peer to be there; without wait_for_all: 0 a node alone never becomes quorate
sed 's/transport: knet/transport: udpu/; s/two_node: 1/&\n  wait_for_all: 0/' "$good/corosync.conf" >/etc/corosync/corosync.conf

waits_for() { for _ in $(seq 600); do if "$@" &>/dev/null; then return; fi; sleep 0.2; done; echo "not within 120 s: $*" >&2; exit 1; }
online() { crm_mon --one-shot | grep -q 'Online: \[ serv-0001 \]'; }
started() { crm_mon --one-shot --inactive | grep -q fence-serv-0001; }

corosync -f &>"$out/corosync.log" &
waits_for corosync-quorumtool -s
pacemakerd -f &>"$out/pacemaker.log" &
waits_for online
sed -n '/<resources>/,/<\/resources>/p' "$good/cib.xml" >"$out/resources.xml"
cibadmin --replace -o resources --xml-file "$out/resources.xml"
waits_for started
for word in status check; do
    "$@" "$word" --json >"$out/$word.json" && echo 0 >"$out/$word.rc" || echo $? >"$out/$word.rc"
done
