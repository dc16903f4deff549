"""What an evaluation costs, and a replay."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from statistics import median
from typing import Any

from clew.alerts.evaluate import evaluate, horizon_minutes, horizons
from clew.alerts.rules_file import default_rules
from clew.alerts.signals import MinuteCell
from clew.measures.buckets import ZERO, bucket_of

__all__ = ["draw_cells", "run_evaluation"]

BASE = 29_000_000
SERVICES = 20
ROUNDS = 15


def draw_cells(services: int, minutes: int, rate: float = 60.0) -> list[MinuteCell]:
    """Draw the sums that services with 2 % errors and 60 requests a minute leave, of every metric that a share needs."""
    draw = random.Random(5)
    cells: list[MinuteCell] = []
    for minute in range(BASE, BASE + minutes):
        for number in range(services):
            cells += _minute(draw, minute, f"service-{number}", rate)
    return cells


def run_evaluation(*, scale: float = 1.0) -> dict[str, Any]:
    """Evaluate the default rules over 20 services, over the minutes that each rule needs."""
    rules = default_rules()
    minutes = horizon_minutes(rules)
    cells = draw_cells(SERVICES, minutes)
    needed = horizons(rules)
    read = [cell for cell in cells if cell.minute >= BASE + minutes - needed.get(cell.metric, 0)]
    at = datetime.fromtimestamp((BASE + minutes) * 60 - 1, UTC)
    found = {"services": SERVICES, "minutes": minutes}
    for name, given in (("all", cells), ("needed", read)):
        times: list[float] = []
        for _ in range(max(3, round(ROUNDS * scale))):
            begin = time.process_time()
            findings = evaluate(rules, given, {}, {}, at)
            times.append(time.process_time() - begin)
        found |= {f"{name}_cells": len(given), f"{name}_s": median(times), "findings": len(findings)}
    return found


def _minute(draw: random.Random, minute: int, service: str, rate: float) -> list[MinuteCell]:
    n = max(1, round(draw.gauss(rate, rate**0.5)))
    bad = sum(draw.random() < 0.02 for _ in range(n))
    spread: dict[int, int] = {}
    for _ in range(n):
        bucket = bucket_of(draw.lognormvariate(-0.3, 0.45))
        spread[bucket] = spread.get(bucket, 0) + 1
    judged = n // 10

    def cell(metric: str, number: int, **more: Any) -> MinuteCell:
        values = {"stage": "", "model": "", "label": "", "sum": 0.0} | more
        return MinuteCell(minute=minute, metric=metric, service=service, environment="prod", number=number, **values)

    return [
        cell("clew_requests_total", n - bad, label="ok"),
        cell("clew_requests_total", bad, label="error"),
        cell("clew_request_duration_seconds", n, spread=spread),
        cell("clew_cache_requests_total", n // 2, label="true"),
        cell("clew_cache_requests_total", n - n // 2, label="false"),
        cell("clew_answers_total", judged),
        cell("clew_issues_total", judged // 20, label="unsupported_claim"),
        cell("gen_ai_client_operation_duration_seconds", n // 2, model="small", stage="generation"),
        cell("gen_ai_client_operation_duration_seconds", n // 2, model="large", stage="generation"),
        cell("gen_ai_client_operation_duration_seconds", bad, model="large", label="APIError", stage="generation"),
        cell("clew_errors_total", bad, label="APIError", stage="generation"),
        cell("clew_retrieval_hit_count", n, stage="retrieval", spread={ZERO: n // 50, bucket_of(5): n - n // 50}),
    ]
