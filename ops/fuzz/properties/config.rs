//! A configuration file: whatever the text, no panic; a refusal names the file and says what to do; and what is
//! accepted can be used.

use std::path::Path;

use seawall_ops::config::{BUFFER_BYTES_MIN, Config, LOG_BYTES_MIN, VOLUME_BYTES_MIN};
use seawall_ops::fault::Exit;

/// The input is the file.
pub(crate) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input).into_owned();
    let lines = text.lines().count();
    match Config::parse(Path::new("etc/seawall.toml"), text) {
        Ok(config) => check_config(&config),
        Err(fault) => {
            let told = fault.to_string();
            assert!(fault.exit == Exit::Config, "{told}");
            assert!(told.contains("etc/seawall.toml"), "{told}");
            // Of a file of any length only a place is shown.
            assert!(told.lines().count() < 16 || lines < 16, "{told}");
        }
    }
}

fn check_config(config: &Config) {
    assert_eq!(config.own().id, config.replica);
    assert!(config.volume_bytes >= VOLUME_BYTES_MIN && config.log_bytes >= LOG_BYTES_MIN);
    assert!(config.volume_blocks() * 4096 == config.volume_bytes && config.volume_blocks() <= 1 << 40);
    assert!(config.limits.buffer_bytes >= BUFFER_BYTES_MIN);
    assert!(config.replicas.iter().any(|replica| replica.id == config.first_primary));
    assert_ne!(config.name_of(config.replica), "");
    let names = |n: usize| config.replicas[..n].iter().map(|replica| &replica.name);
    for (n, replica) in config.replicas.iter().enumerate() {
        assert!(names(n).all(|name| *name != replica.name), "names are unique");
        assert!(config.replicas[..n].iter().all(|other| other.id != replica.id), "identities are unique");
    }
}
