//! The networking kinds.

use super::Message;

const DEPRECATED_HEADERS: &str = "deprecated: write it under `headers`";

pub(super) const MESSAGES: &[Message] = &[
    // VirtualService
    Message {
        name: "VirtualService",
        works: &["hosts", "gateways", "http", "tls", "tcp", "exportTo"],
        ..Message::EMPTY
    },
    Message {
        name: "HttpRoute",
        works: &[
            "name",
            "match",
            "route",
            "redirect",
            "directResponse",
            "rewrite",
            "timeout",
            "retries",
            "fault",
            "mirror",
            "mirrors",
            "mirrorPercent",
            "mirrorPercentage",
            "corsPolicy",
            "headers",
            "websocketUpgrade",
        ],
        unsupported: &[
            "delegate",
            "appendHeaders",
            "appendRequestHeaders",
            "removeRequestHeaders",
            "appendResponseHeaders",
            "removeResponseHeaders",
        ],
        notes: &[
            ("mirrorPercent", "deprecated: write `mirrorPercentage`"),
            (
                "websocketUpgrade",
                "accepted without effect: WebSocket upgrades always pass",
            ),
            ("appendHeaders", DEPRECATED_HEADERS),
            ("appendRequestHeaders", DEPRECATED_HEADERS),
            ("removeRequestHeaders", DEPRECATED_HEADERS),
            ("appendResponseHeaders", DEPRECATED_HEADERS),
            ("removeResponseHeaders", DEPRECATED_HEADERS),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "HttpMatchRequest",
        works: &[
            "name",
            "uri",
            "scheme",
            "method",
            "authority",
            "headers",
            "port",
            "sourceLabels",
            "gateways",
            "queryParams",
            "ignoreUriCase",
            "withoutHeaders",
            "sourceNamespace",
        ],
        unsupported: &["statPrefix"],
        ..Message::EMPTY
    },
    Message {
        name: "StringMatch",
        works: &["exact", "prefix", "regex"],
        ..Message::EMPTY
    },
    Message {
        name: "Destination",
        works: &["host", "subset", "port"],
        ..Message::EMPTY
    },
    Message {
        name: "PortSelector",
        works: &["number"],
        unsupported: &["name"],
        notes: &[("name", "never selected anything: write `number`")],
        ..Message::EMPTY
    },
    Message {
        name: "HttpRouteDestination",
        works: &["destination", "weight", "headers"],
        unsupported: &[
            "appendRequestHeaders",
            "removeRequestHeaders",
            "appendResponseHeaders",
            "removeResponseHeaders",
        ],
        notes: &[
            ("appendRequestHeaders", DEPRECATED_HEADERS),
            ("removeRequestHeaders", DEPRECATED_HEADERS),
            ("appendResponseHeaders", DEPRECATED_HEADERS),
            ("removeResponseHeaders", DEPRECATED_HEADERS),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "Headers",
        works: &["request", "response"],
        ..Message::EMPTY
    },
    Message {
        name: "HeaderOperations",
        works: &["set", "add", "remove"],
        ..Message::EMPTY
    },
    Message {
        name: "HttpRedirect",
        works: &["uri", "authority", "port", "derivePort", "scheme", "redirectCode"],
        ..Message::EMPTY
    },
    Message {
        name: "HttpDirectResponse",
        works: &["status", "body"],
        ..Message::EMPTY
    },
    Message {
        name: "HttpBody",
        works: &["string", "bytes"],
        ..Message::EMPTY
    },
    Message {
        name: "HttpRewrite",
        works: &["uri", "authority", "uriRegexRewrite"],
        ..Message::EMPTY
    },
    Message {
        name: "RegexRewrite",
        works: &["match", "rewrite"],
        ..Message::EMPTY
    },
    Message {
        name: "HttpRetry",
        works: &["attempts", "perTryTimeout", "retryOn"],
        unsupported: &["retryRemoteLocalities", "retryIgnorePreviousHosts", "backoff"],
        notes: &[("attempts", "0 switches retries off")],
        ..Message::EMPTY
    },
    Message {
        name: "CorsPolicy",
        works: &[
            "allowOrigin",
            "allowOrigins",
            "allowMethods",
            "allowHeaders",
            "exposeHeaders",
            "maxAge",
            "allowCredentials",
        ],
        unsupported: &["unmatchedPreflights"],
        notes: &[("allowOrigin", "deprecated: write `allowOrigins`")],
        ..Message::EMPTY
    },
    Message {
        name: "HttpFaultInjection",
        works: &["delay", "abort"],
        ..Message::EMPTY
    },
    Message {
        name: "Delay",
        works: &["fixedDelay", "percentage", "percent"],
        unsupported: &["exponentialDelay"],
        notes: &[
            ("percent", "deprecated: write `percentage`"),
            ("exponentialDelay", "never had an effect anywhere"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "Abort",
        works: &["httpStatus", "percentage", "percent"],
        unsupported: &["grpcStatus", "http2Error"],
        notes: &[
            ("percent", "deprecated: write `percentage`"),
            ("http2Error", "never had an effect anywhere"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "Percent",
        works: &["value"],
        ..Message::EMPTY
    },
    Message {
        name: "HttpMirrorPolicy",
        works: &["destination", "percentage"],
        ..Message::EMPTY
    },
    Message {
        name: "TlsRoute",
        works: &["match", "route"],
        ..Message::EMPTY
    },
    Message {
        name: "TlsMatchAttributes",
        works: &["sniHosts", "port", "sourceLabels", "gateways"],
        unsupported: &["destinationSubnets", "sourceSubnet", "sourceNamespace"],
        ..Message::EMPTY
    },
    Message {
        name: "TcpRoute",
        works: &["match", "route"],
        ..Message::EMPTY
    },
    Message {
        name: "L4MatchAttributes",
        works: &["port", "sourceLabels", "gateways"],
        unsupported: &["destinationSubnets", "sourceSubnet", "sourceNamespace"],
        ..Message::EMPTY
    },
    Message {
        name: "RouteDestination",
        works: &["destination", "weight"],
        ..Message::EMPTY
    },
    // DestinationRule
    Message {
        name: "DestinationRule",
        works: &["host", "trafficPolicy", "subsets", "exportTo"],
        unsupported: &["workloadSelector"],
        ..Message::EMPTY
    },
    Message {
        name: "Subset",
        works: &["name", "labels", "trafficPolicy"],
        ..Message::EMPTY
    },
    Message {
        name: "TrafficPolicy",
        works: &[
            "loadBalancer",
            "connectionPool",
            "outlierDetection",
            "tls",
            "portLevelSettings",
        ],
        unsupported: &["tunnel", "proxyProtocol", "retryBudget"],
        notes: &[(
            "portLevelSettings",
            "replaces all other settings for its port; nothing is merged",
        )],
        ..Message::EMPTY
    },
    Message {
        name: "PortTrafficPolicy",
        works: &["port", "loadBalancer", "connectionPool", "outlierDetection", "tls"],
        ..Message::EMPTY
    },
    Message {
        name: "LoadBalancerSettings",
        works: &["simple"],
        envoy_only: &["consistentHash"],
        unsupported: &["localityLbSetting", "warmupDurationSecs", "warmup"],
        notes: &[("simple", "default LEAST_REQUEST")],
    },
    Message {
        name: "ConsistentHashLb",
        envoy_only: &[
            "httpHeaderName",
            "httpCookie",
            "useSourceIp",
            "httpQueryParameterName",
            "ringHash",
            "maglev",
            "minimumRingSize",
        ],
        notes: &[("minimumRingSize", "deprecated: write `ringHash.minimumRingSize`")],
        ..Message::EMPTY
    },
    Message {
        name: "HttpCookie",
        envoy_only: &["name", "path", "ttl"],
        unsupported: &["attributes"],
        ..Message::EMPTY
    },
    Message {
        name: "RingHash",
        envoy_only: &["minimumRingSize"],
        ..Message::EMPTY
    },
    Message {
        name: "Maglev",
        envoy_only: &["tableSize"],
        ..Message::EMPTY
    },
    Message {
        name: "ConnectionPoolSettings",
        works: &["tcp", "http"],
        ..Message::EMPTY
    },
    Message {
        name: "TcpSettings",
        works: &[
            "maxConnections",
            "connectTimeout",
            "tcpKeepalive",
            "maxConnectionDuration",
            "idleTimeout",
        ],
        ..Message::EMPTY
    },
    Message {
        name: "TcpKeepalive",
        works: &["probes", "time", "interval"],
        ..Message::EMPTY
    },
    Message {
        name: "HttpSettings",
        works: &[
            "http1MaxPendingRequests",
            "http2MaxRequests",
            "maxRequestsPerConnection",
            "maxRetries",
            "idleTimeout",
            "h2UpgradePolicy",
            "useClientProtocol",
            "maxConcurrentStreams",
        ],
        unsupported: &["http2KeepAlive"],
        ..Message::EMPTY
    },
    Message {
        name: "OutlierDetection",
        envoy_only: &[
            "consecutiveErrors",
            "splitExternalLocalOriginErrors",
            "consecutiveLocalOriginFailures",
            "consecutiveGatewayErrors",
            "consecutive5xxErrors",
            "interval",
            "baseEjectionTime",
            "maxEjectionPercent",
            "minHealthPercent",
        ],
        notes: &[(
            "consecutiveErrors",
            "deprecated: write `consecutiveGatewayErrors` or `consecutive5xxErrors`",
        )],
        ..Message::EMPTY
    },
    Message {
        name: "ClientTlsSettings",
        works: &[
            "mode",
            "clientCertificate",
            "privateKey",
            "caCertificates",
            "subjectAltNames",
            "sni",
            "insecureSkipVerify",
        ],
        unsupported: &["credentialName", "caCrl"],
        ..Message::EMPTY
    },
    // Gateway
    Message {
        name: "Gateway",
        works: &["servers", "selector"],
        ..Message::EMPTY
    },
    Message {
        name: "Server",
        works: &["port", "bind", "hosts", "tls", "name"],
        unsupported: &["defaultEndpoint"],
        ..Message::EMPTY
    },
    Message {
        name: "Port",
        works: &["number", "protocol", "name"],
        unsupported: &["targetPort"],
        notes: &[("targetPort", "deprecated, never had an effect")],
        ..Message::EMPTY
    },
    Message {
        name: "ServerTlsSettings",
        works: &[
            "httpsRedirect",
            "mode",
            "serverCertificate",
            "privateKey",
            "caCertificates",
            "subjectAltNames",
            "minProtocolVersion",
            "maxProtocolVersion",
            "cipherSuites",
        ],
        unsupported: &[
            "caCrl",
            "credentialName",
            "credentialNames",
            "caCertCredentialName",
            "tlsCertificates",
            "verifyCertificateSpki",
            "verifyCertificateHash",
        ],
        ..Message::EMPTY
    },
    // ServiceEntry
    Message {
        name: "ServiceEntry",
        works: &[
            "hosts",
            "addresses",
            "ports",
            "location",
            "resolution",
            "endpoints",
            "exportTo",
            "subjectAltNames",
        ],
        unsupported: &["workloadSelector"],
        ..Message::EMPTY
    },
    Message {
        name: "ServicePort",
        works: &["number", "protocol", "name", "targetPort"],
        ..Message::EMPTY
    },
    Message {
        name: "WorkloadEntry",
        works: &[
            "address",
            "ports",
            "labels",
            "network",
            "locality",
            "weight",
            "serviceAccount",
        ],
        ..Message::EMPTY
    },
    // Sidecar
    Message {
        name: "Sidecar",
        works: &["workloadSelector", "egress", "outboundTrafficPolicy"],
        unsupported: &["ingress", "inboundConnectionPool"],
        ..Message::EMPTY
    },
    Message {
        name: "WorkloadSelector",
        works: &["labels"],
        ..Message::EMPTY
    },
    Message {
        name: "IstioEgressListener",
        works: &["hosts"],
        unsupported: &["port", "bind", "captureMode"],
        ..Message::EMPTY
    },
    Message {
        name: "OutboundTrafficPolicy",
        works: &["mode"],
        unsupported: &["egressProxy"],
        ..Message::EMPTY
    },
];
