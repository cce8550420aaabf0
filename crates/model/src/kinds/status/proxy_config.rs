//! ProxyConfig, and `defaultConfig` of the mesh with the annotation `proxy.istio.io/config`.

use super::Message;

const FLAG: &str = "the agent's flag of this name decides";
const TRACING: &str = "comes with tracing";
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
        works: &["concurrency", "drainDuration", "terminationDrainDuration", "proxyMetadata", "proxyStatsMatcher"],
        unsupported: &[
            "configPath", "binaryPath", "serviceCluster", "tracingServiceName", "parentShutdownDuration", "discoveryAddress",
            "discoveryRefreshDelay", "zipkinAddress", "statsdUdpAddress", "proxyAdminPort", "statusPort", "controlPlaneAuthPolicy",
            "customConfigFile", "statNameLength", "proxyBootstrapTemplatePath", "interceptionMode", "tracing", "sds",
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
            ("tracing", TRACING), ("tracingServiceName", TRACING), ("zipkinAddress", TRACING),
            ("image", "there is no image in local mode; comes with injection"),
        ],
        ..Message::EMPTY
    },
    Message { name: "ProxyStatsMatcher", works: &["inclusionPrefixes", "inclusionSuffixes", "inclusionRegexps"], ..Message::EMPTY },
];
