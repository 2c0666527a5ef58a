from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime

import pytest

from aiotcp import log

pytestmark = pytest.mark.usefixtures("logging_as_before")


def test_json_is_one_object_a_line_with_a_utc_timestamp() -> None:
    stream = io.StringIO()
    log.configure("json", "info", stream=stream)
    log.logger("aiotcp.test").info("transition", old="SYN-SENT", new="ESTABLISHED")
    logging.getLogger("someone.else").warning("by %s", "logging")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["event"] == "transition"
    assert first["new"] == "ESTABLISHED"
    assert (first["logger"], first["level"]) == ("aiotcp.test", "info")
    assert datetime.fromisoformat(first["timestamp"]).tzinfo == UTC
    assert second["event"] == "by logging"


def test_console_is_for_people() -> None:
    stream = io.StringIO()
    log.configure("console", "INFO", stream=stream)
    log.logger().info("serving", port=80)
    assert "serving" in stream.getvalue()
    assert "port=80" in stream.getvalue()
    assert "\x1b[" not in stream.getvalue(), "no colours where there is no terminal"


def test_levels_filter() -> None:
    stream = io.StringIO()
    log.configure("json", "warning", stream=stream)
    log.logger().info("not shown")
    log.logger().warning("shown")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["shown"]


def test_debugging_shows_our_own_events_only() -> None:
    stream = io.StringIO()
    log.configure("json", "debug", stream=stream)
    log.logger("aiotcp.test").debug("transition")
    logging.getLogger("someone.else").debug("a packet")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["transition"]


def test_exceptions_are_structured() -> None:
    stream = io.StringIO()
    log.configure("json", stream=stream)
    try:
        raise ConnectionResetError(104, "Connection reset by peer")
    except ConnectionResetError:
        log.logger().exception("failed")
    told = json.loads(stream.getvalue())
    assert told["exception"][0]["exc_type"] == "ConnectionResetError"


def test_a_format_or_level_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="console or json"):
        log.configure("xml")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="LOUD"):
        log.configure("json", "loud")


@pytest.mark.parametrize("format", ["json", "console"])
def test_tracebacks_tell_no_secrets(format: log.Format) -> None:
    stream = io.StringIO()
    log.configure(format, stream=stream)
    password = "hunter2"
    try:
        raise ValueError(f"{len(password)} characters")
    except ValueError:
        log.logger("test").exception("failed")
    assert "7 characters" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
