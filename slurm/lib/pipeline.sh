# For sourcing: all that the two launchers, slurm/pipeline and scripts/pipeline, share.
# shellcheck shell=bash
# shellcheck source=slurm/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=slurm/lib/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
# shellcheck source=slurm/lib/controller.sh
source "$(dirname "${BASH_SOURCE[0]}")/controller.sh"
# shellcheck source=slurm/lib/lock.sh
source "$(dirname "${BASH_SOURCE[0]}")/lock.sh"
# shellcheck source=slurm/lib/run.sh
source "$(dirname "${BASH_SOURCE[0]}")/run.sh"
# shellcheck source=slurm/lib/search.sh
source "$(dirname "${BASH_SOURCE[0]}")/search.sh"
# shellcheck source=slurm/lib/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"
# shellcheck source=slurm/lib/status.sh
source "$(dirname "${BASH_SOURCE[0]}")/status.sh"
