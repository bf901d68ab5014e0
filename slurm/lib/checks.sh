# For sourcing: what is wrong with a pipeline, before anything of it is started.
# shellcheck shell=bash disable=SC2154

# Asks the program itself whether it understands the options of the stages that are not done. Prints what is wrong.
check_options() {
    local name step
    for name in "${stages[@]}"; do
        ! stage_done "$name" || continue
        case ${stage_job[$name]} in
            candidate) for step in prune distill evaluate; do check_job "$step" "$step" "$(step_options "$name" "$step" | sed 's/@K@/0/')"; done ;;
            choose) ;;
            *) check_job "${stage_section[$name]}" "${stage_job[$name]}" "${stage_options[$name]}" ;;
        esac
    done | awk '!said[$0]++' # a section may have several stages
}

check_job() { # SECTION JOB OPTIONS
    local message code=0 file
    file=$(mktemp)
    printf '[%s]\n%s\n' "$2" "$3" > "$file"
    message=$("$espalier" "$2" --dump-config --config "$file" 2>&1 > /dev/null) || code=$?
    # Another code than 2: it cannot run on this machine; the job itself will say what it thinks.
    [[ $code -ne 2 ]] || sed -n "s|$file\(, line [0-9]*\)\?: ||; s/^espalier[^:]*: /[$1] /p" <<< "$message" | head -n 3
    rm -f "$file"
}

# What no stage reads would be without effect.
check_sections() {
    local section cut="" parts=" ${stages[*]} ${stage_section[*]} "
    # A candidate is cut as [prune] says, with the resources of its search.
    [[ -z ${ini[search.array]:-} ]] || cut=prune
    for section in "${ini_sections[@]}"; do
        case $section in pipeline | data | resources | "$cut") continue ;; esac
        [[ $parts == *" ${section#resources.} "* ]] || refuse "$pipeline_file: no stage of this pipeline reads [$section]; there are: ${stages[*]}"
    done
}

# Whatever ends a run without asking costs it all that it learned since a checkpoint.
warn_of_lost_work() {
    local name every
    for name in "${stages[@]}"; do
        case ${stage_job[$name]} in train | distill) ;; *) continue ;; esac
        every=$(option_of "$name" checkpoint-every)
        [[ ${every:-0} != 0 ]] || stage_done "$name" ||
            say "$name: checkpoint-every is 0: a node that dies takes with it all since the last stop; set it in [${stage_section[$name]}]"
    done
}

# Keys given twice, of those that are no lists; values that Slurm, or arithmetic here, would stumble over.
check_values() {
    local key value pattern allowed where
    for key in "${ini_keys[@]}"; do
        value=${ini[$key]} where="$pipeline_file: [${key%.*}] ${key##*.}"
        [[ $value != *$'\n'* || ${key##*.} =~ ^($path_list_keys|sbatch)$ || $key =~ ^(data|tokenize)\.(train|valid)$ ]] ||
            refuse "$where is there twice, as ${value//$'\n'/ and }; it takes one value"
        [[ $key != resources.* || $value != *[\"\']* ]] || refuse "$where = $value: no shell takes off the quotes before sbatch has it; write it without"
        case $key in
            resources.*sbatch) check_own_options "$where" "$value"; continue ;;
            pipeline.* | resources.*) ;;
            *) continue ;;
        esac
        case ${key##*.} in
            nodes | ranks-per-node | cpus-per-rank | signal | links | at-once) pattern='[1-9][0-9]*' allowed="a number from 1 on" ;;
            gpus-per-node) pattern='[0-9]+' allowed="a number" ;;
            time) check_time "$where" "$value"; continue ;;
            requeue) pattern='yes|no' allowed="yes or no" ;;
            *) continue ;;
        esac
        [[ $value =~ ^($pattern)$ ]] || refuse "$where = $value: $allowed"
    done
}

check_time() { # WHERE VALUE
    [[ ! ${2^^} =~ ^(UNLIMITED|INFINITE|-1|[0:-]+)$ ]] ||
        refuse "$1 = $2: without a limit no training would be told to stop at a checkpoint; name one, and it goes on after it in another job"
    [[ $2 =~ ^([0-9]+-)?[0-9]+(:[0-9]+){0,2}$ ]] || refuse "$1 = $2: minutes, h:m:s or d-h:m:s"
}

check_own_options() { # WHERE LINES
    local options
    read -ra options <<< "${2//$'\n'/ }"
    [[ ${options[0]} == -* ]] || refuse "$1 = ${options[0]}: options of sbatch, as in --mem=64G"
    check_sbatch_options "$1" "${options[@]}"
}

# check_layout NAME RANKS: of a candidate each step's.
check_layout() {
    local step
    case ${stage_job[$1]} in
        candidate) for step in prune distill evaluate; do check_grid "$1, $step" "$step" "$2" "$(step_options "$1" "$step")"; done ;;
        *) check_grid "$1" "${stage_section[$1]}" "$2" "${stage_options[$1]}" ;;
    esac
}

# check_grid WHO SECTION RANKS OPTIONS: the ranks fill whole replicas, of the teacher's own grid too.
check_grid() {
    local tp pp virtual
    tp=$(number_or_one teacher-tp "$2" "$4") pp=$(number_or_one teacher-pp "$2" "$4")
    [[ $(($3 % (tp * pp))) -eq 0 ]] || refuse "$1: $3 ranks cannot form replicas of teacher-tp $tp x teacher-pp $pp; change them in [$2]"
    tp=$(option_in "$4" tp) pp=$(option_in "$4" pp)
    [[ ${tp:-1}/${pp:-1} =~ ^[1-9][0-9]*/[1-9][0-9]*$ ]] || refuse "$pipeline_file: [$2] tp = ${tp:-1}, pp = ${pp:-1}: numbers from 1 on"
    [[ $(($3 % (${tp:-1} * ${pp:-1}))) -eq 0 ]] ||
        refuse "$1: $3 ranks cannot form replicas of tp ${tp:-1} x pp ${pp:-1}; change them in [$2], or nodes and ranks-per-node in [resources.${1%%,*}]"
    virtual=$(number_or_one virtual-stages "$2" "$4")
    [[ $2 == evaluate || $2 == importance || $virtual -eq 1 || ${pp:-1} -gt 1 ]] ||
        refuse "$pipeline_file: [$2] virtual-stages = $virtual: they divide the stages of a pipeline; set pp to 2 or more"
}

# number_or_one KEY SECTION OPTIONS: where it is left out, or 0 for the default, 1.
number_or_one() {
    local value
    value=$(option_in "$3" "$1")
    [[ ${value:-0} =~ ^[0-9]+$ ]] || refuse "$pipeline_file: [$2] $1 = $value: a number"
    if [[ ${value:-0} -eq 0 ]]; then echo 1; else echo "$value"; fi
}

# A run in training cannot change what it learns from half way, and neither can those of a search's candidates.
check_started() {
    local name folder
    for name in "${stages[@]}"; do
        folder=$(stage_folder_of "$name")
        case ${stage_job[$name]} in
            train | distill)
                begun_otherwise "$folder" "$(dirname "${stage_output[$name]}")" "${stage_hash[$name]}" || continue
                refuse "$name: $(dirname "${stage_output[$name]}") was begun with other settings or inputs; choose another [pipeline] out, or remove that folder and $folder to begin it anew"
                ;;
            candidate) check_candidates "$folder" "${stage_hash[$name]}" ;;
        esac
    done
}

check_candidates() {
    local element
    for element in "$1"/[0-9]*; do
        if begun_otherwise "$element/distill" "$element/run" "$2"; then
            refuse "candidates: $element was begun with other settings or inputs; choose another [pipeline] out, or remove $1 to rank all of them anew"
        fi
    done
}

# begun_otherwise FOLDER RUN HASH: a start that learned nothing holds nobody to its settings.
begun_otherwise() {
    [[ -e $1/started && $(< "$1/started") != "$3" ]] && [[ -e $2/latest || -s $2/metrics.jsonl || -e $2/model.h5 ]]
}
