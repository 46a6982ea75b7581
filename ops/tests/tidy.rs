//! The house's rules as a gate: floors, the line, sizes, names, invariants. Reads the sources; builds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floors from the ground up: a crate depends on crates before it, and on nothing beside or above it.
const FLOORS: [&str; 6] = ["wal", "sender", "recovery", "engine", "blockdev", "ops"];
/// Floors below the line: no std, no unsafe, no clock, no file, no socket.
const BELOW_THE_LINE: [&str; 4] = ["wal", "sender", "recovery", "engine"];
/// The only place with unsafe code.
const UNSAFE_HERE: &str = "blockdev/src/ring/";
/// What may stand at the top besides hidden files.
const TOP: [&str; 6] =
    ["ARCHITECTURE.md", "Cargo.lock", "Cargo.toml", "README.md", "rust-toolchain.toml", "rustfmt.toml"];

/// A file aims to be shorter than this; those that are not are listed by the test, and that is all.
const FILE_LINES_AIM: usize = 400;
/// No file is longer than this, but for those of the ratchet.
const FILE_LINES_MAX: usize = 600;
/// No function is longer than this, but for those of the ratchet. Room for the whole table of a state machine.
const FUNCTION_LINES_MAX: usize = 150;
/// The most lines of the document that tells how everything hangs together.
const ARCHITECTURE_LINES_MAX: usize = 300;
/// Files and functions (`file::function`) that may be longer, and how long. Shrinks; never grows.
const RATCHET: [(&str, usize); 0] = [];

/// Names that name no thing.
const EMPTY_NAMES: [&str; 11] = [
    "util", "utils", "helper", "helpers", "common", "types", "impls", "misc", "manager", "handler",
    "handlers",
];

struct Source {
    /// Relative to the repository, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_in(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(&format!("{folder}/src/")))
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// Lines with comments and the contents of plain string literals taken out.
    fn code(&self) -> impl Iterator<Item = (usize, String)> {
        self.lines().map(|(number, line)| (number, bare(line)))
    }
}

fn bare(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => drop(chars.next()),
            // A quote within a character literal opens nothing.
            '\'' if !quoted && chars.peek() == Some(&'"') => drop(chars.next()),
            '"' => quoted = !quoted,
            '/' if !quoted && chars.peek() == Some(&'/') => break,
            _ if quoted => {}
            _ => out.push(c),
        }
    }
    out
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("ops stands in the repository").to_owned()
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && (!name.starts_with('.') || name == ".ci") {
                    folders.push(path);
                }
                continue;
            }
            if name == ".git" {
                // A worktree's: it says where the repository is.
                continue;
            }
            let relative = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            let Ok(text) = fs::read_to_string(&path) else { continue };
            found.push(Source { path: relative, text });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.iter().filter(|s| s.is_rust()).count() > 20, "the sources were found");
    found
}

fn assert_none(what: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{what}:\n  {}", offences.join("\n  "));
}

#[test]
fn every_floor_stands_on_lower_floors_alone() {
    let mut offences = Vec::new();
    for (height, floor) in FLOORS.iter().enumerate() {
        for name in dependencies(floor) {
            let Some(other) = name.strip_prefix("seawall-") else { continue };
            if !FLOORS[..height].contains(&other) {
                offences.push(format!("{floor} depends on {other}"));
            }
        }
        if dependencies(floor).contains("sim") {
            offences.push(format!("{floor} depends on the simulator"));
        }
    }
    assert_none("a floor depends on what is not below it", &offences);
}

fn manifest(folder: &str) -> toml::Table {
    fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap().parse().unwrap()
}

fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest = manifest(folder);
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = sections.iter().filter_map(|section| manifest.get(*section)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

/// Features are switched on for everything that is built together.
#[test]
fn what_is_built_by_default_is_the_floors_and_nothing_planted() {
    let workspace = manifest("");
    let members = workspace["workspace"]["default-members"].as_array().expect("a list");
    assert!(members.iter().map(|name| name.as_str().unwrap()).eq(FLOORS));
    for floor in FLOORS {
        let dependencies = format!("{:?}", manifest(floor).get("dependencies"));
        assert!(
            !dependencies.contains("\"bait\"")
                && !dependencies.contains("\"mutants\"")
                && !dependencies.contains("\"conformance\""),
            "{floor}"
        );
    }
}

#[test]
fn below_the_line_there_is_no_std_and_no_unsafe() {
    let sources = sources();
    let mut offences = Vec::new();
    for floor in BELOW_THE_LINE {
        let path = format!("{floor}/src/lib.rs");
        let lib = sources.iter().find(|s| s.path == path).expect("every floor has a lib.rs");
        for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
            if !lib.text.contains(attribute) {
                offences.push(format!("{path} does not say {attribute}"));
            }
        }
    }
    for source in sources.iter().filter(|s| s.is_rust() && s.is_in(&BELOW_THE_LINE)) {
        let lines: Vec<_> = source.code().collect();
        for (at, (number, line)) in lines.iter().enumerate() {
            let tested = at > 0 && lines[at - 1].1.contains("cfg(test)");
            if line.contains("extern crate std") && !tested {
                offences.push(format!("{}:{number} brings std in outside of tests", source.path));
            }
            if line.contains("HashMap") || line.contains("HashSet") {
                offences.push(format!("{}:{number} has a map without an order", source.path));
            }
        }
    }
    assert_none("the line is open", &offences);
}

#[test]
fn unsafe_code_stands_in_one_place() {
    let mut offences = Vec::new();
    for source in sources().iter().filter(|s| s.is_rust() && !s.path.starts_with(UNSAFE_HERE)) {
        for (number, line) in source.code() {
            if words(&line).any(|word| word == concat!("un", "safe")) {
                offences.push(format!("{}:{number}", source.path));
            }
        }
    }
    assert_none("unsafe code outside of the ring", &offences);
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

#[test]
fn no_file_is_too_long() {
    let mut offences = Vec::new();
    for source in sources().iter().filter(|s| s.is_rust()) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_AIM {
            println!("{} has {lines} lines; the aim is {FILE_LINES_AIM}", source.path);
        }
        let max = allowed(&source.path).unwrap_or(FILE_LINES_MAX);
        if lines > max {
            offences.push(format!("{} has {lines} lines, {max} are allowed", source.path));
        }
    }
    let architecture = root().join("ARCHITECTURE.md");
    if let Ok(text) = fs::read_to_string(architecture) {
        let lines = text.lines().count();
        if lines > ARCHITECTURE_LINES_MAX {
            offences.push(format!("ARCHITECTURE.md has {lines} lines, {ARCHITECTURE_LINES_MAX} are allowed"));
        }
    }
    assert_none("think hard about a better shape", &offences);
}

#[test]
fn no_function_is_too_long() {
    let mut offences = Vec::new();
    for source in sources().iter().filter(|s| s.is_rust()) {
        for (name, lines) in functions(&source.text) {
            let path = format!("{}::{name}", source.path);
            let max = allowed(&path).unwrap_or(FUNCTION_LINES_MAX);
            if lines > max {
                offences.push(format!("{path} has {lines} lines, {max} are allowed"));
            }
        }
    }
    assert_none("a function does more than one thing", &offences);
}

/// Functions with their lengths in lines. Relies on rustfmt: a function ends at its own indentation.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = bare(line);
        let mut words = words(&code).filter(|word| !word.is_empty());
        let Some(name) = words.by_ref().skip_while(|word| *word != "fn").nth(1) else { continue };
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", " ".repeat(indent));
        let length = lines[start..].iter().position(|line| *line == end).map_or(1, |at| at + 1);
        // A declaration without a body ends at its semicolon, before any brace of its own indentation.
        let declared = lines[start..].iter().position(|line| line.trim_end().ends_with(';'));
        let opened = lines[start..].iter().position(|line| line.trim_end().ends_with('{'));
        if declared.is_some_and(|declared| opened.is_none_or(|opened| declared < opened)) {
            continue;
        }
        let length = if line.ends_with('}') { 1 } else { length };
        found.push((name.to_owned(), length));
    }
    found
}

fn allowed(what: &str) -> Option<usize> {
    RATCHET.iter().find(|(name, _)| *name == what).map(|(_, lines)| *lines)
}

#[test]
fn every_state_machine_answers_every_pair() {
    let mut offences = Vec::new();
    for source in sources().iter().filter(|s| s.is_rust() && s.is_in(&BELOW_THE_LINE)) {
        if !source.text.contains("fn on(") {
            continue;
        }
        for (number, line) in source.code() {
            if line.trim_start().starts_with("_ =>") || line.trim_start().starts_with("_ if") {
                offences.push(format!("{}:{number}", source.path));
            }
        }
    }
    assert_none("a catch-all arm in a file with a state machine", &offences);
}

#[test]
fn every_file_names_a_thing() {
    let mut offences = Vec::new();
    for source in &sources() {
        let parts = source.path.split('/').map(|part| part.split('.').next().unwrap_or(part));
        if parts.clone().any(|part| EMPTY_NAMES.contains(&part)) {
            offences.push(source.path.clone());
        }
    }
    assert_none("names that name no thing", &offences);
}

#[test]
fn the_top_holds_the_six_floors_and_little_else() {
    let mut offences = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let file = TOP.contains(&name.as_str()) || name.starts_with("LICENSE") || name == "deny.toml";
        let folder = FLOORS.contains(&name.as_str()) || name == "target";
        if !name.starts_with('.') && !file && !folder {
            offences.push(name);
        }
    }
    assert_none("this does not belong at the top", &offences);
}

#[test]
fn nothing_is_left_for_later() {
    let marks =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!"), concat!("unimplemented", "!")];
    let mut offences = Vec::new();
    for source in &sources() {
        for (number, line) in source.lines() {
            if marks.iter().any(|mark| line.contains(mark)) && !source.path.ends_with("Cargo.toml") {
                offences.push(format!("{}:{number}", source.path));
            }
        }
    }
    assert_none("left for later", &offences);
}

#[test]
fn no_path_of_a_machine_is_in_the_tree() {
    let places = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];
    let mut offences = Vec::new();
    for source in &sources() {
        for (number, line) in source.lines() {
            if places.iter().any(|place| begins_path(line, place)) {
                offences.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none("a path of somebody's machine", &offences);
}

/// Whether a path in the line begins with this; not whether it goes on with it.
fn begins_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || "._-}/".contains(c)))
    })
}

#[test]
fn invariants_of_the_document_and_of_the_code_are_the_same() {
    let document = fs::read_to_string(root().join("engine/INVARIANTS.md")).expect("engine/INVARIANTS.md");
    let told: BTreeSet<String> = document.lines().filter_map(leading_name).collect();
    assert!(told.len() >= 10, "the document names its invariants at the beginning of lines: {told:?}");
    let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources()
        .iter()
        .filter(|s| s.is_rust() && s.is_in(&["wal", "sender", "recovery", "engine", "blockdev"]))
    {
        for (number, line) in source.lines() {
            for name in kept_names(line) {
                kept.entry(name.to_owned()).or_default().push(format!("{}:{number}", source.path));
            }
        }
    }
    let mut offences: Vec<String> = told
        .iter()
        .filter(|name| !kept.contains_key(*name))
        .map(|name| format!("{name} is not in the code"))
        .collect();
    let untold = kept.iter().filter(|(name, _)| !told.contains(*name));
    offences.extend(untold.map(|(name, at)| format!("{name} is not in the document ({})", at.join(", "))));
    for (row, file) in document.lines().flat_map(|row| files_of(row).into_iter().map(move |file| (row, file)))
    {
        let name = leading_name(row).expect("a row of the table");
        let kept = fs::read_to_string(root().join(&file))
            .is_ok_and(|text| text.lines().flat_map(kept_names).any(|n| n == name));
        if !kept {
            offences.push(format!("{name} is not in {file}, where the document says that it is asserted"));
        }
    }
    assert_none("code and document differ", &offences);
}

/// The invariants that a comment names: `Invariant: one-name, another-name. And why.`
fn kept_names(line: &str) -> Vec<&str> {
    let Some((_, rest)) = line.split_once("Invariant: ") else { return Vec::new() };
    let names = rest.split('.').next().unwrap_or(rest);
    names.split([' ', ',', '`']).filter(|word| word.contains('-')).collect()
}

/// The source files in the third column of a row of the table of invariants.
fn files_of(row: &str) -> Vec<String> {
    if leading_name(row).is_none() || !row.starts_with('|') {
        return Vec::new();
    }
    let column = row.split('|').nth(3).unwrap_or("");
    column.split('`').filter(|word| word.ends_with(".rs")).map(str::to_owned).collect()
}

/// The kebab-case name that a heading, a list item or a table row begins with.
fn leading_name(line: &str) -> Option<String> {
    let marked = line.starts_with(['#', '|', '-', '*', '`']);
    let start = line.trim_start_matches(['#', '|', '-', '*', '`', ' ']);
    let name: String = start.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
    (marked && name.contains('-') && !name.ends_with('-')).then_some(name)
}

#[test]
fn the_gate_itself_sees_what_it_looks_for() {
    assert_eq!(bare("let a = \"// no\"; // yes"), "let a = ; ");
    assert_eq!(bare(r#"let a = "a \" b" + c;"#), "let a =  + c;");
    let text = "impl A {\n    fn short() {\n    }\n\n    pub fn long(\n        a: u8,\n    ) {\n        b();\n    }\n}\n";
    assert_eq!(functions(text), [("short".to_owned(), 2), ("long".to_owned(), 5)]);
    assert_eq!(leading_name("| `durable-before-done` | text"), Some("durable-before-done".to_owned()));
    assert_eq!(leading_name("## log-is-dense"), Some("log-is-dense".to_owned()));
    assert_eq!(leading_name("a well-known thing"), None);
    assert!(begins_path("cd /a/b", "/a/") && !begins_path("cd $here/a/b", "/a/"));
    assert_eq!(
        kept_names("// Invariant: log-is-dense, acked-never-past-log. A well-known rule."),
        ["log-is-dense", "acked-never-past-log"]
    );
    assert_eq!(files_of("| log-is-dense | says | `a.rs`, `b.rs` | watched |"), ["a.rs", "b.rs"]);
}
