//! The Gateway API's kinds, Ingress and IngressClass.

use super::Message;

const NOT_DEPLOYED: &str = "gateways are not deployed by the mesh: the workloads that serve are there already";
const REFUSED_FILTER: &str = "requests of its rule are answered 500";
const SESSIONS: &str = "a DestinationRule with consistentHash has this effect";
const NO_DEFAULT_GATEWAY: &str = "name the Gateway in `parentRefs`";

#[rustfmt::skip] // lists of names read better in lines than in columns
pub(super) const MESSAGES: &[Message] = &[
    Message {
        name: "GatewayClass",
        works: &["controllerName", "description"],
        unsupported: &["parametersRef"],
        notes: &[
            ("controllerName", "`istio.io/gateway-controller` is ours; the class `istio` is there without an object"),
            ("parametersRef", NOT_DEPLOYED),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "KubernetesGateway",
        works: &["gatewayClassName", "listeners", "addresses", "tls"],
        unsupported: &["infrastructure", "allowedListeners", "defaultScope"],
        notes: &[
            ("infrastructure", NOT_DEPLOYED),
            ("allowedListeners", "ListenerSet is not known"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "GatewayListener",
        works: &["name", "hostname", "port", "protocol", "tls", "allowedRoutes"],
        notes: &[("protocol", "HTTP, HTTPS, TLS and TCP; a listener of another protocol is refused by condition")],
        ..Message::EMPTY
    },
    Message {
        name: "ListenerTls",
        works: &["mode", "certificateRefs", "options", "frontendValidation"],
        notes: &[
            ("options", "`gateway.istio.io/tls-terminate-mode`: `MUTUAL`, `OPTIONAL_MUTUAL` or `ISTIO_MUTUAL`; others do nothing"),
            ("frontendValidation", "where the API had it before `spec.tls.frontend`"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "GatewayTls",
        works: &["frontend"],
        unsupported: &["backend"],
        notes: &[("backend", "`credentialName` of a DestinationRule's `tls` is the certificate shown to a backend")],
        ..Message::EMPTY
    },
    Message { name: "FrontendTls", works: &["default", "perPort"], ..Message::EMPTY },
    Message { name: "FrontendTlsPort", works: &["port", "tls"], ..Message::EMPTY },
    Message { name: "FrontendTlsConfig", works: &["validation"], ..Message::EMPTY },
    Message {
        name: "FrontendTlsValidation",
        works: &["caCertificateRefs", "mode"],
        notes: &[
            ("caCertificateRefs", "one Secret with `ca.crt`; a listener with a ConfigMap or several is not served, by condition"),
            ("mode", "AllowInsecureFallback lets in who shows no certificate, not who shows a wrong one"),
        ],
        ..Message::EMPTY
    },
    Message { name: "SecretObjectReference", works: &["group", "kind", "name", "namespace"], ..Message::EMPTY },
    Message { name: "AllowedRoutes", works: &["namespaces", "kinds"], ..Message::EMPTY },
    Message { name: "RouteNamespaces", works: &["from", "selector"], ..Message::EMPTY },
    Message { name: "NamespaceSelector", works: &["matchLabels", "matchExpressions"], ..Message::EMPTY },
    Message { name: "SelectorExpression", works: &["key", "operator", "values"], ..Message::EMPTY },
    Message { name: "RouteGroupKind", works: &["group", "kind"], ..Message::EMPTY },
    Message {
        name: "GatewayAddress",
        works: &["type", "value"],
        notes: &[("type", "`Hostname`, with the host name of the gateway's Service as value; others are refused by condition")],
        ..Message::EMPTY
    },
    Message {
        name: "ParentReference",
        works: &["group", "kind", "namespace", "name", "sectionName", "port"],
        notes: &[("kind", "Gateway, or Service for the sidecars of its clients")],
        ..Message::EMPTY
    },
    Message {
        name: "BackendObjectReference",
        works: &["group", "kind", "name", "namespace", "port"],
        notes: &[("kind", "Service, or Hostname of group networking.istio.io for the host of a ServiceEntry")],
        ..Message::EMPTY
    },
    Message { name: "BackendRef", works: &["group", "kind", "name", "namespace", "port", "weight"], ..Message::EMPTY },
    Message {
        name: "HttpRouteSpec",
        works: &["parentRefs", "hostnames", "rules"],
        unsupported: &["useDefaultGateways"],
        notes: &[("useDefaultGateways", NO_DEFAULT_GATEWAY)],
        ..Message::EMPTY
    },
    Message {
        name: "HttpRouteRule",
        works: &["name", "matches", "filters", "backendRefs", "timeouts", "retry"],
        unsupported: &["sessionPersistence"],
        notes: &[("sessionPersistence", SESSIONS)],
        ..Message::EMPTY
    },
    Message { name: "HttpRouteMatch", works: &["path", "headers", "queryParams", "method"], ..Message::EMPTY },
    Message { name: "HttpPathMatch", works: &["type", "value"], ..Message::EMPTY },
    Message { name: "HttpHeaderMatch", works: &["type", "name", "value"], ..Message::EMPTY },
    Message { name: "HttpQueryParamMatch", works: &["type", "name", "value"], ..Message::EMPTY },
    Message {
        name: "HttpRouteFilter",
        works: &[
            "type", "requestHeaderModifier", "responseHeaderModifier", "requestMirror", "requestRedirect", "urlRewrite", "cors",
        ],
        unsupported: &["externalAuth", "extensionRef"],
        notes: &[
            ("type", "of a backend's filters RequestHeaderModifier and ResponseHeaderModifier; others make its share answered 500"),
            ("externalAuth", REFUSED_FILTER),
            ("extensionRef", REFUSED_FILTER),
        ],
        ..Message::EMPTY
    },
    Message { name: "HeaderFilter", works: &["set", "add", "remove"], ..Message::EMPTY },
    Message { name: "HeaderPair", works: &["name", "value"], ..Message::EMPTY },
    Message { name: "RequestMirrorFilter", works: &["backendRef", "percent", "fraction"], ..Message::EMPTY },
    Message { name: "Fraction", works: &["numerator", "denominator"], ..Message::EMPTY },
    Message {
        name: "RequestRedirectFilter",
        works: &["scheme", "hostname", "path", "port", "statusCode"],
        ..Message::EMPTY
    },
    Message { name: "UrlRewriteFilter", works: &["hostname", "path"], ..Message::EMPTY },
    Message { name: "PathModifier", works: &["type", "replaceFullPath", "replacePrefixMatch"], ..Message::EMPTY },
    Message {
        name: "CorsFilter",
        works: &["allowOrigins", "allowCredentials", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge"],
        ..Message::EMPTY
    },
    Message {
        name: "HttpBackendRef",
        works: &["group", "kind", "name", "namespace", "port", "weight", "filters"],
        ..Message::EMPTY
    },
    Message { name: "HttpRouteTimeouts", works: &["request", "backendRequest"], ..Message::EMPTY },
    Message { name: "HttpRouteRetry", works: &["codes", "attempts", "backoff"], ..Message::EMPTY },
    Message {
        name: "GrpcRouteSpec",
        works: &["parentRefs", "hostnames", "rules"],
        unsupported: &["useDefaultGateways"],
        notes: &[("useDefaultGateways", NO_DEFAULT_GATEWAY)],
        ..Message::EMPTY
    },
    Message {
        name: "GrpcRouteRule",
        works: &["name", "matches", "filters", "backendRefs"],
        unsupported: &["sessionPersistence"],
        notes: &[("sessionPersistence", SESSIONS)],
        ..Message::EMPTY
    },
    Message { name: "GrpcRouteMatch", works: &["method", "headers"], ..Message::EMPTY },
    Message { name: "GrpcMethodMatch", works: &["type", "service", "method"], ..Message::EMPTY },
    Message { name: "GrpcHeaderMatch", works: &["type", "name", "value"], ..Message::EMPTY },
    Message {
        name: "GrpcRouteFilter",
        works: &["type", "requestHeaderModifier", "responseHeaderModifier", "requestMirror"],
        unsupported: &["extensionRef"],
        notes: &[("extensionRef", "calls of its rule are answered UNAVAILABLE")],
        ..Message::EMPTY
    },
    Message {
        name: "GrpcBackendRef",
        works: &["group", "kind", "name", "namespace", "port", "weight", "filters"],
        ..Message::EMPTY
    },
    Message {
        name: "TlsRouteSpec",
        works: &["parentRefs", "hostnames", "rules"],
        unsupported: &["useDefaultGateways"],
        notes: &[("useDefaultGateways", NO_DEFAULT_GATEWAY)],
        ..Message::EMPTY
    },
    Message { name: "TlsRouteRule", works: &["name", "backendRefs"], ..Message::EMPTY },
    Message {
        name: "TcpRouteSpec",
        works: &["parentRefs", "rules"],
        unsupported: &["useDefaultGateways"],
        notes: &[("useDefaultGateways", NO_DEFAULT_GATEWAY)],
        ..Message::EMPTY
    },
    Message { name: "TcpRouteRule", works: &["name", "backendRefs"], ..Message::EMPTY },
    Message { name: "ReferenceGrant", works: &["from", "to"], ..Message::EMPTY },
    Message { name: "ReferenceGrantFrom", works: &["group", "kind", "namespace"], ..Message::EMPTY },
    Message { name: "ReferenceGrantTo", works: &["group", "kind", "name"], ..Message::EMPTY },
    Message {
        name: "Ingress",
        works: &["ingressClassName", "defaultBackend", "backend", "tls", "rules"],
        notes: &[("backend", "v1beta1's name of `defaultBackend`")],
        ..Message::EMPTY
    },
    Message { name: "IngressTls", works: &["hosts", "secretName"], ..Message::EMPTY },
    Message { name: "IngressRule", works: &["host", "http"], ..Message::EMPTY },
    Message { name: "IngressHttp", works: &["paths"], ..Message::EMPTY },
    Message {
        name: "IngressPath",
        works: &["path", "pathType", "backend"],
        notes: &[("pathType", "ImplementationSpecific: a path that ends in `.*` or `/*` is a prefix, any other exact")],
        ..Message::EMPTY
    },
    Message {
        name: "IngressBackend",
        works: &["service", "serviceName", "servicePort"],
        unsupported: &["resource"],
        notes: &[("resource", "requests for it are answered 500")],
        ..Message::EMPTY
    },
    Message { name: "IngressService", works: &["name", "port"], ..Message::EMPTY },
    Message { name: "IngressServicePort", works: &["name", "number"], ..Message::EMPTY },
    Message {
        name: "IngressClass",
        works: &["controller"],
        unsupported: &["parameters"],
        notes: &[("controller", "`istio.io/ingress-controller` is ours")],
        ..Message::EMPTY
    },
];
