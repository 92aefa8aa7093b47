# REQUIRED INPUTS: the search encoder and the initial weights; no data.
#
# OUTPUTS: check_gpu.json, and its page in the terminal and the log. Not declared: it runs whenever it is asked for, and
# a page with a broken line is kept. `make plan` takes its speed from there until find_lr has measured one.
#
# STEPS:
#   1. Note the time on the machine that submits.
#   2. Check the machine that trains: make check-gpu, or snakemake --profile slurm check_gpu.
import time

CHECK_GPU_RESOURCES = requested(
    lambda input: {
        "mem_mb": requests.memory_mb(64, DATA["image_size"], GPUS),
        "runtime": requests.START_MINUTES,
    }
)


localrules:
    note_time,


rule note_time:
    """What time it is here, where jobs are submitted."""
    output:
        "<results>/submitted.json",
    params:
        **runs("note_time"),
        asked=time.time(),  # so that it is noted again each time
    log:
        "<results>/logs/note_time.log",
    conda:
        "../envs/report.yaml"
    shell:
        launch("note_time", "--output {output}")


rule check_gpu:
    """Whether a run may start on the machine that this runs on, and how fast it would be."""
    input:
        encoder=encoder_dir(SEARCH_ENCODER),
        image_weights=image_weights(),
        submitted="<results>/submitted.json",
    params:
        **runs("check_gpu"),
        specification=canonical_json(jobs.specification(CONFIG, "check_gpu", "check_gpu", {})),
        image_weights=image_weights_flag(),
        device=TRAINING["device"],
        gpus=GPUS,
        document=f"{RESULTS}/check_gpu.json",
    log:
        f"{RESULTS}/logs/check_gpu.log",
    threads: 1
    retries: 0
    resources:
        **CHECK_GPU_RESOURCES,
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "check_gpu",
            "--specification {params.specification:q} --encoder-dir {input.encoder:q} {params.image_weights}",
            "--device {params.device} --gpus {params.gpus} --submitted {input.submitted} --code {params.code}",
            "--output {params.document}",
            shown=True,
        )
