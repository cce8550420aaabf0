//! Which build this is.

/// `N.N.N` of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One line for `GET /version`, in the form `user@host-hub-version-revision-status` that Kiali and istioctl take apart: the
/// first `N.N.N` in it is the version.
pub fn istio_style() -> String {
    format!("meltemi@local-meltemi-{VERSION}-unknown-Clean")
}
