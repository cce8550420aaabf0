//! Who is logged in: a cookie with the user's name. Any name will do, no password is looked at, and nothing is signed: this is the
//! means by which tutorials route a user, not a means of protection.

use http::HeaderMap;
use http::header::COOKIE;

const NAME: &str = "session";
const MAX_NAME: usize = 64;

/// The user of a request.
pub(super) fn user(headers: &HeaderMap) -> Option<String> {
    let cookies = headers
        .get_all(COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let pairs = cookies
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(|(name, _)| *name == NAME)
        .map(|(_, user)| user.to_owned())
        .find(|user| is_name(user))
}

/// The cookie for a login form (`username=…`).
pub(super) fn begun(form: &[u8]) -> Option<String> {
    let form = std::str::from_utf8(form).ok()?;
    let (_, value) = form
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == "username")?;
    let user = value.replace("%40", "@");
    is_name(&user).then(|| format!("{NAME}={user}; Path=/; HttpOnly; SameSite=Lax"))
}

/// The cookie that ends a session.
pub(super) fn ended() -> String {
    format!("{NAME}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_again() {
        let cookie = begun(b"username=jason&passwd=whatever").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(
            COOKIE,
            format!("theme=dark; {}", cookie.split(';').next().unwrap())
                .parse()
                .unwrap(),
        );
        assert_eq!(user(&headers).as_deref(), Some("jason"));
    }

    #[test]
    fn names_that_would_not_fit_a_header_are_refused() {
        for form in [
            "",
            "username=",
            "user=jason",
            "username=a%0d%0ax",
            "username=a+b",
            "username=<script>",
        ] {
            assert_eq!(begun(form.as_bytes()), None, "{form}");
        }
        assert!(begun(b"username=me%40example.org").is_some());
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, "session=<b>".parse().unwrap());
        assert_eq!(user(&headers), None);
    }
}
