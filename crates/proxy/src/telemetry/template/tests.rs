use super::*;

#[test]
fn commands_and_text_are_told_apart() {
    let template = Template::parse("[%START_TIME(%Y%m)%] \"%REQ(:METHOD)%\" 100%% %REQ(X-A?:PATH):5%").unwrap();
    assert_eq!(template.parts.len(), 6);
    assert!(matches!(&template.parts[1], Part::Command { command: Command::StartTime(Some(f)), .. } if &**f == "%Y%m"));
    assert!(matches!(&template.parts[5], Part::Command { limit: Some(5), .. }));
    assert_eq!(Template::parse("plain").unwrap().as_literal(), Some("plain"));
}

#[test]
fn metadata_names_what_decided() {
    use crate::config::{Action, DirectResponse, Direction, PathMatch, Route, RouteMatch};
    use crate::connection::ConnectionInfo;
    use crate::telemetry::HttpVersion;
    let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
    let connection = ConnectionInfo {
        id: 1,
        local: address,
        remote: address,
        redirected: false,
        direction: Direction::Outbound,
        server_name: None,
        tls: None,
        chain: None,
    };
    let mut record = Record::new(std::rc::Rc::new(connection), Some(HttpVersion::Http11));
    let template = Template::parse(
        "%METADATA(ROUTE:istio:config)% %METADATA(ROUTE:istio:rule):3% %METADATA(CLUSTER:istio:subset)% %FILTER_CHAIN_NAME%",
    );
    let template = template.unwrap();
    let rendered = |record: &Record| {
        let mut out = Vec::new();
        let subject = Subject {
            record,
            request: None,
            response: None,
        };
        template.render(&subject, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(rendered(&record), "- - - -");
    record.route = Some(std::sync::Arc::new(Route {
        name: "".into(),
        matches: RouteMatch {
            path: PathMatch::Prefix("/".into()),
            ignore_case: false,
            headers: Vec::new(),
            query: Vec::new(),
            grpc_only: false,
            fraction: None,
        },
        action: Action::Direct(DirectResponse {
            status: 200,
            body: "".into(),
        }),
        request_headers: Default::default(),
        response_headers: Default::default(),
        origin: "/apis/x".into(),
        rule: "canary".into(),
        cors: None,
        fault: None,
        operation: None,
    }));
    assert_eq!(rendered(&record), "/apis/x can - -");
}

#[test]
fn a_mistake_is_named() {
    for (text, name) in [
        ("%NO_SUCH%", "NO_SUCH"),
        ("%REQ(a", "REQ"),
        ("%REQ%", "REQ"),
        ("%METADATA(ROUTE:other:rule)%", "METADATA"),
        ("%DURATION:x%", "DURATION"),
    ] {
        assert!(Template::parse(text).unwrap_err().contains(name), "{text}");
    }
}
