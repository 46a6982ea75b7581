//! Keys of real replicas: made, shown, refused with words that say what to do, and replaced while a load runs.

#[allow(dead_code, reason = "each test uses a part of it")]
mod cluster;
mod site;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, Load, PATIENCE};
use nix::sys::signal::Signal;
use seawall_ops::config::Config;
use seawall_ops::pki;
use site::{NAMES, Scratch, Shape, VOLUME, seawall, text, write_configs};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const SMALL: Shape = Shape { volume_mib: 64, log_mib: 16 };

/// Runs the program to its end; what it said, and its exit code.
fn run(arguments: &[&str]) -> (String, Option<i32>) {
    let output = seawall().args(arguments).stdin(Stdio::null()).output().unwrap();
    (text(&output), output.status.code())
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// How often a replica has said that it uses other keys from now on.
fn renewals(cluster: &Cluster, index: usize) -> usize {
    let log = fs::read_to_string(cluster.dir().join(format!("{}.log", NAMES[index]))).unwrap();
    log.matches("use the keys as they are now").count()
}

/// Changes key files of all replicas, and waits until each of them has seen that.
fn renew(cluster: &Cluster, change: impl FnOnce()) {
    let before: Vec<usize> = (0..3).map(|index| renewals(cluster, index)).collect();
    change();
    for index in [A, B, C] {
        cluster.signal(index, Signal::SIGHUP);
        let deadline = Instant::now() + PATIENCE;
        while renewals(cluster, index) == before[index] {
            assert!(Instant::now() < deadline, "{} did not take its new keys", NAMES[index]);
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn keys_and_then_the_ca_are_replaced_under_a_load_that_notices_nothing() {
    let mut cluster = Cluster::start(SMALL);
    let (keys, next) = (cluster.dir().join("keys"), cluster.dir().join("next"));
    let config = Config::load(cluster.config(A)).unwrap();
    let load = Load::begin(cluster.targets(&[A]), |plan| {
        plan.connections = 1;
        plan.depth = 4;
    });
    load.await_done(500);
    // A replica that comes back speaks on new connections, so with the new keys.
    let come_back = |cluster: &mut Cluster, index: usize| {
        cluster.kill(index);
        load.await_done(200);
        cluster.begin(index);
        cluster.await_in_sync(A);
        load.await_done(200);
    };
    renew(&cluster, || drop(pki::issue(&keys, &config, None, 30).unwrap()));
    come_back(&mut cluster, B);
    pki::init(&next, 30).unwrap();
    let ca = |of: &Path| fs::read_to_string(of.join("ca.pem")).unwrap();
    let both = ca(&keys) + &ca(&next);
    renew(&cluster, || fs::write(keys.join("ca.pem"), &both).unwrap());
    renew(&cluster, || {
        for issued in pki::issue(&next, &config, None, 30).unwrap() {
            for file in [issued.key, issued.certificate] {
                fs::rename(&file, keys.join(file.file_name().unwrap())).unwrap();
            }
        }
    });
    come_back(&mut cluster, C);
    renew(&cluster, || fs::write(keys.join("ca.pem"), ca(&next)).unwrap());
    come_back(&mut cluster, B);
    let tally = load.end();
    assert_eq!((tally.errors(), tally.disconnects), (0, 0), "{tally:?}");
    cluster.assert_equal(A);
}

#[test]
fn keys_that_can_not_be_used_change_nothing_while_it_runs() {
    let cluster = Cluster::start(SMALL);
    fs::write(cluster.dir().join("keys/a.pem"), "nonsense").unwrap();
    cluster.await_said(A, "the keys stay as they were");
    cluster.await_said(A, "the certificate file holds no certificate");
    cluster.assert_equal(A);
}

#[test]
fn replicas_without_keys_are_refused_and_plaintext_is_only_spoken_by_name() {
    let scratch = Scratch::new();
    let configs = write_configs(scratch.path(), SMALL, VOLUME);
    let config = path(&configs[A]);
    assert_eq!(run(&["format", "--config", &config]).1, Some(0));
    let whole = fs::read_to_string(&configs[A]).unwrap();
    let from = whole.find("[transport]").unwrap();
    let to = whole.find("[volume]").unwrap();
    let without = |lines: &str| format!("{}{lines}{}", &whole[..from], &whole[to..]);
    fs::write(&configs[A], without("")).unwrap();
    let (said, code) = run(&["serve", "--config", &config]);
    assert_eq!(code, Some(17), "{said}");
    for part in ["3 replicas and no [transport]", "seawall pki init", "security = \"plaintext\""] {
        assert!(said.contains(part), "{said}");
    }
    // The same configuration will do to make keys.
    let keys = path(&scratch.path().join("made"));
    assert_eq!(run(&["pki", "init", &keys]).1, Some(0));
    let (said, code) = run(&["pki", "issue", &keys, "--config", &config, "--replica", "b"]);
    assert!(
        code == Some(0) && said.contains("[transport]\nca = \"ca.pem\"\ncertificate = \"b.pem\""),
        "{said}"
    );
    let (said, _) = run(&["pki", "show", &format!("{keys}/b.pem")]);
    assert!(said.contains(&format!("replica r-000000000000000b of volume {VOLUME}")), "{said}");
    let (said, code) = run(&["pki", "init", &keys]);
    assert!(code == Some(9) && said.contains("is there already"), "{said}");
    let (said, code) = run(&["pki", "issue", &keys, "--config", &config, "--replica", "d"]);
    assert!(code == Some(3) && said.contains("one of a, b, c"), "{said}");
    let cases = [
        ("[transport]\nsecurity = \"plaintext\"\nca = \"x\"\n\n", 3, "plaintext needs no keys"),
        ("[transport]\nca = \"keys/ca.pem\"\ncertificate = \"keys/a.pem\"\n\n", 3, "`key`"),
        ("[transport]\nsecurity = \"tsl\"\n\n", 3, "it may have meant \"tls\""),
        (
            "[transport]\nca = \"keys/ca.pem\"\ncertificate = \"keys/b.pem\"\nkey = \"keys/b.key\"\n\n",
            17,
            "is the certificate of another replica",
        ),
        (
            "[transport]\nca = \"made/ca.pem\"\ncertificate = \"keys/a.pem\"\nkey = \"keys/a.key\"\n\n",
            17,
            "signed by none of the CAs",
        ),
        (
            "[transport]\nca = \"keys/ca.pem\"\ncertificate = \"keys/a.pem\"\nkey = \"keys/b.key\"\n\n",
            17,
            "the key is not that of the certificate",
        ),
        (
            "[transport]\nca = \"keys/ca.pem\"\ncertificate = \"gone.pem\"\nkey = \"keys/a.key\"\n\n",
            15,
            "make it with `seawall pki`",
        ),
    ];
    for (lines, code, part) in cases {
        fs::write(&configs[A], without(lines)).unwrap();
        let (said, ended) = run(&["serve", "--config", &config]);
        assert!(ended == Some(code) && said.contains(part), "{lines}: {said}");
    }
}

/// Takes the keys out of a configuration.
fn say_plaintext(config: &Path) {
    let text = fs::read_to_string(config).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("\"keys/")).collect();
    let plaintext = lines.join("\n").replace("[transport]", "[transport]\nsecurity = \"plaintext\"");
    fs::write(config, plaintext).unwrap();
}

#[test]
fn plaintext_by_name_serves_and_one_that_speaks_otherwise_is_told_apart_on_both_sides() {
    let mut cluster =
        Cluster::start_with(SMALL, |configs| configs.iter().for_each(|config| say_plaintext(config)));
    cluster.assert_equal(A);
    cluster.kill(C);
    let tls = "[transport]\nca = \"keys/ca.pem\"\ncertificate = \"keys/c.pem\"\nkey = \"keys/c.key\"";
    let config = cluster.config(C).to_owned();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("[transport]\nsecurity = \"plaintext\"", tls)).unwrap();
    cluster.begin(C);
    cluster.await_said(C, "it speaks plaintext and this node TLS");
    cluster.await_said(A, "it speaks TLS and this node plaintext");
    let load = Load::begin(cluster.targets(&[A]), |plan| plan.connections = 1);
    load.await_done(200);
    load.end();
}
