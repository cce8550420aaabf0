//! The networking kinds.

use super::Message;

const DEPRECATED_HEADERS: &str = "deprecated: write it under `headers`";

#[rustfmt::skip] // lists of names read better in lines than in columns
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
            "name", "match", "route", "redirect", "directResponse", "delegate", "rewrite", "timeout", "retries",
            "fault", "mirror", "mirrors", "mirrorPercent", "mirrorPercentage", "corsPolicy", "headers",
            "websocketUpgrade", "appendHeaders", "appendRequestHeaders", "removeRequestHeaders",
            "appendResponseHeaders", "removeResponseHeaders",
        ],
        notes: &[
            ("delegate", "one level: a delegate does not delegate on"),
            ("mirrorPercent", "deprecated: write `mirrorPercentage`"),
            ("websocketUpgrade", "accepted without effect: WebSocket upgrades always pass"),
            ("appendHeaders", DEPRECATED_HEADERS),
            ("appendRequestHeaders", DEPRECATED_HEADERS),
            ("removeRequestHeaders", DEPRECATED_HEADERS),
            ("appendResponseHeaders", DEPRECATED_HEADERS),
            ("removeResponseHeaders", DEPRECATED_HEADERS),
        ],
        ..Message::EMPTY
    },
    Message { name: "Delegate", works: &["name", "namespace"], ..Message::EMPTY },
    Message {
        name: "HttpMatchRequest",
        works: &[
            "name", "uri", "scheme", "method", "authority", "headers", "port", "sourceLabels", "gateways",
            "queryParams", "ignoreUriCase", "withoutHeaders", "sourceNamespace",
        ],
        envoy_only: &["statPrefix"],
        ..Message::EMPTY
    },
    Message { name: "StringMatch", works: &["exact", "prefix", "regex"], ..Message::EMPTY },
    Message { name: "Destination", works: &["host", "subset", "port"], ..Message::EMPTY },
    Message {
        name: "PortSelector",
        works: &["number"],
        unsupported: &["name"],
        notes: &[
            ("name", "never selected anything: write `number`"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "HttpRouteDestination",
        works: &[
            "destination", "weight", "headers", "appendRequestHeaders", "removeRequestHeaders",
            "appendResponseHeaders", "removeResponseHeaders",
        ],
        notes: &[
            ("appendRequestHeaders", DEPRECATED_HEADERS),
            ("removeRequestHeaders", DEPRECATED_HEADERS),
            ("appendResponseHeaders", DEPRECATED_HEADERS),
            ("removeResponseHeaders", DEPRECATED_HEADERS),
        ],
        ..Message::EMPTY
    },
    Message { name: "Headers", works: &["request", "response"], ..Message::EMPTY },
    Message { name: "HeaderOperations", works: &["set", "add", "remove"], ..Message::EMPTY },
    Message {
        name: "HttpRedirect",
        works: &["uri", "authority", "port", "derivePort", "scheme", "redirectCode"],
        ..Message::EMPTY
    },
    Message { name: "HttpDirectResponse", works: &["status", "body"], ..Message::EMPTY },
    Message { name: "HttpBody", works: &["string", "bytes"], ..Message::EMPTY },
    Message { name: "HttpRewrite", works: &["uri", "authority", "uriRegexRewrite"], ..Message::EMPTY },
    Message { name: "RegexRewrite", works: &["match", "rewrite"], ..Message::EMPTY },
    Message {
        name: "HttpRetry",
        works: &["attempts", "perTryTimeout", "retryOn", "retryIgnorePreviousHosts", "backoff"],
        envoy_only: &["retryRemoteLocalities"],
        notes: &[
            ("attempts", "0 switches retries off"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "CorsPolicy",
        works: &[
            "allowOrigin", "allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge",
            "allowCredentials", "unmatchedPreflights",
        ],
        notes: &[
            ("allowOrigin", "deprecated: write `allowOrigins`"),
        ],
        ..Message::EMPTY
    },
    Message { name: "HttpFaultInjection", works: &["delay", "abort"], ..Message::EMPTY },
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
        works: &["httpStatus", "grpcStatus", "percentage", "percent"],
        unsupported: &["http2Error"],
        notes: &[
            ("percent", "deprecated: write `percentage`"),
            ("http2Error", "never had an effect anywhere"),
        ],
        ..Message::EMPTY
    },
    Message { name: "Percent", works: &["value"], ..Message::EMPTY },
    Message { name: "HttpMirrorPolicy", works: &["destination", "percentage"], ..Message::EMPTY },
    Message { name: "TlsRoute", works: &["match", "route"], ..Message::EMPTY },
    Message {
        name: "TlsMatchAttributes",
        works: &["sniHosts", "destinationSubnets", "port", "sourceLabels", "gateways", "sourceNamespace"],
        unsupported: &["sourceSubnet"],
        notes: &[
            ("sourceSubnet", "never had an effect anywhere"),
        ],
        ..Message::EMPTY
    },
    Message { name: "TcpRoute", works: &["match", "route"], ..Message::EMPTY },
    Message {
        name: "L4MatchAttributes",
        works: &["destinationSubnets", "port", "sourceLabels", "gateways", "sourceNamespace"],
        unsupported: &["sourceSubnet"],
        notes: &[
            ("sourceSubnet", "never had an effect anywhere"),
        ],
        ..Message::EMPTY
    },
    Message { name: "RouteDestination", works: &["destination", "weight"], ..Message::EMPTY },
    // DestinationRule
    Message {
        name: "DestinationRule",
        works: &["host", "trafficPolicy", "subsets", "exportTo", "workloadSelector"],
        ..Message::EMPTY
    },
    Message { name: "Subset", works: &["name", "labels", "trafficPolicy"], ..Message::EMPTY },
    Message {
        name: "TrafficPolicy",
        works: &["loadBalancer", "connectionPool", "outlierDetection", "tls", "portLevelSettings", "retryBudget",
            "proxyProtocol", "tunnel",
        ],
        notes: &[
            ("portLevelSettings", "replaces all other settings for its port; nothing is merged"),
            ("retryBudget", "takes the place of `maxRetries`"),
            ("tunnel", "for `tcp` and `tls` routes to one destination; where several share the connections they go without it"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "PortTrafficPolicy",
        works: &["port", "loadBalancer", "connectionPool", "outlierDetection", "tls"],
        ..Message::EMPTY
    },
    Message {
        name: "LoadBalancerSettings",
        works: &["simple", "consistentHash", "localityLbSetting", "warmupDurationSecs", "warmup"],
        unsupported: &["zoneAwareLbSetting"],
        notes: &[
            ("simple", "default LEAST_REQUEST"),
            ("localityLbSetting", "an order of localities needs `outlierDetection`; shares (`distribute`) do not"),
            ("warmup", "for ROUND_ROBIN and LEAST_REQUEST"),
            ("warmupDurationSecs", "deprecated: write `warmup.duration`"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "LocalityLbSetting",
        works: &["distribute", "failover", "failoverPriority", "enabled"],
        ..Message::EMPTY
    },
    Message { name: "LocalityDistribute", works: &["from", "to"], ..Message::EMPTY },
    Message { name: "LocalityFailover", works: &["from", "to"], ..Message::EMPTY },
    Message {
        name: "ConsistentHashLb",
        works: &[
            "httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName", "ringHash", "maglev",
            "minimumRingSize",
        ],
        notes: &[
            ("minimumRingSize", "deprecated: write `ringHash.minimumRingSize`"),
        ],
        ..Message::EMPTY
    },
    Message { name: "HttpCookie", works: &["name", "path", "ttl", "attributes"], ..Message::EMPTY },
    Message { name: "CookieAttribute", works: &["name", "value"], ..Message::EMPTY },
    Message { name: "RingHash", works: &["minimumRingSize"], ..Message::EMPTY },
    Message { name: "Maglev", works: &["tableSize"], ..Message::EMPTY },
    Message {
        name: "WarmupConfiguration",
        works: &["duration", "minimumPercent", "aggression"],
        ..Message::EMPTY
    },
    Message { name: "TunnelSettings", works: &["protocol", "targetHost", "targetPort"], ..Message::EMPTY },
    Message { name: "ProxyProtocol", works: &["version"], ..Message::EMPTY },
    Message { name: "RetryBudget", works: &["percent", "minRetryConcurrency"], ..Message::EMPTY },
    Message { name: "ConnectionPoolSettings", works: &["tcp", "http"], ..Message::EMPTY },
    Message {
        name: "TcpSettings",
        works: &["maxConnections", "connectTimeout", "tcpKeepalive", "idleTimeout", "maxConnectionDuration"],
        ..Message::EMPTY
    },
    Message { name: "TcpKeepalive", works: &["probes", "time", "interval"], ..Message::EMPTY },
    Message {
        name: "HttpSettings",
        works: &[
            "http1MaxPendingRequests", "http2MaxRequests", "maxRequestsPerConnection", "maxRetries", "idleTimeout",
            "h2UpgradePolicy", "useClientProtocol", "maxConcurrentStreams", "http2KeepAlive",
        ],
        ..Message::EMPTY
    },
    Message { name: "Http2KeepAlive", works: &["interval", "timeout"], ..Message::EMPTY },
    Message {
        name: "OutlierDetection",
        works: &[
            "consecutiveErrors", "splitExternalLocalOriginErrors", "consecutiveLocalOriginFailures",
            "consecutiveGatewayErrors", "consecutive5xxErrors", "interval", "baseEjectionTime", "maxEjectionPercent",
            "minHealthPercent",
        ],
        notes: &[
            ("consecutiveErrors", "deprecated: write `consecutiveGatewayErrors` or `consecutive5xxErrors`"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "ClientTlsSettings",
        works: &[
            "mode", "clientCertificate", "privateKey", "caCertificates", "credentialName", "subjectAltNames", "sni",
            "insecureSkipVerify", "caCrl",
        ],
        notes: &[
            ("credentialName", "a Secret in the namespace of the client, which may be a gateway or a sidecar"),
        ],
        ..Message::EMPTY
    },
    // Gateway
    Message { name: "Gateway", works: &["servers", "selector"], ..Message::EMPTY },
    Message {
        name: "Server",
        works: &["port", "bind", "hosts", "tls", "name"],
        unsupported: &["defaultEndpoint"],
        notes: &[("defaultEndpoint", "never had an effect on a gateway")],
        ..Message::EMPTY
    },
    Message {
        name: "Port",
        works: &["number", "protocol", "name"],
        unsupported: &["targetPort"],
        notes: &[
            ("targetPort", "deprecated, never had an effect"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "ServerTlsSettings",
        works: &[
            "httpsRedirect", "mode", "serverCertificate", "privateKey", "caCertificates", "caCrl", "tlsCertificates",
            "credentialName", "credentialNames", "caCertCredentialName", "subjectAltNames", "verifyCertificateSpki",
            "verifyCertificateHash", "minProtocolVersion", "maxProtocolVersion", "cipherSuites",
        ],
        notes: &[
            ("credentialName", "a Secret in the namespace of the gateway's pod"),
            ("credentialNames", "each client is shown the one that suits it: by the name it asks for, then by kind of key"),
            ("tlsCertificates", "each client is shown the one that suits it: by the name it asks for, then by kind of key"),
            ("minProtocolVersion", "below TLS 1.2 is refused"),
            ("maxProtocolVersion", "below TLS 1.2 is refused"),
            ("cipherSuites", "of TLS 1.2, by the names of OpenSSL; our own proxy has neither CBC nor key exchange by RSA: such names are reported"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "TlsCertificate",
        works: &["serverCertificate", "privateKey", "caCertificates"],
        notes: &[
            ("caCertificates", "where the server has none of its own; all must name one file"),
        ],
        ..Message::EMPTY
    },
    // ServiceEntry
    Message {
        name: "ServiceEntry",
        works: &[
            "hosts", "addresses", "ports", "location", "resolution", "endpoints", "workloadSelector", "exportTo",
            "subjectAltNames",
        ],
        notes: &[
            ("addresses", "blocks (10.1.0.0/16) tell TCP and TLS ports apart; HTTP goes by its host"),
        ],
        ..Message::EMPTY
    },
    Message { name: "ServicePort", works: &["number", "protocol", "name", "targetPort"], ..Message::EMPTY },
    Message {
        name: "WorkloadEntry",
        works: &["address", "ports", "labels", "locality", "weight", "serviceAccount"],
        unsupported: &["network"],
        notes: &[
            ("network", "all workloads are taken to reach one another"),
            ("locality", "of the endpoint, for `localityLbSetting`"),
        ],
        ..Message::EMPTY
    },
    // Sidecar
    Message {
        name: "Sidecar",
        works: &["workloadSelector", "ingress", "egress", "outboundTrafficPolicy", "inboundConnectionPool"],
        ..Message::EMPTY
    },
    Message { name: "WorkloadSelector", works: &["labels"], ..Message::EMPTY },
    Message {
        name: "IstioEgressListener",
        works: &["port", "bind", "captureMode", "hosts"],
        notes: &[
            ("port", "limits the imported services to this port; with `bind` or `captureMode: NONE` it has a listener of its own"),
            ("bind", "an address; in local mode that of the pod stands for 127.0.0.1 and 0.0.0.0. Sockets of files are refused"),
            ("captureMode", "NONE: a socket; IPTABLES has no meaning where nothing is captured"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "SidecarPort",
        works: &["number", "protocol"],
        unsupported: &["name", "targetPort"],
        notes: &[
            ("protocol", "of an `ingress` port; for `egress` only HTTP_PROXY counts, else the imported service's port says it"),
            ("targetPort", "never had an effect: an ingress port's `defaultEndpoint` says where to"),
            ("name", "names nothing"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "IstioIngressListener",
        works: &["port", "bind", "captureMode", "defaultEndpoint", "tls", "connectionPool"],
        notes: &[
            ("bind", "where traffic is captured, only with `captureMode: NONE`"),
            ("tls", "where mutual TLS of the mesh is switched off for the port"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "OutboundTrafficPolicy",
        works: &["mode", "egressProxy"],
        notes: &[("egressProxy", "of a Sidecar; in MeshConfig it has no meaning")],
        ..Message::EMPTY
    },
];
