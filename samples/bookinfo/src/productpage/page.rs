//! The pages. Everything is in the document: no font, script or image is fetched.

use serde_json::Value;

use super::Part;

const STYLE: &str = include_str!("style.css");

/// The front page.
pub(super) fn index(product: &Value) -> String {
    let title = escape(text(product, "title"));
    let main = format!(
        r#"<main class="front">
<p class="eyebrow">A sample application</p>
<h1>Bookinfo</h1>
<p class="lead">One page about one book, made by four services that call each other. The page itself does not change;
how its requests are routed does.</p>
<a class="button" href="/productpage">{title} →</a>
</main>"#
    );
    document("Bookinfo", &header(None), &main)
}

/// The page of the book.
pub(super) fn product(product: &Value, user: Option<&str>, details: &Part, reviews: &Part) -> String {
    let title = escape(text(product, "title"));
    let description = escape(text(product, "descriptionHtml"));
    let details = details_section(details);
    let reviews = reviews_section(reviews);
    let main = format!(
        r#"<main>
<section class="hero">
<div class="cover" aria-hidden="true"><span>{title}</span><small>W. S.</small></div>
<div>
<p class="eyebrow">Play in five acts</p>
<h1>{title}</h1>
<p class="lead">{description}</p>
</div>
</section>
<div class="columns">
{details}
{reviews}
</div>
</main>"#
    );
    document(&title, &header(user), &main)
}

fn header(user: Option<&str>) -> String {
    let account = match user {
        Some(user) => format!(
            r#"<div class="account"><span id="user">{}</span><a href="/logout">Sign out</a></div>"#,
            escape(user)
        ),
        None => r#"<form class="account" method="post" action="/login">
<input name="username" aria-label="User name" placeholder="User name" autocomplete="username" maxlength="64" required>
<input name="passwd" type="password" aria-label="Password" placeholder="Any password" autocomplete="off">
<button>Sign in</button></form>"#
            .to_owned(),
    };
    format!(r#"<header><a class="brand" href="/">Bookinfo</a>{account}</header>"#)
}

fn details_section(details: &Part) -> String {
    const ROWS: [(&str, &str); 8] = [
        ("Author", "author"),
        ("Year", "year"),
        ("Type", "type"),
        ("Pages", "pages"),
        ("Publisher", "publisher"),
        ("Language", "language"),
        ("ISBN-10", "ISBN-10"),
        ("ISBN-13", "ISBN-13"),
    ];
    let body = match details {
        Ok(document) => {
            let row =
                |(label, key): &(&str, &str)| format!("<dt>{label}</dt><dd>{}</dd>", escape(&plain(&document[*key])));
            format!("<dl>{}</dl>", ROWS.iter().map(row).collect::<String>())
        }
        Err(sorry) => unavailable("Error fetching product details!", sorry),
    };
    format!(r#"<section class="card" id="details"><h2>Book details</h2>{body}</section>"#)
}

fn reviews_section(reviews: &Part) -> String {
    let body = match reviews {
        Ok(document) => {
            let all: String = document["reviews"]
                .as_array()
                .into_iter()
                .flatten()
                .map(review)
                .collect();
            let pod = escape(text(document, "podname"));
            format!(r#"{all}<p class="served">Reviews served by <code>{pod}</code></p>"#)
        }
        Err(sorry) => unavailable("Error fetching product reviews!", sorry),
    };
    format!(r#"<section class="card wide" id="reviews"><h2>Book reviews</h2>{body}</section>"#)
}

fn review(review: &Value) -> String {
    let quote = escape(text(review, "text"));
    let reviewer = escape(text(review, "reviewer"));
    let rating = rating(&review["rating"]);
    format!("<blockquote><p>{quote}</p><footer><cite>{reviewer}</cite>{rating}</footer></blockquote>")
}

fn rating(rating: &Value) -> String {
    if let Some(error) = rating["error"].as_str() {
        return format!(r#"<em class="note">{}</em>"#, escape(error));
    }
    let Some(stars) = rating["stars"].as_u64() else {
        return String::new();
    };
    let full = usize::try_from(stars.min(5)).unwrap_or(5);
    let color = escape(text(rating, "color"));
    format!(
        r#"<span class="stars" style="color:{color}" role="img" aria-label="{full} of 5 stars, {color}">{}<i>{}</i></span>"#,
        "★".repeat(full),
        "★".repeat(5 - full)
    )
}

fn unavailable(title: &str, sorry: &str) -> String {
    format!(
        r#"<div class="sorry"><strong>{}</strong><p>{}</p></div>"#,
        escape(title),
        escape(sorry)
    )
}

fn document(title: &str, header: &str, main: &str) -> String {
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
{header}
{main}
</body>
</html>
"#
    )
}

fn text<'a>(document: &'a Value, key: &str) -> &'a str {
    document[key].as_str().unwrap_or_default()
}

/// A value without quotes around strings.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    }
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stars_and_their_absence() {
        let page = |rating: Value| {
            let reviews =
                json!({ "podname": "reviews-v2-0", "reviews": [{ "reviewer": "R", "text": "t", "rating": rating }] });
            product(&json!({ "title": "T" }), None, &Err("no details"), &Ok(reviews))
        };
        assert!(page(json!({ "stars": 4, "color": "red" })).contains("color:red"));
        assert!(page(json!({ "stars": 4, "color": "red" })).contains("★★★★<i>★</i>"));
        assert!(!page(Value::Null).contains('★'));
        assert!(
            page(json!({ "error": "Ratings service is currently unavailable" }))
                .contains("Ratings service is currently unavailable")
        );
        assert!(page(Value::Null).contains("no details"));
    }

    #[test]
    fn what_others_say_is_escaped() {
        let reviews = json!({ "reviews": [{ "reviewer": "<script>", "text": "a & b", "rating": { "stars": 99, "color": "\"><img>" } }] });
        let page = product(
            &json!({ "title": "T" }),
            Some("<u>"),
            &Ok(json!({ "author": "<i>" })),
            &Ok(reviews),
        );
        for injected in ["<script>", "<img>", "<u>", "<dd><i>"] {
            assert!(!page.contains(injected), "{injected}");
        }
    }
}
