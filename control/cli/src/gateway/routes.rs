//! What is asked of the gateway, and what is answered.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, IF_RANGE, LOCATION, RANGE,
};
use hyper::{Method, Request, Response, StatusCode};
use isotherm_client::{Bridge, BridgeError, GetStream, ListFrom, Locator, ObjectStat};
use serde_json::json;

use super::errors::{failed, out_of_range, told};
use super::range::{Wanted, read};
use crate::http::{self, Answer, CutOff, Payload};
use crate::objects::listed_json;

/// A body of which nothing came for so long is given up.
const BODY_PATIENCE: Duration = Duration::from_secs(60);
/// Objects in a page of a listing.
const LIST_LIMIT: usize = 1000;
const LIST_LIMIT_MAX: usize = 10_000;

const INDEX: &str = "\
PUT    /objects                keeps the body: {locator, id, len}
GET    /objects/LOCATOR        the object, or a Range of it
HEAD   /objects/LOCATOR        whether it is there, and how long it is
GET    /objects/LOCATOR?stat   how it is
DELETE /objects/LOCATOR        deletes it for good
GET    /objects?from=&limit=   what there is
";

/// Answers a request.
pub(super) async fn answer(bridge: &Bridge, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    match (request.method().clone(), path.as_str()) {
        (Method::GET | Method::HEAD, "/") => {
            http::answer(StatusCode::OK, "text/plain; charset=utf-8", INDEX.to_owned())
        }
        (Method::PUT | Method::POST, "/objects") => put(bridge, request.into_body()).await,
        (Method::GET, "/objects") => list(bridge, &query).await,
        (_, "/") => not_allowed("GET, HEAD"),
        (_, "/objects") => not_allowed("GET, PUT, POST"),
        (method, path) => match path.strip_prefix("/objects/") {
            Some(locator) => object(bridge, &method, locator, &query, &request).await,
            None => told(StatusCode::NOT_FOUND, "no_such_path", "there is only /objects; see /"),
        },
    }
}

async fn object(
    bridge: &Bridge,
    method: &Method,
    locator: &str,
    query: &str,
    request: &Request<Incoming>,
) -> Answer {
    let locator: Locator = match locator.parse() {
        Ok(locator) => locator,
        Err(error) => return told(StatusCode::BAD_REQUEST, "locator", &format!("{error}")),
    };
    match *method {
        Method::GET if query == "stat" => stat(bridge, locator).await,
        Method::GET => get(bridge, locator, request).await,
        Method::HEAD => head(bridge, locator).await,
        Method::DELETE => match bridge.delete(locator).await {
            Ok(()) => {
                let mut answer = Response::new(Payload::empty());
                *answer.status_mut() = StatusCode::NO_CONTENT;
                answer
            }
            Err(error) => failed(&error),
        },
        _ => not_allowed("GET, HEAD, DELETE"),
    }
}

fn not_allowed(allowed: &'static str) -> Answer {
    let error = format!("this takes {allowed}");
    let mut answer = told(StatusCode::METHOD_NOT_ALLOWED, "method", &error);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

async fn put(bridge: &Bridge, mut body: Incoming) -> Answer {
    let stored = async {
        let mut stream = bridge.put().await.map_err(|error| failed(&error))?;
        // Dropped on the way, the stream takes back what was kept.
        while let Some(bytes) = piece(&mut body).await? {
            stream.write(bytes).await.map_err(|error| failed(&error))?;
        }
        stream.finish().await.map_err(|error| failed(&error))
    };
    let locator = match stored.await {
        Ok(locator) => locator,
        Err(answer) => return answer,
    };
    let told = json!({
        "locator": locator.to_string(),
        "id": format!("{:032x}", locator.object),
        "len": locator.len_bytes,
    });
    let mut answer = http::json(StatusCode::CREATED, &told);
    set(&mut answer, LOCATION, format!("/objects/{locator}"));
    set(&mut answer, ETAG, etag(&locator));
    answer
}

/// The next bytes of a body; `None` at its end. Trailers are passed over.
async fn piece(body: &mut Incoming) -> Result<Option<Bytes>, Answer> {
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        let frame = tokio::time::timeout(BODY_PATIENCE, frame).await;
        let frame = frame.map_err(|_| {
            told(StatusCode::REQUEST_TIMEOUT, "body", "nothing came of the body for a minute")
        })?;
        match frame {
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
            Some(Err(error)) => {
                let error = format!("the body was cut off: {error}");
                return Err(told(StatusCode::BAD_REQUEST, "body", &error));
            }
            None => return Ok(None),
        }
    }
}

async fn get(bridge: &Bridge, locator: Locator, request: &Request<Incoming>) -> Answer {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let len_bytes = locator.len_bytes;
    // A part is only of use to somebody who has the rest of the same object.
    let is_same = header(IF_RANGE).is_none_or(|known| known == etag(&locator));
    let range = match read(header(RANGE).filter(|_| is_same), len_bytes) {
        Wanted::Whole => None,
        Wanted::Part(range) => Some(range),
        Wanted::Beyond => return out_of_range(len_bytes),
    };
    let left = range.as_ref().map_or(len_bytes, |range| range.end - range.start);
    let mut stream = match bridge.get(locator, range.clone()).await {
        Ok(stream) => stream,
        Err(error) => return failed(&error),
    };
    // The first piece tells whether the object can be read: later there is no status to say so.
    let payload = match stream.next().await {
        Ok(Some(first)) => pieces(left, first, stream),
        Ok(None) => Payload::empty(),
        Err(error) => return failed(&error),
    };
    let mut answer = Response::new(payload);
    describe(&mut answer, &locator);
    if let Some(range) = range {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        let (first, last) = (range.start, range.end - 1);
        set(&mut answer, CONTENT_RANGE, format!("bytes {first}-{last}/{len_bytes}"));
    }
    answer
}

fn pieces(left: u64, first: Bytes, mut stream: GetStream) -> Payload {
    let mut first = Some(first);
    let next = move |cx: &mut std::task::Context<'_>| match first.take() {
        Some(first) => Poll::Ready(Some(Ok(first))),
        None => stream.poll_next(cx).map(|piece| {
            let cut = |error: BridgeError| CutOff(error.to_string());
            piece.map_err(cut).transpose()
        }),
    };
    Payload::Pieces { left, next: Box::new(next) }
}

async fn head(bridge: &Bridge, locator: Locator) -> Answer {
    match bridge.stat(locator).await {
        Ok(_) => {
            let mut answer = Response::new(Payload::empty());
            describe(&mut answer, &locator);
            set(&mut answer, CONTENT_LENGTH, locator.len_bytes.to_string());
            answer
        }
        Err(error) => failed(&error),
    }
}

async fn stat(bridge: &Bridge, locator: Locator) -> Answer {
    let ObjectStat { stripes, cells, bad, silent, spare, put_s } = match bridge.stat(locator).await
    {
        Ok(stat) => stat,
        Err(error) => return failed(&error),
    };
    let told = json!({
        "id": format!("{:032x}", locator.object),
        "len": locator.len_bytes,
        "class": format!("{:?}", locator.class).to_lowercase(),
        "codec": locator.scheme().to_string(),
        "stripes": stripes,
        "cells": cells,
        "cells_bad": bad,
        "cells_silent": silent,
        "survives_losses": spare,
        "put_s": put_s,
    });
    http::json(StatusCode::OK, &told)
}

async fn list(bridge: &Bridge, query: &str) -> Answer {
    let (mut from, mut limit) = (ListFrom::default(), LIST_LIMIT);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let known = match name {
            "from" => read_from(value).map(|value| from = value),
            "limit" => value
                .parse()
                .ok()
                .filter(|limit| (1..=LIST_LIMIT_MAX).contains(limit))
                .map(|value| limit = value),
            _ => Some(()),
        };
        if known.is_none() {
            let error = format!(
                "{name}={value}: from= is as the last answer says, limit= is 1 to {LIST_LIMIT_MAX}"
            );
            return told(StatusCode::BAD_REQUEST, "query", &error);
        }
    }
    let page = match bridge.list(from, limit).await {
        Ok(page) => page,
        Err(error) => return failed(&error),
    };
    let objects: Vec<_> = page.objects.iter().map(listed_json).collect();
    let silent: Vec<u32> = page.silent.iter().map(|disk| disk.0).collect();
    let next = page.next.map(|next| format!("{}-{:032x}", next.group, next.object));
    let told = json!({ "objects": objects, "next": next, "silent_disks": silent });
    http::json(StatusCode::OK, &told)
}

fn read_from(text: &str) -> Option<ListFrom> {
    if text.is_empty() {
        return Some(ListFrom::default());
    }
    let (group, object) = text.split_once('-')?;
    Some(ListFrom { group: group.parse().ok()?, object: u128::from_str_radix(object, 16).ok()? })
}

/// An object never changes: its number is what it is.
fn etag(locator: &Locator) -> String {
    format!("\"{:032x}\"", locator.object)
}

fn describe(answer: &mut Answer, locator: &Locator) {
    let octets = HeaderValue::from_static("application/octet-stream");
    answer.headers_mut().insert(CONTENT_TYPE, octets);
    answer.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    set(answer, ETAG, etag(locator));
}

fn set(answer: &mut Answer, name: HeaderName, value: String) {
    let value = HeaderValue::try_from(value).expect("letters and digits");
    answer.headers_mut().insert(name, value);
}
