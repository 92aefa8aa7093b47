# retclip-tune: images and reports in, the tuned RET-CLIP configuration and the best text encoder out.
# Read rules/ in the order of the includes: that is the order in which data flows.
import gc

from snakemake.utils import min_version

min_version("9.27")

# Jobs of a plan live as long as the plan: looking through thousands of them for garbage took a sixth of its time.
gc.set_threshold(200_000, 50, 100)

# An entry takes the place of its shell: a cluster that tells all processes to stop would end the shell at once, and
# snakemake with it, while the entry still saves its state.
shell.prefix("set -euo pipefail; exec ")


configfile: workflow.source_path("config/config.yaml")


include: "rules/common.smk"
include: "rules/requests.smk"
include: "rules/inputs.smk"
include: "rules/feature_inputs.smk"


from retclip.core.shown_logs import ShownLogs
from retclip.core.unlock import UnlockHint, unlock_command

# what a killed snakemake leaves locked, only the same config files unlock
UNLOCK = unlock_command(sys.argv)
logger.addFilter(UnlockHint(UNLOCK))


include: "rules/data.smk"
include: "rules/features.smk"
include: "rules/lr_finder.smk"
include: "rules/phase1.smk"
include: "rules/phase2.smk"
include: "rules/encoders.smk"
include: "rules/encoder_searches.smk"
include: "rules/final.smk"
include: "rules/report.smk"
include: "rules/tracking.smk"
include: "rules/check_gpu.smk"


onstart:
    of_encoders = f"{len(ENCODER_TRIALS)} trials of text encoders, " if ENCODER_TRIALS else ""
    print(
        f"run {RUN}: {len(PHASE1)} + {len(PHASE2)} search trials, {len(CONFIRM)} confirmations, "
        f"{of_encoders}{len(FINALS)} final training runs"
    )
    check_groups()
    if cannot_ask := account_sentence():
        stop(cannot_ask)
    if jobs_are_forks():
        fork_client.start_server(FORKS)
    # no terminal sees a cluster's jobs, and they find other GPUs than this machine's
    if not workflow.local_exec:
        logger.addFilter(
            ShownLogs({rule: f"{RESULTS}/logs/{rule}.log" for rule in ("audit_data", "check_gpu")})
        )
    if workflow.local_exec and (without_gpu := cpu_warning(TRAINING, PYTHON)):
        print(without_gpu, file=sys.stderr)


onsuccess:
    if Path(REPORT).is_file():
        print(f"The report: {Path(REPORT).resolve()}")


onerror:
    print(
        "A job failed: its log is named above. Correct the cause and run the same command again; finished work is kept. "
        f"Were snakemake itself killed, its folder would stay locked until: {UNLOCK}"
    )


rule all:
    input:
        # all that the report consists of: snakemake looks for missing files among those that are requested alone
        rules.build_report.output,
        TRACKED,
