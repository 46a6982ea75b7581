use super::*;

const GOOD: &str = r#"
[node]
replica = "b"
home = "b.img"
admin = "b.sock"

[[nbd]]
listen = "unix:b.nbd"

[[nbd]]
listen = "127.0.0.1:10809"

[volume]
name = "vol0"
id = "6f1e0f6e-6c3a-4a5e-9d7b-2f1f4b6f7c11"
size = "10GiB"
commit = "all"
first_primary = "a"

[[replica]]
name = "a"
id = "r-000000000000000a"
address = "127.0.0.1:7001"

[[replica]]
name = "b"
id = "r-000000000000000b"
address = "127.0.0.1:7002"
voter = false

[limits]
silence = "2s"
"#;

fn parse(text: &str) -> Result<Config, Fault> {
    Config::parse(Path::new("etc/seawall.toml"), text.to_owned())
}

/// The good file with one thing replaced gives exactly this message.
fn check(from: &str, to: &str, message: &str) {
    assert!(GOOD.contains(from), "the good file has {from:?}");
    let fault = parse(&GOOD.replacen(from, to, 1)).expect_err(to);
    assert_eq!(fault.to_string(), message.trim_start_matches('\n'));
}

#[test]
fn a_good_file_is_understood() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.replica, ReplicaId(11));
    assert_eq!(config.first_primary, ReplicaId(10));
    assert_eq!(config.home, Path::new("etc/b.img"));
    assert_eq!(config.nbd, [Listen::Unix("etc/b.nbd".into()), Listen::Tcp("127.0.0.1:10809".into())]);
    assert_eq!(config.volume_blocks(), (10 << 30) / 4096);
    assert_eq!((config.commit, config.ack), (CommitRule::All, Ack::Durable));
    assert_eq!(config.log_bytes, LOG_BYTES_DEFAULT);
    assert_eq!(config.limits.silence, Some(Duration::from_secs(2)));
    assert!(!config.own().voter);
}

#[test]
fn how_long_all_waits_for_a_copy_is_for_all_alone_and_shorter_than_requests_wait() {
    let with = |line: &str| parse(&GOOD.replace("commit = \"all\"\n", line));
    assert_eq!(parse(GOOD).unwrap().all_patience, AllPatience::Usual);
    let told = with("commit = \"all\"\nall_patience = \"1s\"\n").unwrap();
    assert_eq!(told.all_patience, AllPatience::For(Duration::from_secs(1)));
    assert_eq!(with("commit = \"all\"\nall_patience = \"wait\"\n").unwrap().all_patience, AllPatience::Wait);
    check(
        "commit = \"all\"\n",
        "all_patience = \"1s\"\n",
        r#"
seawall: error[config]: etc/seawall.toml:17:16: only commit rule "all" waits for each copy
     |
  17 | all_patience = "1s"
     |                ^^^^
  found:    all_patience without commit = "all"
  do:       leave it out, or say commit = "all"
"#,
    );
    check(
        "commit = \"all\"\n",
        "commit = \"all\"\nall_patience = \"60s\"\n",
        r#"
seawall: error[config]: etc/seawall.toml:18:16: requests would end with an error before the copy they wait for is dropped
     |
  18 | all_patience = "60s"
     |                ^^^^^
  found:    60s
  expected: less than quorum_patience, which is 60s; or "wait"
  do:       choose a shorter time
"#,
    );
}

#[test]
fn a_typo_in_a_key_is_pointed_at() {
    check(
        "home = ",
        "hmoe = ",
        r#"
seawall: error[config]: etc/seawall.toml:4:1: unknown key
    |
  4 | hmoe = "b.img"
    | ^^^^
  found:    `hmoe`
  expected: one of replica, home, log, log_size, branches, admin, metrics
  do:       write `home` if that is what it means, or remove the line
"#,
    );
}

#[test]
fn a_typo_in_a_word_is_pointed_at() {
    check(
        "\"all\"",
        "\"al\"",
        r#"
seawall: error[config]: etc/seawall.toml:17:10: this word means nothing here
     |
  17 | commit = "al"
     |          ^^^^
  found:    "al"
  expected: "majority" or "all" or "one"
  do:       it may have meant "all"
"#,
    );
}

#[test]
fn a_size_without_a_known_unit_is_pointed_at() {
    check(
        "10GiB",
        "10GB",
        r#"
seawall: error[config]: etc/seawall.toml:16:8: this is no size
     |
  16 | size = "10GB"
     |        ^^^^^^
  found:    "10GB"
  expected: a whole number with B, KiB, MiB, GiB or TiB, for example "10GiB"
  do:       write the size with one of these units
"#,
    );
}

#[test]
fn a_number_where_text_belongs_is_pointed_at() {
    check(
        "name = \"vol0\"",
        "name = 7",
        r"
seawall: error[config]: etc/seawall.toml:14:8: a value of the wrong kind
     |
  14 | name = 7
     |        ^
  found:    integer `7`
  expected: a string
  do:       write a value of that kind; text stands in quotes
",
    );
}

#[test]
fn a_missing_key_names_its_section() {
    let fault = parse(&GOOD.replacen("admin = \"b.sock\"\n", "", 1)).expect_err("no admin socket");
    assert_eq!(fault.expected.as_deref(), Some("`admin`"));
    assert!(fault.what.starts_with("etc/seawall.toml:2:1: "), "{}", fault.what);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let cases = [
        ("replica = \"b\"", "replica = \"c\"", "no [[replica]] has this name"),
        ("first_primary = \"a\"", "first_primary = \"b\"", "the first primary must be a voter"),
        ("127.0.0.1:7002", "127.0.0.1:7001", "two replicas have the same address"),
        ("r-000000000000000b", "r-000000000000000a", "two replicas have the same id"),
        ("r-000000000000000b", "11", "this is no replica identity"),
        ("127.0.0.1:7002", "127.0.0.1", "this is no address"),
        ("6f1e0f6e-6c3a", "6f1e0f6e6c3a", "this is no volume identity"),
        ("10GiB", "10241B", "this size can't be used"),
        ("silence = \"2s\"", "silence = \"2\"", "this is no duration"),
        ("[node]", "[node", "this is not TOML"),
    ];
    for (from, to, what) in cases {
        let fault = parse(&GOOD.replacen(from, to, 1)).expect_err(to);
        assert!(fault.what.ends_with(what), "{to}: {fault}");
        assert_eq!(fault.exit, Exit::Config);
    }
}
