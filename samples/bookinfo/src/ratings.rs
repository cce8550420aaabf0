//! `ratings`: stars. The versions beside v1 misbehave on purpose, for the tasks about retries and outlier detection.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use crate::ServeError;
use crate::answer::{self, Answer};

/// Keeps ratings in memory.
#[derive(Debug)]
pub(crate) struct Ratings {
    mood: Mood,
    started: Instant,
    asked: AtomicU64,
    posted: Mutex<BTreeMap<u32, Value>>,
}

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Good,
    /// Every other answer is an error.
    Faulty,
    /// Every other answer is late.
    Delayed,
    /// Answers with errors, one minute of two.
    Unavailable,
    /// Is unhealthy, a quarter of an hour of two.
    Unhealthy,
}

const DELAY: Duration = Duration::from_secs(7);
const MINUTE: Duration = Duration::from_secs(60);
const MAX_PRODUCTS: usize = 1000;

impl Ratings {
    pub(crate) fn new(version: &str) -> Result<Self, ServeError> {
        let mood = match version {
            "v1" => Mood::Good,
            "v-faulty" => Mood::Faulty,
            "v-delayed" => Mood::Delayed,
            "v-unavailable" => Mood::Unavailable,
            "v-unhealthy" => Mood::Unhealthy,
            other => {
                let known = "v1, v-faulty, v-delayed, v-unavailable and v-unhealthy";
                return Err(ServeError::Version {
                    service: "ratings",
                    version: other.to_owned(),
                    known,
                });
            }
        };
        Ok(Self {
            mood,
            started: Instant::now(),
            asked: AtomicU64::new(0),
            posted: Mutex::default(),
        })
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        if path == "/health" {
            return self.health();
        }
        match (answer::id_after(path, "/ratings"), request.method().clone()) {
            (None, _) => answer::not_found(),
            (Some(Err(_)), _) => answer::error(StatusCode::BAD_REQUEST, "the product id is not a number"),
            (Some(Ok(id)), Method::GET | Method::HEAD) => self.get(id).await,
            (Some(Ok(id)), Method::POST) => match answer::body_of(request).await {
                Ok(body) => self.post(id, &body),
                Err(refused) => refused,
            },
            _ => answer::wrong_method("GET, HEAD, POST"),
        }
    }

    fn health(&self) -> Answer {
        if self.mood == Mood::Unhealthy && self.is_down(15 * MINUTE) {
            return answer::json(
                StatusCode::INTERNAL_SERVER_ERROR,
                &json!({ "status": "Ratings is not healthy" }),
            );
        }
        answer::json(StatusCode::OK, &json!({ "status": "Ratings is healthy" }))
    }

    async fn get(&self, id: u32) -> Answer {
        let every_other = self.asked.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        let down = match self.mood {
            Mood::Good => false,
            Mood::Faulty => every_other,
            Mood::Unavailable => self.is_down(MINUTE),
            Mood::Unhealthy => self.is_down(15 * MINUTE),
            Mood::Delayed => {
                if every_other {
                    tokio::time::sleep(DELAY).await;
                }
                false
            }
        };
        if down {
            return answer::error(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable");
        }
        let posted = self.posted.lock().unwrap_or_else(PoisonError::into_inner);
        let ratings = posted
            .get(&id)
            .cloned()
            .unwrap_or_else(|| json!({ "Reviewer1": 5, "Reviewer2": 4 }));
        answer::json(StatusCode::OK, &json!({ "id": id, "ratings": ratings }))
    }

    fn post(&self, id: u32, body: &[u8]) -> Answer {
        let Ok(ratings) = serde_json::from_slice::<Map<String, Value>>(body) else {
            return answer::error(
                StatusCode::BAD_REQUEST,
                "the ratings are not a JSON object like {\"Reviewer1\": 5}",
            );
        };
        let ratings = Value::Object(ratings);
        let mut posted = self.posted.lock().unwrap_or_else(PoisonError::into_inner);
        if posted.len() >= MAX_PRODUCTS && !posted.contains_key(&id) {
            return answer::error(
                StatusCode::INSUFFICIENT_STORAGE,
                "ratings of 1000 products are kept, no more",
            );
        }
        posted.insert(id, ratings.clone());
        answer::json(StatusCode::OK, &json!({ "id": id, "ratings": ratings }))
    }

    /// Up for one period, down for the next, and so on.
    fn is_down(&self, period: Duration) -> bool {
        self.started.elapsed().as_secs() / period.as_secs() % 2 == 1
    }
}
