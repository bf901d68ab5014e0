#!/usr/bin/env bash
# The pipeline on a real Slurm cluster of four nodes: whole, and with its distillation stopped by time limits, a dead node,
# a cut link, cancel, scancel and a preemption. Each ends with the same losses and weights as the undisturbed one, bit for bit.
# usage: pipeline_test.sh ESPALIER FOLDER [preflight|whole|time_limit|overrun|faults|job_array|array_limit]...      exit code 77: this machine cannot run a cluster; the reason is printed
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
source "$here/cluster.sh"
source "$here/tiny_world.sh"
usage() { sed -n '2,4s/^# \{0,1\}//p' "$0"; }
case ${1:-} in --help | -h) usage; exit 0 ;; esac
[[ $# -ge 2 ]] || { usage >&2; exit 2; }
espalier=$(realpath "$1") folder=$(realpath -m "$2")
program=$espalier
shift 2
parts=("${@:-whole}")
[[ $# -gt 0 ]] || parts=(preflight whole time_limit overrun faults job_array array_limit)
case " ${parts[*]} " in
    *" whole "*) ;;
    *" time_limit "* | *" overrun "* | *" faults "*) parts=(whole "${parts[@]}") ;; # which they are compared with
esac

obstacle=$(cluster_obstacle)
if [[ -n $obstacle ]]; then
    mkdir -p "$folder"
    echo "cluster: skipped: $obstacle" | tee "$folder/survived.txt"
    exit 77
fi

rm -rf "$folder"
mkdir -p "$folder"
world=$folder/world
cd "$folder"
trap cluster_stop EXIT
trap 'exit 130' INT TERM

fail() {
    echo "FAILED: $*" >&2
    on_head squeue --long >&2 || true
    tail -n 30 "$world"/runs/*/stages/distill/log "$folder"/cluster/slurmctld.log >&2 || true
    exit 1
}
passed() { echo "ok, $((SECONDS - began)) s: $*"; began=$SECONDS; }

# wait_until WHAT COMMAND...: the deadline is for a hung cluster, not a measure.
wait_until() {
    local what=$1 deadline=$((SECONDS + 120))
    shift
    until "$@"; do
        [[ $SECONDS -lt $deadline ]] || fail "gave up waiting until $what"
        sleep 0.4 # polling costs the ranks their cores
    done
}

pipeline() { on_head "$project/slurm/pipeline" "$@"; }
all_done() { queue_is_empty && [[ $(pipeline status "$world/$1.ini" | tail -n +2 | awk '$2 != "done"' | wc -l) -eq 0 ]]; }
queue_is_empty() {
    local queue
    queue=$(on_head squeue --noheader) && [[ -z $queue ]]
}
steps_of() { wc -l 2> /dev/null < "$world/runs/$1/student/metrics.jsonl" || echo 0; }
has_steps() { [[ $(steps_of "$1") -ge $2 ]]; }
starts_of() { cat "$world/runs/$1/stages/distill/log" 2> /dev/null | grep -c 'distill.sbatch: job' || true; }
has_started() { [[ $(starts_of "$1") -ge $2 ]]; }
node_is_down() { [[ $(on_head sinfo --noheader --nodes="$1" --partition=main --format=%t) == down* ]]; }

# Ranks of a run's distillation, or of another stage that is watched, which are this test's own: their command line names its folder.
watched=distill
ranks_of() {
    local pid
    for pid in $(pgrep -x "$(basename "$program")"); do
        [[ $(tr '\0' '\n' 2> /dev/null < "/proc/$pid/cmdline") != *"$world/runs/$1/stages/$watched/job.ini"* ]] || echo "$pid"
    done
}
# Held still, a run on a fast machine does not end before what is to befall it.
hold() { wait_until "$1 stands still" stop_ranks "$1"; }
stop_ranks() {
    local pids
    pids=$(ranks_of "$1")
    [[ -n $pids ]] || return 1
    xargs kill -STOP <<< "$pids" 2> /dev/null || true
}
release() { ranks_of "$1" | xargs -r kill -CONT 2> /dev/null || true; }
# Slurm's warning waits for a stopped rank (SIGUSR1 is the tenth bit), or has let it run on to its end already.
saw_sigterm() { ranks_have_signal "$1" 0x4000 || has_started "$1" "$2"; }
# Slurm lets held ranks run on (SIGCONT) as it ends a job: they may be gone, with no start behind them, before anyone looks.
ended_or_told() { ranks_have_signal "$1" 0x4000 || [[ -z $(ranks_of "$1") ]]; }
warned() { ranks_have_signal "$1" || has_started "$1" "$2"; }
# It may come while ranks start, and has ended them before they could be held.
element_warned() { ranks_have_signal "$1" || grep -q 'queued again' "$world/runs/$1/stages/candidates/log"; }
ranks_have_signal() {
    local pid bits=${2:-0x200}
    for pid in $(ranks_of "$1"); do
        if [[ $((0x$(awk '$1 == "ShdPnd:" { print $2 }' "/proc/$pid/status" 2> /dev/null || echo 0) & bits)) -ne 0 ]]; then return 0; fi
    done
    return 1
}

# What was learned, without the times.
losses_of() { sed 's/"lr".*"grad_norm"/"grad_norm"/; s/,"seconds".*//' "$world/runs/$1/student/metrics.jsonl"; }
weights_of() { "$espalier" inspect "$world/runs/$1/student/model.h5" --json | grep -o '"content_sha256": "[0-9a-f]*"'; }
same_as_whole() {
    cmp <(losses_of whole) <(losses_of "$1") || fail "$1: other losses than the undisturbed run's"
    [[ -n $(weights_of "$1") && $(weights_of whole) == "$(weights_of "$1")" ]] || fail "$1: other weights than the undisturbed run's"
}

# A pipeline whose first stages are those of the undisturbed one, done already.
begin_like_whole() {
    cp -r "$world/runs/whole" "$world/runs/$1"
    rm -rf "$world/runs/$1"/{student,export} "$world/runs/$1"/stages/{distill,evaluate-student,export}
    write_pipeline "$world/$1.ini" "runs/$1" 81920
    shift
    cat >> "$world/$1.ini"
}

test_preflight() {
    write_pipeline "$world/checked.ini" runs/checked 81920
    on_head "$project/slurm/preflight" "$world/checked.ini" > preflight.txt 2>&1 || { cat preflight.txt >&2; fail "preflight finds this cluster unfit"; }
    cat preflight.txt
    passed "preflight finds the cluster fit"
}

test_whole() {
    write_pipeline "$world/whole.ini" runs/whole 81920
    pipeline "$world/whole.ini" > whole.txt
    wait_until "the whole pipeline is done" all_done whole
    [[ -e $world/runs/whole/export/config.json ]] || fail "nothing was exported"
    pipeline --resume "$world/whole.ini" > again.txt
    ! grep -q ': job ' again.txt || fail "--resume submitted what is done"
    grep -q "^all stages are done; .*runs/whole/export " again.txt || fail "nobody says where the model is: $(tail -n 1 again.txt)"
    if pipeline "$world/whole.ini" 2> refused.txt; then fail "a pipeline was submitted over another"; fi
    passed "$(grep -c ': job ' whole.txt) stages were submitted and are done; going on submits none"
}

test_time_limit() {
    local limit
    printf '\n[resources.distill]\nnodes = 4\ntime = 1\nsignal = 20\n' | begin_like_whole limited limited
    pipeline --resume "$world/limited.ini" > limited.txt
    submissions=$((submissions + 1))
    for limit in 1 2; do
        wait_until "link $limit of the limited run learns" has_steps limited $(($(steps_of limited) + 3))
        hold limited
        wait_until "the time limit is announced" warned limited $((limit + 1))
        release limited
        wait_until "the job starts again" has_started limited $((limit + 1))
    done
    wait_until "the limited run is done" all_done limited
    same_as_whole limited
    passed "a distillation whose time limit was hit twice ends as the undisturbed one"
}

# A limit that comes without a warning: Slurm itself ends the job.
test_overrun() {
    printf '\n[resources.distill]\nnodes = 4\ntime = 10\n' | begin_like_whole overrun overrun
    pipeline --resume "$world/overrun.ini" > overrun.txt
    submissions=$((submissions + 1))
    wait_until "the run learns" has_steps overrun 3
    hold overrun
    on_head scontrol update "JobId=$(tail -n 1 "$world/runs/overrun/stages/distill/jobs")" "EndTime=$(date +%FT%T)"
    wait_until "Slurm ends the job" grep -q 'the time limit came before the ranks had stopped' "$world/runs/overrun/stages/distill/log"
    wait_until "the job starts again" has_started overrun 2
    wait_until "the run is done" all_done overrun
    same_as_whole overrun
    passed "a distillation that Slurm ended at its limit ends as the undisturbed one"
}

# goes_on_after WHAT START: what its user ended, of the ranks that were held
goes_on_after() {
    release unlucky
    wait_until "the queue is empty" queue_is_empty
    [[ ! -e $world/runs/unlucky/stages/distill/done && ! -e $world/runs/unlucky/student/model.h5 ]] || fail "$1: a cancelled stage was taken as done"
    pipeline status "$world/unlucky.ini" > status.txt
    grep -q 'distill  *cancelled' status.txt || fail "$1: status does not know what was cancelled: $(grep distill status.txt)"
    pipeline --resume "$world/unlucky.ini" > resumed.txt
    wait_until "the job starts again" has_started unlucky "$2"
    passed "$1: nothing was taken as done, and --resume went on"
}

test_faults() {
    : | begin_like_whole unlucky unlucky
    pipeline --resume "$world/unlucky.ini" > unlucky.txt
    submissions=$((submissions + 3)) # the others after cancel and scancel

    wait_until "the run learns" has_steps unlucky 22
    cluster_power_off n3
    kills=$((kills + 1))
    wait_until "the dead node is noticed" node_is_down n3
    cluster_power_on n3
    wait_until "the job starts again" has_started unlucky 2
    passed "a node died at step $(steps_of unlucky): the job was queued again"

    wait_until "the run learns on" has_steps unlucky $(($(steps_of unlucky) + 3))
    cluster_cut n1
    kills=$((kills + 1))
    wait_until "the lost node is noticed" node_is_down n1
    cluster_join n1
    wait_until "the job starts again" has_started unlucky 3
    passed "a link was cut: the job was queued again"

    wait_until "the run learns on" has_steps unlucky $(($(steps_of unlucky) + 3))
    hold unlucky
    pipeline cancel "$world/unlucky.ini" > /dev/null
    goes_on_after "slurm/pipeline cancel" 4

    wait_until "the run learns on" has_steps unlucky $(($(steps_of unlucky) + 3))
    hold unlucky
    on_head scancel "$(tail -n 1 "$world/runs/unlucky/stages/distill/jobs")"
    wait_until "the ranks are told" ended_or_told unlucky
    goes_on_after scancel 5

    wait_until "the run learns on" has_steps unlucky $(($(steps_of unlucky) + 3))
    hold unlucky
    on_head sbatch --parsable --partition=urgent --nodes=4 --ntasks-per-node=2 --exclusive --output=/dev/null --wrap=true > /dev/null
    kills=$((kills + 1))
    wait_until "the job is told to give way" saw_sigterm unlucky 6
    release unlucky
    wait_until "the preempted job starts again" has_started unlucky 6
    wait_until "the run is done" all_done unlucky
    same_as_whole unlucky
    passed "preempted, it went on; after a dead node, a cut link, cancel, scancel and preemption it ends as the undisturbed run"
}

# write_search NAME TOKENS: three candidates, each retrained for that long, in an array of four elements
write_search() {
    write_pipeline "$world/$1.ini" "runs/$1" 8192
    sed -i 's/^\[prune\]/[search]\narray = 4\nretrain-tokens = '"$2"'\nparams-min = 1\nparams-max = 1e9\nhidden = 32,36,40\nheads = 6\nkv-heads = 2\nffn = 64\nlayers = 3\n\n[prune]/; /^hidden = /d; /^ffn = /d; /^layers = /d' "$world/$1.ini"
}

test_job_array() {
    write_search array 2048
    printf '\n[resources.search]\nnodes = 2\nat-once = 2\n' >> "$world/array.ini"
    pipeline "$world/array.ini" > array.txt
    wait_until "the search's pipeline is done" all_done array
    best=$(readlink "$world/runs/array/pruned.h5")
    [[ $best == */candidates/[0-2]/pruned.h5 ]] || fail "no candidate was chosen: $best"
    passed "a job array of four elements ranked the three candidates that there are; $(grep -ho 'candidate . is the best.*' "$world/runs/array/stages/choose/log")"
}

# The last element has the array's own id: what it asks of the controller must be about itself alone.
test_array_limit() {
    local watched=candidates/2/distill log=$world/runs/array_limit/stages/candidates/log requeued
    write_search array_limit 40960
    sed -i 's/^array = 4/array = 3/' "$world/array_limit.ini"
    printf '\n[resources.search]\nnodes = 2\n[resources.candidates]\nnodes = 2\ntime = 1\nsignal = 20\n' >> "$world/array_limit.ini"
    pipeline "$world/array_limit.ini" > array_limit.txt
    hold array_limit
    wait_until "the time limit is announced" element_warned array_limit
    release array_limit
    wait_until "the search's pipeline is done" all_done array_limit
    requeued=$(grep -c 'queued again' "$log")
    requeues=$((requeues + requeued))
    [[ $requeued -ge 1 ]] || fail "no element was queued again"
    [[ $(grep -c 'candidate.sbatch: job' "$log") -eq $((3 + requeued)) ]] || fail "other elements were started again: see $log"
    ! grep -q 'ended by request' "$log" || fail "an element took another's state for its own"
    passed "an element of an array hit its time limit and was queued again; of the array, $requeued starts were such"
}

kills=0 requeues=0 submissions=0 began=$SECONDS
make_world "$world" "$espalier"
cluster_start "$folder/cluster" "$project" "$folder" "$(dirname "$espalier")"
passed "four nodes are up"
for part in "${parts[@]}"; do "test_$part"; done
# Of a distillation every start but the first of a submission was a requeue.
starts=$(cat "$world"/runs/{limited,overrun,unlucky}/stages/distill/log 2> /dev/null | grep -c 'distill.sbatch: job' || true)
echo "survived: $kills kills (a node, a link, a preemption) and $((requeues + starts - submissions)) requeues, in $SECONDS s" | tee survived.txt
