//! The page of bookinfo, as a reader sees it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::client::{Reply, Request};

const PAGE: &str = "/productpage";

/// What the page shows about its reviews.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reviews {
    /// By this version of reviews, with stars of a colour (or without).
    By { version: String, stars: Option<String> },
    /// By a version that shows the note that ratings are unavailable.
    WithoutRatings { version: String },
    /// The note that reviews are unavailable.
    Unavailable,
}

impl Reviews {
    pub fn v1() -> Self {
        Self::by("v1", None)
    }

    pub fn v2() -> Self {
        Self::by("v2", Some("black"))
    }

    pub fn v3() -> Self {
        Self::by("v3", Some("red"))
    }

    fn by(version: &str, stars: Option<&str>) -> Self {
        Reviews::By {
            version: version.to_owned(),
            stars: stars.map(str::to_owned),
        }
    }

    /// Reads a page; an error if it is not the whole page.
    pub fn of(reply: &Reply) -> Result<Self> {
        let page = reply.text();
        ensure!(reply.status == 200, "the page is {}: {page}", reply.status);
        ensure!(page.contains("<dt>Author</dt>"), "the page has no book details: {page}");
        if page.contains("product reviews are currently unavailable") {
            return Ok(Reviews::Unavailable);
        }
        let served = between(&page, "Reviews served by <code>", "</code>").context("no reviews in the page")?;
        let version = served
            .split('-')
            .nth(1)
            .with_context(|| format!("reviews by {served}"))?
            .to_owned();
        if page.contains("Ratings service is currently unavailable") {
            return Ok(Reviews::WithoutRatings { version });
        }
        let stars = between(&page, r#"class="stars" style="color:"#, "\"").map(str::to_owned);
        Ok(Reviews::By { version, stars })
    }
}

/// The page, for nobody or for a user who has signed in.
pub async fn page(ingress: SocketAddr, user: Option<&str>) -> Result<Reviews> {
    let mut request = Request::get(&ingress.to_string(), PAGE);
    if let Some(user) = user {
        request = request.header("cookie", &sign_in(ingress, user).await?);
    }
    Reviews::of(&request.send(ingress).await?)
}

/// Signs in by the form of the page and gives the cookie.
pub async fn sign_in(ingress: SocketAddr, user: &str) -> Result<String> {
    let form = Request::get(&ingress.to_string(), "/login")
        .method("POST")
        .header("content-type", "application/x-www-form-urlencoded");
    let reply = form.body(format!("username={user}&passwd=x")).send(ingress).await?;
    let cookie = reply
        .header("set-cookie")
        .with_context(|| format!("no cookie: {reply:?}"))?;
    Ok(cookie.split(';').next().unwrap_or_default().to_owned())
}

/// How often each kind of page comes in `count` requests.
pub async fn pages(ingress: SocketAddr, count: usize) -> Result<BTreeMap<Reviews, usize>> {
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        *seen.entry(page(ingress, None).await?).or_default() += 1;
    }
    Ok(seen)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0)
}
