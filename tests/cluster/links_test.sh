#!/usr/bin/env bash
# How jobs that follow each other, links of a chain, begin and end.
# usage: links_test.sh FOLDER [TEST...]
set -euo pipefail
# shellcheck source=tests/cluster/controller_world.sh
source "$(dirname "$0")/controller_world.sh"

test_links() {
    new_run links
    edit 's/^time = 60/&\n[resources.distill]\nlinks = 3/'
    ends_with 0 pipeline "$ini"
    run_to_end importance prune
    queue_is "103 RUNNING:None" "104 PENDING:Dependency"
    echo 3 > codes
    ends_with 3 start distill 103
    says "left for the next link"
    queue_is "105 RUNNING:None"
    echo 3 > codes
    ends_with 3 start distill 105
    says "no job follows"
    # Done before its last link: what follows need not wait for that.
    queue_is "104 RUNNING:None" "105 PENDING:Dependency"
    ends_with 0 start distill 104
    called "scontrol update JobId=107 Dependency=afterok:104"
    called "scontrol update JobId=108 Dependency=afterok:104"
    called "scancel 105"
    # One gives up: so do those after it.
    new_run hopeless
    edit 's/^time = 60/&\n[resources.distill]\nlinks = 3/'
    ends_with 0 pipeline "$ini"
    run_to_end importance prune
    echo 2 > codes
    ends_with 2 start distill 103
    ends_with 2 start distill 104
    says "a link before this one gave up"
    queue_is ""
    ends_with 0 pipeline --resume "$ini"
    ends_with 0 start distill "$(sed -n 4p run/stages/distill/jobs)"
}

# A need that fails takes the chain with it: no link learns from what was there before.
test_links_whose_need_fails() {
    new_run needy
    edit 's/^time = 60/&\n[resources.distill]\nlinks = 3/'
    ends_with 0 pipeline "$ini"
    run_to_end importance prune
    edit 's/^hidden = 8/hidden = 16/'
    queue_is ""
    ends_with 0 pipeline --resume "$ini" # prune 109, distill 110 to 112
    grep -q '^sbatch .*--dependency=afterok:109,afterany:110 .*/distill.sbatch' calls || complain "link 2: $(grep distill.sbatch calls | tail -n 2)"
    grep -q '^sbatch .*--dependency=afterok:109,afterany:111 .*/distill.sbatch' calls || complain "link 3: $(grep distill.sbatch calls | tail -n 1)"
    echo 2 > codes
    ends_with 2 start prune 109
    refuses "prune is not done" start distill 111
    not_called '^espalier distill'
    [[ ! -e run/stages/distill/done ]] || complain "the former cut was distilled"
    # Links that wait for a chain are let go with it.
    new_run chains
    edit 's/^\[distill\]/[correct]\ntokens = 64\n&/; s/^time = 60/&\nlinks = 2/'
    ends_with 0 pipeline "$ini" # importance 101, correct 102 and 103, prune 104, distill 105 and 106
    run_to_end importance
    ends_with 0 start correct 102
    called "scontrol update JobId=105 Dependency=afterok:104:102"
    called "scontrol update JobId=106 Dependency=afterok:104:102,afterany:105"
    called "scancel 103"
}

run_tests "${@:2}"
