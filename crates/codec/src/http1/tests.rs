//! What is read and what is refused, as tables; laws that hold for any bytes, as properties.

mod bodies;
mod encoding;
mod properties;
mod requests;
mod responses;

use super::*;
use crate::fields::Headers;
use crate::head::Method;

fn request(input: &[u8]) -> Result<Option<ReceivedRequest>, Malformed> {
    request_within(input, &Limits::default())
}

fn request_within(input: &[u8], limits: &Limits) -> Result<Option<ReceivedRequest>, Malformed> {
    request_head(input, &mut Progress::default(), limits, "http", &mut Headers::default())
}

fn response(input: &[u8], method: &Method) -> Result<Option<ReceivedResponse>, Malformed> {
    response_head(
        input,
        &mut Progress::default(),
        &Limits::default(),
        method,
        &mut Headers::default(),
    )
}

fn pairs(headers: &Headers) -> Vec<(&str, &str)> {
    headers
        .iter()
        .map(|(name, value)| (name, value.to_str().expect("text")))
        .collect()
}
