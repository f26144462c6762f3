#!/bin/sh
# TaskProlog= of slurm.conf, for the whole site: every `lrwatch run` in a job writes its series where node_exporter reads them
# (--collector.textfile.directory). What is printed here as `export NAME=value` is the environment of the task.
#
# The directory is one in which users may make files, and not remove those of others: install -d -m 1777 /var/lib/lrwatch-textfile
textfiles=${LRWATCH_TEXTFILES:-/var/lib/lrwatch-textfile}
[ -d "$textfiles" ] && echo "export LRWATCH_EXPORT_TEXTFILE=$textfiles/lrwatch-$SLURM_JOB_ID.prom"
exit 0
