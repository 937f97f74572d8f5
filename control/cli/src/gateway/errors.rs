//! Failures as HTTP has them: a status by what the caller can do, the cause in JSON.

use hyper::StatusCode;
use hyper::header::{CONTENT_RANGE, HeaderValue, RETRY_AFTER};
use isotherm_client::{BridgeError, ClientError, Refusal};
use isotherm_seam::Nanos;
use isotherm_wire::Failure;
use serde_json::json;

use crate::http::{self, Answer};

/// When it is worth to try again if nobody knows better.
const LATER_S: u64 = 5;

/// A failure, as it is answered.
struct Fault {
    status: StatusCode,
    kind: &'static str,
    /// Seconds after which it is worth to try again.
    retry_s: Option<u64>,
}

fn fault(error: &BridgeError) -> Fault {
    let fault = |status, kind| Fault { status, kind, retry_s: None };
    let later = |kind, retry_s| Fault {
        status: StatusCode::SERVICE_UNAVAILABLE,
        kind,
        retry_s: Some(retry_s),
    };
    let error = match error {
        BridgeError::Full => return later("busy", 1),
        BridgeError::Gone => return later("stopping", LATER_S),
        BridgeError::Client(error) => error,
    };
    match error {
        ClientError::NotFound => fault(StatusCode::NOT_FOUND, "not_found"),
        ClientError::Deleted => fault(StatusCode::GONE, "deleted"),
        ClientError::Lost { .. } => fault(StatusCode::INTERNAL_SERVER_ERROR, "lost"),
        ClientError::Corrupt { .. } => fault(StatusCode::INTERNAL_SERVER_ERROR, "corrupt"),
        ClientError::Unavailable { .. } => later("unavailable", LATER_S),
        ClientError::Late => fault(StatusCode::GATEWAY_TIMEOUT, "late"),
        ClientError::NoGroup { why: Refusal::Failed(Failure::Full | Failure::IndexFull) } => {
            fault(StatusCode::INSUFFICIENT_STORAGE, "full")
        }
        ClientError::NoGroup { .. } => later("no_group", LATER_S),
        ClientError::Busy { expected } => later("busy", seconds(*expected)),
        ClientError::OutOfRange { .. } => fault(StatusCode::RANGE_NOT_SATISFIABLE, "range"),
        ClientError::TooLong { .. } => fault(StatusCode::PAYLOAD_TOO_LARGE, "too_long"),
        ClientError::Unfinished { .. } => later("unfinished", LATER_S),
        ClientError::Locator(_) => fault(StatusCode::BAD_REQUEST, "locator"),
        ClientError::OtherCluster => fault(StatusCode::NOT_FOUND, "other_cluster"),
    }
}

/// Whole seconds, one at least.
fn seconds(wait: Nanos) -> u64 {
    wait.0.div_ceil(1_000_000_000).max(1)
}

/// The answer to a request that failed.
pub(super) fn failed(error: &BridgeError) -> Answer {
    let fault = fault(error);
    let mut answer = told(fault.status, fault.kind, &error.to_string());
    if let Some(retry_s) = fault.retry_s {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_s));
    }
    if let BridgeError::Client(ClientError::OutOfRange { len_bytes }) = error {
        beyond(&mut answer, *len_bytes);
    }
    answer
}

/// The answer to a range that is not in the object.
pub(super) fn out_of_range(len_bytes: u64) -> Answer {
    failed(&ClientError::OutOfRange { len_bytes }.into())
}

fn beyond(answer: &mut Answer, len_bytes: u64) {
    let value = HeaderValue::try_from(format!("bytes */{len_bytes}"));
    answer.headers_mut().insert(CONTENT_RANGE, value.expect("digits"));
}

/// A failure of the request itself.
pub(super) fn told(status: StatusCode, kind: &str, error: &str) -> Answer {
    http::json(status, &json!({ "error": error, "kind": kind }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_the_status_that_its_caller_can_act_on() {
        let busy = |millis| ClientError::Busy { expected: Nanos::from_millis(millis) };
        let full = ClientError::NoGroup { why: Refusal::Failed(Failure::Full) };
        let index = ClientError::NoGroup { why: Refusal::Failed(Failure::IndexFull) };
        for (error, status, retry) in [
            (ClientError::NotFound, 404, None),
            (ClientError::Deleted, 410, None),
            (ClientError::Unavailable { reached: 1, needed: 4 }, 503, Some("5")),
            (busy(1), 503, Some("1")),
            (busy(2001), 503, Some("3")),
            (ClientError::NoGroup { why: Refusal::Unreachable }, 503, Some("5")),
            (ClientError::NoGroup { why: Refusal::NoDisks }, 503, Some("5")),
            (full, 507, None),
            (index, 507, None),
            (ClientError::OutOfRange { len_bytes: 7 }, 416, None),
            (ClientError::TooLong { max_bytes: 7 }, 413, None),
            (ClientError::Late, 504, None),
            (ClientError::Unfinished { done: 1, needed: 2 }, 503, Some("5")),
            (ClientError::OtherCluster, 404, None),
            (ClientError::Corrupt { stripe: 1 }, 500, None),
        ] {
            let answer = failed(&error.into());
            assert_eq!(answer.status().as_u16(), status, "{error}");
            let header = answer.headers().get(RETRY_AFTER);
            assert_eq!(header.map(|value| value.to_str().unwrap()), retry, "{error}");
        }
        assert_eq!(failed(&BridgeError::Full).status().as_u16(), 503);
        assert_eq!(out_of_range(7).headers()[CONTENT_RANGE], "bytes */7");
    }
}
