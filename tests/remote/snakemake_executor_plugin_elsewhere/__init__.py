"""An executor of snakemake that runs each job as a cluster would: in a shell of its own, which no terminal sees."""

import subprocess

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    non_local_exec=True, implies_no_shared_fs=False, job_deploy_sources=False, init_seconds_before_status_checks=0
)


class Executor(RemoteExecutor):
    def __post_init__(self):
        pass

    def run_job(self, job):
        script = self.get_jobscript(job)
        self.write_jobscript(job, script)
        with open(f"job-{job.jobid}.log", "w") as log:
            process = subprocess.Popen(["bash", script], stdout=log, stderr=subprocess.STDOUT)
        self.report_job_submission(SubmittedJobInfo(job, external_jobid=str(process.pid), aux={"process": process}))

    async def check_active_jobs(self, active_jobs):
        for submitted in active_jobs:
            code = submitted.aux["process"].poll()
            if code is None:
                yield submitted
            elif code:
                self.report_job_error(submitted)
            else:
                self.report_job_success(submitted)

    def cancel_jobs(self, active_jobs):
        for submitted in active_jobs:
            submitted.aux["process"].terminate()
