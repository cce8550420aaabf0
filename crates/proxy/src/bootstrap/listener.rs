//! Static listeners: plain HTTP with inline routes, as the scrape port has it.

use prost::Name;
use proto::any;
use proto::envoy::envoy::config::listener::v3::{self as pb, filter};
use proto::envoy::envoy::config::route::v3 as route;
use proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use proto::envoy::google::protobuf::Any;
use serde::Deserialize;
use serde_json::Value;

use super::address::AddressJson;
use super::json::{FieldError, each};

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ListenerJson {
    name: String,
    address: AddressJson,
    filter_chains: Vec<ChainJson>,
    ignore_global_conn_limit: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ChainJson {
    filters: Vec<FilterJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct FilterJson {
    name: String,
    typed_config: ManagerJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ManagerJson {
    #[serde(rename = "@type")]
    type_url: String,
    codec_type: Option<String>,
    stat_prefix: String,
    route_config: RouteConfigJson,
    http_filters: Vec<HttpFilterJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RouteConfigJson {
    name: String,
    virtual_hosts: Vec<VirtualHostJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct VirtualHostJson {
    name: String,
    domains: Vec<String>,
    routes: Vec<RouteJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RouteJson {
    r#match: MatchJson,
    route: ActionJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MatchJson {
    prefix: Option<String>,
    path: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ActionJson {
    cluster: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct HttpFilterJson {
    name: String,
    typed_config: TypedJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TypedJson {
    #[serde(rename = "@type")]
    type_url: String,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

pub(super) fn compile(json: ListenerJson) -> Result<pb::Listener, FieldError> {
    Ok(pb::Listener {
        name: json.name,
        address: Some(json.address.message()?),
        filter_chains: each("filter_chains", json.filter_chains, ChainJson::message)?,
        ignore_global_conn_limit: json.ignore_global_conn_limit,
        ..Default::default()
    })
}

impl ChainJson {
    fn message(self) -> Result<pb::FilterChain, FieldError> {
        Ok(pb::FilterChain {
            filters: each("filters", self.filters, FilterJson::message)?,
            ..Default::default()
        })
    }
}

impl FilterJson {
    fn message(self) -> Result<pb::Filter, FieldError> {
        if !self.typed_config.type_url.ends_with(".HttpConnectionManager") {
            return Err(FieldError::new(
                "typed_config.@type",
                "only an HttpConnectionManager can be used in a bootstrap",
            ));
        }
        let manager = self
            .typed_config
            .message()
            .map_err(|error| error.within("typed_config"))?;
        let packed = any(&hcm::HttpConnectionManager::type_url(), &manager);
        Ok(pb::Filter {
            name: self.name,
            config_type: Some(filter::ConfigType::TypedConfig(packed)),
        })
    }
}

impl ManagerJson {
    fn message(self) -> Result<hcm::HttpConnectionManager, FieldError> {
        use hcm::http_connection_manager::{CodecType, RouteSpecifier};
        let codec = match self.codec_type.as_deref() {
            None => CodecType::Auto,
            Some(name) => CodecType::from_str_name(name)
                .ok_or_else(|| FieldError::new("codec_type", format!("`{name}` is not known")))?,
        };
        let hosts = each(
            "route_config.virtual_hosts",
            self.route_config.virtual_hosts,
            VirtualHostJson::message,
        )?;
        let routes = route::RouteConfiguration {
            name: self.route_config.name,
            virtual_hosts: hosts,
            ..Default::default()
        };
        Ok(hcm::HttpConnectionManager {
            codec_type: codec as i32,
            stat_prefix: self.stat_prefix,
            route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
            http_filters: each("http_filters", self.http_filters, HttpFilterJson::message)?,
            ..Default::default()
        })
    }
}

impl VirtualHostJson {
    fn message(self) -> Result<route::VirtualHost, FieldError> {
        let routes = each("routes", self.routes, RouteJson::message)?;
        Ok(route::VirtualHost {
            name: self.name,
            domains: self.domains,
            routes,
            ..Default::default()
        })
    }
}

impl RouteJson {
    fn message(self) -> Result<route::Route, FieldError> {
        use route::route_match::PathSpecifier;
        let path = self
            .r#match
            .prefix
            .map(PathSpecifier::Prefix)
            .or(self.r#match.path.map(PathSpecifier::Path));
        let path = path.ok_or_else(|| FieldError::new("match", "needs `prefix` or `path`"))?;
        let action = route::RouteAction {
            cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(self.route.cluster)),
            ..Default::default()
        };
        Ok(route::Route {
            r#match: Some(route::RouteMatch {
                path_specifier: Some(path),
                ..Default::default()
            }),
            action: Some(route::route::Action::Route(action)),
            ..Default::default()
        })
    }
}

impl HttpFilterJson {
    fn message(self) -> Result<hcm::HttpFilter, FieldError> {
        if let Some(field) = self.typed_config.rest.keys().next() {
            return Err(FieldError::new(
                format!("typed_config.{field}"),
                "filters in a bootstrap can have no settings",
            ));
        }
        let packed = Any {
            type_url: self.typed_config.type_url,
            value: Vec::new(),
        };
        let config_type = Some(hcm::http_filter::ConfigType::TypedConfig(packed));
        Ok(hcm::HttpFilter {
            name: self.name,
            config_type,
            ..Default::default()
        })
    }
}
