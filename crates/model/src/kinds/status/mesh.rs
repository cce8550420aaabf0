//! MeshConfig.

use super::Message;

const MIXER: &str = "comes with the Mixer client";

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
            "localityLbSetting", "dnsRefreshRate", "tlsDefaults",
        ],
        unsupported: &[
            "zoneAwareLbSetting", "defaultTrafficPolicy", "mixerAddress",
            "disableMixerHttpReports", "disableReportBatch", "reportBatchMaxEntries", "reportBatchMaxTime",
            "enableTracing",
            "enableEnvoyAccessLogService", "disableEnvoyListenerLog", "configSources", "caCertificates",
            "inboundClusterStatName", "outboundClusterStatName", "certificates", "ca",
            "thriftConfig", "serviceSettings", "serviceScopeConfigs", "enablePrometheusMerge",
            "verifyCertificateAtClient", "extensionProviders", "defaultProviders", "discoverySelectors",
            "mixerCheckServer", "mixerReportServer", "disablePolicyChecks", "policyCheckFailOpen",
            "sidecarToTelemetrySessionAffinity", "enableClientSidePolicyCheck", "authPolicy", "rdsRefreshDelay",
            "sdsUdsPath", "sdsRefreshDelay", "enableSdsTokenMount", "sdsUseK8sSaJwt",
        ],
        notes: &[
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
