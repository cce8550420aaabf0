//! The whole process but its flags and signals, against scripted clients.

mod plain;
mod secure;
mod world;
