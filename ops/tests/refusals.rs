//! What an operator is told when a replica can't start: exact messages and exit codes. And nothing was changed.

mod site;

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use site::{Scratch, Shape, VOLUME, seawall, text, write_configs};

const SHAPE: Shape = Shape { volume_mib: 16, log_mib: 4 };
const OTHER: &str = "00000000-0000-4000-8000-000000000001";

fn run(action: &str, config: &Path) -> Output {
    seawall().args([action, "--config"]).arg(config).stdin(Stdio::null()).output().unwrap()
}

/// Three formatted replicas of a volume.
fn formatted(dir: &Path, volume: &str) -> Vec<PathBuf> {
    fs::create_dir_all(dir).unwrap();
    let configs = write_configs(dir, SHAPE, volume);
    for config in &configs {
        let output = run("format", config);
        assert!(output.status.success(), "{}", text(&output));
    }
    configs
}

/// `serve` refuses with this exit code and these last lines, and has not touched the disk.
fn check(config: &Path, code: i32, message: &str) {
    let home = config.with_extension("img");
    let before = fs::read(&home).ok();
    let output = run("serve", config);
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    let said = text(&output);
    let dir = config.parent().unwrap().display().to_string();
    let said = said.replace(&dir, "DIR");
    assert!(said.ends_with(message.trim_start_matches('\n')), "expected:{message}\nfound:\n{said}");
    assert!(fs::read(&home).ok() == before, "nothing was changed");
}

#[test]
fn the_disk_of_another_replica_is_refused() {
    let scratch = Scratch::new();
    let configs = formatted(&scratch.path().join("v"), VOLUME);
    fs::copy(configs[1].with_extension("img"), configs[0].with_extension("img")).unwrap();
    check(
        &configs[0],
        4,
        "
seawall: error[wrong-disk]: DIR/a.img is the disk of another replica
  found:    replica r-000000000000000b (b) of volume 6f1e0f6e-6c3a-4a5e-9d7b-2f1f4b6f7c11
  expected: replica r-000000000000000a (a) of volume 6f1e0f6e-6c3a-4a5e-9d7b-2f1f4b6f7c11
  do:       correct `home` or `replica` in [node]. Nothing was changed
",
    );
}

#[test]
fn a_disk_of_another_volume_is_refused() {
    let scratch = Scratch::new();
    let configs = formatted(&scratch.path().join("v"), VOLUME);
    let others = formatted(&scratch.path().join("w"), OTHER);
    fs::copy(others[0].with_extension("img"), configs[0].with_extension("img")).unwrap();
    check(
        &configs[0],
        5,
        "
seawall: error[other-volume]: DIR/a.img is a disk of another volume
  found:    replica r-000000000000000a (a) of volume 00000000-0000-4000-8000-000000000001
  expected: replica r-000000000000000a (a) of volume 6f1e0f6e-6c3a-4a5e-9d7b-2f1f4b6f7c11
  do:       correct `home` in [node] or `id` in [volume]. Nothing was changed
",
    );
}

#[test]
fn a_truncated_disk_is_refused() {
    let scratch = Scratch::new();
    let configs = formatted(scratch.path(), VOLUME);
    let home = configs[0].with_extension("img");
    let whole = fs::metadata(&home).unwrap().len();
    File::options().write(true).open(&home).unwrap().set_len(whole - 4096).unwrap();
    check(
        &configs[0],
        6,
        &format!(
            "
seawall: error[truncated-disk]: DIR/a.img is smaller than the replica on it
  found:    {} bytes
  expected: {whole} bytes
  do:       bring the device back to its size; if its end is lost, format it anew as a new replica. Nothing was changed
",
            whole - 4096
        ),
    );
}

#[test]
fn a_disk_that_was_never_formatted_is_refused() {
    let scratch = Scratch::new();
    let configs = write_configs(scratch.path(), SHAPE, VOLUME);
    let message = |found| {
        format!(
            "
seawall: error[not-formatted]: there is no replica on DIR/a.img
  found:    {found}
  expected: replica r-000000000000000a of volume 6f1e0f6e-6c3a-4a5e-9d7b-2f1f4b6f7c11
  do:       for a replica of a new volume: seawall format --config DIR/a.toml; if its devices were lost and are new, add --rejoin
"
        )
    };
    check(&configs[0], 7, &message("no such file"));
    File::create(configs[0].with_extension("img")).unwrap().set_len(64 << 20).unwrap();
    check(&configs[0], 7, &message("blank superblocks"));
}

#[test]
fn superblocks_that_can_not_be_read_are_refused() {
    let scratch = Scratch::new();
    let configs = formatted(scratch.path(), VOLUME);
    let home = File::options().write(true).open(configs[0].with_extension("img")).unwrap();
    for slot in [0, 1 << 20] {
        home.write_all_at(b"rot", slot + 40).unwrap();
    }
    check(
        &configs[0],
        11,
        "
seawall: error[damaged]: the superblocks of DIR/a.img can't be trusted
  found:    rule none-readable
  expected: replica r-000000000000000a of volume 6f1e0f6e-6c3a-4a5e-9d7b-2f1f4b6f7c11
  do:       check the path; if it is right and the others are whole: seawall format --rejoin --force, and it is rebuilt. Nothing was changed
",
    );
}

#[test]
fn a_config_that_disagrees_with_the_disk_is_refused_with_both_values() {
    let scratch = Scratch::new();
    let configs = formatted(scratch.path(), VOLUME);
    let text = fs::read_to_string(&configs[0]).unwrap();
    fs::write(&configs[0], text.replace("16MiB", "32MiB")).unwrap();
    check(
        &configs[0],
        3,
        "
seawall: error[config]: DIR/a.img was formatted with another size in [volume]
  found:    16777216 bytes on the disk
  expected: 33554432 bytes by DIR/a.toml
  do:       correct size in [volume]; it can't be changed once the disk is formatted
",
    );
}

#[test]
fn a_config_with_a_typo_is_refused_at_its_place() {
    let scratch = Scratch::new();
    let configs = formatted(scratch.path(), VOLUME);
    let text = fs::read_to_string(&configs[0]).unwrap();
    fs::write(&configs[0], text.replace("log_size", "log_siez")).unwrap();
    check(
        &configs[0],
        3,
        "
seawall: error[config]: DIR/a.toml:4:1: unknown key
    |
  4 | log_siez = \"4MiB\"
    | ^^^^^^^^
  found:    `log_siez`
  expected: one of replica, home, log, log_size, branches, admin, metrics
  do:       write `log_size` if that is what it means, or remove the line
",
    );
}

#[test]
fn an_address_that_is_taken_is_refused() {
    let scratch = Scratch::new();
    let configs = formatted(scratch.path(), VOLUME);
    let text = fs::read_to_string(&configs[0]).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listen = text.lines().find(|line| line.starts_with("listen")).unwrap();
    for (from, to) in [
        (listen, format!("listen = \"{address}\"")),
        (text.lines().find(|line| line.starts_with("metrics")).unwrap(), format!("metrics = \"{address}\"")),
        (text.lines().find(|line| line.starts_with("address")).unwrap(), format!("address = \"{address}\"")),
    ] {
        fs::write(&configs[0], text.replacen(from, &to, 1)).unwrap();
        check(
            &configs[0],
            8,
            &format!(
                "
seawall: error[address-in-use]: can't listen at {address}
  found:    Address already in use (os error 98)
  do:       stop whoever listens there, or configure another address
"
            ),
        );
    }
}

#[test]
fn a_format_over_something_is_refused_unless_forced() {
    let scratch = Scratch::new();
    let configs = formatted(scratch.path(), VOLUME);
    let output = run("format", &configs[0]);
    assert_eq!(output.status.code(), Some(9), "{}", text(&output));
    assert!(text(&output).contains("replica r-000000000000000a of volume"), "{}", text(&output));
    let home = configs[1].with_extension("img");
    fs::write(&home, vec![0xEF; 64 << 20]).unwrap();
    let output = run("format", &configs[1]);
    assert_eq!(output.status.code(), Some(9), "{}", text(&output));
    assert!(fs::read(&home).unwrap().iter().all(|byte| *byte == 0xEF), "nothing was changed");
    let output = seawall().args(["format", "--force", "--config"]).arg(&configs[1]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_command_to_nobody_says_so() {
    let scratch = Scratch::new();
    let configs = formatted(scratch.path(), VOLUME);
    for command in ["status", "stop", "promote", "digest"] {
        let output = run(command, &configs[0]);
        assert_eq!(output.status.code(), Some(12), "{command}: {}", text(&output));
        assert!(text(&output).contains("no daemon answers at"), "{}", text(&output));
    }
}
