# For sourcing: one launcher at a time for a pipeline's folder.
# shellcheck shell=bash disable=SC2154

# lock_run: held until this program ends, refused while another holds it.
lock_run() {
    local taken=75 code=0
    mkdir -p "$run_folder"
    exec {run_lock}>> "$run_folder/.lock"
    flock --nonblock --conflict-exit-code "$taken" "$run_lock" 2> /dev/null || code=$?
    [[ $code -ne "$taken" ]] || refuse "another pipeline command is at work on $run_folder; wait for its end"
    [[ $code -eq 0 ]] || say "$run_folder: this file system has no locks; do not start two commands at once"
}
