# For sourcing: messages, INI files, numbers out of JSON. Exit code 2: the user can put it right.
# shellcheck shell=bash disable=SC2034

slurm_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
project=$(dirname "$slurm_folder")

program_name=${program_name:-$(basename "$0")}
say() { echo "$program_name: $*" >&2; }
refuse() {
    say "$*"
    exit 2
}

# The comment block at a script's head, from its second line on, is its help.
usage_of() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$1" | grep -v '^SBATCH' || true; }

# read_ini FILE: into ini[section.key] (a repeated key gathers lines), ini_sections and ini_keys (in order).
declare -gA ini
declare -ga ini_sections ini_keys
read_ini() {
    local line section="" key value number=0 where
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1)) where="$1, line $number"
        [[ $number -ne 1 ]] || line=${line#$'\xef\xbb\xbf'} # a byte order mark
        cut_comment
        [[ ! $line =~ ^[[:space:]]*([#\;].*)?$ ]] || continue
        if [[ $line =~ ^[[:space:]]*\[([A-Za-z0-9.-]+)\][[:space:]]*$ ]]; then
            section=${BASH_REMATCH[1]}
            [[ " ${ini_sections[*]} " != *" $section "* ]] || refuse "$where: section [$section] is there twice"
            ini_sections+=("$section")
        elif [[ $line =~ ^[[:space:]]*([A-Za-z0-9-]+)[[:space:]]*=[[:space:]]*(.*[^[:space:]])[[:space:]]*$ ]]; then
            [[ -n $section ]] || refuse "$where: a key before the first [section]"
            key=$section.${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
            if [[ -n ${ini[$key]+set} ]]; then
                ini[$key]+=$'\n'$value
            else
                ini[$key]=$value
                ini_keys+=("$key")
            fi
        else
            refuse "$where: \"$line\" is neither [section] nor key = value"
        fi
    done < "$1"
}

# Takes a comment off `line`, as jobs/session/config_file.cpp does: in a value not inside quotes, which begin and end words.
cut_comment() {
    local rest word='("([^"\\]|\\.)*"[^[:space:]]*|[^[:space:]"#][^[:space:]]*)'
    local words="^[[:space:]]*($word([[:space:]]+$word)*)?"
    if [[ $line =~ ^([[:space:]]*[A-Za-z0-9-]+[[:space:]]*=)(.*)$ ]]; then
        line=${BASH_REMATCH[1]} rest=${BASH_REMATCH[2]}
        [[ $rest =~ $words([[:space:]]*$|[[:space:]]+#|#) ]] || refuse "$where: a quote in \"${rest# }\" is not closed"
        line+=${BASH_REMATCH[1]}
    else
        line=${line%%[[:space:]]#*}
    fi
}

# setting_of JOB FILE KEY: the last value that the program takes from a job's file: before the first section, or in [JOB]
setting_of() {
    local line where=$2 ours=yes value=""
    while IFS= read -r line || [[ -n $line ]]; do
        if [[ $line =~ ^[[:space:]]*\[[[:space:]]*([a-z-]+)[[:space:]]*\] ]]; then
            if [[ ${BASH_REMATCH[1]} == "$1" ]]; then ours=yes; else ours=no; fi
        elif [[ $ours == yes && $line =~ ^[[:space:]]*$3[[:space:]]*= ]]; then
            cut_comment
            [[ $line =~ =[[:space:]]*(.*[^[:space:]])?[[:space:]]*$ ]]
            value=${BASH_REMATCH[1]}
        fi
    done < "$2"
    if [[ $value == \"*\" ]]; then value=${value:1:-1} value=${value//\\\"/\"} value=${value//\\\\/\\}; fi
    echo "$value"
}

has_section() { [[ " ${ini_sections[*]} " == *" $1 "* ]]; }

# check_keys SECTION KEY...: refuses others.
check_keys() {
    local section=$1 key
    shift
    for key in "${ini_keys[@]}"; do
        [[ ${key%.*} == "$section" ]] || continue
        [[ " $* " == *" ${key##*.} "* ]] || refuse "[$section]: unknown key ${key##*.}; there are: $*"
    done
}

# json_value FILE KEY: a number or string at the top level of a job's summary.
json_value() { sed -n "/^ \"$2\": /{s///; s/,\$//; s/^\"\(.*\)\"\$/\1/; p; q}" "$1" 2> /dev/null || true; }

# Writes standard input to FILE, whole or not at all.
publish() {
    local part=$1.part.$$.$RANDOM
    cat > "$part" && mv -f "$part" "$1" && return
    rm -f "$part"
    return 1
}

# duration SECONDS: 1:02:03
duration() { awk -v s="$1" 'BEGIN { printf "%d:%02d:%02d\n", int(s / 3600), int(s / 60) % 60, int(s) % 60 }'; }
