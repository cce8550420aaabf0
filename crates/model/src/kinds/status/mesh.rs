//! MeshConfig.

use super::Message;

const OTHER_TRACERS: &str =
    "no tracer of this kind is built in; its vendor's collector takes OTLP or Zipkin: use `opentelemetry` or `zipkin`";
const MIXER: &str = "comes with the Mixer client";

/// What is not heeded of how spans are reported.
const REPORTS: &[(&str, &str)] = &[
    ("timeout", "a collector has 5 s to answer"),
    (
        "headers",
        "our own proxy adds none to reports; put a proxy that does before the collector",
    ),
];

#[rustfmt::skip] // lists of names read better in lines than in columns
pub(super) const MESSAGES: &[Message] = &[
    Message {
        name: "MeshConfig",
        works: &[
            "proxyListenPort", "proxyInboundListenPort", "proxyHttpPort", "connectTimeout",
            "protocolDetectionTimeout", "tcpKeepalive", "accessLogFile", "accessLogFormat", "accessLogEncoding",
            "outboundTrafficPolicy", "enableAutoMtls", "trustDomain", "defaultServiceExportTo",
            "defaultVirtualServiceExportTo", "defaultDestinationRuleExportTo", "rootNamespace", "h2UpgradePolicy",
            "defaultHttpRetryPolicy", "defaultConfig", "inboundTrafficPolicy", "trustDomainAliases", "pathNormalization", "meshMTLS",
            "ingressClass", "ingressService", "ingressSelector", "ingressControllerMode",
            "localityLbSetting", "dnsRefreshRate", "tlsDefaults", "enableTracing", "extensionProviders", "defaultProviders",
        ],
        unsupported: &[
            "zoneAwareLbSetting", "defaultTrafficPolicy", "mixerAddress",
            "disableMixerHttpReports", "disableReportBatch", "reportBatchMaxEntries", "reportBatchMaxTime",
            "enableEnvoyAccessLogService", "disableEnvoyListenerLog", "configSources", "caCertificates",
            "inboundClusterStatName", "outboundClusterStatName", "certificates", "ca",
            "thriftConfig", "serviceSettings", "serviceScopeConfigs", "enablePrometheusMerge",
            "verifyCertificateAtClient", "discoverySelectors",
            "mixerCheckServer", "mixerReportServer", "disablePolicyChecks", "policyCheckFailOpen",
            "sidecarToTelemetrySessionAffinity", "enableClientSidePolicyCheck", "authPolicy", "rdsRefreshDelay",
            "sdsUdsPath", "sdsRefreshDelay", "enableSdsTokenMount", "sdsUseK8sSaJwt",
        ],
        notes: &[
            ("enableTracing", "starts nothing by itself: spans need `defaultConfig.tracing.zipkin.address` or a tracer in `defaultProviders.tracing`, which is used whatever this says"),
            ("mixerAddress", MIXER),
            ("disableMixerHttpReports", MIXER),
            ("disableReportBatch", MIXER),
            ("reportBatchMaxEntries", MIXER),
            ("reportBatchMaxTime", MIXER),
            ("mixerCheckServer", MIXER),
            ("mixerReportServer", MIXER),
            ("disablePolicyChecks", MIXER),
            ("policyCheckFailOpen", MIXER),
            ("sidecarToTelemetrySessionAffinity", MIXER),
            ("enableClientSidePolicyCheck", MIXER),
            ("tlsDefaults", "for servers and clients of TLS that is not the mesh's own; what a Gateway says goes first"),
            ("sdsUdsPath", "the agent serves secrets by itself"),
            ("authPolicy", "replaced by `defaultConfig.controlPlaneAuthPolicy`"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "ExtensionProvider",
        works: &["name", "zipkin", "opentelemetry"],
        unsupported: &[
            "envoyExtAuthzHttp", "envoyExtAuthzGrpc", "lightstep", "datadog", "stackdriver", "opencensus", "skywalking", "prometheus",
            "envoyFileAccessLog", "envoyHttpAls", "envoyTcpAls", "envoyOtelAls", "sds",
        ],
        notes: &[
            ("lightstep", OTHER_TRACERS), ("datadog", OTHER_TRACERS), ("stackdriver", OTHER_TRACERS), ("opencensus", OTHER_TRACERS),
            ("skywalking", OTHER_TRACERS),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "ZipkinProvider",
        works: &["service", "port", "maxTagLength", "enable64bitTraceId", "path", "traceContextOption"],
        unsupported: &["timeout", "headers"],
        notes: REPORTS,
        ..Message::EMPTY
    },
    Message {
        name: "OpenTelemetryProvider",
        works: &["service", "port", "maxTagLength", "http"],
        unsupported: &["grpc", "resourceDetectors", "dynatraceSampler"],
        notes: &[
            ("grpc", "without `http` spans go over gRPC, to a port whose protocol is grpc; a collector has 5 s to answer"),
            ("resourceDetectors", "spans name their service; the collector can add resources"),
            ("dynatraceSampler", "`sampling` decides"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "OpenTelemetryHttp",
        works: &["path"],
        unsupported: &["timeout", "headers"],
        notes: REPORTS,
        ..Message::EMPTY
    },
    Message {
        name: "DefaultProviders",
        works: &["tracing"],
        unsupported: &["metrics", "accessLogging"],
        notes: &[("tracing", "the first that is a tracer; without one, `enableTracing` and `defaultConfig.tracing.zipkin` decide")],
        ..Message::EMPTY
    },
    Message { name: "InboundTrafficPolicy", works: &["mode"], ..Message::EMPTY },
    Message { name: "PathNormalization", works: &["normalization"], ..Message::EMPTY },
    Message { name: "TlsConfig", works: &["minProtocolVersion", "ecdhCurves", "cipherSuites"],
        notes: &[
            ("minProtocolVersion", "below TLS 1.2 is refused"),
            ("cipherSuites", "of TLS 1.2, by the names of OpenSSL; our own proxy has neither CBC nor key exchange by RSA: such names are reported"),
        ],
        ..Message::EMPTY
    },
];
