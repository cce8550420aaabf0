//! Request lines and hosts that two hops could read differently.

use crate::arena::Arena;
use crate::http1::{Case, Expect, case, old, run, want};

use Expect::{Refused, Status};

pub fn all(arena: &mut Arena) {
    run(arena, lines());
    run(arena, targets());
    run(arena, hosts());
    run(arena, versions());
}

fn line(name: &'static str, line: &str, expect: Expect) -> Case {
    case(name, &format!("{line}\r\nhost: mesh\r\n\r\n"), expect)
}

fn lines() -> Vec<Case> {
    let empty = || want("GET", "/c", "");
    vec![
        line("line: two spaces before the target", "GET  /c HTTP/1.1", Refused),
        line("line: two spaces before the version", "GET /c  HTTP/1.1", Refused),
        line("line: space at the end", "GET /c HTTP/1.1 ", Refused),
        line("line: space at the beginning", " GET /c HTTP/1.1", Refused),
        line("line: tab as separator", "GET\t/c\tHTTP/1.1", Refused),
        line("line: space in the target", "GET /c d HTTP/1.1", Refused),
        line("line: no target", "GET HTTP/1.1", Refused),
        line("line: an empty target", "GET  HTTP/1.1", Refused),
        line("line: only a method", "GET", Refused),
        line("line: NUL in the target", "GET /\0 HTTP/1.1", Refused),
        line("line: carriage return in the target", "GET /\rc HTTP/1.1", Refused),
        line("line: control character in the target", "GET /\u{1} HTTP/1.1", Refused),
        line("line: delete in the target", "GET /\u{7f} HTTP/1.1", Refused),
        line("line: tab in the target", "GET /a\tb HTTP/1.1", Refused),
        line("line: NUL in the method", "GE\0T /c HTTP/1.1", Refused),
        line("line: colon in the method", "GET: /c HTTP/1.1", Refused),
        line("line: brackets in the method", "GE[T] /c HTTP/1.1", Refused),
        line(
            "line: a huge method",
            &format!("{} /c HTTP/1.1", "G".repeat(10_000)),
            want(&"G".repeat(10_000), "/c", "").or_refused(),
        ),
        line(
            "line: a method in small letters",
            "get /c HTTP/1.1",
            want("get", "/c", "").or_refused(),
        ),
        line(
            "line: an unknown method",
            "FROB /c HTTP/1.1",
            want("FROB", "/c", "").or_refused(),
        ),
        line(
            "line: the method of the HTTP/2 preface",
            "PRI /c HTTP/1.1",
            want("PRI", "/c", "").or_refused(),
        ),
        case(
            "line: binary",
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}",
            Expect::Refused,
        ),
        case(
            "line: an empty line before",
            "\r\nGET /c HTTP/1.1\r\nhost: mesh\r\n\r\n",
            empty().or_refused(),
        ),
        case(
            "line: a line feed before",
            "\nGET /c HTTP/1.1\r\nhost: mesh\r\n\r\n",
            empty().or_refused(),
        ),
        case(
            "line: ended by a line feed",
            "GET /c HTTP/1.1\nhost: mesh\r\n\r\n",
            empty().or_refused(),
        ),
        case(
            "line: ended by a carriage return",
            "GET /c HTTP/1.1\rhost: mesh\r\n\r\n",
            Refused,
        ),
    ]
}

fn targets() -> Vec<Case> {
    vec![
        line(
            "target: absolute, another host",
            "GET http://other/c HTTP/1.1",
            want("GET", "/c", "").has("host", "other").or_refused(),
        ),
        line(
            "target: absolute, the same host",
            "GET http://mesh/c HTTP/1.1",
            want("GET", "/c", "").has("host", "mesh").passes(),
        ),
        line(
            "target: absolute, no path",
            "GET http://mesh HTTP/1.1",
            want("GET", "/", "").has("host", "mesh").or_refused(),
        ),
        line(
            "target: absolute, only a query",
            "GET http://mesh?x HTTP/1.1",
            want("GET", "/?x", "").or_refused(),
        ),
        line(
            "target: absolute, with a user",
            "GET http://user:word@mesh/c HTTP/1.1",
            Refused,
        ),
        line("target: absolute, no host", "GET http:///c HTTP/1.1", Refused),
        line(
            "target: absolute, a foreign scheme",
            "GET file:///etc/passwd HTTP/1.1",
            Refused,
        ),
        line("target: an authority", "GET mesh:80 HTTP/1.1", Status(&[400, 404])),
        line(
            "target: CONNECT",
            "CONNECT mesh:80 HTTP/1.1",
            Status(&[400, 403, 404, 405, 501]),
        ),
        line(
            "target: CONNECT with a path",
            "CONNECT /c HTTP/1.1",
            Status(&[400, 403, 404, 405, 501]),
        ),
        line("target: an asterisk", "OPTIONS * HTTP/1.1", Status(&[200, 400, 404])),
        line("target: an asterisk for GET", "GET * HTTP/1.1", Status(&[400, 404])),
        line("target: no slash", "GET c HTTP/1.1", Status(&[400, 404])),
        line("target: a backslash", "GET \\c HTTP/1.1", Status(&[400, 404])),
        line(
            "target: with a fragment",
            "GET /c#d HTTP/1.1",
            want("GET", "/c", "").or_refused(),
        ),
        line(
            "target: high bytes",
            "GET /\u{e4} HTTP/1.1",
            want("GET", "/\u{e4}", "").or_refused(),
        ),
        line(
            "target: two slashes",
            "GET //other/c HTTP/1.1",
            want("GET", "//other/c", "").has("host", "mesh").or_refused(),
        ),
        line(
            "target: escaped line end",
            "GET /%0d%0ax:%20y HTTP/1.1",
            want("GET", "/%0d%0ax:%20y", "").lacks("x").or_refused(),
        ),
        line(
            "target: 10 KB",
            &format!("GET /{} HTTP/1.1", "c".repeat(10_000)),
            want("GET", &format!("/{}", "c".repeat(10_000)), "").or_refused(),
        ),
        line(
            "target: 100 KB",
            &format!("GET /{} HTTP/1.1", "c".repeat(100_000)),
            Refused,
        ),
    ]
}

fn hosts() -> Vec<Case> {
    let with = |name, fields: &str, expect| case(name, &format!("GET /c HTTP/1.1\r\n{fields}\r\n"), expect);
    vec![
        with("host: none", "", Refused),
        with("host: empty", "host:\r\n", Refused),
        with("host: two", "host: mesh\r\nhost: other\r\n", Refused),
        with("host: two the same", "host: mesh\r\nhost: mesh\r\n", Refused),
        with("host: a list", "host: mesh, other\r\n", Refused),
        with("host: with a user", "host: user@mesh\r\n", Refused),
        with("host: with a space", "host: mesh other\r\n", Refused),
        with("host: with a path", "host: mesh/x\r\n", Refused),
        with("host: with a query", "host: mesh?x\r\n", Refused),
        with("host: with a fragment", "host: mesh#x\r\n", Refused),
        with("host: with a scheme", "host: http://mesh\r\n", Refused),
        with("host: with a backslash", "host: mesh\\x\r\n", Refused),
        with("host: with a NUL", "host: mesh\0\r\n", Refused),
        with("host: with a carriage return", "host: mesh\rx: y\r\n", Refused),
        with("host: with high bytes", "host: m\u{e4}sh\r\n", Refused),
        with("host: an unclosed bracket", "host: [::1\r\n", Refused),
        with("host: a port of letters", "host: mesh:http\r\n", Refused),
        with("host: two ports", "host: mesh:80:81\r\n", Refused),
        with("host: space before the colon", "host : mesh\r\n", Refused),
        with("host: folded", "host: mesh\r\n .other\r\n", Refused),
        with(
            "host: an address",
            "host: [::1]:80\r\n",
            want("GET", "/c", "").has("host", "[::1]:80").passes(),
        ),
        case(
            "host: two, behind an absolute target",
            "GET http://mesh/c HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            Refused,
        ),
    ]
}

fn versions() -> Vec<Case> {
    let empty = || want("GET", "/c", "");
    vec![
        line("version: 1.2", "GET /c HTTP/1.2", empty().or_refused()),
        line("version: 2.0", "GET /c HTTP/2.0", Refused),
        line("version: 1.10", "GET /c HTTP/1.10", Refused),
        line("version: 01.1", "GET /c HTTP/01.1", Refused),
        line("version: in small letters", "GET /c http/1.1", Refused),
        line("version: of something else", "GET /c SIP/2.0", Refused),
        line("version: missing its minor number", "GET /c HTTP/1", Refused),
        line(
            "version: 1.0 where it is not taken",
            "GET /c HTTP/1.0",
            Status(&[400, 426, 505]),
        ),
        case("version: 0.9", "GET /c\r\n\r\n", Refused),
        old(
            "version: 1.0",
            "GET /c HTTP/1.0\r\nhost: mesh\r\n\r\n",
            empty().passes(),
        ),
        old(
            "version: 1.0 without a host",
            "GET /c HTTP/1.0\r\n\r\n",
            empty().has("host", "old").passes(),
        ),
        old(
            "version: 1.0 with two hosts",
            "GET /c HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n",
            Refused,
        ),
        old(
            "version: 1.0, a request behind that is none",
            "GET /c HTTP/1.0\r\nhost: mesh\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: mesh\r\n\r\n",
            empty().passes(),
        ),
        old(
            "version: 1.0, body without a length",
            "POST /c HTTP/1.0\r\nhost: mesh\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: mesh\r\n\r\n",
            want("POST", "/c", "").or_refused(),
        ),
    ]
}
