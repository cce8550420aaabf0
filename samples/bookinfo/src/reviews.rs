//! `reviews`: what readers say, with stars from `ratings` or without.

use std::time::Duration;

use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};

use crate::ServeError;
use crate::answer::{self, Answer};
use crate::client::Client;
use crate::headers;

/// Two reviews of every book.
#[derive(Debug)]
pub(crate) struct Reviews {
    client: Client,
    stars: Option<Stars>,
    ratings_url: String,
    pod: String,
    cluster: String,
}

/// How ratings are shown.
#[derive(Debug)]
struct Stars {
    color: String,
    patience: Duration,
}

const REVIEWS: [(&str, &str); 2] = [
    (
        "Reviewer1",
        "Two pairs of twins, one city, and nobody who asks the obvious question. I laughed until the last page.",
    ),
    (
        "Reviewer2",
        "Light, quick and cleverly built. It lacks the depth of the later plays, but who reads a farce for depth?",
    ),
];
/// What the page shows instead of stars.
const UNAVAILABLE: &str = "Ratings service is currently unavailable";

impl Reviews {
    pub(crate) fn new(
        client: Client,
        version: &str,
        variable: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ServeError> {
        let color = match version {
            "v1" => None,
            "v2" => Some("black"),
            "v3" => Some("red"),
            other => {
                return Err(ServeError::Version {
                    service: "reviews",
                    version: other.to_owned(),
                    known: "v1, v2 and v3",
                });
            }
        };
        let enabled = variable("ENABLE_RATINGS").map_or(color.is_some(), |text| text == "true");
        let color = variable("STAR_COLOR")
            .or(color.map(str::to_owned))
            .unwrap_or_else(|| "black".to_owned());
        let patience = if color == "black" {
            Duration::from_secs(10)
        } else {
            Duration::from_millis(2500)
        };
        let host = variable("RATINGS_HOSTNAME").unwrap_or_else(|| "ratings".to_owned());
        let domain = variable("SERVICES_DOMAIN")
            .filter(|d| !d.is_empty())
            .map(|d| format!(".{d}"))
            .unwrap_or_default();
        Ok(Self {
            client,
            stars: enabled.then_some(Stars { color, patience }),
            ratings_url: format!("http://{host}{domain}:9080/ratings"),
            pod: variable("POD_NAME")
                .or_else(|| variable("HOSTNAME"))
                .unwrap_or_else(|| format!("reviews-{version}")),
            cluster: variable("CLUSTER_NAME").unwrap_or_default(),
        })
    }

    pub(crate) async fn answer<B>(&self, request: &Request<B>) -> Answer {
        if !answer::is_read(request.method()) {
            return answer::wrong_method("GET, HEAD");
        }
        let path = request.uri().path();
        if path == "/health" {
            return answer::json(StatusCode::OK, &json!({ "status": "Reviews is healthy" }));
        }
        match answer::id_after(path, "/reviews") {
            Some(Ok(id)) => answer::json(StatusCode::OK, &self.document(id, request.headers()).await),
            Some(Err(_)) => answer::error(StatusCode::BAD_REQUEST, "the product id is not a number"),
            None => answer::not_found(),
        }
    }

    async fn document(&self, id: u32, headers: &HeaderMap) -> Value {
        let ratings = match &self.stars {
            Some(stars) => Some((stars, self.ratings(id, headers, stars.patience).await)),
            None => None,
        };
        let reviews: Vec<Value> = REVIEWS
            .iter()
            .map(|(reviewer, text)| review(reviewer, text, ratings.as_ref()))
            .collect();
        json!({ "id": id.to_string(), "podname": self.pod, "clustername": self.cluster, "reviews": reviews })
    }

    async fn ratings(&self, id: u32, headers: &HeaderMap, patience: Duration) -> Option<Value> {
        let url = format!("{}/{id}", self.ratings_url);
        let reply = self
            .client
            .get(&url, headers::forwarded_with_user(headers), patience)
            .await;
        reply.ok()?.json()
    }
}

fn review(reviewer: &str, text: &str, ratings: Option<&(&Stars, Option<Value>)>) -> Value {
    let mut review = json!({ "reviewer": reviewer, "text": text });
    if let Some((stars, document)) = ratings {
        let count = document.as_ref().and_then(|d| d["ratings"][reviewer].as_i64());
        review["rating"] = match count {
            Some(count) => json!({ "stars": count, "color": stars.color }),
            None => json!({ "error": UNAVAILABLE }),
        };
    }
    review
}
