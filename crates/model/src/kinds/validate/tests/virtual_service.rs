//! VirtualService: its rules and what they may say.

use super::*;

/// A VirtualService with one HTTP rule.
fn rule(rule: Value) -> Value {
    json!({"hosts": ["reviews"], "http": [rule]})
}

/// The same, routing to reviews, with something more.
fn routed(mut more: Value) -> Value {
    more["route"] = json!([{"destination": {"host": "reviews"}}]);
    rule(more)
}

#[test]
fn virtual_services() {
    holds::<VirtualService>(&[
        (routed(json!({})), &[]),
        (json!({}), &["spec"]),
        (
            json!({"hosts": ["*"], "tcp": [{"route": [{"destination": {"host": "a"}}]}]}),
            &["spec.hosts[0]"],
        ),
        (
            json!({"hosts": ["*"], "gateways": ["g"], "tcp": [{"route": [{"destination": {"host": "a"}}]}]}),
            &[],
        ),
        (
            json!({"hosts": ["*"], "gateways": ["g", "mesh"], "tcp": [{"route": [{"destination": {"host": "a"}}]}]}),
            &["spec.hosts[0]"],
        ),
        (
            json!({"hosts": ["a", "A"], "tcp": [{"route": [{"destination": {"host": "a"}}]}]}),
            &["spec.hosts[1]"],
        ),
        (
            json!({"hosts": ["a_b c"], "tcp": [{"route": [{"destination": {"host": "a"}}]}]}),
            &["spec.hosts[0]"],
        ),
        (
            json!({"hosts": ["a"], "gateways": ["n/g", "./g", "g.n", "a/b/c"], "tcp": [{"route": [{"destination": {"host": "a"}}]}]}),
            &["spec.gateways[3]"],
        ),
        (json!({"http": [{"route": [{"destination": {"host": "a"}}]}]}), &[]),
        (
            json!({"gateways": ["g"], "http": [{"route": [{"destination": {"host": "a"}}]}]}),
            &["spec.gateways"],
        ),
        (
            json!({"hosts": ["a"], "exportTo": [".", "*", "~", "ns", "a b"], "tcp": [{"route": [{"destination": {"host": "a"}}]}]}),
            &["spec.exportTo[4]"],
        ),
        (json!({"hosts": ["a"], "tcp": [{}]}), &["spec.tcp[0]"]),
        (
            json!({"hosts": ["*.b"], "tls": [{"match": [{"sniHosts": ["a.b"]}], "route": [{"destination": {"host": "a"}}]}]}),
            &[],
        ),
        (
            json!({"hosts": ["a.b"], "tls": [{"match": [{"sniHosts": ["*.b"]}], "route": [{"destination": {"host": "a"}}]}]}),
            &["spec.tls[0].match[0].sniHosts[0]"],
        ),
        (
            json!({"hosts": ["a.b"], "tls": [{"route": [{"destination": {"host": "a"}}]}]}),
            &["spec.tls[0]"],
        ),
        (
            json!({"hosts": ["a.b"], "tls": [{"match": [{}], "route": [{"destination": {"host": "a"}}]}]}),
            &["spec.tls[0].match[0].sniHosts"],
        ),
    ]);
}

#[test]
fn what_an_http_rule_does() {
    holds::<VirtualService>(&[
        (rule(json!({})), &["spec.http[0]"]),
        (rule(json!({"redirect": {"uri": "/x"}})), &[]),
        (rule(json!({"delegate": {"name": "x"}})), &[]),
        (routed(json!({"redirect": {"uri": "/x"}})), &["spec.http[0]"]),
        (rule(json!({"redirect": {"redirectCode": 308}})), &[]),
        (
            rule(json!({"redirect": {"redirectCode": 304}})),
            &["spec.http[0].redirect.redirectCode"],
        ),
        (
            rule(json!({"redirect": {"port": 80, "derivePort": "FROM_REQUEST_PORT"}})),
            &["spec.http[0].redirect"],
        ),
        (
            rule(json!({"redirect": {"scheme": "ftp"}})),
            &["spec.http[0].redirect.scheme"],
        ),
        (
            rule(json!({"redirect": {}, "rewrite": {"uri": "/"}})),
            &["spec.http[0].rewrite"],
        ),
        (
            rule(json!({"directResponse": {"status": 503, "body": {"string": "x"}}})),
            &[],
        ),
        (
            rule(json!({"directResponse": {"status": 99}})),
            &["spec.http[0].directResponse.status"],
        ),
        (
            rule(json!({"directResponse": {"status": 200, "body": {}}})),
            &["spec.http[0].directResponse.body"],
        ),
        (routed(json!({"rewrite": {}})), &["spec.http[0].rewrite"]),
        (
            routed(json!({"rewrite": {"uri": "/", "uriRegexRewrite": {"match": "a", "rewrite": "b"}}})),
            &["spec.http[0].rewrite"],
        ),
        (
            routed(json!({"rewrite": {"uriRegexRewrite": {"match": "(", "rewrite": "b"}}})),
            &["spec.http[0].rewrite.uriRegexRewrite.match"],
        ),
    ]);
}

#[test]
fn where_an_http_rule_sends() {
    let to = |destination: Value| rule(json!({"route": [{"destination": destination}]}));
    let weights = |a: u32, b: u32| {
        let one = |weight| json!({"destination": {"host": "a"}, "weight": weight});
        rule(json!({"route": [one(a), one(b)]}))
    };
    holds::<VirtualService>(&[
        (to(json!({})), &["spec.http[0].route[0].destination.host"]),
        (to(json!({"host": "*.a"})), &["spec.http[0].route[0].destination.host"]),
        (to(json!({"host": "a", "port": {"number": 80}})), &[]),
        (
            to(json!({"host": "a", "port": {"number": 0}})),
            &["spec.http[0].route[0].destination.port.number"],
        ),
        (
            to(json!({"host": "a", "port": {"name": "http"}})),
            &["spec.http[0].route[0].destination.port.name"],
        ),
        (weights(90, 10), &[]),
        (weights(1, 1), &[]),
        (weights(0, 100), &[]),
        (weights(0, 0), &["spec.http[0].route"]),
        (
            routed(json!({"mirror": {"host": "b"}, "mirrorPercentage": {"value": 0.5}})),
            &[],
        ),
        (
            routed(json!({"mirror": {"host": "b"}, "mirrors": [{"destination": {"host": "c"}}]})),
            &["spec.http[0].mirrors"],
        ),
        (
            routed(json!({"mirror": {"host": "b"}, "mirrorPercent": 101})),
            &["spec.http[0].mirrorPercent"],
        ),
    ]);
}

#[test]
fn what_an_http_rule_matches() {
    let matching = |condition: Value| routed(json!({"match": [condition]}));
    holds::<VirtualService>(&[
        (
            matching(json!({"uri": {"regex": "/a.*"}, "headers": {"x-a": {}, "cookie": {"prefix": "a"}}})),
            &[],
        ),
        (matching(json!({"uri": {}})), &["spec.http[0].match[0].uri"]),
        (
            matching(json!({"uri": {"regex": "a(b"}})),
            &["spec.http[0].match[0].uri.regex"],
        ),
        (
            matching(json!({"headers": {"a b": {"exact": "x"}}})),
            &["spec.http[0].match[0].headers.a b"],
        ),
        (matching(json!({"queryParams": {"a": {"exact": "x"}, "b": {}}})), &[]),
        (
            matching(json!({"queryParams": {"a": {"prefix": "x"}}})),
            &["spec.http[0].match[0].queryParams.a"],
        ),
        (matching(json!({"port": 70000})), &["spec.http[0].match[0].port"]),
        (
            matching(json!({"sourceLabels": {"app": "*"}})),
            &["spec.http[0].match[0].sourceLabels.app"],
        ),
    ]);
}

#[test]
fn times_retries_and_faults() {
    holds::<VirtualService>(&[
        (routed(json!({"timeout": "0s"})), &[]),
        (routed(json!({"timeout": "100us"})), &["spec.http[0].timeout"]),
        (routed(json!({"retries": {"attempts": 0}})), &[]),
        (
            routed(json!({"retries": {"attempts": 0, "retryOn": "5xx"}})),
            &["~spec.http[0].retries"],
        ),
        (
            routed(json!({"retries": {"attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx, 503,connect-failure"}})),
            &[],
        ),
        (
            routed(json!({"retries": {"attempts": 3, "retryOn": "5x"}})),
            &["spec.http[0].retries.retryOn"],
        ),
        (routed(json!({"fault": {}})), &["spec.http[0].fault"]),
        (
            routed(json!({"fault": {"delay": {"fixedDelay": "2s", "percentage": {"value": 0.1}}}})),
            &[],
        ),
        (
            routed(json!({"fault": {"delay": {"percent": 10}}})),
            &["spec.http[0].fault.delay"],
        ),
        (
            routed(json!({"fault": {"delay": {"fixedDelay": "2s", "percent": 110}}})),
            &["spec.http[0].fault.delay.percent"],
        ),
        (routed(json!({"fault": {"abort": {"httpStatus": 500}}})), &[]),
        (routed(json!({"fault": {"abort": {}}})), &["spec.http[0].fault.abort"]),
        (
            routed(json!({"fault": {"abort": {"httpStatus": 100}}})),
            &["spec.http[0].fault.abort.httpStatus"],
        ),
        (
            routed(json!({"fault": {"abort": {"httpStatus": 500, "percentage": {"value": -1}}}})),
            &["spec.http[0].fault.abort.percentage.value"],
        ),
        (
            routed(json!({"corsPolicy": {"allowOrigins": [{"exact": "*"}], "allowMethods": ["GET"], "maxAge": "24h"}})),
            &[],
        ),
        (
            routed(json!({"corsPolicy": {"maxAge": "1500ms", "allowMethods": ["get"]}})),
            &[
                "spec.http[0].corsPolicy.allowMethods[0]",
                "spec.http[0].corsPolicy.maxAge",
            ],
        ),
    ]);
}
