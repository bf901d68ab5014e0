# For sourcing: a Slurm cluster of four nodes on one machine. Every node is a network namespace on a bridge of its own,
# with its own process, host name and mount namespaces and its own /tmp; files are shared as a parallel file system would.
# Nothing of it reaches the machine's own network, and only processes that were started here are ended.
# shellcheck shell=bash

PATH=$PATH:/usr/sbin:/sbin # where the daemons are
cluster_nodes=(n0 n1 n2 n3)
cluster_tag=esp$$

# Prints why this machine cannot run a cluster; nothing where it can.
cluster_obstacle() {
    local program
    for program in slurmctld slurmd sbatch munged ip nsenter unshare; do
        command -v "$program" > /dev/null || { echo "$program is not installed (scripts/install --with-cluster brings it)"; return; }
    done
    [[ $EUID -eq 0 ]] || { echo "namespaces and slurmd need root"; return; }
    unshare --net --mount --uts --pid --fork ip link add espalier type bridge 2> /dev/null ||
        echo "this machine does not let root make network namespaces"
}

# cluster_start FOLDER VISIBLE...: starts it, with its state in FOLDER. VISIBLE: folders under /tmp that every node
# sees although it has its own /tmp.
cluster_start() {
    cluster_base=$1
    shift
    cluster_visible=("$cluster_base" "$@")
    mkdir -p "$cluster_base"/{state,munge}
    ip netns add "$cluster_tag"
    ip -n "$cluster_tag" link add br0 type bridge
    ip -n "$cluster_tag" address add 10.77.0.254/24 dev br0
    ip -n "$cluster_tag" link set br0 up
    ip -n "$cluster_tag" link set lo up
    cluster_write_config
    cluster_start_munge
    cluster_spawn "$cluster_tag" head slurmctld -D -f "$SLURM_CONF"
    local i
    for i in "${!cluster_nodes[@]}"; do
        ip netns add "$cluster_tag-n$i"
        ip -n "$cluster_tag" link add "port$i" type veth peer name eth0 netns "$cluster_tag-n$i"
        ip -n "$cluster_tag" link set "port$i" master br0 up
        ip -n "$cluster_tag-n$i" address add "10.77.0.1$i/24" dev eth0
        ip -n "$cluster_tag-n$i" link set eth0 up
        ip -n "$cluster_tag-n$i" link set lo up
        cluster_boot "n$i"
    done
    cluster_wait_idle
}

cluster_write_config() {
    export SLURM_CONF=$cluster_base/slurm.conf
    printf '127.0.0.1 localhost\n10.77.0.254 head\n' > "$cluster_base/hosts"
    local i
    for i in "${!cluster_nodes[@]}"; do echo "10.77.0.1$i n$i" >> "$cluster_base/hosts"; done
    # Short waits: a dead node is noticed after ten seconds, and a requeued job starts again after cred_expire.
    cat > "$SLURM_CONF" << CONF
ClusterName=espalier
SlurmctldHost=head(10.77.0.254)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$cluster_base/munge/socket,cred_expire=5
StateSaveLocation=$cluster_base/state
SlurmdSpoolDir=$cluster_base/%n/spool
SlurmctldPidFile=$cluster_base/slurmctld.pid
SlurmdPidFile=$cluster_base/%n/slurmd.pid
SlurmctldLogFile=$cluster_base/slurmctld.log
SlurmdLogFile=$cluster_base/%n/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=pmix
ReturnToService=2
SlurmdTimeout=10
MessageTimeout=5
TCPTimeout=1
KillWait=8
MinJobAge=600
MailProg=/bin/true
SchedulerParameters=bf_interval=1,sched_min_interval=200000,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n[0-3] NodeHostname=n[0-3] NodeAddr=10.77.0.1[0-3] Port=6818 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=n[0-3] Default=YES OverSubscribe=FORCE:4 PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=n[0-3] OverSubscribe=NO PriorityTier=10 PreemptMode=OFF
CONF
}

cluster_start_munge() {
    dd if=/dev/urandom of="$cluster_base/munge/key" bs=1 count=128 status=none
    chmod 600 "$cluster_base/munge/key"
    cluster_spawn "$cluster_tag" head munged --foreground --force --socket="$cluster_base/munge/socket" \
        --key-file="$cluster_base/munge/key" --log-file="$cluster_base/munge/log" \
        --pid-file="$cluster_base/munge/pid" --seed-file="$cluster_base/munge/seed"
}

# cluster_enter NAMESPACE NAME COMMAND...: the command as the host NAME sees the world.
# shellcheck disable=SC2016 # the inner shell expands
cluster_enter() {
    local namespace=$1 name=$2
    shift 2
    nsenter --net="/run/netns/$namespace" unshare --mount --uts bash -c '
        name=$1 hosts=$2 tmp=$3
        hostname "$name" && mount --bind "$hosts" /etc/hosts || exit 1
        shift 3
        if [[ $name != head ]]; then
            while [[ $1 != -- ]]; do
                if [[ $1 == /tmp/* ]]; then mkdir -p "$tmp/${1#/tmp/}" && mount --bind "$1" "$tmp/${1#/tmp/}" || exit 1; fi
                shift
            done
            mount --rbind "$tmp" /tmp && mount -t tmpfs tmpfs /dev/shm || exit 1
        else
            while [[ $1 != -- ]]; do shift; done
        fi
        shift
        cd "$PWD" && exec "$@"' bash "$name" "$cluster_base/hosts" "$cluster_base/$name/tmp" "${cluster_visible[@]}" -- "$@"
}

# Starts a host's process in the background, in a process namespace that ends with it.
cluster_spawn() {
    local namespace=$1 name=$2
    shift 2
    mkdir -p "$cluster_base/$name"/{spool,tmp}
    setsid bash -c "$(declare -f cluster_enter); cluster_base=\$1 cluster_visible=(\"\${@:4}\")
        cluster_enter \"\$2\" \"\$3\" unshare --pid --fork --kill-child --mount-proc bash -c 'exec \"\$@\"' bash $(printf '%q ' "$@")" \
        bash "$cluster_base" "$namespace" "$name" "${cluster_visible[@]}" \
        >> "$cluster_base/$name/console" 2>&1 < /dev/null &
    echo $! >> "$cluster_base/$name/pids"
    disown
}

# A node boots from an image, as diskless ones do: nothing of its life before is left.
cluster_boot() {
    rm -rf "${cluster_base:?}/$1"/{spool,tmp}
    cluster_spawn "$cluster_tag-$1" "$1" slurmd -D -N "$1" -f "$SLURM_CONF"
}

# A command on the head node, where users log in.
on_head() { cluster_enter "$cluster_tag" head "$@"; }

# No power: the link is dead before the processes are, so that nobody hears of it.
cluster_power_off() {
    cluster_cut "$1"
    cluster_end_host "$1"
}

cluster_power_on() {
    cluster_join "$1"
    cluster_boot "$1"
}

cluster_cut() { ip -n "$cluster_tag" link set "port${1#n}" down; }
cluster_join() { ip -n "$cluster_tag" link set "port${1#n}" up; }

# Ends what cluster_spawn started on a host, by its session: a process namespace dies with its first process, the daemon.
cluster_end_host() {
    local session
    [[ -e $cluster_base/$1/pids ]] || return 0
    while read -r session; do
        pkill -KILL -s "$session" -x 'slurmd|slurmctld|munged' 2> /dev/null || true
    done < "$cluster_base/$1/pids"
    rm -f "$cluster_base/$1/pids"
}

# Until every node is up and free.
cluster_wait_idle() {
    local deadline=$((SECONDS + 60))
    until [[ $(on_head sinfo --noheader -N --partition=main --format=%t 2> /dev/null | grep -cx 'idle') -eq ${#cluster_nodes[@]} ]]; do
        [[ $SECONDS -lt $deadline ]] || { echo "cluster: the nodes did not come up; see $cluster_base/*/console" >&2; return 1; }
        sleep 0.3
    done
}

cluster_stop() {
    local name i
    for name in "${cluster_nodes[@]}" head; do cluster_end_host "$name"; done
    for i in "${!cluster_nodes[@]}"; do ip netns delete "$cluster_tag-n$i" 2> /dev/null || true; done
    ip netns delete "$cluster_tag" 2> /dev/null || true
}
