# For sourcing: one stage, under whichever launcher. A stage is a folder:
#   job.ini       options of the espalier job        stage.env    job, output, hash, espalier, cluster, needs
#   summary.json  its results                        log          everything it said, appended
#   done          the hash of what it was made from; there only when the stage is done
#   jobs          ids of its Slurm jobs              cancelled    those of them that somebody ended
#   ended         the exit code of its last job      links        there where no job of it may queue itself again
#   scancelled    there where scancel ended its last job
#   attempts      a line for each start that died or stopped: how far the run was, and the exit code
# shellcheck shell=bash disable=SC2154

# load_stage FOLDER: job, output, hash, espalier, cluster of stage.env; needs: hash and folder of each stage that it is made from
load_stage() {
    stage_folder=$1 needs=()
    [[ -r $stage_folder/stage.env ]] || refuse "$stage_folder: no stage of a pipeline (stage.env is missing)"
    # shellcheck source=/dev/null
    source "$stage_folder/stage.env"
}

# is_done FOLDER HASH OUTPUT
is_done() { [[ -e $1/done && $(< "$1/done") == "$2" && -e $3 ]]; }

# was_cancelled FOLDER ID: of a job, an element of an array, or elements that wait together
was_cancelled() { grep -qxF -- "${2%%_*}" "$1/cancelled" 2> /dev/null; }

# failure_of FOLDER: the exit code with which its last job gave up; nothing where it did not.
failure_of() { grep -vxE '0|3' "$1/ended" 2> /dev/null || true; }

# run_of JOB OUTPUT: the folder of a job that goes on where it stopped; nothing for one that starts over.
run_of() {
    case $1 in
        train | distill) dirname "$2" ;;
        search) echo "$2.runs" ;;
    esac
}

# How far a run is, in one word: the name of its newest whole checkpoint, or how many losses a search has, with a checksum of its
# candidates' checkpoints.
progress_mark() {
    local losses=0 checkpoints=""
    if [[ -n ${1:-} && -e $1/latest ]]; then
        head -n 1 "$1/latest"
        return
    elif [[ -n ${1:-} ]]; then
        [[ ! -e $1/results.jsonl ]] || losses=$(wc -l < "$1/results.jsonl")
        checkpoints=$(cksum "$1"/candidate-*/run/latest 2> /dev/null) || true
    fi
    if [[ $losses -eq 0 && -z $checkpoints ]]; then
        echo start
    else
        echo "$losses-$(cksum <<< "$checkpoints" | cut -d ' ' -f 1)"
    fi
}

# A stage that was submitted behind others may start without them, or with what they made before they were changed. A node may
# take a moment to see a marker.
check_needs() {
    local need pause
    for need in "${needs[@]}"; do
        for pause in 5 20 60 0; do
            [[ $(cat "${need#* }/done" 2> /dev/null) != "${need%% *}" ]] || continue 2
            [[ $pause -eq 0 ]] || sleep "$pause"
        done
        say "$(basename "${need#* }") is not done, or not as this job was submitted for; after putting it right: --resume"
        return 2
    done
}

finish_stage() {
    [[ -e $output ]] || {
        say "the job ended well but $output is missing; not taken as done"
        return 1
    }
    echo "$hash" | publish "$stage_folder/done" || {
        say "$stage_folder/done cannot be written; not taken as done"
        return 1
    }
    rm -f "$stage_folder/attempts"
}

# What an exit code of the job means to a launcher. Prints one word:
#   done   again (work is left, or the job died and may go on)   give-up
# Three deaths or stops in a row at the same checkpoint are enough: the fourth start would get no further. What somebody told to end
# or to stop did not do so by itself.
judge() {
    local code=$1 at attempts=$2 run=${3:-} starts
    case $code in
        0) echo "done" ;;
        2) echo give-up ;;
        *)
            if told_to_end || { [[ $code -eq 3 ]] && { unwanted || asked_to_stop; }; }; then echo again; return; fi
            at=$(progress_mark "$run")
            echo "$at $code" >> "$attempts"
            starts=$(awk -v at="$at" '$1 == at { n++; next } { n = 0 } END { print n + 0 }' "$attempts")
            if [[ $starts -lt 3 ]]; then echo again; return; fi
            [[ $code -ne 3 ]] || say "stopped three times at $at without a step; raise time, or lower signal"
            echo give-up
            ;;
    esac
}

# On nodes with GPUs a job that can compute there has to: left to itself (auto), the program takes the processor where it must.
device_option() {
    [[ ${SLURM_GPUS_ON_NODE:-0} -gt 0 ]] || return 0
    case $1 in
        importance | search | train | distill | evaluate | teacher-cache | score) ;;
        plan) [[ $(setting_of plan "$2" calibrate) =~ ^(true|yes|on|1)$ ]] || return 0 ;;
        *) return 0 ;;
    esac
    [[ $(setting_of "$1" "$2" device) =~ ^(cpu|cuda)$ ]] || echo --device=cuda
}

# launch_job JOB CONFIG: the program, by the launcher's own launch COMMAND... Where a rank fails, srun and mpirun may end with a
# code of theirs; of bad input the program leaves word in a file.
launch_job() {
    local code=0 left=$2.exit-code device
    rm -f "$left"
    device=$(device_option "$1" "$2")
    ESPALIER_EXIT_CODE_FILE=$left launch "$espalier" "$1" --config "$2" ${device:+"$device"} || code=$?
    case $code in
        0 | 2 | 3) ;;
        *) if grep -qx 2 "$left" 2> /dev/null; then code=2; fi ;;
    esac
    return "$code"
}

# Somebody's wish that the run ends at its next step; the program's next start takes it back.
stop_file=""
asked_to_stop() { [[ -n $stop_file && -e $stop_file ]]; }

# run_stage FOLDER: runs it with launch COMMAND..., unless it is done or the launcher finds it unwanted. Returns 0 done, 3 to be
# started again, else give up.
run_stage() {
    local code=0 verdict run
    load_stage "$1"
    if is_done "$stage_folder" "$hash" "$output"; then
        say "$(basename "$stage_folder"): done already"
        return 0
    fi
    if unwanted; then return 3; fi
    [[ $job != choose ]] || complete_array
    check_needs || return
    run=$(run_of "$job" "$output") stop_file=${run:+$run/stop}
    if [[ $(cat "$stage_folder/started" 2> /dev/null) != "$hash" ]]; then
        rm -f "$stage_folder/done" # of other settings, whose output this start may replace
        # What is there is of other settings. A training's is the user's to remove (check_started).
        [[ $job != search ]] || rm -rf "$run" "$output"
    elif [[ -n $run && -e $output ]]; then
        # It appears by rename, as a run's last act: a start that died between it and its marker was done.
        finish_stage
        return
    fi
    echo "$hash" | publish "$stage_folder/started"
    if [[ $job == choose ]]; then
        choose_candidate || code=$?
    else
        launch_job "$job" "$stage_folder/job.ini" || code=$?
    fi
    verdict=$(judge "$code" "$stage_folder/attempts" "$run")
    case $verdict in
        done) finish_stage ;;
        again)
            [[ $code -eq 3 ]] || say "$job ended with $code at $(progress_mark "$run"); it goes on from there"
            return 3
            ;;
        *)
            say "$job ended with $code; not started again (what it said is above)"
            if [[ $code -eq 0 || $code -eq 3 ]]; then return 1; fi
            return "$code"
            ;;
    esac
}
