//! ProxyConfig, and `defaultConfig` of the mesh with the annotation `proxy.istio.io/config`.

use super::Message;

const FLAG: &str = "the agent's flag of this name decides";
const OTHER_TRACERS: &str = "no tracer of this kind is built in; its vendor's collector takes OTLP or Zipkin: use `zipkin`, or a provider `opentelemetry`";
const LIGHTSTEP: &str = "a setting of Lightstep, which is not built in";
const LOCAL: &str = "honoured where the proxy is run (`meltemi up`), for pods that start after the change";

#[rustfmt::skip] // lists of names read better in lines than in columns
pub(super) const MESSAGES: &[Message] = &[
    Message {
        name: "ProxyConfig",
        works: &["selector", "concurrency", "environmentVariables"],
        unsupported: &["image"],
        notes: &[
            ("concurrency", LOCAL),
            ("environmentVariables", "variables of the agent's environment, for pods that start after the change; those that say who the pod is stay"),
            ("image", "there is no image in local mode; comes with injection"),
        ],
        ..Message::EMPTY
    },

    Message {
        name: "MeshProxyConfig",
        works: &["concurrency", "drainDuration", "terminationDrainDuration", "proxyMetadata", "proxyStatsMatcher", "tracing", "tracingServiceName", "zipkinAddress"],
        unsupported: &[
            "configPath", "binaryPath", "serviceCluster", "parentShutdownDuration", "discoveryAddress",
            "discoveryRefreshDelay", "statsdUdpAddress", "proxyAdminPort", "statusPort", "controlPlaneAuthPolicy",
            "customConfigFile", "statNameLength", "proxyBootstrapTemplatePath", "interceptionMode", "sds",
            "envoyAccessLogService", "envoyMetricsService", "runtimeValues", "extraStatTags", "gatewayTopology", "meshId",
            "readinessProbe", "holdApplicationUntilProxyStarts", "caCertificatesPem", "image", "privateKeyProvider", "proxyHeaders",
            "fileFlushInterval", "fileFlushMinSizeKb", "statsCompression", "statsEvictionInterval", "availabilityZone",
            "connectTimeout", "envoyMetricsServiceAddress",
        ],
        notes: &[
            ("concurrency", LOCAL),
            ("drainDuration", LOCAL),
            ("terminationDrainDuration", LOCAL),
            ("proxyMetadata", "variables of the agent's environment, for pods that start after the change; those that say who the pod is stay"),
            ("proxyStatsMatcher", LOCAL),
            ("holdApplicationUntilProxyStarts", "an application always waits for its proxy"),
            ("configPath", FLAG), ("binaryPath", FLAG), ("serviceCluster", FLAG), ("parentShutdownDuration", FLAG),
            ("discoveryAddress", FLAG), ("proxyAdminPort", FLAG), ("statusPort", FLAG), ("controlPlaneAuthPolicy", FLAG),
            ("customConfigFile", FLAG), ("statNameLength", FLAG), ("interceptionMode", FLAG),
            ("tracing", "of the whole mesh; of one pod where its agent says it in the node metadata `PROXY_CONFIG`, which ours does not yet"),
            ("tracingServiceName", "of OpenTelemetry's spans; Zipkin's carry the agent's flag `serviceCluster`"),
            ("zipkinAddress", "the same as `tracing.zipkin.address`, which wins"),
            ("image", "there is no image in local mode; comes with injection"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "Tracing",
        works: &["zipkin", "customTags", "maxPathTagLength", "sampling", "enableIstioTags"],
        unsupported: &["lightstep", "datadog", "stackdriver", "openCensusAgent", "tlsSettings"],
        notes: &[
            ("lightstep", OTHER_TRACERS), ("datadog", OTHER_TRACERS), ("stackdriver", OTHER_TRACERS), ("openCensusAgent", OTHER_TRACERS),
            ("tlsSettings", "a DestinationRule says how a collector in the registry is spoken to (a Service or ServiceEntry); an address outside it is spoken to in plain text"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "TracingTarget",
        works: &["address"],
        unsupported: &["accessToken", "secure", "cacertPath"],
        notes: &[("accessToken", LIGHTSTEP), ("secure", LIGHTSTEP), ("cacertPath", LIGHTSTEP)],
        ..Message::EMPTY
    },
    Message { name: "CustomTag", works: &["literal", "environment", "header"], ..Message::EMPTY },
    Message { name: "CustomTagLiteral", works: &["value"], ..Message::EMPTY },
    Message { name: "CustomTagSource", works: &["name", "defaultValue"], ..Message::EMPTY },
    Message { name: "ProxyStatsMatcher", works: &["inclusionPrefixes", "inclusionSuffixes", "inclusionRegexps"], ..Message::EMPTY },
];
