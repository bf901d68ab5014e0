#!/usr/bin/env bash
# What benchmarks/scaling asks of Slurm and what it takes for a finished run, with a stand-in for sbatch that leaves what a
# run would. usage: scaling_test.sh
set -euo pipefail
project=$(cd "$(dirname "$0")/../.." && pwd)
world=$(mktemp -d)
trap 'rm -rf "$world"' EXIT
cd "$world"

failed=0
check() { # TITLE COMMAND...
    local title=$1
    shift
    "$@" || { echo "failed: $title"; failed=1; }
}
says() { grep -qF -- "$1" "$2" || { echo "\"$1\" is not in $2:"; cat "$2"; return 1; }; }
says_not() { if grep -qF -- "$1" "$2"; then echo "\"$1\" is in $2"; return 1; fi; }

# Writes down its words. A run's folder gets a summary of the steps in the file `steps`, or sbatch fails where there is none; a
# step is a second, of which the watches see what the file `seen` says, in thousandths.
mkdir programs
cat > programs/sbatch << 'END'
#!/usr/bin/env bash
echo "$*" >> sbatch.log
env | grep ^SBATCH_ > heeded || true
[[ -e steps ]] || { echo "sbatch: error: invalid account" >&2; exit 1; }
config=${!#}
[[ $config == *.ini ]] || exit 0
folder=$(dirname "$config")
tokens=$(($(sed -n 's/^global-batch = //p' "$config") + 0))
case $folder in
    */distill-*)
        mkdir -p "$folder/run"
        echo "{\"loss\": 2.0, \"dtype\": \"f32\", \"steps\": $(< steps), \"tokens_per_second\": $((tokens * 8)), \"breakdown\": {\"compute\": $(< steps)e-1, \"data\": $((($(< seen) - 100) * $(< steps)))e-3}}" > "$folder/summary.json"
        for ((i = 0; i < $(< steps); ++i)); do echo '{"seconds": 1.0, "loss": 2.0}'; done > "$folder/run/metrics.jsonl"
        ;;
    */system-*) echo "{}" > "$folder/system.json" ;;
esac
echo "7;other"
END
# The planner: half a second for every step.
cat > programs/espalier << 'END'
#!/usr/bin/env bash
echo "$*" >> planned.log
while [[ $1 != --summary ]]; do shift; done
echo '{"layouts": [{"seconds": 0.5}]}' > "$2"
END
chmod +x programs/sbatch programs/espalier
touch d.idx
export PATH=$world/programs:$PATH
cat > mine.env << 'END'
ranks_per_node=2
cpus_per_rank=3
gpus_per_node=2
sbatch_options=(--partition=gpus --account=cluster)
END

scaling() { # OPTION...
    "$project/benchmarks/scaling" --cluster "$world/mine.env" --jobs distill --model m --student s --data d --seq-len 8 --batch 4 --steps 3 \
        --time 8 --sbatch=--account=mine --espalier espalier --out out "$@" > said 2>&1
}

scaling --nodes 1 --tp 4 && echo "failed: half a replica was submitted" && failed=1
check "ranks form replicas on every count" says "1 nodes of 2 ranks cannot form replicas of 4" said
scaling --steps 0 && echo "failed: no step is a number of steps" && failed=1
check "a number is from 1 on" says "--steps 0: a number from 1 on" said
scaling --nodes 1 && echo "failed: sbatch's refusal went unseen" && failed=1
check "sbatch's own words are passed on" says "invalid account" said

echo 2 > steps
echo 960 > seen
rm sbatch.log
scaling --nodes 2,3 && echo "failed: an unfinished run was taken" && failed=1
check "an unfinished run is named" says "distill-strong-2 stopped after step 2 of 3" said
head -n 1 sbatch.log > first
check "ranks, cores and GPUs are the cluster's" says "--nodes=2 --ntasks-per-node=2 --cpus-per-task=3" first
check "ranks, cores and GPUs are the cluster's" says "--gpus-per-node=2" first
check "the cluster's options come first, then the user's" says "--partition=gpus --account=cluster --gpus-per-node=2 --account=mine" first
check "a run of eight minutes is told to stop after six" says "--signal=USR1@120" first
tail -n 1 sbatch.log > last
check "the last job waits for numbers, not for the clusters that follow them" says "--dependency=afterany:7:7:7:7 " last
check "the last job waits for the others with the same options" says "--account=mine --wrap=true" last
check "threads are what srun gives" says_not threads out/distill-strong-2/job.ini
check "the weak series grows with the nodes" says "global-batch = 6" out/distill-weak-3/job.ini

echo 3 > steps
rm -r sbatch.log
check "unfinished runs are submitted again, and taken when they are whole" scaling --nodes 2,3
check "all four runs and the one that waits" test "$(wc -l < sbatch.log)" -eq 5
check "the time that no part has is told" says "distill-weak-3: the parts add up to 96.0 % of a mean step of 1 s; 40 ms are not accounted for" said
check "and in the table" says "unaccounted_seconds" out/scaling.csv
check "with its number, after those of the parts" test "$(sed -n '2s/.*,0.1,0,0,0.86,0,0,/left /p' out/scaling.csv)" = "left 0.04"
check "and in the figure" says "not accounted for" out/scaling.svg
check "four in a hundred are no matter" says_not warning said
cp mine.env gpus.env
printf '%s\n' gpus_per_node=0 'sbatch_options+=(--gres=gpu:2)' >> mine.env
SBATCH_ARRAY_INX=0-3 SBATCH_QOS=debug scaling --nodes 2 --out other || true
tail -n 1 sbatch.log > last
check "no GPUs is none, of the cluster's options either" says_not gpu: last
check "no GPUs is none" says_not gpus-per-node last
check "of sbatch's variables those count that say where" says SBATCH_QOS=debug heeded
check "and no others" says_not SBATCH_ARRAY_INX heeded
mv gpus.env mine.env
rm sbatch.log
check "finished runs are not submitted again" scaling --nodes 2,3
check "finished runs are not submitted again" test ! -e sbatch.log

check "nodes are measured for the planner" scaling --nodes 2,3 --system here
check "nodes are measured once for each count" test "$(grep -c plan.sbatch sbatch.log)" -eq 2
head -n 1 sbatch.log > first
check "on the same nodes" says "--nodes=2 --ntasks-per-node=2" first
check "the planner is asked about the run's own layout" says "--system $world/out/system-3/system.json --gpus 6 --global-batch 6" planned.log
check "all of it" says "--tp 1 --pp 1 --virtual-stages 1 --recompute selective" planned.log
check "what it expects stands beside what was measured" says "planned 0.500 s/step" said
check "and in the table" says "planned_seconds_a_step" out/scaling.csv

for seen in 940 1060; do
    echo "$seen" > seen
    rm -r out
    check "parts that miss their step by more than 5 % are no failure" scaling --nodes 2
    check "but a warning ($seen)" says "warning: the parts of distill-strong-2 miss its step by" said
done

echo 960 > seen
rm -r out
check "a sweep for what follows" scaling --nodes 2,3

refuses() { # TITLE WORDS OPTION...
    local title=$1 words=$2 code=0
    shift 2
    scaling "$@" || code=$?
    check "$title" test "$code" -eq 2
    check "$title" says "$words" said
}
rm sbatch.log
refuses "runs of another batch are not taken" "out/distill-strong-2 was made with other options" --nodes 2,3 --batch 8
refuses "nor those of other ranks" "made with other options" --nodes 2,3 --ranks-per-node 1
rm out/distill-strong-2/summary.json
refuses "nor gone on with" "made with other options" --nodes 2,3 --batch 8
check "nothing is submitted before that" test ! -e sbatch.log
refuses "samples that do not divide are refused" "choose a multiple of 3" --nodes 3,4
refuses "token files have to be there" "there is no $world/e.idx" --nodes 2,3 --data 0.5 d 0.5 e

mkdir "a folder"
touch "a folder/d.idx"
check "folders may have spaces and percent signs" scaling --nodes 2 --data 0.7 "a folder/d" 0.3 d --out "half% of it"
check "a path with spaces is one" says "data = \"$world/a folder/d\"" "half% of it/distill-strong-2/job.ini"
check "weights stay" says "data = 0.7" "half% of it/distill-strong-2/job.ini"
check "a folder's % is none of sbatch's" says "--output=$world/half%% of it/distill-strong-2/log" sbatch.log
exit "$failed"
