from __future__ import annotations

import re

from lrwatch.export.metrics import METRICS

CONTRACT = """
lrwatch_build_info lrwatch_run_info{run,metric,mode} lrwatch_run_up{run} lrwatch_run_step{run}
lrwatch_run_metric_value{run,metric} lrwatch_run_last_sample_timestamp_seconds{run} lrwatch_run_plateau{run,metric}
lrwatch_run_improvement_ratio{run,metric} lrwatch_run_improvement_ratio_lower{run,metric}
lrwatch_run_improvement_ratio_upper{run,metric} lrwatch_findings_total{run,kind} lrwatch_lr_schedule{run,group}
lrwatch_lr_effective{run,group} lrwatch_lr_scale{run} lrwatch_commands_total{run,reason,state}
lrwatch_commands_rejected_total{run,code} lrwatch_command_pending_seconds{run}
lrwatch_command_applied_timestamp_seconds{run} lrwatch_controller_token{run} lrwatch_ingest_bytes_total{run}
lrwatch_ingest_lines_total{run} lrwatch_ingest_samples_total{run} lrwatch_ingest_errors_total{run,reason}
lrwatch_ingest_lag_bytes{run} lrwatch_series_dropped_total lrwatch_notifications_total
lrwatch_notifications_failed_total lrwatch_loop_duration_seconds
lrwatch_run_tells_at_step{run,metric} lrwatch_proposals_pending{run} lrwatch_run_held{run} lrwatch_run_fenced{run}
"""


def test_every_metric_of_the_contract_exists_under_its_name_and_labels() -> None:
    here = {m.name: m.labels for m in METRICS}
    for word in CONTRACT.split():
        name, _, labels = word.rstrip("}").partition("{")
        assert name in here
        if labels:
            assert here[name] == tuple(labels.split(","))


def test_names_are_unique_and_legal_in_every_prometheus() -> None:
    names = [m.name for m in METRICS]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"lrwatch_[a-z_]+", name) for name in names)
    assert all(re.fullmatch(r"[a-z_]+", label) for m in METRICS for label in m.labels)


def test_a_name_says_what_kind_of_metric_it_is() -> None:
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.type == "counter")
        assert metric.name.endswith("_info") == (metric.type == "info")
        assert metric.help.endswith(".")
