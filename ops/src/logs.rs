//! Log lines: from typed notices and from the daemon itself, as text or as JSON, on standard error.

use clap::ValueEnum;
use seawall_engine::notice::{Level, Notice};

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Form {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Loudness {
    /// Only what somebody must look at.
    Error,
    /// That, and where redundancy or time was lost.
    Warn,
    /// That, and daily life.
    Info,
}

/// Begin to log. Once in a process's life.
pub fn start(form: Form, loudness: Loudness) {
    let level = match loudness {
        Loudness::Error => tracing::Level::ERROR,
        Loudness::Warn => tracing::Level::WARN,
        Loudness::Info => tracing::Level::INFO,
    };
    let lines =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).with_target(false);
    // A second start, which only tests make, keeps the first.
    let _ = match form {
        Form::Text => lines.with_ansi(false).try_init(),
        Form::Json => lines.json().flatten_event(true).try_init(),
    };
}

/// One line for one notice.
pub fn notice(replica: &str, notice: &Notice) {
    let kind = notice.kind();
    match notice.level() {
        Level::Info => tracing::info!(replica, kind, "{notice}"),
        Level::Warn => tracing::warn!(replica, kind, "{notice}"),
        Level::Error => tracing::error!(replica, kind, "{notice}"),
    }
}
