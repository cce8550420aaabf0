//! `productpage`: the web page, and a small API over the other services.

mod page;
mod session;

use std::time::Duration;

use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::client::Client;
use crate::headers::{self, END_USER};

/// The page and its sources.
#[derive(Debug)]
pub(crate) struct ProductPage {
    client: Client,
    details_url: String,
    reviews_url: String,
    ratings_url: String,
}

/// A document of another service, or why there is none.
type Part = Result<Value, &'static str>;

/// Each call of another service.
const PATIENCE: Duration = Duration::from_secs(3);
const REVIEW_ATTEMPTS: usize = 2;

const NO_DETAILS: &str = "Sorry, product details are currently unavailable for this book.";
const NO_REVIEWS: &str = "Sorry, product reviews are currently unavailable for this book.";
const NO_RATINGS: &str = "Sorry, product ratings are currently unavailable for this book.";

impl ProductPage {
    pub(crate) fn new(client: Client, variable: &impl Fn(&str) -> Option<String>) -> Self {
        let domain = variable("SERVICES_DOMAIN")
            .filter(|d| !d.is_empty())
            .map(|d| format!(".{d}"))
            .unwrap_or_default();
        let url = |name: &str| {
            let host = variable(&format!("{}_HOSTNAME", name.to_ascii_uppercase())).unwrap_or_else(|| name.to_owned());
            format!("http://{host}{domain}:9080/{name}")
        };
        Self {
            details_url: url("details"),
            reviews_url: url("reviews"),
            ratings_url: url("ratings"),
            client,
        }
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let read = answer::is_read(request.method());
        match path {
            "/login" if request.method() == Method::POST => login(request).await,
            "/login" => answer::wrong_method("POST"),
            _ if !read => answer::wrong_method("GET, HEAD"),
            "/" | "/index.html" => answer::html(StatusCode::OK, page::index(&product())),
            "/productpage" => self.page(request.headers()).await,
            "/logout" => redirect(Some(session::ended())),
            "/health" => answer::text(StatusCode::OK, "Product page is healthy"),
            _ => self.api(path, request.headers()).await,
        }
    }

    async fn page(&self, headers: &HeaderMap) -> Answer {
        let user = session::user(headers);
        let (details, reviews) = tokio::join!(self.details(0, headers), self.reviews(0, headers));
        answer::html(
            StatusCode::OK,
            page::product(&product(), user.as_deref(), &details, &reviews),
        )
    }

    async fn api(&self, path: &str, headers: &HeaderMap) -> Answer {
        let Some(rest) = path.strip_prefix("/api/v1/products") else {
            return answer::not_found();
        };
        let parts: Vec<&str> = rest.split('/').skip(1).filter(|part| !part.is_empty()).collect();
        let id = match parts.first().map(|id| id.parse::<u32>()) {
            None if rest.is_empty() || rest == "/" => return answer::json(StatusCode::OK, &json!([product()])),
            None => return answer::not_found(),
            Some(Ok(id)) => id,
            Some(Err(_)) => return answer::error(StatusCode::BAD_REQUEST, "the product id is not a number"),
        };
        let part = match parts[1..] {
            [] => self.details(id, headers).await,
            ["reviews"] => self.reviews(id, headers).await,
            ["ratings"] => self.call(&self.ratings_url, id, headers).await.ok_or(NO_RATINGS),
            _ => return answer::not_found(),
        };
        match part {
            Ok(document) => answer::json(StatusCode::OK, &document),
            Err(text) => answer::error(StatusCode::INTERNAL_SERVER_ERROR, text),
        }
    }

    async fn details(&self, id: u32, headers: &HeaderMap) -> Part {
        self.call(&self.details_url, id, headers).await.ok_or(NO_DETAILS)
    }

    async fn reviews(&self, id: u32, headers: &HeaderMap) -> Part {
        for _ in 0..REVIEW_ATTEMPTS {
            if let Some(document) = self.call(&self.reviews_url, id, headers).await {
                return Ok(document);
            }
        }
        Err(NO_REVIEWS)
    }

    async fn call(&self, url: &str, id: u32, headers: &HeaderMap) -> Option<Value> {
        let mut forwarded = headers::forwarded(headers);
        if let Some(user) = session::user(headers).and_then(|user| HeaderValue::try_from(user).ok()) {
            forwarded.insert(END_USER, user);
        }
        self.client
            .get(&format!("{url}/{id}"), forwarded, PATIENCE)
            .await
            .ok()?
            .json()
    }
}

/// The one product.
fn product() -> Value {
    json!({
        "id": 0,
        "title": "The Comedy of Errors",
        "descriptionHtml": "A merchant of Syracuse looks for his lost family in Ephesus, where his twin sons, both called Antipholus, \
            and their twin servants, both called Dromio, walk past each other all day. By the evening the wrong man was locked out, \
            the wrong man was paid, and the wrong man was arrested. One of Shakespeare's earliest plays, and his shortest.",
    })
}

async fn login(request: Request<Incoming>) -> Answer {
    let body = match answer::body_of(request).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    match session::begun(&body) {
        Some(cookie) => redirect(Some(cookie)),
        None => answer::error(
            StatusCode::BAD_REQUEST,
            "a user name has 1 to 64 letters, digits or any of . _ - @",
        ),
    }
}

fn redirect(cookie: Option<String>) -> Answer {
    let mut answer = answer::text(StatusCode::FOUND, "");
    answer
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_static("/productpage"));
    if let Some(cookie) = cookie.and_then(|text| HeaderValue::try_from(text).ok()) {
        answer.headers_mut().insert(SET_COOKIE, cookie);
    }
    answer
}
