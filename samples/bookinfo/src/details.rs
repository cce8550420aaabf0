//! `details`: facts about the book.

use http::{Request, StatusCode};
use serde_json::json;

use crate::answer::{self, Answer};

/// Knows one book; every id is that book.
#[derive(Debug)]
pub(crate) struct Details;

impl Details {
    pub(crate) fn answer<B>(&self, request: &Request<B>) -> Answer {
        let path = request.uri().path();
        if !answer::is_read(request.method()) {
            return answer::wrong_method("GET, HEAD");
        }
        if path == "/health" {
            return answer::json(StatusCode::OK, &json!({ "status": "Details is healthy" }));
        }
        match answer::id_after(path, "/details") {
            Some(Ok(id)) => answer::json(StatusCode::OK, &book(id)),
            Some(Err(_)) => answer::error(StatusCode::BAD_REQUEST, "the product id is not a number"),
            None => answer::not_found(),
        }
    }
}

fn book(id: u32) -> serde_json::Value {
    json!({
        "id": id,
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "ISBN-10": "1234567890",
        "ISBN-13": "123-1234567890",
    })
}
