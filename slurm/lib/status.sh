# For sourcing: the table of a pipeline's stages.
# shellcheck shell=bash disable=SC2154

state_of() {
    local name=$1 folder state
    folder=$(stage_folder_of "$name") state=$(queue_state_of "$1")
    if stage_done "$name"; then
        echo "done"
    elif [[ -n $state ]]; then
        case $state in
            PENDING:Dependency) echo waiting ;;
            PENDING:BeginTime) echo requeued ;;
            PENDING:*) echo "queued (${state#*:})" ;;
            *) echo "${state%%:*}" | tr '[:upper:]' '[:lower:]' ;;
        esac
    elif [[ -e $folder/running ]] && is_locked "$(< "$folder/running")"; then
        echo running
    elif [[ -e $folder/scancelled ]] || { [[ -e $folder/cancelled ]] && was_cancelled "$folder" "$(tail -n 1 "$folder/jobs")"; }; then
        echo cancelled
    elif [[ -e $folder/started && $(< "$folder/started") != "${stage_hash[$name]}" ]]; then
        echo "other settings"
    else
        how_it_ended "$name"
    fi
}

# Of a stage that is not done and has nobody at work on it.
how_it_ended() {
    local code folder
    folder=$(stage_folder_of "$1")
    code=$(failure_of "$folder")
    if [[ -n $code ]]; then
        echo "failed ($code)"
    elif [[ $(cat "$folder/ended" 2> /dev/null) == 3 || -e $folder/started && ! -e $folder/jobs ]]; then
        if [[ ! -e $folder/jobs ]] || stops_at_checkpoint "$1"; then echo "stopped"; else echo "timed out"; fi
    elif [[ -e $folder/jobs ]]; then
        echo "ended"
    else
        echo "-"
    fi
}

# Prints progress|rate|ETA of a stage, from a run's metrics or the last line of progress in its log.
progress_of() {
    local name=$1 folder run line count finished
    folder=$(stage_folder_of "$name")
    case ${stage_job[$name]} in
        train | distill)
            run=$(dirname "${stage_output[$name]}")
            line=$(tail -n 1 "$run/metrics.jsonl" 2> /dev/null) || true
            [[ -n $line ]] || { echo "-|-|-"; return; }
            awk -v line="$line" -v tokens="$(option_of "$name" tokens)" -v batch="$(option_of "$name" global-batch)" -v sample="$(option_of "$name" seq-len)" '
                function loss() { return line ~ /"loss":null/ ? "not a number" : sprintf("%.4g", value("loss")) }
                function value(key) { return match(line, "\"" key "\":[-+.0-9e]+") ? substr(line, RSTART + length(key) + 3, RLENGTH - length(key) - 3) + 0 : 0 }
                BEGIN {
                    step_tokens = batch * sample
                    steps = step_tokens > 0 ? int((tokens + step_tokens - 1) / step_tokens) : 0; step = value("step"); rate = value("tokens_per_second")
                    left = "-"
                    if (rate > 0) { eta = (steps - step) * step_tokens / rate; left = sprintf("%d:%02d:%02d", int(eta / 3600), int(eta / 60) % 60, int(eta) % 60) }
                    printf("step %d/%d, loss %s|%.0f tokens/s|%s\n", step, steps, loss(), rate, left)
                }'
            ;;
        candidate)
            count=${ini[search.array]}
            finished=$(grep -lsxF "${stage_hash[$name]}" "$folder"/*/evaluate/done | wc -l) || true
            echo "$finished of at most $count candidates|$(rate_of_candidates "$folder")|-"
            ;;
        search)
            if [[ -e ${stage_output[$name]}.runs/results.jsonl ]]; then
                echo "$(wc -l < "${stage_output[$name]}.runs/results.jsonl") losses measured|-|-"
            else
                echo "-|-|-"
            fi
            ;;
        *)
            # Of the last start alone.
            line=$(awk '/: job .*, start [0-9]+, / { line = "" } /^[a-z -]+ +[0-9]+ % / { line = $0 } END { print line }' "$folder/log" 2> /dev/null) || true
            if [[ $line =~ ^[a-z\ -]+\ +([0-9]+\ %)\ [^\|]*\|\ ([^\|]*)\ \|\ (ETA\ )?([0-9:dh\ ]+) ]]; then
                if [[ -n ${BASH_REMATCH[3]} ]]; then
                    echo "${BASH_REMATCH[1]}|${BASH_REMATCH[2]}|${BASH_REMATCH[4]}"
                else
                    echo "${BASH_REMATCH[1]}|${BASH_REMATCH[2]}|-"
                fi
            else
                echo "-|-|-"
            fi
            ;;
    esac
}

# rate_of_candidates FOLDER: of those that have learned something in the last minutes, together
rate_of_candidates() {
    find "$1" -path '*/run/metrics.jsonl' -mmin -10 -exec tail -q -n 1 {} + 2> /dev/null |
        LC_ALL=C awk 'match($0, /"tokens_per_second":[-+.0-9e]+/) { rate += substr($0, RSTART + 20, RLENGTH - 20) }
            END { if (rate > 0) printf("%.0f tokens/s\n", rate); else print "-" }'
}

# number FORMAT VALUE: formatted, whatever the user's decimal point is; VALUE as it is where it is no number
number() {
    local LC_ALL=C
    # shellcheck disable=SC2059
    if [[ $2 =~ ^-?[0-9.]+(e[-+]?[0-9]+)?$ ]]; then printf "$1" "$2"; else printf '%s' "$2"; fi
}

# What a stage that is done has to say for itself.
result_of() {
    local summary wall key value text=""
    summary=$(stage_folder_of "$1")/summary.json
    for key in loss parameters tokens; do
        value=$(json_value "$summary" "$key")
        [[ -n $value ]] || continue
        if [[ $value == null ]]; then value="not a number"; elif [[ ! $value =~ ^[0-9]+$ ]]; then value=$(number %.4g "$value"); fi
        text="$key $value"
        break
    done
    wall=$(json_value "$summary" wall_seconds)
    value=$(json_value "$summary" tokens_per_second)
    echo "${text:-done}|$(if [[ -n $value ]]; then number '%.0f tokens/s' "$value"; else echo -; fi)|$(if [[ -n $wall ]]; then echo "took $(duration "$wall")"; else echo -; fi)"
}

# With what is known of the queue: nothing, under a launcher that has none.
print_status() {
    local name state detail progress rate eta
    printf '%-18s %-22s %-34s %-16s %-12s %s\n' STAGE STATE PROGRESS RATE ETA "LOG (in $run_folder/stages)"
    for name in "${stages[@]}"; do
        state=$(state_of "$name")
        case $state in
            done) detail=$(result_of "$name") ;;
            - | waiting) detail="-|-|-" ;;
            ended) detail="sacct -j $(tail -n 1 "$(stage_folder_of "$name")/jobs") says why|-|-" ;;
            *) detail=$(progress_of "$name") ;;
        esac
        IFS='|' read -r progress rate eta <<< "$detail"
        [[ $state == "done" || $state == running || $state == completing ]] || { rate=- eta=-; }
        printf '%-18s %-22s %-34s %-16s %-12s %s\n' "$name" "$state" "$progress" "$rate" "$eta" "$name/log"
    done
}
