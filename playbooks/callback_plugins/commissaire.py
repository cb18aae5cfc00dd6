# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes what happens in a run as JSON objects, one a line, to standard output.

  {"event": "play", "play": NAME}
  {"event": "task", "task": NAME, "host": NAME, "message": TEXT, "ignored": BOOL,
   "outcome": "ok" | "changed" | "failed" | "skipped" | "unreachable" | "waiting"}
  {"event": "stats", "ok": N, "changed": N, "skipped": N, "failures": N, "unreachable": N,
   "data": {what set_stats was given}}

Made for one host a run, and for ansible-core 2.14 and later.
"""

from __future__ import annotations

import json
import sys

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: commissaire
    type: stdout
    short_description: JSON lines for Commissaire
    description: One JSON object a line for each play, each task's result, and the end of the run.
"""

# The most that is passed on of one task's message, in bytes.
MESSAGE_LIMIT = 4096

# What modules say when there is nothing to say.
EMPTY_WORDS = ("All items completed", "All assertions passed", "non-zero return code")

CENSORED = "the output is hidden, because the task handles a secret"


class CallbackModule(CallbackBase):
    """See the module's documentation."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "commissaire"

    def v2_playbook_on_play_start(self, play):
        _write(event="play", play=play.get_name().strip())

    def v2_runner_on_ok(self, result, **_kwargs):
        changed = result._result.get("changed", False)
        _task(result, "changed" if changed else "ok")

    def v2_runner_on_failed(self, result, ignore_errors=False, **_kwargs):
        _task(result, "failed", ignored=bool(ignore_errors))

    def v2_runner_on_skipped(self, result, **_kwargs):
        _task(result, "skipped")

    def v2_runner_on_unreachable(self, result, **_kwargs):
        _task(result, "unreachable")

    def v2_runner_retry(self, result, **_kwargs):
        # A task that asks again and again prints what it waits for, if it can tell.
        if _text(result._result.get("stdout") or "").strip():
            _task(result, "waiting")

    def v2_playbook_on_stats(self, stats):
        counts = {name: sum(getattr(stats, name).values()) for name in ("ok", "changed", "skipped", "failures")}
        # set_stats without per_host, which is its default, files everything under "_run".
        data = stats.custom.get("_run", {})
        _write(event="stats", unreachable=sum(stats.dark.values()), data=data, **counts)


def _task(result, outcome, ignored=False):
    _write(
        event="task",
        task=result._task.get_name().strip(),
        host=result._host.get_name(),
        outcome=outcome,
        ignored=ignored,
        message=_bounded(_message(result._task, result._result, outcome)),
    )


def _message(task, result, outcome):
    """What a task has to say for itself, for people."""
    failed = outcome in ("failed", "unreachable")
    if task.no_log or result.get("_ansible_no_log"):
        return CENSORED
    if outcome == "waiting":
        return _text(result["stdout"]).strip()
    for item in result.get("results") or []:
        # Of a loop, the first item that failed says more than "One or more items failed".
        if isinstance(item, dict) and (item.get("failed") or item.get("unreachable")):
            return CENSORED if item.get("_ansible_no_log") else _words(item, failed)
    return _words(result, failed)


def _words(result, failed):
    """`msg`, and for a failed command what it wrote, since its `msg` is "non-zero return code"."""
    message = result.get("msg") or ""
    if not failed:
        return "" if message in EMPTY_WORDS else _text(message).strip()
    streams = [result.get(name) or result.get("module_" + name) for name in ("stderr", "stdout")]
    return "\n".join(_text(part).strip() for part in [message, *streams] if part)


def _text(value):
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _bounded(text):
    """The beginning and the end of a long text: a program's last words matter most."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= MESSAGE_LIMIT:
        return raw.decode("utf-8")
    half = MESSAGE_LIMIT // 2 - 8
    return "\n[...]\n".join(part.decode("utf-8", "ignore") for part in (raw[:half], raw[-half:]))


def _write(**event):
    # ASCII: independent of the locale, and of surrogates that the host may have sent.
    sys.stdout.write(json.dumps(event, default=str) + "\n")
    sys.stdout.flush()
