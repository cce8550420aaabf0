//! Mistakes and rarities that people write.

use serde_json::json;

use super::*;

/// Mistakes and rarities: whatever is made of them, Envoy must not refuse it.
pub(super) fn odd_rules() -> Vec<(String, serde_json::Value)> {
    let to = json!([{ "destination": { "host": "ratings" } }]);
    let conditions = [
        json!({}),
        json!({ "uri": { "exact": "" } }),
        json!({ "uri": { "prefix": "" } }),
        json!({ "uri": { "prefix": "no-slash" } }),
        json!({ "uri": { "exact": "/a?b=c#d" } }),
        json!({ "uri": { "regex": "" } }),
        json!({ "uri": { "regex": "*" } }),
        json!({ "uri": { "regex": "[" } }),
        json!({ "uri": { "regex": "\\p{Greek}+" } }),
        json!({ "uri": { "regex": "(?i)x{1,1000}" } }),
        json!({ "uri": { "regex": "\\b\\d+\\z" } }),
        json!({ "headers": { "": { "exact": "x" } } }),
        json!({ "headers": { "a b": { "exact": "x" } } }),
        json!({ "headers": { "a\u{0}": { "exact": "x" } } }),
        json!({ "headers": { "a": { "exact": "" }, "b": { "prefix": "" }, "c": { "regex": "" }, "D": { "regex": "*" } } }),
        json!({ "headers": { "a": { "exact": "\u{0}\r\n" } } }),
        json!({ "withoutHeaders": { "a": { "exact": "" }, "b": { "prefix": "" }, "c": { "regex": ".*" } } }),
        json!({ "queryParams": { "": { "exact": "" }, "a": { "prefix": "" } } }),
        json!({ "method": { "exact": "" }, "authority": { "prefix": "" }, "scheme": {} }),
        json!({ "uri": { "prefix": "/" }, "ignoreUriCase": true, "port": 70000 }),
    ];
    let actions = [
        json!({}),
        json!({ "route": [] }),
        json!({ "route": [{ "destination": { "host": "" } }] }),
        json!({ "route": [{ "destination": { "host": "a|b:c*", "subset": "|" } }] }),
        json!({ "route": [{ "destination": { "host": "ratings", "port": { "number": 70000 } } }] }),
        json!({ "route": [{ "destination": { "host": "ratings" }, "weight": u32::MAX }, { "destination": { "host": "a" }, "weight": 1 }] }),
        json!({ "route": [{ "destination": { "host": "ratings" }, "weight": 0 }, { "destination": { "host": "a" }, "weight": 0 }] }),
        json!({ "route": to, "rewrite": { "uri": "%2\\9" } }),
        json!({ "route": to, "rewrite": { "uriRegexRewrite": { "match": "", "rewrite": "\\9" } } }),
        json!({ "route": to, "rewrite": { "uriRegexRewrite": { "match": "^/(a)", "rewrite": "\\9" } } }),
        json!({ "route": to, "rewrite": { "uriRegexRewrite": { "match": "^/(a)", "rewrite": "\\" } } }),
        json!({ "route": to, "rewrite": { "authority": "a b\r\n" } }),
        json!({ "route": to, "timeout": "0s", "retries": { "attempts": 1, "perTryTimeout": "0s", "retryOn": " , " } }),
        json!({ "route": to, "retries": { "attempts": u32::MAX, "retryOn": "503,599", "backoff": "0.0000001s" } }),
        json!({ "route": to, "fault": {} }),
        json!({ "route": to, "fault": { "delay": { "fixedDelay": "0s" } } }),
        json!({ "route": to, "fault": { "delay": { "fixedDelay": "1s", "percentage": { "value": -5 } } } }),
        json!({ "route": to, "fault": { "abort": { "httpStatus": 99999, "percentage": { "value": 500 } } } }),
        json!({ "route": to, "fault": { "abort": { "grpcStatus": "99" } } }),
        json!({ "route": to, "corsPolicy": {} }),
        json!({ "route": to, "corsPolicy": { "allowOrigins": [{ "exact": "" }, { "regex": "" }], "maxAge": "0.1s" } }),
        json!({ "route": to, "corsPolicy": { "allowOrigins": [{ "exact": "" }], "allowHeaders": ["a b", "\r\n"] } }),
        json!({ "route": to, "mirror": { "host": "" } }),
        json!({ "route": to, "mirrors": [{ "destination": { "host": "a" }, "percentage": { "value": 1e9 } }] }),
        json!({ "route": to, "headers": { "request": { "set": { "x": "", "y": "%", "z": "%REQ(%", "w": "%START_TIME(%)%" }, "remove": [""] } } }),
        json!({ "route": to, "headers": { "request": { "set": { "x": "", "y": "%", "z": "%REQ(", "v": "%DYNAMIC_METADATA(a)%" } } } }),
        json!({ "route": to, "headers": { "request": { "set": { "w": "%START_TIME(%Y)%" } } } }),
        json!({ "route": to, "headers": { "request": { "set": { "w": "%DOWNSTREAM_REMOTE_ADDRESS(x)%" } } } }),
        json!({ "route": to, "headers": { "request": { "set": { "w": "%REQ()%" } } } }),
        json!({ "route": to, "headers": { "request": { "set": { "w": "%REQ%" } } } }),
        json!({ "route": to, "headers": { "request": { "set": { "w": "%CEL(bad syntax %" } } } }),
        json!({ "route": to, "headers": { "request": { "set": { "w": "%CEL(bad syntax ((()%" } } } }),
        json!({ "route": to, "headers": { "request": { "set": { "w": "%FILTER_STATE(a:b:c)%" } } } }),
        json!({ "route": to, "headers": { "request": { "add": { ":path": "/x", "host": "x" } } } }),
        json!({ "route": to, "headers": { "request": { "set": { ":authority": "" } } } }),
        json!({ "redirect": {} }),
        json!({ "redirect": { "uri": "no-slash", "authority": "a b", "port": 70000, "scheme": "\r\n" } }),
        json!({ "redirect": { "uri": "%PREFIX()%", "scheme": "ftp", "derivePort": "FROM_PROTOCOL_DEFAULT" } }),
        json!({ "directResponse": { "status": 0 } }),
        json!({ "directResponse": { "status": 204, "body": { "bytes": "!" } } }),
        json!({ "directResponse": { "status": 599, "body": { "string": "" } } }),
    ];
    let rule = |condition: &serde_json::Value, action: &serde_json::Value| {
        let mut rule = action.clone();
        rule["match"] = json!([condition]);
        rule["match"][0]["statPrefix"] = json!("x");
        rule
    };
    let only = json!({ "uri": { "prefix": "/only" } });
    let with_path = conditions
        .iter()
        .map(|condition| rule(condition, &json!({ "route": to })));
    let rules: Vec<_> = with_path
        .chain(actions.iter().map(|action| rule(&only, action)))
        .collect();
    let numbered = rules.into_iter().enumerate();
    let object = |(index, rule)| {
        (
            format!("odd-{index}"),
            json!({ "hosts": [format!("odd-{index}.io")], "http": [rule] }),
        )
    };
    numbered.map(object).collect()
}

pub(super) fn odd_policies() -> Vec<serde_json::Value> {
    vec![
        json!({ "loadBalancer": { "consistentHash": {} } }),
        json!({ "loadBalancer": { "consistentHash": { "httpHeaderName": "" } } }),
        json!({ "loadBalancer": { "consistentHash": { "httpHeaderName": "a b" } } }),
        json!({ "loadBalancer": { "consistentHash": { "httpCookie": { "name": "" } } } }),
        json!({ "loadBalancer": { "consistentHash": { "httpQueryParameterName": "" } } }),
        json!({ "loadBalancer": { "consistentHash": { "useSourceIp": true, "maglev": { "tableSize": 100 } } } }),
        json!({ "loadBalancer": { "consistentHash": { "useSourceIp": true, "maglev": { "tableSize": 99999999 } } } }),
        json!({ "loadBalancer": { "consistentHash": { "useSourceIp": true, "ringHash": { "minimumRingSize": 99999999 } } } }),
        json!({ "loadBalancer": { "simple": "LEAST_REQUEST", "warmup": { "duration": "0s", "minimumPercent": 900, "aggression": 0.5 } } }),
        json!({ "loadBalancer": { "simple": "ROUND_ROBIN", "warmup": { "duration": "1s", "minimumPercent": -1, "aggression": -1 } } }),
        json!({ "connectionPool": { "tcp": { "connectTimeout": "0s", "maxConnectionDuration": "0s", "idleTimeout": "0s" } } }),
        json!({ "connectionPool": { "http": { "maxConcurrentStreams": u32::MAX, "http2KeepAlive": { "interval": "0s", "timeout": "0s" }, "h2UpgradePolicy": "UPGRADE" } } }),
        json!({ "outlierDetection": {} }),
        json!({ "outlierDetection": { "interval": "0s", "baseEjectionTime": "0s", "maxEjectionPercent": 500, "minHealthPercent": 500 } }),
        json!({ "outlierDetection": { "baseEjectionTime": "1000s" } }),
        json!({ "outlierDetection": { "consecutiveLocalOriginFailures": 3 } }),
        json!({ "retryBudget": { "percent": 900 } }),
        json!({ "proxyProtocol": { "version": "V1" } }),
        json!({ "tunnel": {} }),
        json!({ "tunnel": { "protocol": "POST", "targetHost": "%REQ(a)% b", "targetPort": 99999 } }),
        json!({ "proxyProtocol": { "version": "V2" }, "tls": { "mode": "SIMPLE", "insecureSkipVerify": true } }),
        json!({ "outlierDetection": {}, "loadBalancer": { "localityLbSetting": { "distribute": [{ "from": "*", "to": { "*": 0 } }] } } }),
        json!({ "outlierDetection": {}, "loadBalancer": { "localityLbSetting": { "failoverPriority": ["a=b", "", "="], "failover": [{}] } } }),
        json!({ "tls": { "mode": "SIMPLE", "insecureSkipVerify": true, "sni": "a\u{0}b" } }),
        json!({ "tls": { "mode": "MUTUAL", "insecureSkipVerify": true } }),
        json!({ "tls": { "mode": "ISTIO_MUTUAL", "subjectAltNames": [""], "sni": "" } }),
    ]
}

pub(super) fn with_policies(policies: Vec<serde_json::Value>) -> Mesh {
    policies
        .into_iter()
        .enumerate()
        .fold(Mesh::bookinfo(), |mesh, (index, policy)| {
            let name = format!("odd-{index}");
            let spec = json!({ "host": name, "trafficPolicy": policy, "subsets": [{ "name": "" }, { "name": "a|b" }] });
            mesh.service(
                "default",
                &name,
                Some([10, 0, 9, index as u8].into()),
                &[("http", 9080, 9080)],
            )
            .apply("DestinationRule", "default", &name, spec)
        })
}

/// Settings of the mesh and of gateways with mistakes.
pub(super) fn odd_settings() -> Vec<Mesh> {
    let log = |encoding: &str, format: &str| {
        Mesh::bookinfo().mesh(json!({
            "accessLogFile": "/dev/stdout", "accessLogEncoding": encoding, "accessLogFormat": format,
            "connectTimeout": "0s", "trustDomainAliases": [""], "tcpKeepalive": { "time": "0s" },
            "meshMTLS": { "cipherSuites": ["ECDHE-RSA-AES128-GCM-SHA256"] },
        }))
    };
    let tls = [
        json!({ "mode": "SIMPLE" }),
        json!({ "mode": "SIMPLE", "tlsCertificates": [{}] }),
        json!({ "mode": "MUTUAL", "serverCertificate": "/c", "privateKey": "/k" }),
        json!({ "mode": "AUTO_PASSTHROUGH" }),
        json!(null),
    ];
    let server = |(index, tls)| {
        let port = json!({ "number": 443 + index / 2, "name": format!("p{index}"), "protocol": "HTTPS" });
        json!({ "port": port, "hosts": ["*", "*/a.io", "x y"], "tls": tls, "bind": "" })
    };
    let servers: Vec<_> = tls.into_iter().enumerate().map(server).collect();
    let gateways = Mesh::bookinfo().apply("Gateway", "default", "odd", json!({ "servers": servers }));
    let tcp = json!({ "hosts": ["ratings"], "tcp": [{ "match": [{ "destinationSubnets": ["x", "10.0.0.0/99", "::1"] }], "route": [] }] });
    let tcp = Mesh::bookinfo()
        .apply("VirtualService", "default", "tcp", tcp)
        .change("ratings", |service| {
            service.ports[0].protocol = model::mesh::Protocol::Tcp
        });
    let described = Mesh::bookinfo()
        .reviews_subsets()
        .apply("Gateway", "default", "sni", json!({
            "selector": { "istio": "ingressgateway" },
            "servers": [{ "port": { "number": 443, "name": "tls", "protocol": "TLS" }, "hosts": ["*.local"], "tls": { "mode": "AUTO_PASSTHROUGH" } }],
        }))
        .apply("Sidecar", "default", "all", json!({
            "egress": [
                { "port": { "number": 9080, "protocol": "HTTP", "name": "own" }, "captureMode": "NONE", "hosts": ["./*"] },
                { "port": { "number": 9080, "protocol": "HTTP", "name": "found" }, "bind": "10.7.7.7", "hosts": ["./*"] },
                { "port": { "number": 8081, "protocol": "HTTP_PROXY", "name": "proxy" }, "captureMode": "NONE", "hosts": ["./*"] },
                { "hosts": ["*/*"] },
            ],
            "outboundTrafficPolicy": { "egressProxy": { "host": "details", "port": { "number": 9080 } } },
            "ingress": [
                { "port": { "number": 7000, "protocol": "HTTP", "name": "a" }, "defaultEndpoint": "0.0.0.0:8080" },
                { "port": { "number": 7001, "protocol": "TCP", "name": "b" }, "captureMode": "NONE", "defaultEndpoint": "unix:///run/b.sock" },
                { "port": { "number": 7002, "protocol": "GRPC", "name": "c" }, "defaultEndpoint": "unix://@abstract" },
                { "port": { "number": 7003, "protocol": "TLS", "name": "d" }, "defaultEndpoint": "127.0.0.1:7003", "tls": { "mode": "SIMPLE", "credentialName": "web" } },
            ],
        }))
        .secret("default", "web", Fitness::Usable, Fitness::Missing)
        .apply("PeerAuthentication", "default", "off", json!({
            "selector": { "matchLabels": { "app": "reviews" } }, "portLevelMtls": { "7003": { "mode": "DISABLE" } },
        }));
    vec![
        described,
        log("TEXT", "%FOO% 100% %REQ(%"),
        log("TEXT", "100%% %START_TIME(%Y)% %TRACE_ID% %DYNAMIC_METADATA(a:b)%"),
        log("JSON", "not json"),
        log("JSON", "{\"a\": [\"%FOO%\"]}"),
        log("JSON", "{\"a\": {\"b\": \"%DURATION%\"}, \"c\": null, \"d\": 1}"),
        log(
            "TEXT",
            "%METADATA(ROUTE:istio:config)% %METADATA(CLUSTER:istio:subset):9%",
        ),
        log(
            "JSON",
            "{\"rule\": \"%METADATA(ROUTE:istio:rule)%\", \"wrong\": \"%METADATA(HOST:a:b)%\"}",
        ),
        log("JSON", "{\"rule\": \"%METADATA(ROUTE:istio:rule)%\"}"),
        log("TEXT", &crate::format::every_command()),
        gateways,
        tcp,
    ]
}
