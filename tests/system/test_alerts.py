"""What makes each alert fire, and what does not, by Prometheus' own promtool in made-up time."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import need

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]

CONFIG = Path(__file__).parents[2] / "config"
RULES = [
    rule["alert"] for group in yaml.safe_load((CONFIG / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
BUCKETS = 'trunkline_{}_seconds_bucket{{le="{}"}}'
FIRES: dict[str, dict[str, str]] = {
    # A rule, and what makes it fire: samples of one minute each.
    "ResponseSlow": {BUCKETS.format("response", "1.0"): "0+90x20", BUCKETS.format("response", "2.0"): "0+100x20",
                     BUCKETS.format("response", "+Inf"): "0+100x20"},
    "ResponseVerySlow": {BUCKETS.format("response", "1.5"): "0+40x20", BUCKETS.format("response", "+Inf"): "0+100x20",
                         BUCKETS.format("response", "3.0"): "0+100x20"},
    "TurnsUnanswered": {'trunkline_turns_total{outcome="unanswered"}': "0+1x20",
                        'trunkline_turns_total{outcome="answered"}': "0+9x20"},
    "BargeInSlow": {BUCKETS.format("barge_in", "0.5"): "0+90x20", BUCKETS.format("barge_in", "+Inf"): "0+100x20",
                    BUCKETS.format("barge_in", "1.0"): "0+100x20"},
    "CallsEndInServerError": {'trunkline_calls_total{result="server_error"}': "0+1x20",
                              'trunkline_calls_total{result="success"}': "0+9x20"},
    "CallsEndInUpstreamError": {'trunkline_calls_total{result="upstream_error"}': "0+1x20",
                                'trunkline_calls_total{result="success"}': "0+9x20"},
    "CallersHearBusy": {'trunkline_refusals_total{door="phone",reason="full"}': "0x15 1x5"},
    "RoomForCallsShort": {"trunkline_calls_now": "24x20", "trunkline_calls_capacity": "25x20"},
    "EventLoopLate": {BUCKETS.format("loop_lag", "0.1"): "0+50x20", BUCKETS.format("loop_lag", "0.5"): "0+60x20",
                      BUCKETS.format("loop_lag", "+Inf"): "0+60x20"},
    "FrameDeadlinesMissed": {'trunkline_frame_deadlines_missed_total{where="engine"}': "0+100x20",
                             "trunkline_workers": "2x20"},
    "CollectorGone": {'up{job="trunkline"}': "0x20"},
    "EventsLost": {"trunkline_events_lost": "0+1x20"},
    "EventsRefused": {'trunkline_events_refused_total{reason="type"}': "0+1x20"},
    "RecordsDropped": {"trunkline_records_dropped_total": "0+1x20"},
}  # fmt: skip
QUIET: dict[str, dict[str, str]] = {
    "ResponseSlow": {BUCKETS.format("response", "1.0"): "0+96x20", BUCKETS.format("response", "+Inf"): "0+100x20"},
    "ResponseVerySlow": {BUCKETS.format("response", "1.5"): "0+60x20", BUCKETS.format("response", "+Inf"): "0+100x20"},
    "TurnsUnanswered": {'trunkline_turns_total{outcome="unanswered"}': "0+1x20",
                        'trunkline_turns_total{outcome="answered"}': "0+99x20"},
    "BargeInSlow": {BUCKETS.format("barge_in", "0.5"): "0+100x20", BUCKETS.format("barge_in", "+Inf"): "0+100x20"},
    "CallsEndInServerError": {'trunkline_calls_total{result="server_error"}': "1x20",
                              'trunkline_calls_total{result="success"}': "0+9x20"},
    "CallsEndInUpstreamError": {'trunkline_calls_total{result="upstream_error"}': "0x20",
                                'trunkline_calls_total{result="success"}': "0x20"},
    "CallersHearBusy": {'trunkline_refusals_total{door="phone",reason="full"}': "7x20",
                        'trunkline_refusals_total{door="phone",reason="bad_signature"}': "0+1x20"},
    "RoomForCallsShort": {"trunkline_calls_now": "0x20", "trunkline_calls_capacity": "0x20"},
    "EventLoopLate": {BUCKETS.format("loop_lag", "0.1"): "0+60x20", BUCKETS.format("loop_lag", "+Inf"): "0+60x20"},
    "FrameDeadlinesMissed": {'trunkline_frame_deadlines_missed_total{where="engine"}': "0+10x20",
                             "trunkline_workers": "2x20"},
    "CollectorGone": {'up{job="trunkline"}': "1x20"},
    "EventsLost": {"trunkline_events_lost": "7x20"},
    "EventsRefused": {'trunkline_events_refused_total{reason="type"}': "7x20"},
    "RecordsDropped": {"trunkline_records_dropped_total": "7x20"},
}  # fmt: skip


def firing(alert: str, series: dict[str, str], fires: bool, folder: Path) -> subprocess.CompletedProcess[str]:
    """Has promtool compare what Prometheus would do after 20 minutes with what is expected."""
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count by (alertname) (ALERTS{{alertname="{alert}", alertstate="firing"}})',
                "eval_time": "19m",
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if fires else [],
            }
        ],
    }
    file = folder / "test.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(CONFIG / "alerts.yml")], "evaluation_interval": "1m", "tests": [test]})
    )
    return subprocess.run(
        [need("promtool"), "test", "rules", str(file)], check=False, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("alert", RULES)
@pytest.mark.parametrize("fires", [True, False], ids=["fires", "quiet"])
def test_a_rule_fires_when_it_should_and_only_then(alert: str, fires: bool, tmp_path: Path) -> None:
    done = firing(alert, (FIRES if fires else QUIET)[alert], fires, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
