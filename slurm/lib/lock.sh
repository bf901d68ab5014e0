# For sourcing: one launcher at a time for a pipeline's folder.
# shellcheck shell=bash disable=SC2154

lock_taken=75 # flock's exit code where another holds it

# lock_run: held until this program ends, refused while another holds it.
lock_run() {
    local code=0
    mkdir -p "$run_folder"
    exec {run_lock}>> "$run_folder/.lock"
    flock --nonblock --conflict-exit-code "$lock_taken" "$run_lock" 2> /dev/null || code=$?
    [[ $code -ne "$lock_taken" ]] || refuse "another pipeline command is at work on $run_folder; wait for its end"
    [[ $code -eq 0 ]] || say "$run_folder: this file system has no locks; do not start two commands at once"
}

# is_locked PROCESS: whether a launcher is at work, on whichever host; where there are no locks, whether this one has its process
is_locked() {
    local code=0
    [[ -e $run_folder/.lock ]] || return
    flock --nonblock --conflict-exit-code "$lock_taken" "$run_folder/.lock" true 2> /dev/null || code=$?
    case $code in
        0) return 1 ;;
        "$lock_taken") ;;
        *) [[ -d /proc/$1 ]] ;;
    esac
}
