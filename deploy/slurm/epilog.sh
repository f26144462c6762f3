#!/bin/sh
# Epilog= of slurm.conf, as root on each node of a job: its series go when it has ended.
textfiles=${LRWATCH_TEXTFILES:-/var/lib/lrwatch-textfile}
rm -f "$textfiles/lrwatch-$SLURM_JOB_ID.prom"
exit 0
