# For sourcing: the one list of stages that both launchers go through, read off a pipeline's INI file.
# shellcheck shell=bash disable=SC2034,SC2154

# add_stage reads its options at the end of a pipe, and must run in this shell.
shopt -s lastpipe

declare -ga stages
declare -gA stage_job stage_needs stage_output stage_options stage_hash stage_section

resource_keys="nodes ranks-per-node cpus-per-rank gpus-per-node time partition account qos constraint sbatch signal links at-once requeue"

# load_pipeline FILE [without-inputs]: checks it and fills the table. Relative paths count from the file's folder. Without
# inputs, what they were may be gone, and the program too: stages keep the hashes that they were written with.
load_pipeline() {
    inputs=${2:-required}
    [[ -r ${1:-} && ! -d $1 ]] || refuse "${1:-the pipeline\'s file} cannot be read, or is a folder"
    pipeline_file=$(realpath "$1")
    pipeline_base=$(dirname "$pipeline_file")
    read_ini "$pipeline_file"
    check_pipeline
    run_folder=$(path_of "${ini[pipeline.out]}")
    [[ ! -e $run_folder || -d $run_folder ]] || refuse "$pipeline_file: [pipeline] out: $run_folder is no folder"
    find_program
    [[ $inputs != required ]] || check_program
    local name cluster=${ini[pipeline.cluster]:-}
    [[ $cluster != *.env ]] || cluster=$(path_of "$cluster")
    load_cluster "$cluster"
    list_stages
    check_sections
    for name in "${stages[@]}"; do stage_hash[$name]=$(hash_stage "$name"); done
    [[ $inputs != gone ]] || keep_hashes
}

# As [pipeline] names it, from the file's folder; as ESPALIER does, from the current one.
find_program() {
    espalier=${ini[pipeline.espalier]:-}
    if [[ $espalier == */* ]]; then
        espalier=$(path_of "$espalier")
    elif [[ -z $espalier ]]; then
        espalier=${ESPALIER:-$project/build/release/espalier}
        [[ $espalier != */* ]] || espalier=$(realpath -m "$espalier")
    fi
    local program=$espalier
    espalier=$(command -v "$program") || espalier=$program
}

check_program() { [[ -n $(command -v "$espalier") ]] || refuse "the program $espalier is not there; scripts/build makes it, or name it by ESPALIER or [pipeline] espalier"; }

missing_input() {
    [[ $inputs != required ]] || refuse "$1"
    inputs=gone
}

keep_hashes() {
    local name hash
    for name in "${stages[@]}"; do
        hash=$(hash_in "$(stage_folder_of "$name")")
        [[ -z $hash ]] || stage_hash[$name]=$hash
    done
}
hash_in() { sed -n 's/^hash=//p' "$1/stage.env" 2> /dev/null || true; }

path_of() { if [[ $1 == /* ]]; then echo "$1"; else realpath -m "$pipeline_base/$1"; fi; }

check_pipeline() {
    local section name
    local known="pipeline data import tokenize importance search prune correct distill evaluate export resources"
    local parts="tokenize-train tokenize-valid candidates choose evaluate-teacher evaluate-student"
    for section in "${ini_sections[@]}"; do
        [[ $section != resources.* || " $known $parts " != *" ${section#resources.} "* ]] || continue
        [[ " $known " == *" $section "* ]] || refuse "$pipeline_file: unknown section [$section]; there are: $known, and [resources.X], X one of them or of $parts"
    done
    check_keys pipeline model out espalier cluster
    check_keys data train valid
    for section in "${ini_sections[@]}"; do
        # shellcheck disable=SC2086 # a list of words
        [[ $section != resources* ]] || check_keys "$section" $resource_keys
    done
    check_values
    for name in model out; do [[ -n ${ini[pipeline.$name]:-} ]] || refuse "$pipeline_file: [pipeline] $name is missing"; done
    for name in model out espalier cluster; do
        [[ ${ini[pipeline.$name]:-} != \"* ]] || refuse "$pipeline_file: [pipeline] $name = ${ini[pipeline.$name]}: write it without quotes, spaces and all"
    done
    for section in importance distill; do has_section "$section" || refuse "$pipeline_file: section [$section] is missing"; done
    for name in tokens seq-len global-batch; do [[ ${ini[distill.$name]:-} =~ ^[1-9][0-9]*$ ]] || refuse "$pipeline_file: [distill] $name = ${ini[distill.$name]:-}: a number from 1 on"; done
    has_section prune || has_section search || refuse "$pipeline_file: [prune] with a shape, or [search] for one, is missing"
    for name in train valid; do
        [[ -z ${ini[data.$name]:-} || -z ${ini[tokenize.$name]:-} ]] ||
            refuse "$pipeline_file: $name comes from [data] (token files) or from [tokenize] (text), not from both"
    done
    [[ -n ${ini[data.train]:-}${ini[tokenize.train]:-} ]] ||
        refuse "$pipeline_file: nothing to train on: name token files as [data] train, or text as [tokenize] train"
    for name in "${ini_keys[@]}"; do
        case ${name##*.} in
            teacher | student | from | summary | config | resume | force | quiet | dump-config | help | importance | candidates | candidate)
                refuse "[${name%.*}] ${name##*.}: the pipeline sets this itself" ;;
            threads) refuse "[${name%.*}] threads: a rank has as many as it has cores; set cpus-per-rank in [resources]" ;;
            model | out) [[ $name == pipeline.* ]] || refuse "[${name%.*}] ${name##*.}: the pipeline sets this itself" ;;
        esac
    done
}

# Options that name what a stage reads: a file or folder, and lists of them.
path_keys="tokenizer|teacher-cache|vocab-ids|depth-task|system|requests|check|valid" path_list_keys="data|vocab-data|input"

# options_of SECTION [KEY TO LEAVE OUT]...: its lines as the job reads them.
options_of() {
    local section=$1 key value
    shift
    for key in "${ini_keys[@]}"; do
        [[ ${key%.*} == "$section" && " $* " != *" ${key##*.} "* ]] || continue
        while IFS= read -r value; do option_line "${key##*.}" "$value"; done <<< "${ini[$key]}"
    done
}

option_line() { # KEY VALUE
    local path
    if [[ $1 =~ ^($path_list_keys)$ ]]; then
        words_as "$1" "$2"
    elif [[ $1 =~ ^($path_keys)$ ]]; then
        path=${2#\"}
        echo "$1 = $(quoted "$(path_of "${path%\"}")")"
    else
        echo "$1 = $2"
    fi
}

# split VALUE: into words, of which those in quotes may have spaces. What looks like a pattern stays one: it counts from the
# file's folder, not from the current one.
split() {
    local rest=${1//$'\n'/ }
    words=()
    while [[ $rest =~ ^[[:space:]]*(\"([^\"]+)\"|[^[:space:]]+)(.*)$ ]]; do
        words+=("${BASH_REMATCH[2]:-${BASH_REMATCH[1]}}") rest=${BASH_REMATCH[3]}
    done
}

# quoted PATH: as one word of a list in a job's options.
quoted() {
    local text=${1//\\/\\\\}
    if [[ $1 == *[[:space:]]* ]]; then echo "\"${text//\"/\\\"}\""; else echo "$1"; fi
}

# words_as KEY VALUE: one line a word, paths made absolute; numbers are weights of a blend.
words_as() {
    local word words
    split "$2"
    for word in "${words[@]}"; do
        [[ $word =~ ^[0-9.]+$ ]] || word=$(quoted "$(path_of "$word")")
        echo "$1 = $word"
    done
}

# Token files that [data] names are there: a job would miss them hours later.
check_token_files() {
    local key word words
    for key in train valid; do
        split "${ini[data.$key]:-}"
        [[ $key != valid || ${#words[@]} -le 1 ]] || refuse "$pipeline_file: [data] valid: losses are measured on one prefix, and there are ${#words[@]}"
        for word in "${words[@]}"; do
            [[ $word =~ ^[0-9.]+$ || -e $(path_of "$word").idx ]] || missing_input "[data] $key: $(path_of "$word").idx is not there"
        done
    done
}

# text_as KEY PATTERN: one line a file that fits.
text_as() {
    local pattern file words
    split "$2"
    for pattern in "${words[@]}"; do
        while IFS= read -r file; do
            [[ -e $file ]] || continue
            echo "$1 = $(quoted "$file")"
        done < <(compgen -G "$(path_of "$pattern")" | LC_ALL=C sort)
    done
}

# resource STAGE KEY: [resources.<section>], else [resources], else nothing.
resource() {
    local value=${ini[resources.$1.$2]:-${ini[resources.${stage_section[$1]:-$1}.$2]:-${ini[resources.$2]:-}}}
    echo "$value"
}

# add_stage NAME SECTION JOB NEEDS OUTPUT < OPTIONS
add_stage() {
    stages+=("$1")
    stage_section[$1]=$2 stage_job[$1]=$3 stage_needs[$1]=$4 stage_output[$1]=$5
    stage_options[$1]=$(cat)
}

# A fifth of a number of [distill]: the teacher's peak rate (arXiv 2408.11796: one fifth of that of its training).
fifth_of() { [[ -z ${ini[distill.$1]:-} ]] || awk -v key="$1" -v x="${ini[distill.$1]}" 'BEGIN { printf "%s = %.9g\n", key, x / 5 }'; }

list_stages() {
    local run=$run_folder model=$run_folder/model.h5 source student=$run_folder/pruned.h5 teacher train="" valid="" tokens="" held=""
    local need_model=import need_teacher
    source=$(path_of "${ini[pipeline.model]}")
    [[ -e $source ]] || missing_input "[pipeline] model: $source is not there"
    [[ $source == *.h5 || $run_folder/ != "$source/"* ]] ||
        refuse "$pipeline_file: [pipeline] out lies in the model's folder, which would then be another model; choose another"

    if [[ $source == *.h5 ]]; then
        model=$source need_model=""
    else
        { options_of import; echo "from = $source"; echo "out = $model"; } | add_stage import import import "" "$model"
    fi

    check_token_files
    train=$(words_as data "${ini[data.train]:-}") valid=$(words_as "" "${ini[data.valid]:-}")
    valid=${valid# = }
    local part lines
    for part in train valid; do
        [[ -n ${ini[tokenize.$part]:-} ]] || continue
        lines=$(text_as input "${ini[tokenize.$part]}")
        [[ -n $lines ]] || missing_input "[tokenize]: no file fits \"${ini[tokenize.$part]}\""
        { options_of tokenize train valid; [[ -n ${ini[tokenize.tokenizer]:-} ]] || echo "tokenizer = $model"; echo "$lines"; echo "out = $run/$part"; } |
            add_stage "tokenize-$part" tokenize tokenize "$need_model" "$run/$part.idx"
        if [[ $part == train ]]; then train="data = $(quoted "$run/train")" tokens=tokenize-train; else valid=$run/valid held=tokenize-valid; fi
    done

    { inherit importance split; options_of importance; echo "model = $model"; echo "$train"; echo "out = $run/importance.h5"; } |
        add_stage importance importance importance "$need_model $tokens" "$run/importance.h5"

    teacher=$model need_teacher=$need_model
    if has_section correct; then
        {
            [[ -n ${ini[correct.lr]:-} ]] || fifth_of lr
            [[ -n ${ini[correct.min-lr]:-} ]] || fifth_of min-lr
            inherit correct seq-len global-batch micro-batch warmup-steps lr-decay-style recompute dtype checkpoint-every valid-every split
            # A layout is one thing: whose tp is named has a pp of its own too.
            [[ -n ${ini[correct.tp]:-}${ini[correct.pp]:-}${ini[correct.virtual-stages]:-} ]] || inherit correct tp pp virtual-stages
            options_of correct
            echo "model = $model"; echo "$train"
            [[ -z $valid || -n ${ini[correct.valid]:-} ]] || echo "valid = $valid"
            echo "out = $run/teacher"
        } | add_stage correct correct train "$need_model $tokens $held" "$run/teacher/model.h5"
        teacher=$run/teacher/model.h5 need_teacher=correct
    fi

    local need_student=prune
    list_shape_stages

    {
        options_of distill
        echo "teacher = $teacher"; echo "student = $student"; echo "$train"
        [[ -z $valid ]] || echo "valid = $valid"
        echo "out = $run/student"
    } | add_stage distill distill distill "$need_student $need_teacher $tokens $held" "$run/student/model.h5"

    if [[ -n $valid ]]; then
        evaluate_stage evaluate-teacher "$teacher" "$need_teacher $held"
        evaluate_stage evaluate-student "$run/student/model.h5" "distill $held"
    fi
    { options_of export; echo "model = $run/student/model.h5"; echo "out = $run/export"; } | add_stage export export export distill "$run/export/config.json"
}

# inherit SECTION KEY...: what the section leaves open, as [distill] has it.
inherit() {
    local section=$1 key
    shift
    for key in "$@"; do
        [[ -n ${ini[$section.$key]:-} || -z ${ini[distill.$key]:-} ]] || echo "$key = ${ini[distill.$key]}"
    done
}

evaluate_stage() { # NAME MODEL NEEDS
    { inherit evaluate seq-len; options_of evaluate; echo "model = $2"; echo "data = $valid"; } |
        add_stage "$1" evaluate evaluate "$3" "$run/stages/$1/summary.json"
}

# From a fixed shape, a search that ranks by itself, or a search whose candidates are a job array, to pruned.h5.
list_shape_stages() {
    local list=$run/candidates.json array=${ini[search.array]:-}
    if ! has_section search; then
        { options_of prune; echo "model = $model"; echo "importance = $run/importance.h5"; echo "out = $student"; } |
            add_stage prune prune prune "$need_model importance" "$student"
        return
    fi
    [[ -n ${ini[search.retrain-tokens]:-} ]] || refuse "[search]: retrain-tokens is missing: how long each candidate learns before it is ranked"
    if [[ -z $array ]]; then
        {
            options_of search
            echo "model = $model"; echo "importance = $run/importance.h5"; echo "$train"
            [[ -z $valid || -n ${ini[search.valid]:-} ]] || echo "valid = $valid"
            echo "out = $list"
        } | add_stage search search search "$need_model importance $tokens $held" "$list"
        { options_of prune; echo "model = $model"; echo "importance = $run/importance.h5"; echo "candidates = $list"; echo "candidate = 0"; echo "out = $student"; } |
            add_stage prune prune prune search "$student"
        return
    fi
    [[ $array =~ ^[1-9][0-9]*$ ]] || refuse "[search] array = $array: how many candidates at most, a number"
    [[ -n $valid ]] || refuse "[search] array: candidates are ranked by their loss on held-out text; name it as [data] valid or [tokenize] valid"
    need_student=choose
    { options_of search array retrain-tokens; echo "model = $model"; echo "out = $list"; } | add_stage search search search "$need_model" "$list"
    candidate_folder=$run/stages/candidates
    add_stage candidates search candidate "search importance $tokens $held" "$candidate_folder/job.ini" < <(candidate_options)
    echo "rank = $list" | add_stage choose search choose candidates "$student"
}

# The steps of one candidate, @K@ its number, joined into one text; write_stage splits it again.
candidate_options() {
    echo "[prune]"
    options_of prune
    echo "model = $model"; echo "importance = $run/importance.h5"; echo "candidates = $list"; echo "candidate = @K@"
    echo "out = $candidate_folder/@K@/pruned.h5"
    echo "[distill]"
    options_of distill tokens checkpoint-every
    echo "tokens = ${ini[search.retrain-tokens]}"
    echo "teacher = $model"; echo "student = $candidate_folder/@K@/pruned.h5"; echo "$train"; echo "out = $candidate_folder/@K@/run"
    echo "[evaluate]"
    inherit evaluate seq-len
    options_of evaluate
    echo "model = $candidate_folder/@K@/run/model.h5"; echo "data = $valid"
}

# step_options NAME STEP: of the text that candidate_options made
step_options() { sed -n "/^\[$2\]/,/^\[/{/^\[/!p}" <<< "${stage_options[$1]}"; }

# stops_at_checkpoint NAME: a stage that can be told to stop, and goes on from there.
stops_at_checkpoint() {
    case ${stage_job[$1]} in
        train | distill | candidate) ;;
        search) [[ -n $(option_of "$1" retrain-tokens) ]] ;; # else its candidates are an array
        *) return 1 ;;
    esac
}

option_in() { sed -n "s/^$2 = //p" <<< "$1" | tail -n 1; } # OPTIONS KEY
option_of() { option_in "${stage_options[$1]}" "$2"; }         # NAME KEY
stage_folder_of() { echo "$run_folder/stages/$1"; }
stage_done() { is_done "$(stage_folder_of "$1")" "${stage_hash[$1]}" "${stage_output[$1]}"; }
