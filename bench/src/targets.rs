//! The figures that the proxy is to reach.
