//! What is said on a session's events channel: one JSON object a segment, with the names that gateways read.
//!
//! Every object has the shape `{"event":{…},"queue_event_type":"…"}`. A gateway adds its own ids, forwards it, and keeps
//! the newest event of type `status` for its status endpoint; there a null `last_params` keeps the previous one.
//! Times are Unix milliseconds, and null where nothing has happened yet.

use serde_json::{Value, json};

use super::limits;
use super::view::View;

const EVENTS: &str = "ai_stream_events";
const TRACE: &str = "stream_trace";

/// The points of a stream's start that gateways time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trace {
    /// The start request was accepted.
    Request,
    /// The first input frame was found.
    FirstInput,
    /// The first output frame was published.
    FirstOutput,
}

impl Trace {
    const fn name(self) -> &'static str {
        match self {
            Self::Request => "runner_receive_stream_request",
            Self::FirstInput => "runner_receive_first_ingest_segment",
            Self::FirstOutput => "runner_send_first_processed_segment",
        }
    }
}

/// How the session is doing.
pub(super) fn status(view: &View, now_ms: u64) -> Value {
    let rates = view.rates;
    wrap(
        EVENTS,
        json!({
            "type": "status",
            "pipeline": view.model_id,
            "start_time": view.started_ms,
            "state": view.state.name(),
            "last_state_update_time": view.state_since_ms,
            "input_status": {
                "last_input_time": known(view.stats.last_input_ms),
                "fps": rates.fps_in,
            },
            "inference_status": {
                "last_output_time": known(view.stats.last_output_ms),
                "fps": rates.fps_out,
                "last_params_update_time": known(view.params_since_ms),
                "last_params": super::params::to_json(&view.process),
                "last_params_hash": super::params::hash(&view.process),
                "last_error_time": known(view.last_error_ms),
                "last_error": view.last_error,
                "last_restart_time": null,
                "last_restart_logs": null,
                "restart_count": 0,
            },
            "last_status_timestamp": now_ms,
            "timestamp": now_ms,
        }),
    )
}

/// A point of the start was passed. `detail` is for people.
pub(super) fn trace(point: Trace, detail: Option<&str>, now_ms: u64) -> Value {
    let mut event = json!({ "type": point.name(), "timestamp": now_ms });
    if let Some(detail) = detail {
        event["detail"] = bounded(detail).into();
    }
    wrap(TRACE, event)
}

/// Something went wrong.
pub(super) fn error(model_id: &str, message: &str, now_ms: u64) -> Value {
    wrap(
        EVENTS,
        json!({
            "type": "error",
            "pipeline": model_id,
            "message": bounded(message),
            "time": now_ms,
            "timestamp": now_ms,
        }),
    )
}

/// What was owed is paid.
pub(super) fn payment(model_id: &str, message: &str, now_ms: u64) -> Value {
    wrap(
        EVENTS,
        json!({
            "type": "payment",
            "pipeline": model_id,
            "message": bounded(message),
            "timestamp": now_ms,
        }),
    )
}

/// New parameters are in force.
pub(super) fn params_update(view: &View, ignored: &[String], now_ms: u64) -> Value {
    wrap(
        EVENTS,
        json!({
            "type": "params_update",
            "pipeline": view.model_id,
            "params": super::params::to_json(&view.process),
            "params_hash": super::params::hash(&view.process),
            "ignored": ignored,
            "update_time": now_ms,
            "timestamp": now_ms,
        }),
    )
}

/// Cuts a text at a character, to the length that is passed on.
pub(super) fn bounded(text: &str) -> &str {
    let fits = |at: &usize| text.is_char_boundary(*at);
    match text.len() <= limits::ERROR_TEXT_BYTES {
        true => text,
        // A boundary is never more than three bytes away.
        false => &text[..(0..=limits::ERROR_TEXT_BYTES).rev().find(fits).unwrap_or(0)],
    }
}

fn wrap(queue: &str, event: Value) -> Value {
    json!({ "event": event, "queue_event_type": queue })
}

fn known(at_ms: u64) -> Option<u64> {
    (at_ms != 0).then_some(at_ms)
}

#[cfg(test)]
mod tests {
    use link::{Filter, Process};

    use super::*;

    fn keys(value: &Value) -> Vec<&str> {
        let mut keys: Vec<_> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_status_has_exactly_the_names_that_gateways_read() {
        let view = View::new(
            "builtin/edges".into(),
            Process::Filter(Filter::Edges { gain_percent: 100 }),
            5,
        );
        let status = status(&view, 7);
        assert_eq!(status["queue_event_type"], "ai_stream_events");
        let event = &status["event"];
        assert_eq!(
            keys(event),
            [
                "inference_status",
                "input_status",
                "last_state_update_time",
                "last_status_timestamp",
                "pipeline",
                "start_time",
                "state",
                "timestamp",
                "type"
            ]
        );
        assert_eq!(keys(&event["input_status"]), ["fps", "last_input_time"]);
        assert_eq!(
            keys(&event["inference_status"]),
            [
                "fps",
                "last_error",
                "last_error_time",
                "last_output_time",
                "last_params",
                "last_params_hash",
                "last_params_update_time",
                "last_restart_logs",
                "last_restart_time",
                "restart_count"
            ]
        );
        assert_eq!(event["state"], "LOADING");
        assert_eq!(event["timestamp"], 7);
        assert!(event["input_status"]["last_input_time"].is_null());
        assert_eq!(
            event["inference_status"]["last_params"],
            json!({"filter": "edges", "gain_percent": 100})
        );
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let long = "é".repeat(10_000);
        let event = error("m", &long, 1);
        assert_eq!(
            event["event"]["message"].as_str().unwrap().len(),
            limits::ERROR_TEXT_BYTES
        );
        assert_eq!(event["event"]["time"], 1);
        assert_eq!(bounded("short"), "short");
    }

    #[test]
    fn traces_go_to_their_own_queue() {
        let event = trace(Trace::FirstInput, Some("h264 640x360"), 3);
        assert_eq!(event["queue_event_type"], "stream_trace");
        assert_eq!(
            event["event"]["type"],
            "runner_receive_first_ingest_segment"
        );
    }
}
