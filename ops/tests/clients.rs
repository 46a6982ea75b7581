//! Other people's clients against three real replicas: what they are told, what they write, and what they read back.

#[allow(dead_code, reason = "the drills use the rest of it")]
mod cluster;
#[allow(dead_code, reason = "the refusals use the rest of it")]
mod site;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cluster::{Cluster, tool};
use site::{Shape, text};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// More than 4 GiB, of which little is ever written.
const LARGE: Shape = Shape { volume_mib: 10 << 10, log_mib: 64 };

/// The distribution's interpreter, which sees the distribution's libnbd, whatever else is on the path.
const PYTHON: &str = "/usr/bin/python3";

fn proof(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proofs").join(name).display().to_string()
}

/// Whether all of these programs are there; says which one is not.
fn installed(programs: &[&str]) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let missing = programs.iter().find(|name| !path.split(':').any(|dir| Path::new(dir).join(name).exists()));
    if let Some(name) = missing {
        println!("skipped: {name} is not installed");
    }
    missing.is_none()
}

/// An image of a cluster's size in its directory: every third 64 KiB of the first 64 MiB is data, all else is a hole.
fn image(cluster: &Cluster, name: &str, mib: u64) -> PathBuf {
    let path = cluster.dir().join(name);
    let file = File::create(&path).unwrap();
    file.set_len(mib << 20).unwrap();
    for chunk in (0..1024).step_by(3) {
        let byte = |at: usize| (at.wrapping_mul(chunk + 7) >> 3).to_le_bytes()[0];
        let bytes: Vec<u8> = (0..64 * KIB).map(byte).collect();
        file.write_all_at(&bytes, u64::try_from(chunk * 64 * KIB).unwrap()).unwrap();
    }
    path
}

/// Run fio against a volume; a verification that fails ends it with an error.
fn fio(uri: &str, options: &[&str]) -> Option<String> {
    let uri = format!("--uri={uri}");
    let mut arguments =
        vec!["--ioengine=nbd", &uri, "--verify_fatal=1", "--verify_state_save=0", "--minimal"];
    arguments.extend(options);
    tool("fio", &arguments)
}

#[test]
fn nbdinfo_is_told_what_the_volume_is_and_where_it_has_holes() {
    let cluster = Cluster::start(Shape { volume_mib: 64, log_mib: 16 });
    let uri = cluster.uri(A);
    let Some(said) = tool("nbdinfo", &["--json", &uri]) else { return };
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&told["protocol"], &told["structured"]), (&"newstyle-fixed".into(), &true.into()), "{said}");
    let export = &told["exports"][0];
    for (key, expected) in [
        ("export-name", "vol".into()),
        ("export-size", (64 * MIB).into()),
        ("is_read_only", false.into()),
        ("is_rotational", false.into()),
        ("can_flush", true.into()),
        ("can_fua", true.into()),
        ("can_trim", true.into()),
        ("can_zero", true.into()),
        ("can_fast_zero", true.into()),
        ("can_df", true.into()),
        ("can_cache", true.into()),
        ("can_multi_conn", true.into()),
        ("block_size_minimum", 512.into()),
        ("block_size_preferred", 4096.into()),
        ("block_size_maximum", (32 * MIB).into()),
    ] {
        let expected: serde_json::Value = expected;
        assert_eq!(export[key], expected, "{key} in {said}");
    }
    assert!(export["contexts"].as_array().is_some_and(|c| c.contains(&"base:allocation".into())), "{said}");
    let map = || {
        let said = tool("nbdinfo", &["--map", "--json", &uri]).expect("it is installed");
        let runs: Vec<serde_json::Value> = serde_json::from_str(&said).unwrap();
        let number = |run: &serde_json::Value, key: &str| run[key].as_u64().unwrap();
        runs.iter().map(|r| (number(r, "offset"), number(r, "length"), number(r, "type"))).collect::<Vec<_>>()
    };
    assert_eq!(map(), [(0, 64 << 20, 3)], "a new volume is one hole");
    if tool("qemu-io", &["-f", "raw", "-c", "write -P 7 8M 1M", &uri]).is_some() {
        assert_eq!(map(), [(0, 8 << 20, 3), (8 << 20, 1 << 20, 0), (9 << 20, 55 << 20, 3)]);
    }
}

#[test]
fn an_independent_client_finds_every_claim_of_the_protocol_kept() {
    if !installed(&[PYTHON, "nbdsh"]) {
        return;
    }
    let cluster = Cluster::start(LARGE);
    if let Some(said) = tool(PYTHON, &[&proof("client.py"), &cluster.uri(A)]) {
        println!("{said}");
    }
    cluster.assert_equal(A);
}

#[test]
fn qemu_io_reads_the_patterns_that_it_wrote() {
    let cluster = Cluster::start(Shape { volume_mib: 64, log_mib: 16 });
    let lists: [&[&str]; 3] = [
        // Parts of sectors: qemu reads, changes and writes what is around them.
        &[
            "write -P 0x66 0 64k",
            "write -P 0x77 513 1021",
            "read -P 0x66 0 513",
            "read -P 0x77 513 1021",
            "read -P 0x66 1534 4k",
            "write -P 0x78 65024 512",
            "read -P 0x66 64512 512",
            "read -P 0x78 65024 512",
        ],
        &[
            "write -P 0x55 0 4M",
            "write -z -u 1M 1M",
            "write -z 2M 64512",
            "discard 3M 512k",
            "read -P 0x55 0 1M",
            "read -P 0 1M 1M",
            "read -P 0 2M 64512",
            "read -P 0x55 2161664 800k",
            "read -P 0 3M 512k",
            "read -P 0x55 3670016 512k",
        ],
        &[
            "aio_write -P 1 8M 512k",
            "aio_write -P 2 8704k 512k",
            "aio_write -f -P 3 9M 512k",
            "aio_write -z 9728k 512k",
            "aio_flush",
            "flush",
            "read -P 1 8M 512k",
            "read -P 2 8704k 512k",
            "read -P 3 9M 512k",
            "read -P 0 9728k 512k",
        ],
    ];
    let uri = cluster.uri(A);
    for list in lists {
        let mut arguments = vec!["-f", "raw", "-t", "none", "-d", "unmap"];
        arguments.extend(list.iter().flat_map(|command| ["-c", command]));
        arguments.push(&uri);
        let Some(said) = tool("qemu-io", &arguments) else { return };
        let said = said.to_lowercase();
        assert!(!said.contains("fail") && !said.contains("error"), "{said}");
    }
    cluster.assert_equal(A);
}

#[test]
fn an_image_comes_out_as_it_went_in() {
    let cluster = Cluster::start(Shape::default());
    let uri = cluster.uri(A);
    let (source, copy) = (image(&cluster, "source.img", 256), cluster.dir().join("copy.img"));
    let (source, copy) = (source.display().to_string(), copy.display().to_string());
    let same = || fs::read(&source).unwrap() == fs::read(&copy).unwrap();
    let discard = ["-f", "raw", "-d", "unmap", "-c", "discard 0 256M", &uri];
    for way_in in [
        &["nbdcopy", "--flush", "--connections=4", "--requests=64", &source, &uri][..],
        &["qemu-img", "convert", "-n", "-W", "-m", "16", "-f", "raw", "-O", "raw", &source, &uri],
        // Another client in between, which goes on to this one by several connections, and zeroes nothing itself.
        &[
            "nbdkit",
            "-U",
            "-",
            "--filter=nozero",
            "nbd",
            &format!("uri={uri}"),
            "shared=true",
            "--run",
            &format!("nbdcopy --flush {source} \"$uri\" && nbdcopy \"$uri\" - | cmp - {source}"),
        ],
    ] {
        if tool("qemu-io", &discard).is_none() || tool(way_in[0], &way_in[1..]).is_none() {
            continue;
        }
        for way_out in [
            &["nbdcopy", "--connections=4", &uri, &copy][..],
            &["nbdcopy", "--synchronous", "--connections=1", "--request-size=33554432", &uri, &copy],
            &["qemu-img", "convert", "-f", "raw", "-O", "raw", &uri, &copy],
        ] {
            let _ = fs::remove_file(&copy);
            let came = tool(way_out[0], &way_out[1..]).is_none() || same();
            assert!(came, "in with {way_in:?}, out with {way_out:?}: not the same bytes");
        }
        tool("qemu-img", &["compare", "-f", "raw", "-F", "raw", &source, &uri]);
    }
    cluster.assert_equal(A);
}

#[test]
fn fio_verifies_blocks_from_512_bytes_to_4_mebibytes_at_depth_1_and_32() {
    let cluster = Cluster::start(Shape::default());
    let uri = cluster.uri(A);
    for depth in ["--iodepth=1", "--iodepth=32"] {
        let job =
            ["--name=verify", "--rw=randrw", "--bsrange=512-4m", "--size=48m", "--verify=crc32c", depth];
        if fio(&uri, &job).is_none() {
            return;
        }
    }
    // Each block is trimmed and written at once after; and flushed now and then.
    let job = ["--name=both", "--rw=randtrimwrite", "--bsrange=4k-1m", "--size=48m", "--iodepth=32"];
    fio(&uri, &[&job[..], &["--fsync=64", "--verify=crc32c"]].concat());
    fio(&uri, &["--name=away", "--rw=randtrim", "--bsrange=4k-4m", "--size=48m", "--iodepth=32"]);
    let said = tool("qemu-io", &["-f", "raw", "-c", "read -P 0 0 48M", &uri]);
    assert!(said.is_none_or(|said| !said.contains("fail")), "what was trimmed reads as zeroes");
    fio(
        &uri,
        &[
            "--name=four",
            "--numjobs=4",
            "--rw=randrw",
            "--bs=16k",
            "--size=8m",
            "--offset_increment=16m",
            "--iodepth=16",
            "--verify=crc32c",
            "--group_reporting",
        ],
    );
    cluster.assert_equal(A);
}

#[test]
fn replicas_of_a_large_volume_stay_within_128_mebibytes_of_memory() {
    // A log that followers on a busy machine do not fall out of.
    let cluster = Cluster::start(Shape { log_mib: 256, ..LARGE });
    // Four connections spread over the whole volume: reads, writes of any size, and trims.
    let mixed = [
        "--name=mixed",
        "--numjobs=3",
        "--rw=randrw",
        "--bsrange=512-4m",
        "--size=10g",
        "--io_size=128m",
        "--iodepth=32",
        "--norandommap",
        "--randrepeat=0",
        "--name=trims",
        "--ioengine=nbd",
        &format!("--uri={}", cluster.uri(A)),
        "--numjobs=1",
        "--rw=randtrim",
        "--bsrange=4k-4m",
        "--io_size=1g",
        "--name=small",
        "--ioengine=nbd",
        &format!("--uri={}", cluster.uri(A)),
        "--rw=randwrite",
        "--bs=4k",
        "--io_size=64m",
        "--group_reporting",
    ];
    if fio(&cluster.uri(A), &mixed).is_none() {
        return;
    }
    cluster.assert_equal(A);
    for index in [A, B, C] {
        let mib = cluster.resident_bytes(index) >> 20;
        println!("replica {index} of a 10 GiB volume: at most {mib} MiB resident");
        assert!(mib <= 128, "replica {index} took {mib} MiB");
    }
}

#[test]
fn a_file_system_lives_on_the_volume_and_is_sound_afterwards() {
    if !installed(&[
        "mkfs.ext4",
        "qemu-img",
        "nbdcopy",
        "nbdinfo",
        "nbdsh",
        "nbdfuse",
        "losetup",
        "fusermount3",
    ]) {
        return;
    }
    let cluster = Cluster::start(Shape { volume_mib: 384, log_mib: 64 });
    let tree = cluster.dir().join("tree");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::create_dir(&tree).unwrap();
    // The sources, a few times over, and one file that is larger than any request.
    for copy in 0..4 {
        for floor in ["wal", "sender", "recovery", "engine", "blockdev", "ops"] {
            let to = tree.join(format!("{copy}-{floor}")).display().to_string();
            tool("cp", &["-r", &repository.join(floor).display().to_string(), &to]);
        }
    }
    fs::write(tree.join("large"), vec![0xA5; 70 * MIB + 1]).unwrap();
    std::os::unix::fs::symlink("large", tree.join("link")).unwrap();
    let mut command = Command::new("bash");
    command.arg(proof("filesystem.sh")).arg(cluster.uri(A)).arg(&tree).arg("256").stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = text(&output);
    println!("{said}");
    assert!(output.status.success(), "{said}");
    assert!(said.contains("both ways byte-identical"), "{said}");
    // Without root it says that it skips the mount.
    assert!(said.contains("SKIP mount") || said.contains("read again: intact"), "{said}");
    cluster.assert_equal(A);
}
